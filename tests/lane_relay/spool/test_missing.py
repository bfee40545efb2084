"""What is gone from the log without a trace is missed all the same: by what later segments say, or by the journal."""

import asyncio

import pytest

from lane_relay.records import QueueEntry
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import RECORDS, message_for, open_spool, put, record_of, settle, until
from tests.lane_relay.spool.old_footer import segments, with_row_footers, without_footers

FOUR = ("a@one.example", "b@two.example", "c@two.example", "d@three.example")


def _open(disk: SimulatedDisk, journal_budget: int = 2**30) -> SegmentSpool:
    return open_spool(disk, segment_size=2**16, tidy_every=1e9, journal_budget=journal_budget)


async def _several(disk: SimulatedDisk) -> tuple[SegmentSpool, list[QueueEntry]]:
    """Some segments, the last of which is being written; of some messages a part is done with."""
    spool = _open(disk)
    entries: list[QueueEntry] = []
    while len(segments(disk.image())) < 4:
        entries += await put(spool, message_for(spool, FOUR, b"x" * 3000))
        entries += await put(spool, message_for(spool, body=b"x" * 3000))
        spool.settle(entries[-2], entries[-2].recipients, [record_of("Delivery", entries[-2].id)])
    await put(spool, message_for(spool))
    await spool.flush()
    return spool, entries


async def _missing(image: Image, journal_budget: int = 2**30) -> tuple[int, int, int]:
    """(missing, recipients found, places that are damaged) at the next start."""
    spool = _open(SimulatedDisk(image), journal_budget)
    state = spool.state
    assert sum(len(one.recipients) for one in spool.recover()) == state.live_recipients
    await spool.close()
    return state.missing_recipients, state.live_recipients, state.damaged


@pytest.mark.parametrize("closed", [False, True])
async def test_a_segment_that_vanished_is_missed(closed: bool) -> None:
    disk = SimulatedDisk()
    spool, _ = await _several(disk)
    waited, image = spool.state.live_recipients, disk.image()
    await spool.close()
    image = disk.image() if closed else image

    for form in (image, with_row_footers(image), without_footers(image)):
        assert await _missing(form) == (0, waited, 0)
        for gone in segments(image):
            missing, found, damaged = await _missing({path: form[path] for path in form if path != gone})
            assert missing > 0, gone
            assert missing + found == waited, gone
            assert damaged == 1, gone


async def test_an_end_that_is_cut_off_where_it_was_durable_is_missed() -> None:
    disk = SimulatedDisk()
    spool, _ = await _several(disk)
    waited, image = spool.state.live_recipients, disk.image()
    await spool.close()
    last = segments(image)[-1]

    for kept in (len(image[last]) - 1, len(image[last]) // 2, 200, 0):
        missing, found, damaged = await _missing({**image, last: image[last][:kept]})
        assert missing > 0, kept
        assert (missing + found, damaged) == (waited, 1), kept


async def test_a_settlement_that_was_cut_off_is_counted_twice_and_says_so() -> None:
    disk = SimulatedDisk()
    spool = _open(disk)
    (first,) = await put(spool, message_for(spool))
    await put(spool, message_for(spool))
    before = disk.image()
    settle(spool, first)
    await spool.flush()
    after = disk.image()
    await spool.close()
    (path,) = segments(before)

    again = _open(SimulatedDisk({**after, path: before[path]}))

    assert (again.state.missing_recipients, again.state.live_recipients) == (-1, 2)
    assert "done with" in again.state.damage[0]
    await again.close()


async def test_a_damaged_message_is_damage_and_missing() -> None:
    disk = SimulatedDisk()
    spool = _open(disk)
    for _ in range(3):
        await put(spool, message_for(spool, FOUR))
    image = disk.image()
    await spool.close()
    (path,) = segments(image)
    content = bytearray(image[path])
    content[len(content) // 2] ^= 0x10

    assert await _missing({**image, path: bytes(content)}) == (4, 8, 1)


async def test_what_was_missed_is_missed_until_something_is_stored() -> None:
    """A start that is followed by another one says the same; what is stored then is not taken for missing."""
    disk = SimulatedDisk()
    spool = _open(disk)
    for _ in range(3):
        await put(spool, message_for(spool))
    image = disk.image()
    await spool.close()
    disk = SimulatedDisk({path: content for path, content in image.items() if path not in segments(image)})

    for _ in range(2):
        spool = _open(disk)
        assert spool.state.missing_recipients == 3
        assert "3 recipients" in spool.state.damage[0]
        await spool.close()
    spool = _open(disk)
    await put(spool, message_for(spool))
    await spool.close()
    assert await _missing(disk.image()) == (0, 1, 0)


async def test_a_journal_that_has_let_its_first_records_go_names_what_it_still_has() -> None:
    disk = SimulatedDisk()
    spool = _open(disk, journal_budget=2**13)
    for _ in range(150):
        for entry in await put(spool, message_for(spool)):
            settle(spool, entry)
    kept = 5
    for _ in range(kept):
        await put(spool, message_for(spool))
    image = disk.image()
    await spool.close()
    assert str(RECORDS / "records-0000000000000001.jsonl") not in image
    without = {path: content for path, content in image.items() if path not in segments(image)}

    assert await _missing(without, journal_budget=2**13) == (kept, 0, 1)


async def test_a_segment_that_was_rewritten_and_a_release_that_said_nothing_make_nothing_missing() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, segment_size=2**16, budget=2**20, tidy_every=0.001)
    kept = [entry for _ in range(3) for entry in await put(spool, message_for(spool, FOUR))]
    while not any(path.endswith(".1.seg") for path in segments(disk.image())):
        for entry in await put(spool, message_for(spool, body=b"x" * 3000)):
            settle(spool, entry)
        await asyncio.sleep(0)
    await until(lambda: len(segments(disk.image())) < 6)
    await spool.close()
    image = disk.image()
    waiting = sum(len(one.recipients) for one in kept)

    assert await _missing(image) == (0, waiting, 0)
    missing, found, damaged = await _missing({path: image[path] for path in image if path != segments(image)[-1]})

    assert (missing + found, damaged) == (waiting, 1 if missing else 0)
