"""The demo's picture: every OTP, through the lanes and through one shared server, quiet and during the flood.

Invariant: both ways share one logarithmic axis; what had not arrived when the timing ended is drawn as an arrow at the
time that it had waited by then, not left out. Before: `result`. After: build/demo/otp-latency.png.
"""

from __future__ import annotations

import math
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
            _mark(axes, one, one.quiet, one.quiet, 0, quiet_s)
            _mark(axes, one, one.flood, one.at_least, begin, begin + flood_s)
        _label(axes, len(lanes.flooded.bulk))
        figure.tight_layout()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130)
    finally:
        plt.close(figure)


def _label(axes: Axes, newsletters: int) -> None:
    axes.set_title(f"One-time codes beside a flood of {newsletters:,} newsletters", loc="left", fontsize=14, pad=12)
    axes.set_xlabel("seconds since the first code of each run", fontsize=11)
    axes.set_ylabel("time until the ISP has it", fontsize=11)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.grid(visible=True, axis="y", which="major", color="white", linewidth=1.2)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(0.01, 0.62), frameon=True, framealpha=1, markerscale=3, fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _length(course: Course) -> float:
    return max((at for at, _ in course.points), default=1.0)


def _most(one: Outcome) -> float:
    found = [one.quiet.most, one.flood.most, one.at_least.most, 1.0]
    return max(value for value in found if math.isfinite(value))


def _shade(axes: Axes, begin: float, end: float, colour: str, words: str, top: float) -> None:
    axes.axvspan(begin, end, color=colour, zorder=-2, linewidth=0)
    axes.text((begin + end) / 2, top / 1.25, words, ha="center", va="top", fontsize=11, color="#444444")


def _dots(axes: Axes, one: Outcome, begin: float) -> None:
    colour, name = _COLOURS[one.way.name], _NAMES[one.way.name]
    course = [(at, wait) for at, wait in one.quiet_course.points if math.isfinite(wait)]
    course += [(begin + at, wait) for at, wait in one.flood_course.points if math.isfinite(wait)]
    axes.plot([at for at, _ in course], [wait for _, wait in course], ".", ms=3.5, color=colour, label=name)
    if not one.flooded.otp:
        return
    had = one.flooded.lifted_at - one.flooded.otp[0].scheduled
    never = [(begin + at, had - at) for at, wait in one.flood_course.points if math.isinf(wait)]
    if never:
        label = f"{name}: still waiting when the timing ended"
        axes.plot([at for at, _ in never], [w for _, w in never], "^", ms=3, color=colour, alpha=0.5, label=label)


def _mark(axes: Axes, one: Outcome, seen: Latency, at_least: Latency, begin: float, end: float) -> None:
    """A line at the phase's p99, with its value."""
    bound = math.isfinite(seen.p99)
    value = seen.p99 if bound else at_least.p99
    if not math.isfinite(value):
        return
    colour = _COLOURS[one.way.name]
    axes.plot([begin, end], [value, value], "-", color=colour, linewidth=1.2)
    text = f"p99 {'' if bound else '> '}{seconds(value)}"
    # at opposite ends, because quiet both are about the same
    at, side = (end, "right") if one.way.name == "lanes" else (begin, "left")
    axes.annotate(
        text, (at, value), (-6 if side == "right" else 6, 3), textcoords="offset points", ha=side, va="bottom",
        fontsize=11, color=colour, fontweight="bold",
    )  # fmt: skip
