"""Everything that waits for its next attempt, in order of its due time; pure.

A calendar: a heap of whole seconds, and per second the entries due within it, so that a waiting entry costs one list
slot (8 bytes) beyond itself. Invariant: an entry is in exactly one second's list, that of its `due`; `due` does not
change while it is here. Before: `account` and recovery add. After: `runner` pops what is due.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from operator import attrgetter

from lane_relay.records import QueueEntry, received_at

__all__ = ["ScheduledQueue"]

_by_due = attrgetter("due")


class _Second:
    """Entries due within one second; sorted, latest first, once it is the next one to be popped from."""

    __slots__ = ("entries", "is_sorted", "oldest_id")

    def __init__(self) -> None:
        self.entries: list[QueueEntry] = []
        self.is_sorted = False
        self.oldest_id = 0

    def add(self, entry: QueueEntry) -> None:
        self.entries.append(entry)
        self.is_sorted = False
        if not self.oldest_id or entry.id < self.oldest_id:
            self.oldest_id = entry.id

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
        """Unix time at which the next entry is due; infinity if none waits."""
        return self._seconds[self._heap[0]].next().due if self._heap else inf

    def pop_due(self, now: float, limit: int) -> list[QueueEntry]:
        """At most `limit` entries whose time has come, the longest overdue first."""
        popped: list[QueueEntry] = []
        while self._heap and len(popped) < limit:
            second = self._seconds[self._heap[0]]
            if second.next().due > now:
                break
            popped.append(second.entries.pop())
            self._drop_if_empty(second)
        self._count -= len(popped)
        return popped

    def remove(self, unwanted: Callable[[QueueEntry], bool]) -> list[QueueEntry]:
        """Takes out every entry that an operator's action is about, wherever it waits; looks at each one."""
        removed: list[QueueEntry] = []
        for key in list(self._seconds):
            second = self._seconds[key]
            gone = [entry for entry in second.entries if unwanted(entry)]
            if gone:
                removed += gone
                second.entries = [entry for entry in second.entries if not unwanted(entry)]
                second.oldest_id = min((entry.id for entry in second.entries), default=0)
                if not second.entries:
                    del self._seconds[key]
        self._heap = sorted(self._seconds)
        self._count -= len(removed)
        return removed

    def oldest(self) -> float:
        """Unix time at which the oldest waiting message was accepted; infinity if none waits.

        Looks at one figure per second of the calendar. Of the second that is being popped from, the figure may
        stand for a message that was popped a moment ago.
        """
        return min((received_at(second.oldest_id) for second in self._seconds.values()), default=inf)

    def __iter__(self) -> Iterator[QueueEntry]:
        """Every waiting entry, in no particular order."""
        for second in self._seconds.values():
            yield from second.entries

    def _drop_if_empty(self, second: _Second) -> None:
        if not second.entries:
            del self._seconds[heappop(self._heap)]
