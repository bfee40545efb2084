"""The OpenAPI document against the running relay: schemathesis makes requests of it, right and wrong ones.

`make http-contract EXAMPLES=2000` looks longer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lane_relay.accept.http.request import EXAMPLES
from tests.lane_relay.accept.http.client import BASIC
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

COUNT = int(os.environ.get("EXAMPLES", "25"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection,missing_required_header,unsupported_method,use_after_free"
)
"""All but positive_data_acceptance and ignored_auth: whose sender it is and what an address is, no schema says; and a
client of the lane's networks needs no password."""

pytestmark = pytest.mark.timeout(300 + COUNT)


def test_the_relay_does_what_its_document_says(new_relay: NewRelay, tmp_path: Path) -> None:
    port = free_port()
    relay = new_relay(
        delivery={"state": "Held"},
        intake={"http": {"host": "127.0.0.1", "port": port, "plain": True}, "senders": ["@notify.example.com"]},
        domains=[{"name": "notify.example.com", "mode": "Off"}],
    ).start()
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/v1/openapi.json",
            "--checks", CHECKS, "--max-examples", str(COUNT), "--seed", "1", "--generation-database", "none",
            "--header", f"Authorization: {BASIC['Authorization']}", "--phases", "examples,coverage,fuzzing",
            "--suppress-health-check", "all", "--no-color", "--request-timeout", "30",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-3000:] + relay.log()[-2000:]
    assert relay.metric("accepted_messages_total") > len(EXAMPLES)
    assert relay.metric("http_requests_total{status=422}") > 0
    assert "broke us" not in relay.log()
