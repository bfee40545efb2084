"""A full volume: intake is refused, settlements still get through, and room heals it without a restart."""

import asyncio
import errno
import itertools
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.errors import SpoolFullError, VolumeFullError
from lane_relay.records import QueueEntry
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import (
    NOW,
    answer_to,
    defer,
    journal_lines,
    message_for,
    open_spool,
    put,
    settle,
    until,
)

BODY = b"x" * 50_000
PATH = Path("/spool/a")


async def _fill(spool: SegmentSpool) -> list[QueueEntry]:
    entries: list[QueueEntry] = []
    while True:
        try:
            entries += await put(spool, message_for(spool, body=BODY))
        except SpoolFullError:
            return entries


async def test_a_full_volume_refuses_messages_and_fails_nothing() -> None:
    disk = SimulatedDisk(capacity=1_000_000)
    spool = open_spool(disk, segment_size=2**18, budget=2**23)
    entries = await _fill(spool)

    assert len(entries) >= 10
    assert spool.state.full
    assert not spool.state.failed
    assert spool.state.live_messages == len(entries)
    with pytest.raises(SpoolFullError):
        await put(spool, message_for(spool))
    await spool.close()


async def test_nothing_half_written_counts_after_a_full_volume() -> None:
    disk = SimulatedDisk(capacity=1_000_000)
    spool = open_spool(disk, segment_size=2**18, budget=2**23)
    entries = await _fill(spool)
    image = disk.image()
    await spool.close()

    again = open_spool(SimulatedDisk(image))
    assert {one.id for one in again.recover()} == {one.id for one in entries}
    assert again.state.damaged == 0
    await again.close()


async def test_settlements_get_through_and_their_room_heals_the_spool() -> None:
    disk = SimulatedDisk(capacity=1_000_000)
    spool = open_spool(disk, segment_size=2**18, budget=2**23)
    entries = await _fill(spool)
    for entry in entries:
        settle(spool, entry)
    await until(lambda: not spool.state.live_messages)
    await until(lambda: not spool.state.full)

    await put(spool, message_for(spool))
    assert spool.state.live_messages == 1
    await spool.close()
    lines = journal_lines(disk)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert sum(line["type"] == "Delivery" for line in lines) == len(entries)


async def test_room_made_by_somebody_else_heals_the_spool() -> None:
    disk = SimulatedDisk(capacity=400_000)
    spool = open_spool(disk, budget=2**23)
    await _fill(spool)
    disk.capacity = 10_000_000

    await until(lambda: not spool.state.full)
    await put(spool, message_for(spool))
    await spool.close()


async def test_a_batch_that_does_not_fit_is_refused_message_by_message_and_facts_are_kept() -> None:
    disk = SimulatedDisk(capacity=300_000)
    spool = open_spool(disk, budget=2**20)
    kept = await put(spool, message_for(spool, body=BODY))
    gone = await put(spool, message_for(spool, body=BODY))
    answers = []
    settle(spool, gone[0])
    for _ in range(6):
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        spool.put(message_for(spool, body=BODY), b'{"type":"Reception","id":"0"}', answer_to(stored))
        answers.append(stored)
    outcomes = await asyncio.gather(*answers, return_exceptions=True)

    refused = [one for one in outcomes if isinstance(one, SpoolFullError)]
    assert refused
    await spool.flush()
    image = disk.image()
    await spool.close()
    again = open_spool(SimulatedDisk(image))
    found = {one.id for one in again.recover()}
    assert kept[0].id in found
    assert gone[0].id not in found
    assert len(found) == 1 + len(outcomes) - len(refused)
    await again.close()


async def test_a_volume_that_is_full_at_the_start_is_known_to_be() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, budget=2**23)
    entries = await put(spool, message_for(spool))
    await spool.close()

    full = SimulatedDisk(disk.image(), capacity=sum(map(len, disk.image().values())))
    again = open_spool(full)
    assert again.state.full
    assert [one.id for one in again.recover()] == [entries[0].id]
    with pytest.raises(SpoolFullError):
        await put(again, message_for(again))
    await again.close()


async def test_settlements_without_any_room_are_kept_until_there_is_some_and_count_once() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, budget=2**23)
    entries = [entry for _ in range(3) for entry in await put(spool, message_for(spool))]
    disk.capacity = 0
    settle(spool, entries[0])
    with pytest.raises(SpoolFullError):
        await spool.flush()
    assert spool.state.live_messages == 3, "it is not on disk that one is done with"

    disk.capacity = 10_000_000
    await until(lambda: not spool.state.full)
    await spool.flush()
    assert spool.state.live_messages == 2
    entries += await put(spool, message_for(spool))
    assert [(await spool.load(one)).id for one in entries[1:]] == [one.id for one in entries[1:]]
    assert spool.state.live_messages == 3
    await spool.close()


async def test_reports_have_room_on_a_volume_that_takes_no_more_messages() -> None:
    disk = SimulatedDisk(capacity=2_000_000)
    spool = open_spool(disk, segment_size=2**18, budget=2**30)
    await _fill(spool)
    for _ in range(6):
        await put(spool, replace(message_for(spool, body=b"y" * 5_000), client=""))
    assert spool.state.full
    with pytest.raises(VolumeFullError):
        await put(spool, message_for(spool))
    await spool.close()


@pytest.mark.parametrize("size", [300, 50_000], ids=["small", "large"])
async def test_a_full_volume_of_mail_that_fails_empties_itself(size: int) -> None:
    disk = SimulatedDisk(capacity=4_000_000)
    spool = open_spool(disk, budget=2**30, journal_budget=2**19)
    waiting: list[QueueEntry] = []
    with suppress(SpoolFullError):
        while True:
            waiting += await put(spool, message_for(spool, body=b"x" * size))
    assert len(waiting) * size > 500_000
    while waiting:
        entry = waiting.pop(0)
        try:
            (report,) = await put(spool, replace(message_for(spool, body=b"y" * (size + 2_000)), client=""))
        except SpoolFullError:
            waiting.append(entry)
            await asyncio.sleep(0)
            continue
        settle(spool, entry, "Bounce")
        settle(spool, report)
    await until(lambda: not spool.state.live_messages)
    await until(lambda: not spool.state.full)
    await put(spool, message_for(spool))
    await spool.close()


async def test_reports_leave_the_room_in_which_what_is_dead_is_given_back() -> None:
    disk = SimulatedDisk(capacity=2_000_000)
    spool = open_spool(disk, budget=2**30)
    await _fill(spool)
    with suppress(VolumeFullError):
        while True:
            await put(spool, replace(message_for(spool, body=b"y" * 5_000), client=""))
    assert disk.room() >= 2_000_000 // 32
    await spool.close()


async def test_what_deliveries_give_back_is_seen_while_more_of_them_are_settled() -> None:
    """Never half a second without anything to write: the look for room does not wait for that."""
    now = itertools.count()
    clock = Clock(now=lambda: NOW, monotonic=lambda: float(next(now)))
    disk = SimulatedDisk(capacity=1_000_000)
    spool = open_spool(disk, budget=2**23, clock=clock)
    entries = await _fill(spool)
    disk.capacity = 10_000_000
    stop = asyncio.Event()

    async def busy() -> None:
        while not stop.is_set():
            defer(spool, entries[0], NOW + 60)
            await spool.flush()

    writing = asyncio.create_task(busy())
    await until(lambda: not spool.state.full, 30)
    stop.set()
    await writing
    await spool.close()


async def test_a_journal_without_room_catches_up_from_the_log() -> None:
    disk = SimulatedDisk()
    spool = open_spool(disk, segment_size=2**16)
    first = await put(spool, message_for(spool, body=BODY))
    disk.full_below = "/records"
    entries = [entry for _ in range(6) for entry in await put(spool, message_for(spool, body=BODY))]
    for entry in (*first, *entries):
        settle(spool, entry)
    await spool.flush()
    assert len(journal_lines(disk)) == 1

    disk.full_below = ""
    await until(lambda: len(journal_lines(disk)) == 14)
    assert [line["seq"] for line in journal_lines(disk)] == list(range(1, 15))
    assert not spool.state.failed
    await spool.close()


def test_the_rig_says_no_space_as_a_disk_does() -> None:
    disk = SimulatedDisk(capacity=10)
    with pytest.raises(OSError, match="No space") as raised:
        disk.create(PATH).append([b"x" * 11])
    assert raised.value.errno == errno.ENOSPC
    assert disk.image() == {str(PATH): b"x" * 10}


def test_a_real_small_volume_fills_and_heals(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=6m none "$1" && exec "$2" -m tests.lane_relay.spool.filler "$1" "$3"'
    done = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", str(volume), sys.executable, str(tmp_path / "records")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "healed" in done.stdout
