"""A whole relay's evidence: sealed, signed, archived at a stop, and asked for after slot and volume are gone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lane_relay.audit.making import pem, public_pem
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.conftest import NewRelay

RECIPIENTS_KEY = "0123456789abcdef"


@pytest.fixture
def evident(new_relay: NewRelay, sink: Sink, tmp_path: Path) -> Relay:
    """A relay that signs, hashes recipients and archives into a folder; not started."""
    (tmp_path / "signing.pem").write_bytes(pem())
    (tmp_path / "lane.pub").write_bytes(public_pem())
    (tmp_path / "recipients.key").write_text(RECIPIENTS_KEY)
    return new_relay(
        delivery={"routes": [fixed_route(sink)]},
        records={
            "signingKeyFile": str(tmp_path / "signing.pem"),
            "recipients": "Hashed",
            "recipientsKeyFile": str(tmp_path / "recipients.key"),
            "archive": {"path": str(tmp_path / "archive")},
        },
    )


def _lane_relay(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lane_relay", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _life(place: Path, tmp_path: Path, *which: str) -> list[dict[str, Any]]:
    done = _lane_relay("trace", *which, "--in", place, "--recipients-key", tmp_path / "recipients.key", "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_after_slot_and_volume_are_gone_the_archive_answers_and_proves_itself(
    evident: Relay, sink: Sink, tmp_path: Path
) -> None:
    evident.start().submit(1, 2, 3)
    sink.wait(3)
    eventually(lambda: evident.metric("queue_messages") == 0, "an empty queue")
    assert evident.terminate() == 0
    last = evident.records()[-1]["seq"]
    evident.start().submit(4)
    sink.wait(4)
    eventually(lambda: evident.metric("queue_messages") == 0, "an empty queue")
    assert evident.terminate() == 0
    shutil.rmtree(evident.folder / "records")
    shutil.rmtree(evident.folder / "spool")

    done = _lane_relay("audit", "verify", tmp_path / "archive", "--key", tmp_path / "lane.pub")
    assert done.returncode == 0, done.stdout
    assert f"proven records 1 to {last + 2}" in done.stdout
    found = _life(tmp_path / "archive", tmp_path, "--recipient", "ann@isp.test")
    assert [record["type"] for record in found][-2:] == ["Reception", "Delivery"]
    for name in (found[-1]["message_id"], found[-1]["id"]):
        assert _life(tmp_path / "archive", tmp_path, name) == found[-2:]
    assert b"ann@isp" not in b"".join(path.read_bytes() for path in (tmp_path / "archive").rglob("*.idx"))


@pytest.mark.parametrize(
    "arguments", [("audit", "verify", "{}"), ("audit", "unsettled", "{}"), ("trace", "order-1", "--in", "{}")]
)
def test_a_folder_that_is_not_there_is_told_to_people(arguments: tuple[str, ...], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = _lane_relay(*(one.format(nowhere) for one in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"lane-relay: {nowhere} is no folder: name the folder of a slot's records, or of an archive\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [("audit", "verify", "s3://bucket"), ("audit", "unsettled", "s3://bucket"), ("trace", "x", "--in", "s3://bucket")],
)
def test_a_slip_in_what_an_archive_is_asked_with_is_told_to_people(arguments: tuple[str, ...], tmp_path: Path) -> None:
    for name, content in (("access_key_id", "a"), ("secret_access_key", "s"), ("ca.crt", "hello")):
        (tmp_path / name).write_text(content)
    done = _lane_relay(*arguments, "--credentials", tmp_path, "--endpoint", "https://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lane-relay: {tmp_path}/ca.crt holds no certificate in PEM that can be read: ")
    assert len(done.stderr.splitlines()) == 1
    half = _lane_relay(*arguments, "--credentials", tmp_path, "--endpoint", "http://[::1")
    assert (half.returncode, half.stdout, len(half.stderr.splitlines())) == (2, "", 1)


def test_an_archive_that_cannot_be_asked_is_told_to_people(tmp_path: Path) -> None:
    done = _lane_relay("trace", "order-1", "--in", "s3://bucket", "--credentials", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"lane-relay: {tmp_path / 'access_key_id'} is missing or empty")


def test_after_a_kill_the_chain_goes_on_and_nothing_is_missing(evident: Relay, sink: Sink, tmp_path: Path) -> None:
    for number in range(3):
        evident.start().submit(number)
        sink.wait(number + 1)
        eventually(lambda: evident.metric("queue_messages") == 0, "an empty queue")
        evident.kill()
    evident.start()
    assert evident.terminate() == 0
    for place in (evident.folder / "records", tmp_path / "archive"):
        done = _lane_relay("audit", "verify", place, "--key", tmp_path / "lane.pub")
        assert done.returncode == 0, done.stdout
        assert "proven records 1 to 6" in done.stdout


def test_a_drained_slot_says_when_all_of_its_records_are_in_the_archive(
    evident: Relay, sink: Sink, tmp_path: Path
) -> None:
    evident.start().submit(1)
    sink.wait(1)
    eventually(lambda: evident.metric("queue_messages") == 0, "an empty queue")
    evident.change(intake={"state": "Closed"})
    eventually(
        lambda: evident.metric("records_archived_total") == evident.metric("records_written_total") == 3, "all archived"
    )
    assert evident.metric("records_sealed_total") == 3
    assert evident.metric("records_lost_total") == 0


def test_a_key_that_is_none_is_refused_with_the_fix(evident: Relay, tmp_path: Path) -> None:
    (tmp_path / "signing.pem").write_text("nonsense")
    done = _lane_relay("check", "--config", evident.config_file)
    assert done.returncode == 2
    assert "openssl genpkey -algorithm ed25519" in done.stderr


def test_a_volume_that_is_put_back_goes_on_in_a_journal_of_its_own_and_the_archive_proves_both_histories(
    evident: Relay, sink: Sink, tmp_path: Path
) -> None:
    def life(claim: str, arrived: int, *letters: int) -> None:
        spool = {"path": str(evident.folder / "spool"), "claim": {"uid": claim}}
        evident.write({**evident.overrides, "spool": spool})
        evident.start().submit(*letters)
        sink.wait(arrived)
        eventually(lambda: evident.metric("queue_messages") == 0, "an empty queue")
        assert evident.terminate() == 0

    life("first", 2, 1, 2)
    for part in ("spool", "records"):
        shutil.copytree(evident.folder / part, tmp_path / "snapshot" / part)
    life("first", 4, 3, 4)
    for part in ("spool", "records"):
        shutil.rmtree(evident.folder / part)
        shutil.copytree(tmp_path / "snapshot" / part, evident.folder / part)
    life("second", 5, 5)
    life("second", 6, 6)

    key = ("--key", tmp_path / "lane.pub")
    done = _lane_relay("audit", "verify", tmp_path / "archive", *key)
    assert (done.returncode, done.stdout.count("  proven records ")) == (0, 2), done.stdout
    assert done.stdout.count("it goes on from journal") == 1
    assert _lane_relay("audit", "verify", evident.folder / "records", *key).returncode == 0
    found = _life(tmp_path / "archive", tmp_path, "--recipient", "ann@isp.test")
    assert [record["type"] for record in found].count("Delivery") == 6
