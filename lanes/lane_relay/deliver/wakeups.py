"""One timer for everything that waits for a moment: tokens, parked destinations, connections that linger.

Before it: holds with a time. After it: the dispatcher's callbacks. Invariant: at most one timer exists in the loop.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

__all__ = ["Wakeups"]

_SHORTEST_S: Final = 0.001
"""The loop's own resolution."""


class Wakeups:
    """Callbacks by the time at which they are due, in monotonic seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def add(self, at: float, callback: Callable[[], None]) -> None:
        """Calls back at that time or soon after; never, if it is infinite."""
        if at == float("inf"):
            return
        heapq.heappush(self._heap, (at, next(self._order), callback))
        self._set_timer()

    def close(self) -> None:
        """Forgets all of them."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if not self._heap or (self._timer is not None and self._timer_at <= self._heap[0][0]):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0][0]
        delay = max(self._timer_at - self._monotonic(), _SHORTEST_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._monotonic()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        for callback in due:  # one that asks for another time, be it past, has the loop's turn between them
            callback()
        self._set_timer()
