"""The spool under any order of what is done with it, over restarts, kills and losses of power.

All that is said to the spool stands in a list. Invariant: what a reopened spool holds (messages with body, recipients,
due times and attempts; flags; the journal's records) is what some beginning of that list comes to, and no shorter one
than was acknowledged. So nothing that was acknowledged is lost, and nothing comes back, is there twice or is made up.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from msgspec import Struct
from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.entries import entries_of
from lane_relay.spool.log import SegmentSpool
from tests.fuzz.counting import CountedStates
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import (
    NOW,
    answer_to,
    defer,
    journal_lines,
    message_for,
    open_spool,
    reception_of,
    record_of,
)

__all__ = ["SpoolStates"]

T = TypeVar("T")
_SEGMENT_SIZE: Final = 2048
_BUDGET: Final = 2**24
_RECIPIENTS: Final = (
    ("a@one.example",), ("a@one.example", "b@one.example"), ("a@one.example", "b@two.example"),
    ("a@one.example", "b@one.example", "c@one.example", "d@two.example"),
)  # fmt: skip

Waits = tuple[float, int]
"""Due time and attempts of a recipient."""


class _Said(Struct):
    """One thing that was said to the spool: what it makes of each recipient, and its records."""

    records: tuple[tuple[str, int], ...] = ()
    waiting: dict[tuple[int, int], Waits | None] = {}
    """By message and recipient; None: it is settled."""
    flag: str | None = None


class SpoolStates(CountedStates):
    """One volume, and the spools that are opened on it one after the other."""

    @initialize()
    def make(self) -> None:
        """An empty volume."""
        self.loop = asyncio.new_event_loop()
        self.disk = SimulatedDisk()
        self.now = NOW
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: 0.0)
        self.messages: dict[int, Message] = {}
        self.said: list[_Said] = []
        self.acknowledged = self.acknowledged_at = 0
        self.entries: dict[tuple[int, tuple[int, ...]], QueueEntry] = {}
        self.spool = self._run(self._opened())

    def teardown(self) -> None:
        """Its threads end."""
        if hasattr(self, "loop"):
            self._run(self.spool.close())
            self._run(self.loop.shutdown_default_executor())
            self.loop.close()

    # -- what is done with it

    @rule(
        recipients=st.sampled_from(_RECIPIENTS),
        sizes=st.lists(st.integers(1, 6000), min_size=1, max_size=3),
        is_heard=st.booleans(),
    )
    def stores(self, recipients: tuple[str, ...], sizes: list[int], is_heard: bool) -> None:
        """Messages, together in one commit; those of whose answer nobody heard may be lost."""
        self._run(self._store(recipients, sizes, is_heard=is_heard))

    @rule(recipients=st.sampled_from(_RECIPIENTS), is_deferred=st.booleans())
    def wastes(self, recipients: tuple[str, ...], is_deferred: bool) -> None:
        """A small message that waits between large ones that are gone: a segment that is worth rewriting."""
        before = set(self.entries)
        self._run(self._store(recipients, [5000, 10, 5000], is_heard=True))
        new = sorted(set(self.entries) - before)
        small = sorted({message_id for message_id, _ in new})[1]
        for key in new:
            if key[0] != small:
                self._settle(self.entries[key], key[1])
            elif is_deferred:
                self._defer(self.entries[key], key[1], 60)

    @rule(which=st.integers(0, 2**16), is_whole=st.booleans())
    def settles(self, which: int, is_whole: bool) -> None:
        """An entry, or one of its recipients."""
        entry = self._chosen(which)
        if entry is None:
            return
        self._settle(entry, entry.recipients if is_whole else entry.recipients[:1])

    def _settle(self, entry: QueueEntry, gone: tuple[int, ...]) -> None:
        self._say(_Said(tuple(("Delivery", entry.id) for _ in gone), {(entry.id, one): None for one in gone}))
        self.spool.settle(entry, gone, [record_of("Delivery", entry.id) for _ in gone])
        del self.entries[entry.id, entry.recipients]
        left = tuple(one for one in entry.recipients if one not in gone)
        if left:
            entry.recipients = left
            self.entries[entry.id, left] = entry

    @rule(which=st.integers(0, 2**16), later=st.integers(1, 5000), is_whole=st.booleans())
    def defers(self, which: int, later: int, is_whole: bool) -> None:
        """An entry, or one of its recipients alone."""
        entry = self._chosen(which)
        if entry is None:
            return
        self._defer(entry, entry.recipients if is_whole else entry.recipients[:1], later)

    def _defer(self, entry: QueueEntry, part: tuple[int, ...], later: int) -> None:
        rest = tuple(one for one in entry.recipients if one not in part)
        del self.entries[entry.id, entry.recipients]
        waiting = replace(entry, recipients=part)
        defer(self.spool, waiting, self.now + later)
        self.entries[entry.id, part] = waiting
        if rest:
            self.entries[entry.id, rest] = replace(entry, recipients=rest)
        records = tuple(("TransientFailure", entry.id) for _ in part)
        self._say(_Said(records, {(entry.id, one): (waiting.due, waiting.attempts) for one in part}))

    @rule(value=st.sampled_from(("Closed", "Draining", "")))
    def flags(self, value: str) -> None:
        """A small fact."""
        self._say(_Said(flag=value))
        self.spool.set_flag("intake", value)

    @rule()
    def records(self) -> None:
        """A record of its own."""
        self._say(_Said((("Rejection", 7),)))
        self.spool.record([record_of("Rejection", 7)])

    @rule()
    def flushes(self) -> None:
        """All that was said is acknowledged; seals what is full on the way."""
        self._run(self.spool.flush())
        self._acknowledge(len(self.said))
        assert self.spool.state.live_recipients == sum(len(one.recipients) for one in self.entries.values())

    @rule()
    def compacts(self) -> None:
        """Segments without use are removed, wasteful ones rewritten, until there is nothing to do."""
        self.flushes()
        self._run(self._tidied())

    @rule()
    def reads(self) -> None:
        """Each message that waits, from the volume or from memory."""
        self._run(self._read_all())

    # -- its ends

    @rule()
    def reopens(self) -> None:
        """Closed in good order, and opened."""
        self._run(self.spool.close())
        self._acknowledge(len(self.said))
        self._begin_again(self.disk.image())

    @rule(where=st.integers(0, 2**16))
    def is_killed(self, where: int) -> None:
        """kill -9 at any write since the last acknowledgement: what was written stays."""
        self._dies(where, "all", 0)

    @rule(
        where=st.integers(0, 2**16), mode=st.sampled_from(("none", "data", "names", "some")), seed=st.integers(0, 2**16)
    )
    def loses_power(self, where: int, mode: str, seed: int) -> None:
        """The same instants; what is not synced may be there or not."""
        self._dies(where, mode, seed)

    def _dies(self, where: int, mode: str, seed: int) -> None:
        """All that was said is written, and of that so much has happened: the same in each run of the same rules."""
        self._run(self.spool.flush())
        point = self.acknowledged_at + where % (len(self.disk.trace) - self.acknowledged_at + 1)
        found = self.disk.power_loss(mode, random.Random(seed), point)
        self._run(self.spool.close())
        self._begin_again(found)

    def _begin_again(self, found: Image) -> None:
        self.disk = SimulatedDisk(found)
        self.now += 1  # a process's ids come after those of the one before
        self.spool = self._run(self._opened())
        state = self.spool.state
        assert state.damage == ()
        entries = list(self.spool.recover())
        held = {(one.id, one.recipients): one for one in entries}
        assert len(held) == len(entries), "an entry comes twice"
        self.entries = held
        said = self._beginning()
        assert state.missing_recipients == 0
        del self.said[said:]
        stored = [message_id for one in self.said for message_id, _ in one.waiting]
        assert self.spool.new_id() > max(stored, default=0), "an id was given before"
        self._acknowledge(said)
        self._run(self._read_all())

    def _beginning(self) -> int:
        """How much of what was said is there: some beginning of it, with all that was acknowledged."""
        journal = [(str(line["type"]), int(str(line["id"]), 16)) for line in journal_lines(self.disk)]
        live = {(one.id, at): (one.due, one.attempts) for one in self.entries.values() for at in one.recipients}
        flag = self.spool.flag("intake")
        for count in range(len(self.said), self.acknowledged - 1, -1):
            if self._comes_to(self.said[:count]) == (journal, live, flag):
                return count
        expected = self._comes_to(self.said[: self.acknowledged])
        raise AssertionError(
            f"found {(journal, live, flag)}, acknowledged was {expected}, later {self.said[self.acknowledged :]}"
        )

    @staticmethod
    def _comes_to(said: list[_Said]) -> tuple[list[tuple[str, int]], dict[tuple[int, int], Waits], str]:
        records: list[tuple[str, int]] = []
        waiting: dict[tuple[int, int], Waits | None] = {}
        flag = ""
        for one in said:
            records += one.records
            waiting |= one.waiting
            flag = flag if one.flag is None else one.flag
        return records, {key: value for key, value in waiting.items() if value is not None}, flag

    # -- how

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    async def _opened(self) -> SegmentSpool:
        """It writes when it is told to, and tidies when it is told to: how long a rule takes changes nothing."""
        spool = open_spool(
            self.disk, segment_size=_SEGMENT_SIZE, budget=_BUDGET, active_bytes=20_000, tidy_every=1e9, clock=self.clock
        )
        spool._lazy = self.loop.call_later(1e9, spool._say_now)
        return spool

    def _acknowledge(self, said: int) -> None:
        self.acknowledged, self.acknowledged_at = said, len(self.disk.trace)

    def _say(self, said: _Said) -> None:
        self.said.append(said)

    def _chosen(self, which: int) -> QueueEntry | None:
        """By a number, not by a draw: what is there is not up to hypothesis alone."""
        return self.entries[sorted(self.entries)[which % len(self.entries)]] if self.entries else None

    async def _store(self, recipients: tuple[str, ...], sizes: list[int], *, is_heard: bool) -> None:
        answers = []
        for size in sizes:
            message = message_for(self.spool, recipients, b"x" * size + b"\r\n")
            self.messages[message.id] = message
            self._say(
                _Said((("Reception", message.id),), {(message.id, at): (self.now, 0) for at in range(len(recipients))})
            )
            stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.spool.put(message, reception_of(message), answer_to(stored))
            answers.append((message, stored))
        said = len(self.said)
        for message, stored in answers:
            for entry in entries_of(message, await stored, self.now):
                self.entries[entry.id, entry.recipients] = entry
        if is_heard:
            self._acknowledge(said)

    async def _read_all(self) -> None:
        for entry in self.entries.values():
            assert await self.spool.load(entry) == self.messages[entry.id]

    async def _tidied(self) -> None:
        tidier = self.spool._tidier
        tidier.look()
        while tidier._work is not None:
            await asyncio.wait([tidier._work])
            await asyncio.sleep(0)
            if tidier._work is None:
                tidier.look()
