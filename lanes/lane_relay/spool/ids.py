"""Spool ids: which message came first, and when it came; pure.

96 bits: 6 of era, 42 of Unix time in ms, 24 of a tag that is drawn once in a process's life, 24 of a counter whose
upper bit says that the mail is a sibling's (FOREIGN). Invariants: an id is greater than every one before it and none is
given twice; the time in it is the clock's. A wall clock that is set back begins another era, so that both stay true.
There are 64, so the more were used, the farther back the clock must have gone; until then ids keep the latest time.
Before it: the spool, which remembers the era. After it: `records.received_at`.
"""

from collections.abc import Callable
from typing import Final

from lane_relay.records import ERA_SHIFT, FOREIGN

__all__ = ["SpoolIds", "stamp_of"]

_STAMP_SHIFT: Final = 48
_COUNTER_BITS: Final = 24
_STAMP_ERA: Final = ERA_SHIFT - _STAMP_SHIFT
_LAST_ERA: Final = 63
_FIRST_STEP_MS: Final = 1000
_ERAS_A_STEP: Final = 4
"""After so many eras it takes a clock set back by twice as much to begin another: 1 s at first, 9 h in the end."""


def stamp_of(era: int, ms: int) -> int:
    """What ids of this era and time, in ms, begin with."""
    return era << _STAMP_ERA | ms


class SpoolIds:
    """Gives out the ids of one process's life."""

    def __init__(self, now: Callable[[], float], tag: int, after: int, on_era: Callable[[int], None]) -> None:
        """`tag`: 24 random bits. `after`: the stamp of the last id of earlier lives, as far as it is known.

        `on_era` is called with the number of another era before its first id is given.
        """
        self._now = now
        self._tag = tag
        self._last = after
        self._era = after >> _STAMP_ERA << _STAMP_ERA
        """As it stands in a stamp."""
        self._on_era = on_era
        self._counter = self._foreign = 0

    def new(self) -> int:
        """See Spool.new_id."""
        now = self._era | int(self._now() * 1000)
        if now < self._last:
            now = self._after_step(now)
        self._counter += 1
        if self._counter >= FOREIGN:
            self._counter, now = 0, max(now, self._last + 1)
        self._last = now
        return (now << 24 | self._tag) << _COUNTER_BITS | self._counter

    def foreign(self, received_at: float) -> int:
        """See Spool.foreign_id."""
        self._foreign = (self._foreign + 1) % FOREIGN
        stamp = self._era | round(received_at * 1000)
        return (stamp << 24 | self._tag) << _COUNTER_BITS | FOREIGN | self._foreign

    def _after_step(self, now: int) -> int:
        era = self._era >> _STAMP_ERA
        if era == _LAST_ERA or self._last - now <= _FIRST_STEP_MS << era // _ERAS_A_STEP:
            return self._last
        self._era = stamp_of(era + 1, 0)
        self._on_era(era + 1)
        return self._era | now & (1 << _STAMP_ERA) - 1
