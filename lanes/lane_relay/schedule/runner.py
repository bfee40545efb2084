"""The one loop that sleeps until something is due.

Invariants: an entry is dispatched no earlier than its due time, and once; a long queue of due entries is handed on in
bounded portions, with the loop free between them. A wall clock that is set back makes nothing wait longer: what waits
is brought forward by as much. Set forward, it is believed: a machine that slept is the usual reason.
Before: `account` and recovery `add`. After: `dispatch` routes them.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final

from lane_relay.clock import Clock
from lane_relay.records import QueueEntry
from lane_relay.schedule.scheduled_queue import ScheduledQueue

__all__ = ["Runner"]

_PORTION: Final = 200
"""Entries handed on at a time: about a millisecond of work."""
_LONGEST: Final = 60.0
"""Seconds of sleep at most, since the wall clock may be set."""


class Runner:
    """Owns the timer of a ScheduledQueue; all calls on the event loop's thread."""

    def __init__(
        self,
        queue: ScheduledQueue,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        dispatch: Callable[[list[QueueEntry]], None],
    ) -> None:
        """`dispatch` is called with entries that are due; it must not block."""
        self._queue = queue
        self._clock = clock
        self._loop = loop
        self._dispatch = dispatch
        self._timer: asyncio.Handle | None = None
        self._wakes_at = inf
        self._running = False
        self._ahead = self._ahead_now()
        """Seconds that the wall clock was ahead of the other one when it was last looked at, at most."""

    def start(self) -> None:
        """From now on due entries are dispatched."""
        self._running = True
        self._set_timer()

    def stop(self) -> None:
        """Nothing is dispatched any more; entries stay in the queue."""
        self._running = False
        self._clear_timer()

    def add(self, entry: QueueEntry) -> None:
        """Takes an entry in and wakes in time for it."""
        self._follow_clock()
        self._queue.add(entry)
        if entry.due < self._wakes_at and self._running:
            self._set_timer()

    def add_all(self, entries: Iterable[QueueEntry]) -> None:
        """Takes many entries in, such as those that recovery found."""
        self._follow_clock()
        for entry in entries:
            self._queue.add(entry)
        if self._running:
            self._set_timer()

    def sweep(self, unwanted: Callable[[QueueEntry], bool]) -> Iterator[list[QueueEntry]]:
        """Takes out what an operator's action is about, in portions; see ScheduledQueue."""
        return self._queue.sweep(unwanted)

    def end_by(self, end: Callable[[QueueEntry], float]) -> None:
        """Whatever is due after its end (Unix time) is due then; looks over all that waits in portions, by and by."""
        self._loop.call_soon(self._bring_forward, self._queue.sweep(lambda entry: entry.due > end(entry)), end)

    def _bring_forward(self, portions: Iterator[list[QueueEntry]], end: Callable[[QueueEntry], float]) -> None:
        late = next(portions, None)
        if late is None:
            return
        for entry in late:
            entry.due = end(entry)
        self.add_all(late)
        self._loop.call_soon(self._bring_forward, portions, end)

    def __len__(self) -> int:
        """How many entries wait for their time."""
        return len(self._queue)

    def take(self, count: int) -> list[QueueEntry]:
        """Gives up to so many entries away, whether they are due or not."""
        return self._queue.take(count)

    def portions(self) -> Iterator[list[QueueEntry]]:
        """Every waiting entry, some at a time; see ScheduledQueue."""
        return self._queue.portions()

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._wakes_at = inf

    def _set_timer(self) -> None:
        self._clear_timer()
        due = self._queue.next_due()
        if due == inf:
            return
        self._wakes_at = due
        wait = due - self._clock.now()
        if wait <= 0:
            self._timer = self._loop.call_soon(self._turn)
        else:
            self._timer = self._loop.call_later(min(wait, _LONGEST), self._turn)

    def _ahead_now(self) -> float:
        return self._clock.now() - self._clock.monotonic()

    def _follow_clock(self) -> None:
        """Before anything is put off by the new time: what was put off by the old one is brought forward."""
        ahead = self._ahead_now()
        if ahead >= self._ahead:
            self._ahead = ahead
        elif self._ahead - ahead >= 1:
            seconds = int(self._ahead - ahead)
            self._ahead -= seconds
            self._queue.bring_forward(seconds)
            self._wakes_at -= seconds

    def _turn(self) -> None:
        self._timer = None
        self._follow_clock()
        entries = self._queue.pop_due(self._clock.now(), _PORTION)
        if entries:
            self._dispatch(entries)
        if self._running:
            self._set_timer()
