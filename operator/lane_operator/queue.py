"""The work queue: which objects are to be looked at, each once, never by two workers, failures ever later.

Comes after the cache (an event is a change there, then a key here) and before the reconciler's workers. Invariant: a
key is waiting, delayed or with one worker; a key added while a worker has it comes back when that worker is done.
The clock and the jitter are arguments, so every rule here is tested without waiting.
"""

import asyncio
import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["BACKOFF_FIRST_S", "BACKOFF_MAX_S", "WorkQueue"]

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 300.0
STALE = 64
"""Timers that may be kept for nothing, beside as many as there are keys that wait for theirs."""

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """A de-duplicating queue with per-key exponential back-off."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds, `jitter` a number from 0 to 1."""
        self._clock = clock
        self._jitter = jitter
        self._waiting: dict[K, float] = {}  # key -> since when; in order of arrival
        self._busy: dict[K, float] = {}  # key -> since when a worker has had it
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []  # a heap; entries that `_due` contradicts are stale
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def add(self, key: K) -> None:
        """Has the key looked at as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._busy:
            self._again.add(key)
        else:
            self._waiting.setdefault(key, self._clock())
        self._changed.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Has the key looked at in so many seconds, or sooner where that was asked for."""
        due = self._clock() + delay_s
        if key in self._waiting or key in self._again or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, key))
        self._forget_stale()
        self._changed.set()

    def take(self) -> K | None:
        """The next key for a worker, which must hand it to `done` or `failed`; None while there is none."""
        self._promote()
        key = next(iter(self._waiting), None)
        if key is not None:
            del self._waiting[key]
            self._due.pop(key, None)  # the pass itself says when the next look is due
            self._busy[key] = self._clock()
        return key

    async def get(self) -> K:
        """Waits for the next key."""
        while True:
            self._changed.clear()
            key = self.take()
            if key is not None:
                return key
            pause = self._timers[0][0] - self._clock() if self._timers else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """The pass went well: the key's failures are forgotten."""
        self._failures.pop(key, None)
        self._give_back(key)

    def failed(self, key: K, at_least_s: float = 0.0) -> float:
        """The pass failed: the key comes back after its back-off, which is returned in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        span = min(BACKOFF_FIRST_S * 2.0 ** min(failures, 32), BACKOFF_MAX_S)
        delay = max(at_least_s, span * (0.5 + 0.5 * self._jitter()))
        self._give_back(key)
        self.add_after(key, delay)
        return delay

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def timers(self) -> int:
        """Timers that are kept, those that no key waits for any more among them."""
        return len(self._timers)

    @property
    def oldest_s(self) -> float:
        """How long the key that waits longest has been waiting."""
        first = next(iter(self._waiting.values()), None)
        return 0.0 if first is None else self._clock() - first

    @property
    def longest_pass_s(self) -> float:
        """How long the slowest worker has had its key: a stuck one shows here."""
        return max((self._clock() - since for since in self._busy.values()), default=0.0)

    def _give_back(self, key: K) -> None:
        self._busy.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _forget_stale(self) -> None:
        """Keeps the heap in proportion: each pass leaves its key's timer behind, which may be due in months."""
        if len(self._timers) > 2 * len(self._due) + STALE:
            self._timers = [(due, place, key) for place, (key, due) in enumerate(self._due.items())]
            heapq.heapify(self._timers)

    def _promote(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
