"""Promise 1 and 2 against power loss: evidence by every legal state of the disk, not by kill -9, which keeps the cache.

Each workload runs once on a simulated disk that records its trace with the promises made on the way; then, for every
point of the trace, the states that the disk may be left in are recovered and judged. The same judge must find fault
with a spool whose disk skips fdatasync, and with one that skips the sync of directories.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lane_api.relayconfig import Records as RecordsConfig
from lane_relay.account.journal import Journal
from lane_relay.records import QueueEntry
from lane_relay.spool.log import SegmentSpool
from lane_relay.spool.recovery import recover
from lane_relay.spool.segments import identity
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import (
    CLOCK,
    NOW,
    RECORDS,
    SPOOL,
    answer_to,
    defer,
    journal_lines,
    message_for,
    open_spool,
    record_of,
    settle,
    until,
)


class Ledger:
    """A workload's own view: it marks on the disk's trace what was promised, and what it asked for."""

    def __init__(self, disk: SimulatedDisk, spool: SegmentSpool) -> None:
        self.disk = disk
        self.spool = spool
        self.live: list[QueueEntry] = []

    async def put(self, *bodies: bytes, recipients: tuple[str, ...] = ("a@one.example",)) -> list[QueueEntry]:
        """Stores messages together; each is promised when its `done` comes."""
        waiting = []
        for body in bodies:
            message = message_for(self.spool, recipients, body)
            stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.spool.put(message, record_of("Reception", message.id), self._promising(message.id, stored))
            waiting.append((message, stored))
        entries = []
        for message, stored in waiting:
            size = len(message.body)
            domains = sorted({one.partition("@")[2] for one in recipients})
            for domain in domains:
                mine = tuple(at for at, one in enumerate(recipients) if one.endswith("@" + domain))
                entries.append(QueueEntry(message.id, await stored, domain, mine, size, NOW))
        self.live += entries
        return entries

    def _promising(self, message_id: int, stored: "asyncio.Future[int]") -> Callable[[int, object], None]:
        answer = answer_to(stored)

        def done(location: int, error: object) -> None:
            assert error is None
            self.disk.mark(("stored", message_id))
            answer(location, None)

        return done

    def settle(self, entry: QueueEntry) -> None:
        self.live.remove(entry)
        last = all(one.id != entry.id for one in self.live)
        self.disk.mark(("settling" if last else "part", entry.id))
        settle(self.spool, entry)

    def defer(self, entry: QueueEntry) -> None:
        defer(self.spool, entry, entry.due + 60)

    def flag(self, value: str) -> None:
        self.disk.mark(("flagging", value))
        self.spool.set_flag("intake", value)

    async def flush(self) -> None:
        await self.spool.flush()
        self.disk.mark(("flushed", self.spool.flag("intake")))


Workload = Callable[[Ledger], Awaitable[None]]


async def puts(ledger: Ledger) -> None:
    """Single messages and batches; some larger than a sector."""
    await ledger.put(b"one")
    await ledger.put(b"two", b"three" * 50, b"four" * 400)
    await ledger.put(b"five", recipients=("a@one.example", "b@two.example"))


async def settlements(ledger: Ledger) -> None:
    """Deferrals, partial and last settlements, records of their own."""
    first = await ledger.put(b"first", recipients=("a@one.example", "b@two.example"))
    second = await ledger.put(b"second", b"third")
    ledger.defer(first[0])
    ledger.settle(first[1])
    ledger.settle(second[0])
    ledger.spool.record([record_of("Rejection", 7)])
    await ledger.flush()
    ledger.defer(second[1])
    ledger.settle(first[0])
    await ledger.flush()
    await ledger.put(b"fourth")


async def flags(ledger: Ledger) -> None:
    """A flag set, changed and removed between messages."""
    ledger.flag("Closed")
    await ledger.flush()
    await ledger.put(b"one")
    ledger.flag("Draining")
    await ledger.flush()
    ledger.flag("")
    await ledger.flush()


async def rotation(ledger: Ledger) -> None:
    """Several segments, settlements in later segments than their messages, segments that go when all in them is."""
    ledger.flag("Closed")
    for number in range(6):
        entries = await ledger.put(bytes([65 + number]) * 70_000, b"small")
        if number % 2:
            ledger.settle(entries[0])
            ledger.settle(ledger.live[0])
            ledger.settle(ledger.live[0])
        await ledger.flush()
    for entry in ledger.live[:3]:
        ledger.settle(entry)
    await ledger.flush()
    await until(lambda: not _segments(ledger.disk)[0].startswith(f"{1:012d}"))


async def compaction(ledger: Ledger) -> None:
    """Long-deferred messages among many that are gone: their segments are rewritten, others removed."""
    kept = []
    for number in range(5):
        entries = await ledger.put(bytes([97 + number]) * 20_000, b"stays", bytes([65 + number]) * 50_000)
        kept.append(entries[1])
        ledger.defer(entries[1])
        ledger.settle(entries[0])
        ledger.settle(entries[2])
        await ledger.flush()
    await until(lambda: sum(".0." not in name for name in _segments(ledger.disk)) >= 2)
    ledger.settle(kept[0])
    ledger.settle(kept[2])
    await ledger.flush()
    await until(lambda: not _segments(ledger.disk)[0].startswith(f"{1:012d}"))
    await ledger.put(b"last")


def _segments(disk: SimulatedDisk) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in disk.image() if path.endswith(".seg"))


WORKLOADS: list[Workload] = [puts, settlements, flags, rotation, compaction]


async def _trace(workload: Workload, *, files_synced: bool = True, names_synced: bool = True) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.syncs_files, disk.syncs_directories = files_synced, names_synced
    spool = open_spool(disk, segment_size=2**16, budget=2**20)
    ledger = Ledger(disk, spool)
    await workload(ledger)
    await spool.close()
    return disk


class Judge:
    """Knows what must hold at a point of the trace."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._marks = [(at, mark) for at, mark in disk.marks() if isinstance(mark, tuple)]

    def complaint(self, happened: int, live: set[int], journal: list[dict[str, object]], flag: str) -> str:
        """What is wrong with a recovered state after so much of the trace; empty if nothing is."""
        before: list[tuple[str, Any]] = [mark for at, mark in self._marks if at < happened]
        stored = [one[1] for one in before if one[0] == "stored"]
        settling = {one[1] for one in before if one[0] == "settling"}
        flushed = max((at for at, one in enumerate(before) if one[0] == "flushed"), default=-1)
        gone = {one[1] for one in before[: flushed + 1] if one[0] == "settling"}
        lost = [one for one in stored if one not in live and one not in settling]
        if lost:
            return f"lost {lost}"
        if live & gone:
            return f"came back {live & gone}"
        return self._journal(journal, stored, gone) or self._flag(before, flushed, flag)

    def _journal(self, journal: list[dict[str, object]], stored: list[int], gone: set[int]) -> str:
        numbers = [line["seq"] for line in journal]
        if numbers != list(range(1, len(numbers) + 1)):
            return f"journal is numbered {numbers}"
        receptions = [line["id"] for line in journal if line["type"] == "Reception"]
        deliveries = [line["id"] for line in journal if line["type"] == "Delivery"]
        for message_id in stored:
            if receptions.count(f"{message_id:024x}") != 1:
                return f"{receptions.count(f'{message_id:024x}')} receptions of {message_id}"
        for message_id in gone:
            if f"{message_id:024x}" not in deliveries:
                return f"no delivery of {message_id}"
        return ""

    def _flag(self, before: list[tuple[str, Any]], flushed: int, flag: str) -> str:
        durable = before[flushed][1] if flushed >= 0 else ""
        later = {one[1] for one in before[flushed + 1 :] if one[0] == "flagging"}
        return "" if flag == durable or flag in later else f"flag is {flag!r}, not {durable!r}"


def _recovered(image: Image) -> tuple[set[int], list[dict[str, object]], str, list[str]]:
    disk = SimulatedDisk(image)
    journal = Journal.open(RecordsConfig(path=str(RECORDS)), CLOCK, disk)
    spool_id = identity(disk, SPOOL, "00" * 16).spool_id
    found = recover(disk, SPOOL, bytes.fromhex(spool_id), journal)
    live = {entry.id for entry in found.entries()}
    return live, journal_lines(disk), found.flags.get("intake", ""), [str(one) for one in found.damage]


def _complaints(disk: SimulatedDisk, *, random_images: int, every_byte: bool = False, stop: bool = False) -> list[str]:
    judge = Judge(disk)
    found = []
    seen: set[int] = set()
    for happened, image in disk.crash_images(random_images, seed=7, every_byte=every_byte):
        state = hash((happened, tuple(sorted(image.items()))))
        if state in seen:
            continue
        seen.add(state)
        try:
            live, journal, flag, damage = _recovered(image)
        except Exception as error:  # noqa: BLE001  # the judge's edge: any way to fail is a complaint
            complaint = f"recovery failed: {error!r}"
        else:
            complaint = judge.complaint(happened, live, journal, flag)
            if not complaint and damage:
                complaint = f"taken for damage: {damage}"
        if complaint:
            found.append(f"after {happened}: {complaint}")
            if stop:
                break
    assert stop or len(seen) > 100
    return found


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_every_state_after_a_power_loss_keeps_what_was_promised(workload: Workload) -> None:
    disk = await _trace(workload)

    assert _complaints(disk, random_images=6) == []


async def test_a_commit_torn_at_any_byte_keeps_what_was_promised() -> None:
    disk = await _trace(settlements)

    assert _complaints(disk, random_images=0, every_byte=True) == []


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_the_judge_catches_a_spool_that_skips_fdatasync(workload: Workload) -> None:
    disk = await _trace(workload, files_synced=False)

    assert _complaints(disk, random_images=0, stop=True)


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_the_judge_catches_a_spool_that_skips_the_sync_of_its_directory(workload: Workload) -> None:
    disk = await _trace(workload, names_synced=False)

    assert _complaints(disk, random_images=0, stop=True)
