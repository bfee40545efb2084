"""Exact arithmetic over what an ISP saw: the most at one instant, the most in any window.

Invariant: nothing here knows a policy or an enforcer; the figures come from recorded times alone.
Before: `wire` (packets) and `recording` (messages). After: the control port, `e2e.load.ledger`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence


def max_in_any_window(times: Iterable[float], seconds: float) -> int:
    """The largest number of `times` inside any half-open window (t - seconds, t]."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def busiest_window(times: Iterable[float], seconds: float) -> tuple[float, float]:
    """Begin and end of the earliest window (begin, end] of that length that holds `max_in_any_window`; needs a time."""
    ordered = sorted(times)
    counts = [bisect_right(ordered, at) - bisect_right(ordered, at - seconds) for at in ordered]
    end = ordered[counts.index(max(counts))]
    return end - seconds, end


def max_concurrent(intervals: Iterable[tuple[float, float | None]]) -> int:
    """The largest number of (opened, closed) intervals open at one instant; None is still open.

    An interval that ends at the instant another begins does not overlap it.
    """
    edges: list[tuple[float, int]] = []
    for opened, closed in intervals:
        edges.append((opened, 1))
        if closed is not None:
            edges.append((closed, -1))
    most = now = 0
    for _, step in sorted(edges):  # at one instant -1 sorts before +1
        now += step
        most = max(most, now)
    return most


def open_at(intervals: Sequence[tuple[float, float | None]], at: float) -> int:
    """How many (opened, closed) intervals were open at the instant `at`."""
    return sum(1 for opened, closed in intervals if opened <= at and (closed is None or closed > at))
