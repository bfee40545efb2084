"""The demo's picture: every OTP, through the lanes and through one shared server, quiet and during the flood.

Invariant: both ways share one logarithmic axis; what had not arrived when the timing ended is drawn as an arrow at the
time that it had waited by then, not left out; no words lie on a point or a line.
Before: `result`. After: build/demo/otp-latency.png.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display is asked for

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from e2e.demo.report import seconds
from e2e.demo.result import Course, Outcome
from e2e.load.ledger import Latency

_COLOURS = {"lanes": "#14795a", "shared": "#b8432f"}
_NAMES = {"lanes": "two lanes", "shared": "one shared Postfix"}
_QUIET, _FLOOD = "#f3f6f4", "#fbe9d9"
_GAP = 0.02  # of the width, between the phases, which did not follow each other at once
_FLOOR_S = 0.05
_LETTERS = 11  # points
_CLEARANCE = 4  # points between words and what is drawn: more than a dot's radius


def draw(file: Path, lanes: Outcome, shared: Outcome) -> None:
    """Draws the chart."""
    figure, axes = plt.subplots(figsize=(12, 6))
    try:
        quiet_s = max(_length(one.quiet_course) for one in (lanes, shared))
        flood_s = max(_length(one.flood_course) for one in (lanes, shared))
        begin = quiet_s + _GAP * (quiet_s + flood_s)
        axes.set_yscale("log")
        top = 6 * max(_most(one) for one in (lanes, shared))
        axes.set_ylim(_FLOOR_S, top)
        axes.set_xlim(0, begin + flood_s)
        _shade(axes, 0, quiet_s, _QUIET, "quiet: codes alone", top)
        waiting = lanes.flooded.least_backlog()
        _shade(axes, begin, begin + flood_s, _FLOOD, f"flood: at least {waiting:,} newsletters wait", top)
        for one in (shared, lanes):
            _dots(axes, one, begin)
        _label(axes, len(lanes.flooded.bulk))
        figure.tight_layout()
        both = (lanes, shared)
        _mark(axes, [(one, one.quiet, one.quiet) for one in both], _waits(both, flooded=False), 0, quiet_s)
        _mark(
            axes, [(one, one.flood, one.at_least) for one in both], _waits(both, flooded=True), begin, begin + flood_s
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130)
    finally:
        plt.close(figure)


def _label(axes: Axes, newsletters: int) -> None:
    axes.set_title(f"One-time codes beside a flood of {newsletters:,} newsletters", loc="left", fontsize=14, pad=12)
    axes.set_xlabel("seconds since the first code of each run", fontsize=_LETTERS)
    axes.set_ylabel("time until the ISP has it", fontsize=_LETTERS)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.grid(visible=True, axis="y", which="major", color="white", linewidth=1.2)
    axes.set_axisbelow(True)
    # below, where there is never a point
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.01, -0.1), ncols=3, frameon=False, markerscale=3, fontsize=_LETTERS
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _length(course: Course) -> float:
    return max((at for at, _ in course.points), default=1.0)


def _most(one: Outcome) -> float:
    found = [one.quiet.most, one.flood.most, one.at_least.most, 1.0]
    return max(value for value in found if math.isfinite(value))


def _shade(axes: Axes, begin: float, end: float, colour: str, words: str, top: float) -> None:
    axes.axvspan(begin, end, color=colour, zorder=-2, linewidth=0)
    axes.text((begin + end) / 2, top / 1.25, words, ha="center", va="top", fontsize=_LETTERS, color="#444444")


def _dots(axes: Axes, one: Outcome, begin: float) -> None:
    colour, name = _COLOURS[one.way.name], _NAMES[one.way.name]
    course = [(at, wait) for at, wait in one.quiet_course.points if math.isfinite(wait)]
    course += [(begin + at, wait) for at, wait in one.flood_course.points if math.isfinite(wait)]
    axes.plot([at for at, _ in course], [wait for _, wait in course], ".", ms=3.5, color=colour, label=name)
    never = [(begin + at, waited) for at, waited in _still_waiting(one)]
    if never:
        label = f"{name}: still waiting when the timing ended"
        axes.plot([at for at, _ in never], [w for _, w in never], "^", ms=3, color=colour, alpha=0.5, label=label)


def _still_waiting(one: Outcome) -> list[tuple[float, float]]:
    """(When it was due, how long it had waited) of each code that had not arrived when the timing ended."""
    if not one.flooded.otp:
        return []
    had = one.flooded.lifted_at - one.flooded.otp[0].scheduled
    return [(at, had - at) for at, wait in one.flood_course.points if math.isinf(wait)]


def _waits(ways: Iterable[Outcome], *, flooded: bool) -> list[float]:
    """Every height at which a phase has a point."""
    found: list[float] = []
    for one in ways:
        points = list((one.flood_course if flooded else one.quiet_course).points)
        points += _still_waiting(one) if flooded else []
        found += [wait for _, wait in points if math.isfinite(wait)]
    return found


def _mark(
    axes: Axes, ways: Sequence[tuple[Outcome, Latency, Latency]], points: Sequence[float], begin: float, end: float
) -> None:
    """A line at each way's p99 of a phase, and its value above it where nothing is drawn."""
    lines = [
        (seen.p99 if math.isfinite(seen.p99) else at_least.p99, "" if math.isfinite(seen.p99) else "> ", one.way.name)
        for one, seen, at_least in ways
    ]
    lines = [line for line in lines if math.isfinite(line[0])]
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    a_point = (high - low) / (axes.get_window_extent().height / axes.figure.dpi * 72)  # in decades
    height = (1.3 * _LETTERS + 2 * _CLEARANCE) * a_point
    decades = [10.0**number for number in range(math.floor(low), math.ceil(high) + 1)]  # the grid's lines
    taken = [math.log10(max(one, _FLOOR_S)) for one in (*points, *decades, *(value for value, _, _ in lines))]
    for value, bound, way in lines:
        axes.plot([begin, end], [value, value], "-", color=_COLOURS[way], linewidth=1.2)
        at = clear_above(math.log10(value), taken, height)
        # at opposite ends, because quiet both are about the same
        x, offset, side = (end, -6, "right") if way == "lanes" else (begin, 6, "left")
        axes.annotate(
            f"{_NAMES[way]}: p99 {bound}{seconds(value)}", (x, 10 ** (at + _CLEARANCE * a_point)), (offset, 0),
            textcoords="offset points", ha=side, va="bottom", fontsize=_LETTERS, color=_COLOURS[way],
            fontweight="bold",
        )  # fmt: skip


def clear_above(value: float, taken: Iterable[float], height: float) -> float:
    """The lowest place from `value` upwards where so much height has nothing in it but at its edges."""
    at = value
    for one in sorted(taken):
        if at < one < at + height:
            at = one
    return at
