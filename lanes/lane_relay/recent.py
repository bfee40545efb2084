"""What became of the last minutes' attempts, and how long deliveries took: by it an upgrade is judged.

Nothing is counted for it: each look at the slot keeps the totals that stages count anyway, and the figures are the
difference to those of some minutes ago. The first seconds of a process are left out: they clear what waited while it
restarted, and say nothing of it.
Before it: the counters and the latency histogram. After it: the report of `/v1/slot`.
"""

from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from lane_relay.account.counters import Counters
from lane_relay.account.settle import Outcome
from lane_relay.metrics import LatencyHistogram

__all__ = ["LastHour", "Recent"]

_WINDOW_S: Final = 300.0
_EVERY_S: Final = 5.0
_HOUR_S: Final = 3600.0
_MINUTE_S: Final = 60.0
_SETTLES_S: Final = 15.0
_QUANTILE: Final = 0.9


@dataclass(frozen=True, slots=True)
class _Totals:
    """Of this process's life, as of one instant of the monotonic clock."""

    at: float
    delivered: int
    failed: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Recent:
    """The totals at the looks of the last minutes."""

    def __init__(self, started: float) -> None:
        """`started`: when the process began, by the monotonic clock."""
        self._started = started
        self._looks: deque[_Totals] = deque()

    def look(self, now: float, counters: Counters, latency: LatencyHistogram) -> dict[str, Any] | None:
        """The figures as JSON; None in the first seconds.

        `failed` are attempts that ended in waiting, and recipients given up for another reason than their own.
        """
        if now - self._started < _SETTLES_S:
            return None
        totals = _Totals(
            now,
            counters.finished[Outcome.DELIVERED],
            counters.deferred + counters.missed,
            latency.edges,
            tuple(latency.counts),
        )
        looks = self._looks
        if looks and looks[-1].edges != totals.edges:  # another objective: the histogram began anew
            looks.clear()
        while len(looks) > 1 and now - looks[1].at >= _WINDOW_S:
            looks.popleft()
        if not looks or now - looks[-1].at >= _EVERY_S:
            looks.append(totals)
        return _difference(looks[0], totals)


class LastHour:
    """The totals at looks of the last hour, a minute apart; a process that has not run so long tells of its life."""

    def __init__(self, started: float) -> None:
        """`started`: when the process began, by the monotonic clock."""
        self._looks: deque[tuple[float, tuple[int, int, int]]] = deque([(started, (0, 0, 0))])

    def look(self, now: float, counters: Counters) -> dict[str, int]:
        """The figures as JSON: recipients delivered, and given up (bounced or expired); attempts deferred."""
        finished = counters.finished
        totals = (
            finished[Outcome.DELIVERED],
            counters.deferred,
            finished[Outcome.BOUNCED] + finished[Outcome.EXPIRED],
        )
        looks = self._looks
        while len(looks) > 1 and now - looks[1][0] >= _HOUR_S:
            looks.popleft()
        if now - looks[-1][0] >= _MINUTE_S:
            looks.append((now, totals))
        delivered, deferred, bounced = (later - before for later, before in zip(totals, looks[0][1], strict=True))
        return {"delivered": delivered, "deferred": deferred, "bounced": bounced}


def _difference(before: _Totals, now: _Totals) -> dict[str, Any]:
    counts = [later - earlier for later, earlier in zip(now.counts, before.counts, strict=True)]
    return {
        "seconds": round(now.at - before.at, 1),
        "delivered": now.delivered - before.delivered,
        "failed": now.failed - before.failed,
        "p90": _quantile(now.edges, counts),
    }


def _quantile(edges: tuple[float, ...], counts: list[int]) -> float | None:
    """The upper edge of the bucket that it is in, in seconds; None where nothing was delivered."""
    asked = _QUANTILE * sum(counts)
    if not asked:
        return None
    found = next(at for at, total in enumerate(accumulate(counts)) if total >= asked)
    return edges[min(found, len(edges) - 1)]
