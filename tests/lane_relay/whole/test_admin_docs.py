"""The shell function of docs/admin.md and its requests, run by a shell as they stand there."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from e2e.internet import packages
from tests.lane_relay.api.test_server import certificate
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

DOCS = Path(__file__).parents[3] / "docs" / "admin.md"
FUNCTION, REQUESTS = re.findall(r"<!-- a test runs this -->\n```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
WHERE = {"NAMESPACE": "mail", "LANE": "transactional", "SLOT": "transactional-0"}
NAME = "transactional-0.transactional-slots.mail.svc"

pytestmark = pytest.mark.timeout(300)


def _run(script: str, folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **WHERE, "PORT": str(port)}
    return subprocess.run(
        ["bash", "-c", f"set -e\n{script}"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_slot_is_asked_through_a_forwarded_port_as_the_page_says(new_relay: NewRelay, tmp_path: Path) -> None:
    packages.install(packages.CURL)
    certificate(tmp_path, NAME)
    (tmp_path / "tls.crt").rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "auth").write_text("Authorization: Bearer t0ken")
    port = free_port()
    new_relay(
        admin={
            "listen": {"host": "127.0.0.1", "port": port},
            "tls": {"certificate": str(tmp_path / "ca.crt"), "key": str(tmp_path / "tls.key")},
            "tokenFile": str(tmp_path / "token"),
        }
    ).start()
    said = []
    for request in REQUESTS.splitlines():
        run = _run(f"{FUNCTION}\n{request}", tmp_path, port)
        assert run.returncode == 0, run.stdout + run.stderr
        said.append(json.loads(run.stdout))
    slot, messages, order = said
    assert slot["slot"], slot
    assert messages["messages"] == []
    assert order["actions"][0]["state"] == "standing"

    (tmp_path / "auth").write_text("Authorization: Bearer of another slot")
    refused = _run(f"{FUNCTION}\nv1 GET /v1/slot", tmp_path, port)
    assert refused.returncode == 22
    assert "Secret SLOT-admin" in json.loads(refused.stdout)["error"]
