"""Counting and pacing; pure: `now` is an argument, answers are times.

`Pace` promises that an ISP never counts more than N messages (or connections) in any window, wherever in the
transaction it counts and wherever its windows begin; `may_open` shares the connections of one address among sites.
Before it: configuration. After it: `ready_queue`, which asks before each act.
"""

from collections import deque
from math import inf
from typing import Final

from lane_api.quantities import Rate

__all__ = ["Pace", "WindowLog", "may_open"]

_GUARD_S: Final = 0.002
"""Added to every window: clocks of two machines, and the kernel between them, do not agree to the millisecond."""
_SLICES: Final = 512
"""A log merges what happened within a slice of its window, so that 1,000,000/d needs no million entries."""
_BURST_S: Final = 0.1
"""A pace may catch up so much at once: timers are late by milliseconds, and idle sites need not wait at all."""
_SURE_PART: Final = 0.8
"""How much of the shortest duration seen is believed to be the shortest there is ..."""
_SURE_AFTER: Final = 8
"""... once so many have been seen; the round trip of a path shows in a few."""


class WindowLog:
    """How many events happened in the last `window` seconds; exact for few, rounded to the safe side for many."""

    __slots__ = ("_slice", "_slices", "total", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._slice = window / _SLICES
        self.total = 0
        self._slices: deque[list[float]] = deque()
        """Of each slice: its first event, its latest, how many."""

    def add(self, now: float) -> None:
        """One event."""
        slices, gone = self._slices, now - self.window
        while slices and slices[0][1] <= gone:
            self.total -= int(slices.popleft()[2])
        self.total += 1
        latest = slices[-1] if slices else None
        if latest is None or now - latest[0] >= self._slice:
            slices.append([now, now, 1])
            return
        latest[2] += 1
        if now > latest[1]:
            latest[1] = now

    def is_empty_at(self, now: float) -> bool:
        """No event lies in the window."""
        return not self._slices or self._slices[-1][1] <= now - self.window

    def room_at(self, count: int) -> float:
        """The time from which fewer than `count` (at least 1) events lie in the window; it may be long past."""
        leave = self.total - count + 1
        if leave > 0:
            for _, latest, events in self._slices:
                leave -= int(events)
                if leave <= 0:
                    return latest + self.window
        return 0.0


class Pace:
    """Evenly paced events that take a while, never more than `rate.count` in any `rate.per_s`.

    The ISP counts at a moment that we cannot see, between our beginning and our end of an event. Two logs bracket it:
    of those that begin with the same step, and of those that ended. An event that begins now is counted no earlier
    than the shortest duration seen after now, for one that counts at the end; so much of the second window is free.
    Without a rate only the spacing holds, which back-off sets.
    """

    __slots__ = ("_begun", "_burst", "_due", "_ended", "_interval", "_seen", "_shortest", "rate", "under_way")

    def __init__(self, rate: Rate | None) -> None:
        self.rate = rate
        self.under_way = 0
        self._begun: WindowLog | None = None
        self._ended: WindowLog | None = None
        self._shortest = inf
        self._seen = 0
        self._due = 0.0
        """When the next one is due by the spacing alone (the theoretical arrival time of GCRA, ITU-T I.371)."""
        self._interval = 0.0
        self._burst = 0.0
        self.change(rate, None)

    def change(self, rate: Rate | None, per_second: float | None) -> None:
        """Other limits: the ISP's `rate`, and the spacing to keep now (default: that of the rate).

        What has happened in a window of the same length stays counted.
        """
        if rate is None:
            self._begun = self._ended = None
        elif self._begun is None or self._begun.window != rate.per_s + _GUARD_S:
            self._begun = WindowLog(rate.per_s + _GUARD_S)
            self._ended = WindowLog(rate.per_s + _GUARD_S)
        self.rate = rate
        spacing = per_second if per_second is not None else (rate.per_second if rate is not None else 0.0)
        interval = 1.0 / spacing if spacing else 0.0
        if interval != self._interval:
            self._due += interval - self._interval if self._due else 0.0
        self._interval = interval
        self._burst = 0.0 if per_second is not None else max(_BURST_S - self._interval, 0.0)

    def next_at(self) -> float:
        """When the next event may begin, perhaps long past; infinite while only an end can tell."""
        at = self._due - self._burst
        if self.rate is None or self._begun is None or self._ended is None:
            return at
        count = self.rate.count
        room = count - self.under_way
        if room <= 0:
            return inf
        sure = self._shortest * _SURE_PART if self._seen >= _SURE_AFTER else 0.0
        return max(at, self._begun.room_at(count), self._ended.room_at(room) - sure)

    @property
    def due(self) -> float:
        """When the next event is due by the spacing alone, perhaps long past."""
        return self._due

    def resume(self, due: float, now: float) -> None:
        """A former process spaced so far; never further than one event from now."""
        self._due = max(self._due, min(due, now + self._interval))

    def is_at_rest(self, now: float) -> bool:
        """Nothing that happened so far can hold up an event any more: all of it may be forgotten."""
        if self.under_way or self._due > now:
            return False
        return self._ended is None or self._ended.is_empty_at(now)

    def begin(self, now: float) -> None:
        """An event begins; it must be ended."""
        self._due = max(self._due, now) + self._interval
        self.under_way += 1
        if self._begun is not None:
            self._begun.add(now)

    def end(self, began: float, now: float) -> None:
        """The event that began then is over: the ISP has counted it, or never will."""
        self.under_way = max(0, self.under_way - 1)  # it may have begun before anything was paced
        if self._ended is not None:
            self._ended.add(now)
            self._seen += 1
            self._shortest = min(self._shortest, now - began)


def may_open(site_connections: int, site_limit: int, total: int, total_limit: int) -> bool:
    """True if a site may open one more connection of this address.

    No site takes more than what is still free of the total (dynamic thresholds, Choudhury and Hahne 1998): one stalled
    site leaves half of it, ten leave an eleventh, and there is always a share for the next one.
    """
    return site_connections < site_limit and site_connections < total_limit - total
