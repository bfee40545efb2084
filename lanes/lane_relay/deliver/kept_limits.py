"""What the limits of sites have counted, over restarts: the day's messages, and when a slow pace has its next one.

`messageRate: 2/h` paces evenly: a message each half an hour. A process that begins anew and knows nothing would send
one at once, and one more with each start. So each site whose pace waits for longer than a moment is kept with the times
at which its next message and its next connection are due; all else in a window follows from the even pace.
Before it: `dispatcher`, which makes sites and looks at them each second. After it: facts in the spool, written a few
seconds after they changed and at a stop: a crash may lose the events of these seconds (KEPT_EVERY_S), never more.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from lane_relay.clock import Clock
from lane_relay.deliver.day_count import KEPT_EVERY_S, DayCounts
from lane_relay.deliver.ready_queue import ReadyQueue
from lane_relay.errors import SpoolError

__all__ = ["KeptLimits", "KeptPaces"]

_log = structlog.get_logger("deliver")

_LEAST_S: Final = 1.0
"""A wait that is worth a word on the disk."""
_MOST: Final = 2000
"""Sites; of more, those that wait longest."""
_FACT: Final = "paces"
"""The spool's name for it: site -> when its next message and its next connection are due, in Unix time, as JSON."""
_Dues = dict[str, tuple[float, float]]


class KeptPaces:
    """Of every site whose pace waits."""

    def __init__(self, clock: Clock, read: Callable[[str], str], write: Callable[[str, str], None]) -> None:
        """`read(name)` and `write(name, value)`: a fact kept over restarts."""
        self._clock = clock
        self._write = write
        self._written = read(_FACT)
        self._next_at = 0.0
        self._former: _Dues = {}
        """Of sites that have had no mail since the start."""
        try:
            self._former = msgspec.json.decode(self._written or "{}", type=_Dues)
        except msgspec.DecodeError:
            _log.warning("when paced sites are due is not readable, they begin anew", text=self._written[:100])

    def resume(self, site: ReadyQueue) -> None:
        """A site has mail: its pace goes on where it was."""
        dues = self._former.pop(site.name, None)
        if dues is not None and site.pacing is not None:
            monotonic = self._clock.monotonic() - self._clock.now()
            site.pacing.resume(dues[0] + monotonic, dues[1] + monotonic, self._clock.monotonic())

    def keep(self, sites: Iterable[ReadyQueue], now: float, *, at_once: bool = False) -> None:
        """Writes what has changed, unless it did so a moment ago; `now` in monotonic seconds."""
        if now < self._next_at and not at_once:
            return
        self._next_at = now + KEPT_EVERY_S
        unix_now = self._clock.now()
        waits = {name: dues for name, dues in self._former.items() if max(dues) > unix_now}
        for site in sites:
            message, connect = site.pacing.dues if site.pacing is not None else (0.0, 0.0)
            if max(message, connect) > now + _LEAST_S:
                waits[site.name] = (round(message - now + unix_now, 1), round(connect - now + unix_now, 1))
        if len(waits) > _MOST:
            waits = dict(sorted(waits.items(), key=lambda one: -max(one[1]))[:_MOST])
        text = msgspec.json.encode(waits).decode() if waits else ""
        if text == self._written:
            return
        try:
            self._write(_FACT, text)
            self._written = text
        except SpoolError as failed:  # nothing is sent any more either
            _log.warning("when paced sites are due is not kept", reason=str(failed))


class KeptLimits:
    """Both, for one dispatcher."""

    def __init__(self, clock: Clock, read: Callable[[str], str], write: Callable[[str, str], None]) -> None:
        """See KeptPaces."""
        self.days = DayCounts(clock, read, write)
        self.paces = KeptPaces(clock, read, write)

    def day_rooms(self, limits: Mapping[str, int], now: float) -> dict[str, int]:
        """How many messages each of these sites' day has room for, by its limit."""
        return {site: max(0, limit - self.days.of(site).count(now)) for site, limit in limits.items()}

    def keep(self, sites: Iterable[ReadyQueue], now: float, *, at_once: bool = False) -> None:
        """Writes what has changed, unless it did so a moment ago; `now` in monotonic seconds."""
        self.days.keep(now, at_once=at_once)
        self.paces.keep(sites, now, at_once=at_once)
