"""How often something happened lately: exact to a sixtieth of the time that a rate speaks of.

Invariant: never more than the rate's count in any time of its length, wherever that begins; memory is sixty numbers.
"""

from collections import deque

from lane_api.quantities import Rate

__all__ = ["Window"]

_SLOTS = 60


class Window:
    """What one user or client did of one thing; times are monotonic seconds."""

    __slots__ = ("_in_all", "_slots", "_span")

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque()
        """Number of the slot of time, and how often in it; the oldest first."""
        self._in_all = 0
        self._span = 0.0

    def is_empty(self, now: float) -> bool:
        """Nothing that still counts."""
        self._forget(now)
        return not self._in_all

    def wait(self, rate: Rate, now: float, wanted: int = 1) -> float:
        """Seconds until so many more are within the rate, 0: now; for more than it ever allows, all of its time."""
        self._measure(rate)
        self._forget(now)
        over = self._in_all + wanted - rate.count
        for number, count in self._slots:
            if over <= 0:
                break
            over -= count
            if over <= 0:
                return (number + _SLOTS + 1) * self._span / _SLOTS - now
        return 0.0 if over <= 0 else rate.per_s

    def add(self, rate: Rate, now: float, count: int = 1) -> None:
        """It happened so often."""
        self._measure(rate)
        number = int(now * _SLOTS / self._span)
        if self._slots and self._slots[-1][0] == number:
            self._slots[-1][1] += count
        else:
            self._slots.append([number, count])
            self._forget(now)
        self._in_all += count

    def _measure(self, rate: Rate) -> None:
        """A rate over another time begins anew."""
        if rate.per_s != self._span:
            self._span = rate.per_s
            self._slots.clear()
            self._in_all = 0

    def _forget(self, now: float) -> None:
        if not self._span:
            return
        oldest = int(now * _SLOTS / self._span) - _SLOTS
        while self._slots and self._slots[0][0] < oldest:
            self._in_all -= self._slots.popleft()[1]
