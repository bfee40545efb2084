"""Room comes back: dead segments go, mostly dead ones are rewritten, and neither brings anything back from the dead."""

import errno
import random
from functools import partial
from pathlib import Path

from lane_relay.errors import SpoolFullError
from lane_relay.records import QueueEntry
from lane_relay.spool.cleaning import choose_wasteful
from lane_relay.spool.index import SegmentState
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import (
    NOW,
    RECORDS,
    defer,
    journal_lines,
    message_for,
    open_spool,
    put,
    settle,
    until,
)

BODY = b"x" * 9_000


def _segments(disk: SimulatedDisk) -> dict[str, int]:
    return {Path(path).name: len(content) for path, content in disk.image().items() if path.endswith(".seg")}


SEGMENT = 2**16


def _open(disk: SimulatedDisk, budget: int = 2**21) -> SegmentSpool:
    return open_spool(disk, segment_size=SEGMENT, budget=budget, active_bytes=0)


def _rewritten(disk: SimulatedDisk) -> int:
    """How many rewritten segments have taken their place so far."""
    return sum(event[0] == "rename" and str(event[2]).endswith(".seg") for event in disk.trace)


async def test_one_long_deferred_message_does_not_pin_the_volume() -> None:
    disk = SimulatedDisk()
    spool = _open(disk)
    (long_deferred,) = await put(spool, message_for(spool, body=b"patience" * 1000))
    defer(spool, long_deferred, NOW + 3600)
    written = 0
    for _ in range(300):
        (entry,) = await put(spool, message_for(spool, body=BODY))
        settle(spool, entry)
        written += len(BODY)
        if written % 90_000 == 0:
            await spool.flush()
            await until(lambda: spool.state.disk_bytes < 900_000)

    await until(lambda: spool.state.disk_bytes < 400_000)
    assert written > 2_500_000
    assert sum(_segments(disk).values()) < 400_000
    assert (await spool.load(long_deferred)).body == b"patience" * 1000
    await spool.close()

    again = _open(SimulatedDisk(disk.image()))
    (found,) = again.recover()
    assert (found.id, found.due, found.attempts) == (long_deferred.id, NOW + 3600, 1)
    await again.close()


async def test_a_message_is_read_while_its_segment_is_rewritten() -> None:
    disk = SimulatedDisk()
    spool = _open(disk, budget=2**20)
    kept: list[tuple[QueueEntry, bytes]] = []
    for number in range(60):
        body = f"message {number} ".encode() * 600
        (entry,) = await put(spool, message_for(spool, body=body))
        if number % 6 == 0:
            kept.append((entry, body))
        else:
            settle(spool, entry)

    def rewritten() -> bool:
        return any(".0." not in name for name in _segments(disk))

    while not rewritten():
        for entry, body in kept:
            assert (await spool.load(entry)).body == body
    for entry, body in kept:
        assert (await spool.load(entry)).body == body
    assert spool.state.damaged == 0
    await spool.close()


async def test_nothing_comes_back_and_nothing_goes_over_many_cleanings_and_restarts() -> None:
    chance = random.Random(11)
    disk = SimulatedDisk()
    waiting: dict[int, QueueEntry] = {}
    rewritten = 0
    budget = 2**20
    slack = budget // 8 + 3 * SEGMENT  # what may be wasted before a rewrite, the segment being written, what is kept
    for _ in range(6):
        spool = _open(disk, budget)
        found = {entry.id: entry for entry in spool.recover()}
        assert set(found) == set(waiting)
        assert all(found[one].attempts == waiting[one].attempts for one in found)
        assert all(found[one].due == waiting[one].due for one in found if found[one].attempts)
        waiting = found
        for _ in range(40):
            (entry,) = await put(spool, message_for(spool, body=BODY))
            waiting[entry.id] = entry
            for _ in range(chance.choice((0, 1, 1, 2))):
                if len(waiting) > 12:
                    settle(spool, waiting.pop(chance.choice(list(waiting))))
            if waiting and chance.random() < 0.3:
                defer(spool, waiting[chance.choice(list(waiting))], NOW + chance.randrange(10_000))
        await spool.flush()
        most = spool.state.live_bytes + slack
        await until(lambda opened=spool, most=most: opened.state.disk_bytes < most)  # type: ignore[misc]  # bound at once
        rewritten += _rewritten(disk)
        assert spool.state.live_messages == len(waiting)
        await spool.close()
        disk = SimulatedDisk(disk.image())
    assert rewritten >= 1
    lines = journal_lines(disk)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))


async def test_a_segment_with_damage_is_left_for_a_person_to_look_at() -> None:
    disk = SimulatedDisk()
    spool = _open(disk)
    entries = [entry for _ in range(20) for entry in await put(spool, message_for(spool, body=BODY))]
    await spool.close()
    first = "/spool/000000000001.0.seg"
    content = bytearray(disk.image()[first])
    content[20_000] ^= 1
    again_disk = SimulatedDisk({**disk.image(), first: bytes(content)})
    again = _open(again_disk, budget=400_000)
    found = {entry.id: entry for entry in again.recover()}
    for entry in entries[:2] + entries[3:8]:
        settle(again, found[entry.id])
    await until(lambda: again.state.damaged == 1)

    assert "000000000001.0.seg at 18" in again.state.damage[0]
    assert again_disk.image()[first] == bytes(content)
    await again.close()


async def test_records_in_a_removed_segment_are_safe_in_the_journal_first() -> None:
    disk = SimulatedDisk()
    spool = _open(disk)
    for _ in range(40):
        (entry,) = await put(spool, message_for(spool, body=BODY))
        settle(spool, entry)
    await spool.flush()
    await until(lambda: "000000000001.0.seg" not in _segments(disk))
    removed = next(at for at, event in enumerate(disk.trace) if event[0] == "unname" and str(event[1]).endswith(".seg"))
    journals = [at for at, event in enumerate(disk.trace) if event[0] == "sync" and _is_journal(event[1])]
    assert any(at < removed for at in journals)
    await spool.close()


def _is_journal(inode: object) -> bool:
    return str(getattr(inode, "path", "")).startswith(str(RECORDS))


async def test_a_settlement_stays_as_long_as_the_message_it_settles_is_on_disk() -> None:
    disk = SimulatedDisk()
    spool = _open(disk, budget=2**20)
    (kept,) = await put(spool, message_for(spool, body=b"k" * 50_000))
    (gone,) = await put(spool, message_for(spool, body=b"g" * 20_000))
    passing = await put(spool, message_for(spool, body=b"p" * 70_000))
    settle(spool, gone)
    await spool.flush()
    for _ in range(4):
        passing += await put(spool, message_for(spool, body=b"p" * 70_000))
    for entry in passing:
        settle(spool, entry)
    await spool.flush()
    await until(lambda: "000000000002.0.seg" not in _segments(disk))

    assert "000000000001.0.seg" in _segments(disk), "the message's own record is still there"
    again = _open(SimulatedDisk(disk.image()))
    assert [entry.id for entry in again.recover()] == [kept.id]
    await again.close()
    await spool.close()


MIB = 2**20


def _state(number: int, size: int, live: int) -> SegmentState:
    state = SegmentState(number, Path(f"{number}.seg"), 1)
    state.size, state.live_bytes, state.live, state.sealed = size, live, 1, True
    return state


def _states(*sizes: tuple[int, int]) -> dict[int, SegmentState]:
    """Of (size, live); the last is the one being written."""
    return {number: _state(number, *size) for number, size in enumerate((*sizes, (MIB, MIB)), start=1)}


def test_a_large_segment_that_is_half_alive_does_not_keep_the_mostly_dead_ones_from_being_rewritten() -> None:
    found = choose_wasteful(_states((64 * MIB, 33 * MIB), (30 * MIB, 2 * MIB), (30 * MIB, MIB)), MIB)
    assert found is not None
    assert found.number == 3


def test_segments_that_are_half_alive_are_rewritten_only_where_room_is_nearly_gone() -> None:
    states = _states((30 * MIB, 18 * MIB), (30 * MIB, 16 * MIB), (30 * MIB, 29 * MIB))
    assert choose_wasteful(states, 1) is None
    found = choose_wasteful(states, 1, tight=True)
    assert found is not None
    assert found.number == 2
    assert choose_wasteful(_states((30 * MIB, 28 * MIB)), 1, tight=True) is None


def _has_less(spool: SegmentSpool, than: int) -> bool:
    return spool.state.disk_bytes < than


async def test_a_spool_whose_segments_are_all_somewhat_dead_takes_mail_for_the_room_that_the_dead_have() -> None:
    budget = 2**20
    spool = _open(SimulatedDisk(), budget=budget)
    kept = number = 0
    while kept * len(BODY) < budget * 3 // 4:
        try:
            (entry,) = await put(spool, message_for(spool, body=BODY))
        except SpoolFullError:
            await until(partial(_has_less, spool, spool.state.disk_bytes))
            continue
        number += 1
        if number % 5 < 2:
            settle(spool, entry)
        else:
            kept += 1
        await spool.flush()
    await spool.close()


class _SlippingDisk(SimulatedDisk):
    """A disk of which some directory syncs after a segment's removal fail."""

    slips = 0

    def sync_directory(self, directory: Path) -> None:
        removed = str(self.trace[-1][1]) if self.trace[-1][0] == "unname" else ""
        if removed.endswith(".seg") and self.slips:
            self.slips -= 1
            raise OSError(errno.EIO, "cannot be synced")
        super().sync_directory(directory)


async def test_a_disk_that_slips_while_segments_go_gets_its_room_back_all_the_same() -> None:
    disk = _SlippingDisk()
    spool = _open(disk)
    entries = [entry for _ in range(60) for entry in await put(spool, message_for(spool, body=BODY))]
    before = spool.state.disk_bytes
    disk.slips = 3
    for entry in entries:
        settle(spool, entry)
    await spool.flush()
    await until(lambda: spool.state.disk_bytes < before // 4)
    assert disk.slips == 0
    assert sum(_segments(disk).values()) < before // 4
    await spool.close()
