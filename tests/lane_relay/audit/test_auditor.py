"""The auditor: seals in time, hurries for a drained slot, says how far it is, and tries again after any failure."""

import asyncio
import errno
import json
from pathlib import Path

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.audit.auditor import Auditor, check_records, open_chain
from lane_relay.audit.head import HeadKind, parse, public_key
from lane_relay.errors import ConfigError
from lane_relay.spool.files import POSIX_FILES
from lane_relay.supervisor import Supervisor
from tests.lane_relay.audit.making import PUBLIC, Time, fill, open_journal, pem, records_config
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import until


class Slot:
    """A journal on a simulated disk, looked after."""

    def __init__(self, folder: Path, disk: SimulatedDisk | None = None) -> None:
        self.time, self.drained = Time(), False
        self.journal, self.chain = open_journal(
            folder, self.time, files=disk or POSIX_FILES, config=records_config(folder)
        )
        self.unlucky: list[Exception] = []
        self.supervisor = Supervisor(lambda: 0.5, first_wait_s=0.001)
        self.auditor = Auditor(
            self.journal, self.chain, self.time.clock, self._drawn, lambda: self.drained, self.supervisor
        )

    def _drawn(self) -> float:
        """Chance; as often as is said it breaks."""
        if self.unlucky:
            raise self.unlucky.pop(0)
        return 0.5


async def test_records_are_sealed_when_they_are_old_and_at_once_in_a_hurry(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    fill(slot.journal, 2)
    await slot.auditor.look(hurry=False)
    assert slot.auditor.report()["sealedSeq"] == 0
    slot.time.now += 901.0
    await slot.auditor.look(hurry=False)
    assert slot.auditor.report()["sealedSeq"] == 2

    fill(slot.journal, 1)
    await slot.auditor.look(hurry=True)
    assert slot.auditor.report()["sealedSeq"] == slot.auditor.report()["lastSeq"] == 3
    await slot.auditor.close()


async def test_the_report_carries_the_newest_head_and_who_signs(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    fill(slot.journal, 2)
    await slot.auditor.look(hurry=True)
    report = slot.auditor.report()
    newest = parse(report["head"].encode())
    assert (newest.head.kind, newest.head.last_seq) == (HeadKind.SEGMENT, 2)
    assert newest.is_signed_by(public_key(report["publicKey"].encode()))
    assert newest.is_signed_by(PUBLIC)
    assert (report["dropped"], report["lost"], report["archive"], report["webhook"]) == ({}, 0, {}, {})
    assert json.loads(json.dumps(report)) == report
    await slot.auditor.close()


async def test_heads_are_given_away_from_a_number_on(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for _ in range(4):
        fill(slot.journal, 1)
        await slot.auditor.look(hurry=True)
    numbers = [parse(line.encode()).head.number for line in await slot.auditor.heads(2, 2)]
    assert numbers == [3, 4]
    assert [parse(line.encode()).head.number for line in await slot.auditor.heads(4, 100)] == [5]
    assert await slot.auditor.heads(5, 100) == []
    await slot.auditor.close()


async def test_a_volume_that_fails_is_said_counted_and_tried_again() -> None:
    disk = SimulatedDisk()
    slot = Slot(Path("/records"), disk)
    fill(slot.journal, 2)
    disk.fail_sync = errno.EIO
    await slot.auditor.look(hurry=True)
    assert (slot.auditor.failures, slot.auditor.report()["sealedSeq"]) == (1, 0)
    assert "Input/output error" in slot.auditor.report()["failure"]

    disk.fail_sync = 0
    await slot.auditor.look(hurry=True)
    assert (slot.auditor.report()["failure"], slot.auditor.report()["sealedSeq"]) == ("", 2)
    await slot.auditor.close()


async def test_an_archive_that_breaks_begins_again_and_sealing_never_stopped(tmp_path: Path) -> None:
    """Its own wait is what breaks, at the first two failures of a place that is no folder."""
    slot = Slot(tmp_path / "records")
    (tmp_path / "archive").write_bytes(b"")
    slot.unlucky = [ValueError("no luck"), KeyError("none")]
    slot.auditor.apply(records_config(tmp_path / "records", archive={"path": str(tmp_path / "archive")}))
    slot.drained = True
    running = asyncio.ensure_future(slot.auditor.run())
    broken = slot.supervisor.broken
    fill(slot.journal, 1)
    await until(lambda: broken["records-archive"] >= 1)
    fill(slot.journal, 1)
    await until(lambda: broken["records-archive"] == 2 and slot.auditor.report()["sealedSeq"] == 2)
    (tmp_path / "archive").unlink()
    await until(lambda: slot.auditor.archive.seq == 2)
    assert broken == {"records-seal": 0, "records-archive": 2, "records-webhook": 0}
    running.cancel()
    await asyncio.wait([running])
    await slot.auditor.close()


async def test_a_trace_is_answered_from_the_slots_own_volume(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    fill(slot.journal, 2)
    assert [record["seq"] for record in await slot.auditor.trace("<2@brand.test>", "")] == [2]
    assert await slot.auditor.trace("<3@brand.test>", "") == []
    await slot.auditor.close()


def _config(folder: Path, **records: object) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"namespace": "mail", "name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.example.com"},
            "spool": {"path": str(folder / "spool")},
            "records": {"path": str(folder / "records"), **records},
        }
    )


def test_keys_that_cannot_be_used_are_refused_before_anything_is_taken(tmp_path: Path) -> None:
    missing = _config(tmp_path, signingKeyFile=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"records\.signingKeyFile cannot be read"):
        check_records(missing.records)
    (tmp_path / "bad").write_bytes(b"-----BEGIN NONSENSE")
    with pytest.raises(ConfigError, match="openssl genpkey -algorithm ed25519"):
        check_records(_config(tmp_path, signingKeyFile=str(tmp_path / "bad")).records)

    (tmp_path / "key").write_bytes(pem())
    sound = _config(tmp_path, signingKeyFile=str(tmp_path / "key"))
    check_records(sound.records)
    assert open_chain(sound, Time().clock).key.public == PUBLIC
