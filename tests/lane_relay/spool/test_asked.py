"""Whether an id was ever stored, over crashes and while room is given back: what a repeated request stands on."""

import asyncio
from pathlib import Path

from lane_relay.records import QueueEntry
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import SPOOL, message_for, open_spool, put, settle, until

SEGMENT = 2**16
BODY = b"b" * 7000


def _segments(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names(SPOOL) if name.endswith(".seg")]


async def _pass_through(spool: SegmentSpool, count: int) -> list[QueueEntry]:
    """Messages that come and go."""
    entries = []
    for _ in range(count):
        (entry,) = await put(spool, message_for(spool, body=BODY))
        settle(spool, entry)
        entries.append(entry)
    await spool.flush()
    return entries


async def test_an_id_that_is_asked_for_is_found_live_or_settled_and_no_other_is() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    (settled,) = await _pass_through(spool, 1)
    (live,) = await put(spool, message_for(spool))
    never, unasked = spool.new_id(), (await put(spool, message_for(spool)))[0].id
    await spool.close()

    again = open_spool(SimulatedDisk(disk.image()), asked=frozenset({settled.id, live.id, never}))
    assert [again.was_stored(one) for one in (settled.id, live.id, never, unasked)] == [True, True, False, False]
    await again.close()


async def test_what_is_kept_is_found_although_all_of_it_is_settled() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, segment_size=SEGMENT, budget=2**20)
    before = await _pass_through(spool, 20)
    await until(lambda: "000000000001.0.seg" not in _segments(disk))
    release = spool.keep()
    first = max(_segments(disk))
    entries = await _pass_through(spool, 40)
    later = await _pass_through(spool, 20)
    await until(lambda: min(_segments(disk)) == first)

    asked = frozenset(one.id for one in [*before[:1], *entries, *later])
    again = open_spool(SimulatedDisk(disk.image()), segment_size=SEGMENT, budget=2**20, asked=asked)
    assert all(again.was_stored(one.id) for one in entries + later)
    assert not again.was_stored(before[0].id)
    await again.close()

    release()
    release()  # twice is once
    await until(lambda: first not in _segments(disk))
    await spool.close()


async def test_a_budget_that_is_short_of_room_does_not_rewrite_what_is_kept() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, segment_size=SEGMENT, budget=2**20)
    spool.keep()
    entries = []
    for _ in range(12):  # every segment keeps one live message and could be rewritten without the others
        (waiting,) = await put(spool, message_for(spool, body=BODY))
        entries += [waiting, *await _pass_through(spool, 8)]
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert all(".0." in name for name in _segments(disk))
    again = open_spool(SimulatedDisk(disk.image()), asked=frozenset(one.id for one in entries))
    assert all(again.was_stored(one.id) for one in entries)
    await again.close()
    await spool.close()


async def test_a_message_carries_how_it_came_in_over_a_restart(tmp_path: Path) -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    await put(spool, message_for(spool))
    await spool.close()
    again = open_spool(SimulatedDisk(disk.image()))
    (found,) = again.recover()
    assert (await again.load(found)).protocol == "HTTPS"
    await again.close()
