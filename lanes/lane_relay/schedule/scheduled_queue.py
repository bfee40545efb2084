"""Everything that waits for its next attempt, in order of its due time; pure.

A calendar: a heap of whole seconds, and per second the entries due within it, so that a waiting entry costs one list
slot (8 bytes) beyond itself. What is due stands in a line in which campaigns take turns: after an outage or a restart
one campaign's half a million are no wall before another's few.
Invariant: an entry is in exactly one second's list, that of its `due`, or in the line; `due` does not change while it
is here but by `bring_forward`; only what was due is put in the line. Before: `account` and recovery add. After:
`runner` pops what is due.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from operator import attrgetter
from typing import Final

from lane_relay.records import QueueEntry
from lane_relay.turns import Turns, swept

__all__ = ["ScheduledQueue"]

_LINED_UP: Final = 20
"""Entries put in line for each that is popped: a newcomer sees past so large a part of what was due before it."""
_LOOKS: Final = 5000
"""Entries looked at between two looks at everything else: a millisecond or two."""

_by_due = attrgetter("due")


class _Second:
    """Entries due within one second; sorted, latest first, once it is the next one to be popped from."""

    __slots__ = ("entries", "is_sorted")

    def __init__(self) -> None:
        self.entries: list[QueueEntry] = []
        self.is_sorted = False

    def add(self, entry: QueueEntry) -> None:
        self.entries.append(entry)
        self.is_sorted = False

    def next(self) -> QueueEntry:
        if not self.is_sorted:
            self.entries.sort(key=_by_due)
            self.entries.reverse()  # not sort(reverse=True): of equal times the one added first comes first
            self.is_sorted = True
        return self.entries[-1]


class ScheduledQueue:
    """The scheduled queue."""

    def __init__(self) -> None:
        """Empty."""
        self._seconds: dict[int, _Second] = {}
        self._heap: list[int] = []
        self._line: Turns[QueueEntry] = Turns()
        """What is due, by campaign."""
        self._count = 0

    def __len__(self) -> int:
        """How many entries wait."""
        return self._count

    def add(self, entry: QueueEntry) -> None:
        """Takes an entry in, to be popped at `entry.due`."""
        key = int(entry.due)
        second = self._seconds.get(key)
        if second is None:
            second = self._seconds[key] = _Second()
            heappush(self._heap, key)
        second.add(entry)
        self._count += 1

    def next_due(self) -> float:
        """Unix time at which the next entry is due; infinity if none waits.

        0 while there is a line: it was due by the clock of that time, whatever the clock says since.
        """
        if self._line:
            return 0.0
        return self._seconds[self._heap[0]].next().due if self._heap else inf

    def bring_forward(self, seconds: int) -> None:
        """Everything that waits is due so much earlier; a million entries take some tenths of a second."""
        self._seconds = {key - seconds: second for key, second in self._seconds.items()}
        self._heap = [key - seconds for key in self._heap]  # the order is the same
        for second in self._seconds.values():
            for entry in second.entries:
                entry.due -= seconds

    def pop_due(self, now: float, limit: int) -> list[QueueEntry]:
        """At most `limit` entries whose time has come: campaigns take turns, each one's longest overdue first."""
        self._line_up(now, limit * _LINED_UP)
        popped = [self._line.popleft() for _ in range(min(limit, len(self._line)))]
        self._count -= len(popped)
        return popped

    def take(self, limit: int) -> list[QueueEntry]:
        """At most `limit` entries, whether they are due or not, the next to be due first; nothing else is lined up."""
        taken = [self._line.popleft() for _ in range(min(limit, len(self._line)))]
        while self._heap and len(taken) < limit:
            taken.append(self._pop_next(self._seconds[self._heap[0]]))
        self._count -= len(taken)
        return taken

    def _line_up(self, now: float, most: int) -> None:
        """Puts entries that are due in line, at most so many, the longest overdue first."""
        for _ in range(most):
            if not self._heap:
                return
            second = self._seconds[self._heap[0]]
            if second.next().due > now:
                return
            entry = self._pop_next(second)
            self._line.append(entry.campaign, entry)

    def _pop_next(self, second: _Second) -> QueueEntry:
        """Takes the next entry out of the second that is the next one."""
        entry = second.next()
        second.entries.pop()
        if not second.entries:
            del self._seconds[heappop(self._heap)]
        return entry

    def sweep(self, unwanted: Callable[[QueueEntry], bool], looks: int = _LOOKS) -> Iterator[list[QueueEntry]]:
        """Takes out every entry that an operator's action is about, wherever it waits, in portions.

        About `looks` entries are looked at for one portion, which may be empty. Between two portions the queue may be
        used as ever; what is added meanwhile, or is due and about to be popped, may be looked at or not.
        """
        for gone in swept(self._line, unwanted, looks):
            self._count -= len(gone)
            yield gone
        found: list[QueueEntry] = []
        looked, emptied = 0, False
        for key in list(self._seconds):
            second = self._seconds.get(key)
            if second is None:
                continue
            looked += len(second.entries)
            gone = [entry for entry in second.entries if unwanted(entry)]
            if gone:
                found += gone
                self._count -= len(gone)
                emptied |= self._leave(key, second, {id(entry) for entry in gone})
            if looked >= looks:
                if emptied:
                    self._heap = sorted(self._seconds)
                yield found
                found, looked, emptied = [], 0, False
        if emptied:
            self._heap = sorted(self._seconds)
        yield found

    def _leave(self, key: int, second: _Second, gone: set[int]) -> bool:
        """Takes these out of their second; True if that is empty now, and gone."""
        second.entries = [entry for entry in second.entries if id(entry) not in gone]
        if not second.entries:
            del self._seconds[key]
        return not second.entries

    def portions(self) -> Iterator[list[QueueEntry]]:
        """Every waiting entry, some at a time; between two portions the queue may be used as ever."""
        yield list(self._line)
        for key in list(self._seconds):
            second = self._seconds.get(key)
            if second is not None:
                yield list(second.entries)

    def __iter__(self) -> Iterator[QueueEntry]:
        """Every waiting entry, in no particular order."""
        yield from self._line
        for second in self._seconds.values():
            yield from second.entries
