"""The admin API's document against the running relay: schemathesis makes requests of it, right and wrong ones.

`make admin-contract EXAMPLES=500` looks longer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lane_relay.running import Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_end_to_end import AdminClient

COUNT = int(os.environ.get("EXAMPLES", "5"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth"
)
"""All but positive_data_acceptance and use_after_free: that one of some parameters is needed, and which configuration
takes force, no schema says; and what an order was about may be gone."""

pytestmark = pytest.mark.timeout(300 + 10 * COUNT)


def test_the_admin_api_does_what_its_document_says(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> None:
    sink.answer_with = lambda stage, _address: "451 4.7.1 come back later" if stage == "RCPT" else None
    (tmp_path / "suppression").write_bytes(b"s" * 32)
    relay = new_relay(
        delivery={"routes": [fixed_route(sink)], "retry": {"first": "10m"}},
        suppression={"path": str(tmp_path / "list"), "keyFile": str(tmp_path / "suppression")},
    )
    admin = AdminClient(relay)
    relay.start()
    for number in range(3):
        relay.submit(number)
    eventually(lambda: admin.ask("GET", "/v1/messages")[1].get("messages"), "queued messages")
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"https://127.0.0.1:{admin.port}/v1/openapi.json",
            "--tls-verify", "false", "--checks", CHECKS, "--max-examples", str(COUNT), "--seed", "1",
            "--generation-database", "none", "--header", "Authorization: Bearer s3cret",
            "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color",
            "--request-timeout", "30",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-9000:] + run.stderr[-3000:] + relay.log()[-2000:]
    assert "request broke us" not in relay.log()
    assert admin.ask("GET", "/v1/slot")[0] == 200
