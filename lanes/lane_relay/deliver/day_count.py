"""How many messages were attempted at a site in the last 24 hours, over restarts; pure but for `DayCounts`.

Counted in slices of a quarter of an hour: each counts until its last moment is a day ago, so that a count is never too
low and a limit opens again at most a slice late. Times are monotonic; `offset` leads from them to Unix time.
Before it: `pacing`, which asks and counts. After it: one fact in the spool, written a few seconds after a count changed
and at a stop. A crash may lose the attempts of these seconds (KEPT_EVERY_S), never more; another volume begins at 0.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError

__all__ = ["KEPT_EVERY_S", "DayCount", "DayCounts"]

_log = structlog.get_logger("deliver")

KEPT_EVERY_S: Final = 5.0
_SLICE_S: Final = 900
_SLICES: Final = 24 * 3600 // _SLICE_S
_FACT: Final = "attempts-of-a-day"
"""The spool's name for it: `site=FIRST:COUNT,COUNT...` for each site, joined by `;`; FIRST is a slice's number."""


class DayCount:
    """One site's attempts."""

    __slots__ = ("_offset", "_slices", "changed", "total")

    def __init__(self, offset: float) -> None:
        self._offset = offset
        self._slices: deque[list[int]] = deque()
        """Of each slice with attempts: its number, how many."""
        self.total = 0
        """In the slices that still count, as of the last look."""
        self.changed = False

    def add(self, now: float, count: int = 1) -> None:
        """One attempt begins; a clock that was set back counts it in the latest slice."""
        self._add(int((now + self._offset) // _SLICE_S), count)
        self.changed = True

    def _add(self, number: int, count: int) -> None:
        if self._slices and number <= self._slices[-1][0]:
            self._slices[-1][1] += count
        else:
            self._slices.append([number, count])
        self.total += count

    def count(self, now: float) -> int:
        """Attempts that still count."""
        oldest = int((now + self._offset) // _SLICE_S) - _SLICES
        while self._slices and self._slices[0][0] < oldest:
            self.total -= self._slices.popleft()[1]
        return self.total

    def room_at(self, limit: int, now: float) -> float:
        """The time from which there are fewer than `limit` (at least 1); it may be past."""
        leave = self.count(now) - limit + 1
        if leave <= 0:
            return now
        for number, count in self._slices:
            leave -= count
            if leave <= 0:
                return (number + _SLICES + 1) * _SLICE_S - self._offset
        return now

    def __str__(self) -> str:
        """As it is kept."""
        if not self._slices:
            return ""
        first = self._slices[0][0]
        found = {one[0]: one[1] for one in self._slices}
        return f"{first}:" + ",".join(str(found.get(number, 0)) for number in range(first, self._slices[-1][0] + 1))

    def load(self, text: str) -> None:
        """Takes in what was kept; what cannot be read counts nothing, for no mail may wait for it."""
        first, _, counts = text.partition(":")
        try:
            for number, count in enumerate(counts.split(","), int(first)):
                if int(count) > 0:
                    self._add(number, int(count))
        except ValueError:
            _log.warning("the kept count of a day's attempts is not readable and begins anew", text=text[:100])


class DayCounts:
    """Of every site with a daily limit; keeps them in the spool."""

    def __init__(self, clock: Clock, read: Callable[[str], str], write: Callable[[str, str], None]) -> None:
        """`read(name)` and `write(name, value)`: a fact kept over restarts."""
        self._clock = clock
        self._write = write
        self._counts: dict[str, DayCount] = {}
        self._kept = dict(one.partition("=")[::2] for one in read(_FACT).split(";") if one)
        self._next_at = 0.0

    def of(self, site: str) -> DayCount:
        """This site's; the same object for as long as it is limited."""
        known = self._counts.get(site)
        if known is None:
            known = self._counts[site] = DayCount(self._clock.now() - self._clock.monotonic())
            known.load(self._kept.pop(site, ""))
        return known

    def limit_to(self, sites: Iterable[str]) -> None:
        """Forgets those that have no limit any more."""
        limited = frozenset(sites)
        for counts in (self._counts, self._kept):
            for gone in counts.keys() - limited:
                del counts[gone]

    def keep(self, now: float, *, at_once: bool = False) -> None:
        """Writes what has changed, unless it did so a moment ago."""
        if (now < self._next_at and not at_once) or not any(one.changed for one in self._counts.values()):
            return
        self._next_at = now + KEPT_EVERY_S
        texts = {**self._kept, **{site: str(count) for site, count in self._counts.items() if count.count(now)}}
        for count in self._counts.values():
            count.changed = False
        try:
            self._write(_FACT, ";".join(f"{site}={text}" for site, text in texts.items()))
        except SpoolError as failed:  # nothing is sent any more either
            _log.warning("the count of the day's attempts is not kept", reason=str(failed))
