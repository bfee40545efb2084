"""A slip in the archive's Secret or endpoint: the archive says why it waits, mail goes on, and a stop is a stop."""

from pathlib import Path
from typing import Any

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay

SECRET = {"access_key_id": b"a", "secret_access_key": b"s"}


def _archiving(new_relay: NewRelay, sink: Sink, folder: Path, files: dict[str, bytes], **s3: Any) -> Relay:
    folder.mkdir()
    for name, content in (SECRET | files).items():
        (folder / name).write_bytes(content)
    place = {"bucket": "bucket", "endpoint": "http://127.0.0.1:1", "credentialsDir": str(folder), **s3}
    return new_relay(delivery={"routes": [fixed_route(sink)]}, records={"sealEvery": "1s", "archive": {"s3": place}})


def _waits_for(relay: Relay, reason: str) -> None:
    assert relay.process is not None
    eventually(lambda: reason in relay.log(), f"the archive waits: {reason}; log: {relay.log()[-3000:]}")
    assert relay.process.poll() is None, relay.log()[-3000:]


@pytest.mark.parametrize(
    ("files", "place", "reason"),
    [
        ({"ca.crt": b"hello"}, {"endpoint": "https://127.0.0.1:1"}, "ca.crt holds no certificate"),
        ({"access_key_id": b"AKIA\nX"}, {}, "access_key_id holds a line end"),
        ({}, {"endpoint": "http://[::1"}, "names no host"),
        ({}, {"bucket": "a\n[b"}, "bucket a"),
    ],
    ids=["authority", "key", "endpoint", "a panic of the client"],
)
def test_a_slip_of_the_archive_holds_up_no_mail(
    new_relay: NewRelay, sink: Sink, tmp_path: Path, files: dict[str, bytes], place: dict[str, str], reason: str
) -> None:
    relay = _archiving(new_relay, sink, tmp_path / "secret", files, **place).start()
    relay.submit(1)
    sink.wait(1)
    _waits_for(relay, reason)
    eventually(lambda: relay.metric("records_archive_failures_total") >= 1, "a failure that is counted")
    assert {name: value for name, value in relay.metrics().items() if name.startswith("broken_tasks") and value} == {}
    relay.submit(2)
    sink.wait(2)
    assert relay.terminate() == 0


def test_a_secret_that_is_changed_under_way_ends_no_slot(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> None:
    relay = _archiving(new_relay, sink, tmp_path / "secret", {}).start()
    relay.submit(1)
    sink.wait(1)
    _waits_for(relay, "the archive waits")
    (tmp_path / "secret" / "ca.crt").write_bytes(b"hello")
    _waits_for(relay, "ca.crt holds no certificate")
    relay.submit(2)
    sink.wait(2)
    assert relay.terminate() == 0
