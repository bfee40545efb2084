"""The examples of docs/http.md, run by a shell as they stand there."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from e2e.internet import packages
from tests.lane_relay.api.test_server import certificate
from tests.lane_relay.running import PASSWORD, USER, Sink, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

DOCS = Path(__file__).parents[3] / "docs" / "http.md"
EXAMPLES = re.findall(r"<!-- a test runs this -->\n```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)

pytestmark = pytest.mark.timeout(300)


def test_the_examples_do_what_the_page_says(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> None:
    packages.install(packages.CURL)
    certificate(tmp_path, "localhost")
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    port = free_port()
    new_relay(
        delivery={"routes": [fixed_route(sink)]},
        intake={
            "http": {"host": "127.0.0.1", "port": port},
            "senders": ["@notify.example.com"],
            "tls": {"certificate": str(chain), "key": str(key)},
        },
        domains=[{"name": "notify.example.com", "mode": "Off"}],
    ).start()
    environment = {
        **os.environ,
        "LANE_CA": str(chain),
        "LANE_URL": f"https://localhost:{port}",
        "LANE_USER": USER,
        "LANE_PASSWORD": PASSWORD,
    }
    taken = []
    for example in EXAMPLES:
        run = subprocess.run(
            ["bash", "-c", f"set -e\n{example}"], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        taken.append(json.loads(run.stdout)["accepted"])
    assert taken == [1, 2]
    bodies = sorted(one.content.split(b"\r\n\r\n", 1)[1] for one in sink.wait(3))
    assert any(body.startswith(b"Your code is 123456.") for body in bodies)
    assert any(b"Hello Ann\r\n- tea\r\n- milk" in body for body in bodies)
