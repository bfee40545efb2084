"""Torn tails, flipped bits, foreign and newer files: nothing is lost silently, nothing is misread."""

import asyncio
import errno
from pathlib import Path

import msgspec
import pytest

from lane_relay.errors import SpoolError
from lane_relay.records import QueueEntry
from lane_relay.spool.base import DamagedMessageError
from lane_relay.spool.files import POSIX_FILES
from lane_relay.spool.format import HEADER_SIZE, Gap, Kind, Record, SegmentHeader, encode, salt_of, scan
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import NOW, RECORDS, SPOOL, defer, message_for, open_spool, put, record_of, settle

JOURNAL = str(RECORDS / "records-0000000000000001.jsonl")
FIRST = str(SPOOL / "000000000001.0.seg")


async def _crashed(messages: int, body: bytes = b"") -> tuple[Image, list[QueueEntry]]:
    """A disk as a crash leaves it after so many single commits, and what was stored."""
    disk = SimulatedDisk()
    spool = open_spool(disk)
    entries = [entry for _ in range(messages) for entry in await put(spool, message_for(spool, body=body))]
    image = disk.image()
    await spool.close()
    return image, entries


async def _closed(messages: int) -> tuple[Image, list[QueueEntry]]:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    entries = [entry for _ in range(messages) for entry in await put(spool, message_for(spool))]
    await spool.close()
    return disk.image(), entries


def _records(image: Image, path: str = FIRST, number: int = 1) -> list[Record]:
    header = SegmentHeader.decode(image[path])
    assert header is not None
    return [one for one in scan(image[path], salt_of(header.spool_id, number)) if isinstance(one, Record)]


def _flip(image: Image, path: str, at: int) -> Image:
    content = bytearray(image[path])
    content[at] ^= 0x10
    return {**image, path: bytes(content)}


async def test_a_torn_tail_is_cut_and_everything_before_it_is_kept() -> None:
    image, entries = await _crashed(5)
    last = _records(image)[-1]
    torn = {**image, FIRST: image[FIRST][: last.offset + last.length - 3]}
    torn[JOURNAL] = b"".join(image[JOURNAL].splitlines(keepends=True)[:-1])  # it is told of what is durable only
    spool = open_spool(SimulatedDisk(torn))

    assert {one.id for one in spool.recover()} == {one.id for one in entries[:4]}
    assert spool.state.damaged == 0
    await spool.close()


async def test_zeros_after_the_last_record_are_room_and_no_damage() -> None:
    image, entries = await _crashed(3)
    spool = open_spool(SimulatedDisk({**image, FIRST: image[FIRST] + bytes(4096)}))

    assert {one.id for one in spool.recover()} == {one.id for one in entries}
    assert spool.state.damaged == 0
    await spool.close()


@pytest.mark.parametrize("where", ["marker", "crc", "lengths", "index", "accounting", "data"])
async def test_a_flipped_bit_costs_one_message_and_is_reported_with_its_place(where: str) -> None:
    image, entries = await _crashed(6)
    record = [one for one in _records(image) if one.kind == Kind.MESSAGE][2]
    parts = {"marker": 1, "crc": 5, "lengths": 17, "index": 44, "accounting": 40 + len(record.index) + 9}
    at = record.offset + parts.get(where, record.length - 2)
    disk = SimulatedDisk(_flip(image, FIRST, at))
    spool = open_spool(disk)

    assert {one.id for one in spool.recover()} == {one.id for one in entries} - {entries[2].id}
    assert spool.state.damaged >= 1
    assert f"000000000001.0.seg at {record.offset}," in spool.state.damage[0]
    await spool.close()

    again = open_spool(disk)
    assert again.state.damaged >= 1, "damage stays visible over restarts"
    assert len(list(again.recover())) == 5
    await again.close()


async def test_a_damaged_message_in_a_sealed_segment_is_refused_when_it_is_read() -> None:
    image, entries = await _closed(3)
    record = [one for one in _records(image) if one.kind == Kind.MESSAGE][1]
    spool = open_spool(SimulatedDisk(_flip(image, FIRST, record.offset + record.length - 2)))
    found = {one.id: one for one in spool.recover()}

    assert (await spool.load(found[entries[0].id])).id == entries[0].id
    with pytest.raises(DamagedMessageError, match=f"000000000001.0.seg at {record.offset},"):
        await spool.load(found[entries[1].id])
    assert spool.state.damaged == 1
    assert not spool.state.failed
    await spool.close()


async def test_a_mistake_of_ours_on_the_committers_thread_is_said_to_everybody() -> None:
    spool = open_spool(SimulatedDisk())
    unwritable = msgspec.structs.replace(message_for(spool), client=object())
    with pytest.raises(SpoolError, match="spool write failed"):
        await put(spool, unwritable)
    assert spool.has_failed
    with pytest.raises(SpoolError):
        await put(spool, message_for(spool))
    with pytest.raises(SpoolError):
        await spool.close()


async def test_a_read_that_fails_for_want_of_descriptors_is_no_damage() -> None:
    image, entries = await _closed(1)
    disk = SimulatedDisk(image)
    spool = open_spool(disk)
    (found,) = spool.recover()
    disk.fail_reads = [errno.EMFILE, errno.ENOMEM]
    assert (await spool.load(found)).id == entries[0].id
    assert (disk.fail_reads, spool.state.damaged) == ([], 0)
    await spool.close()


async def test_a_damaged_footer_costs_nothing() -> None:
    image, entries = await _closed(3)
    for at in (len(image[FIRST]) - 2, _records(image)[-1].offset + 50):
        spool = open_spool(SimulatedDisk(_flip(image, FIRST, at)))
        assert {one.id for one in spool.recover()} == {one.id for one in entries}
        await spool.close()


async def test_a_damaged_segment_header_costs_no_message_and_is_reported() -> None:
    for image, entries in (await _crashed(3), await _closed(3)):
        spool = open_spool(SimulatedDisk(_flip(image, FIRST, 30)))
        assert {one.id for one in spool.recover()} == {one.id for one in entries}
        assert "header is damaged" in spool.state.damage[0]
        await spool.close()


async def test_any_single_flipped_bit_is_either_harmless_or_reported() -> None:
    image, entries = await _crashed(4)
    stored = {one.id for one in entries}
    last = _records(image)[-1].offset
    for at in range(0, last, 7):
        disk = SimulatedDisk(_flip(image, FIRST, at))
        spool = open_spool(disk)
        found = {one.id for one in spool.recover()}
        assert found <= stored
        assert found == stored or spool.state.damaged, f"bit at {at} lost {stored - found} silently"
        await spool.close()


async def test_a_record_forged_inside_a_body_is_never_taken_for_one() -> None:
    forged, _ = encode(Kind.SETTLED, b"\x94", b"", (), seq=1, count=0, at=0, commit_at=0, salt=0)
    image, entries = await _crashed(3, body=b"".join(forged) * 40)
    record = next(one for one in _records(image) if one.kind == Kind.MESSAGE)
    damaged = _flip(image, FIRST, record.offset + 5)
    header = SegmentHeader.decode(image[FIRST])
    assert header is not None
    found = [one for one in scan(damaged[FIRST], salt_of(header.spool_id, 1)) if not isinstance(one, Gap)]

    assert [one.kind for one in found] == [Kind.FLAGS, Kind.MESSAGE, Kind.MESSAGE]
    spool = open_spool(SimulatedDisk(damaged))
    assert {one.id for one in spool.recover()} == {one.id for one in entries[1:]}
    await spool.close()


async def test_a_damaged_settlement_brings_the_message_back_and_says_so() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    (entry,) = await put(spool, message_for(spool))
    settle(spool, entry)
    await spool.flush()
    await put(spool, message_for(spool))
    image = disk.image()
    await spool.close()
    (settled,) = [one for one in _records(image) if one.kind == Kind.SETTLED]

    again = open_spool(SimulatedDisk(_flip(image, FIRST, settled.offset + 45)))

    assert entry.id in {one.id for one in again.recover()}
    assert any(str(settled.offset) in place for place in again.state.damage)
    await again.close()


async def test_a_spool_of_a_newer_format_is_refused_with_the_reason() -> None:
    image, _ = await _closed(1)
    header = SegmentHeader.decode(image[FIRST])
    assert header is not None
    newer = SegmentHeader(header.spool_id, 1, header.created_ms, 1, 0, version=2).encode()
    with pytest.raises(SpoolError, match="format 2; this relay knows formats up to 1: run the newer image"):
        open_spool(SimulatedDisk({**image, FIRST: newer + image[FIRST][HEADER_SIZE:]}))

    identity = str(SPOOL / "spool.json")
    with pytest.raises(SpoolError, match="format 9"):
        open_spool(SimulatedDisk({**image, identity: image[identity].replace(b'"format":1', b'"format":9')}))


async def test_a_segment_of_another_spool_is_refused() -> None:
    image, _ = await _closed(1)
    other, _ = await _closed(1)
    with pytest.raises(SpoolError, match="belongs to another spool"):
        open_spool(SimulatedDisk({**image, FIRST: other[FIRST]}))


async def test_segments_without_an_identity_are_refused() -> None:
    image, _ = await _closed(1)
    del image[str(SPOOL / "spool.json")]
    with pytest.raises(SpoolError, match=r"holds segments but no spool.json"):
        open_spool(SimulatedDisk(image))


async def test_a_second_opening_of_the_same_directory_is_refused(tmp_path: Path) -> None:
    first = open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "records")
    with pytest.raises(SpoolError, match="in use by another process"):
        open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "other")
    await first.close()
    again = open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "records")
    await again.close()


async def test_a_failed_fsync_stops_the_spool_for_good() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    (entry,) = await put(spool, message_for(spool))
    disk.fail_sync = errno.EIO

    with pytest.raises(SpoolError, match="Input/output error"):
        await put(spool, message_for(spool))

    disk.fail_sync = 0
    assert "Input/output error" in spool.state.failed
    with pytest.raises(SpoolError):
        await put(spool, message_for(spool))
    with pytest.raises(SpoolError):
        settle(spool, entry)
    with pytest.raises(SpoolError):
        defer(spool, entry, NOW)
    with pytest.raises(SpoolError):
        spool.record([b"{}"])
    with pytest.raises(SpoolError):
        await spool.flush()
    with pytest.raises(SpoolError):
        await spool.close()
    again = open_spool(SimulatedDisk(disk.image()))
    assert entry.id in {one.id for one in again.recover()}
    await again.close()


async def test_a_sync_that_says_no_space_is_a_failure_and_not_a_full_volume() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    disk.fail_sync = errno.ENOSPC
    with pytest.raises(SpoolError):
        await put(spool, message_for(spool))
    assert spool.state.failed
    with pytest.raises(SpoolError):
        await spool.close()


async def test_a_settlement_that_meets_a_failed_fsync_is_not_counted_gone() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    (entry,) = await put(spool, message_for(spool))
    disk.fail_sync = errno.EIO
    spool.settle(entry, entry.recipients, [record_of("Delivery", entry.id)])
    with pytest.raises(SpoolError):
        await spool.flush()
    await asyncio.sleep(0)
    assert spool.state.live_messages == 1
    with pytest.raises(SpoolError):
        await spool.close()
