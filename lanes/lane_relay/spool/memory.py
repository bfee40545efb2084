"""A spool in memory with the promises of the one on disk, as far as a process's life reaches.

For tests of other stages; `done` and `flush` come back through the loop, as they do from a disk. Two of them that
share a `MemoryVolume` are the same store before and after a restart.
"""

import asyncio
import os
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.base import Done, SpoolState
from lane_relay.spool.entries import Waiting, entries_of
from lane_relay.spool.ids import SpoolIds

__all__ = ["MemorySpool", "MemoryVolume"]


class MemoryVolume:
    """What outlives a MemorySpool."""

    def __init__(self) -> None:
        """Empty."""
        self.spool_id = os.urandom(16).hex()
        self.messages: dict[int, Message] = {}
        self.stored: set[int] = set()
        """Ids of all messages there ever were."""
        self.entries: dict[int, list[QueueEntry]] = {}
        self.flags: dict[str, str] = {}
        self.records: list[bytes] = []
        """Accounting records in order; stands for the journal."""
        self.last_id = 0


class MemorySpool:
    """See lane_relay.spool.base.Spool."""

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        volume: MemoryVolume | None = None,
        budget: int = 2**30,
    ) -> None:
        """`budget` in bytes of bodies."""
        self.volume = volume or MemoryVolume()
        self._clock = clock
        self._loop = loop
        self._budget = budget
        self._bytes = sum(len(message.body) for message in self.volume.messages.values())
        self._failed = ""
        after = (self.volume.last_id >> 48) + 1 if self.volume.last_id else 0
        self._ids = SpoolIds(clock.now, int.from_bytes(os.urandom(3), "big"), after, lambda _era: None)

    @property
    def spool_id(self) -> str:
        """See Spool."""
        return self.volume.spool_id

    @property
    def state(self) -> SpoolState:
        """See Spool."""
        return SpoolState(
            live_messages=len(self.volume.messages),
            live_bytes=self._bytes,
            disk_bytes=self._bytes,
            budget_bytes=self._budget,
            cached_bytes=self._bytes,
            damaged=0,
            damage=(),
            full=self._bytes >= self._budget,
            failed=self._failed,
            live_recipients=sum(len(one.recipients) for held in self.volume.entries.values() for one in held),
        )

    @property
    def has_failed(self) -> bool:
        """See Spool."""
        return bool(self._failed)

    @property
    def recorded(self) -> int:
        """See Spool."""
        return len(self.volume.records)

    def fail(self, reason: str) -> None:
        """From now on everything is refused, as after an fsync error."""
        self._failed = reason

    def new_id(self) -> int:
        """See Spool."""
        self.volume.last_id = self._ids.new()
        return self.volume.last_id

    def foreign_id(self, received_at: float) -> int:
        """See Spool."""
        return self._ids.foreign(received_at)

    def put(self, message: Message, record: bytes, done: Done, waiting: Waiting | None = None) -> None:
        """See Spool."""
        self._refuse_if_failed()
        if self._bytes + len(message.body) > self._budget:
            raise SpoolFullError(f"the spool's budget of {self._budget} bytes is used up")
        self._bytes += len(message.body)
        self.volume.messages[message.id] = message
        self.volume.stored.add(message.id)
        self.volume.entries[message.id] = list(entries_of(message, 0, self._clock.now()))
        if waiting is not None:
            for held in self.volume.entries[message.id]:
                waiting.laid_on(held, self._clock.now())
        self.volume.records.append(record)
        self._loop.call_soon(done, 0, None)

    def settle(self, entry: QueueEntry, recipients: tuple[int, ...], records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self.volume.records += records
        left = []
        for held in self.volume.entries[entry.id]:
            kept = tuple(index for index in held.recipients if index not in recipients)
            if kept:
                left.append(replace(held, location=0, recipients=kept))
        self.volume.entries[entry.id] = left
        if not left:
            self._bytes -= len(self.volume.messages.pop(entry.id).body)
            del self.volume.entries[entry.id]

    def defer(self, entry: QueueEntry, records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self.volume.records += records
        named = set(entry.recipients)
        entries = []
        for held in self.volume.entries[entry.id]:
            waiting = tuple(index for index in held.recipients if index in named)
            rest = tuple(index for index in held.recipients if index not in named)
            if waiting:
                entries.append(replace(held, recipients=waiting, due=entry.due, history=entry.history))
            if rest:
                entries.append(replace(held, recipients=rest))
        self.volume.entries[entry.id] = entries

    def record(self, records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self.volume.records += records

    def cached(self, entry: QueueEntry) -> Message | None:
        """See Spool."""
        return self.volume.messages.get(entry.id)

    def lend(self, size: int) -> None:
        """Nothing is read back: all is in memory."""

    def give_back(self, size: int) -> None:
        """As `lend`."""

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool."""
        return self.volume.messages[entry.id]

    async def peek(self, entry: QueueEntry) -> Message | None:
        """See Spool."""
        return self.volume.messages.get(entry.id)

    def recover(self) -> Iterable[QueueEntry]:
        """See Spool."""
        return [replace(held, location=0) for entries in self.volume.entries.values() for held in entries]

    def keep(self) -> Callable[[], None]:
        """See Spool."""
        return lambda: None

    def was_stored(self, message_id: int) -> bool:
        """See Spool."""
        return message_id in self.volume.stored

    def set_flag(self, name: str, value: str) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self.volume.flags.pop(name, None)
        if value:
            self.volume.flags[name] = value

    def flag(self, name: str) -> str:
        """See Spool."""
        return self.volume.flags.get(name, "")

    async def flush(self) -> None:
        """See Spool."""
        self._refuse_if_failed()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """See Spool."""
        if not self._failed:
            await self.flush()
        self._failed = self._failed or "the spool is closed"

    def _refuse_if_failed(self) -> None:
        if self._failed:
            raise SpoolError(self._failed)
