"""What a spool is put through before the power goes, and a ledger that says by marks what was promised on the way.

The same workloads run on the simulated disk (test_power_loss.py) and on the real one (test_power_loss_traced.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from lane_relay.records import QueueEntry
from lane_relay.spool.files import Files
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.making import NOW, answer_to, defer, message_for, reception_of, record_of, settle, until

Mark = tuple[str, int | str]
"""What happened, and to which message or flag."""

SEGMENT_SIZE, BUDGET = 2**16, 2**20
"""Small enough that the workloads rotate, rewrite and remove segments."""


class Ledger:
    """A workload's own view: it says by a mark what was promised, and what it asked for, at the moment it does so."""

    def __init__(self, spool: SegmentSpool, files: Files, directory: Path, mark: Callable[[Mark], None]) -> None:
        """`files` and `directory` are where the spool's segments lie; the mark is made before `mark` returns."""
        self.spool = spool
        self._files = files
        self._directory = directory
        self._mark = mark
        self.live: list[QueueEntry] = []

    async def put(self, *bodies: bytes, recipients: tuple[str, ...] = ("a@one.example",)) -> list[QueueEntry]:
        """Stores messages together; each is promised when its `done` comes."""
        waiting = []
        for body in bodies:
            message = message_for(self.spool, recipients, body)
            stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.spool.put(message, reception_of(message), self._promising(message.id, stored))
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
            self._mark(("stored", message_id))
            answer(location, None)

        return done

    def settle(self, entry: QueueEntry) -> None:
        self.live.remove(entry)
        last = all(one.id != entry.id for one in self.live)
        self._mark(("settling" if last else "part", entry.id))
        settle(self.spool, entry)

    def keep(self) -> None:
        self.spool.keep()
        self._mark(("kept", 0))

    def defer(self, entry: QueueEntry) -> None:
        defer(self.spool, entry, entry.due + 60)

    def flag(self, value: str) -> None:
        self._mark(("flagging", value))
        self.spool.set_flag("intake", value)

    async def flush(self) -> None:
        await self.spool.flush()
        self._mark(("flushed", self.spool.flag("intake")))

    def segments(self) -> list[str]:
        """Names of the segments' files, oldest first."""
        return sorted(name for name in self._files.names(self._directory) if name.endswith(".seg"))


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
    await until(lambda: not ledger.segments()[0].startswith(f"{1:012d}"))


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
    await until(lambda: sum(".0." not in name for name in ledger.segments()) >= 2)
    ledger.settle(kept[0])
    ledger.settle(kept[2])
    await ledger.flush()
    await until(lambda: not ledger.segments()[0].startswith(f"{1:012d}"))
    await ledger.put(b"last")


async def kept(ledger: Ledger) -> None:
    """Segments that would go, for all in them is settled, and that somebody wants kept."""
    (entry,) = await ledger.put(b"before")
    ledger.keep()
    for number in range(4):
        ledger.settle(entry)
        (entry,) = await ledger.put(bytes([65 + number]) * 70_000)
        await ledger.flush()
    for _ in range(4):  # the tidier looks every 10 ms
        await asyncio.sleep(0.01)
    await ledger.put(b"last")


WORKLOADS: list[Workload] = [puts, settlements, flags, rotation, compaction, kept]
