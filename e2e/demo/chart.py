"""The demo's picture: OTP latency through the lanes and through one shared server, quiet and during the flood.

Invariant: both ways share one logarithmic axis; what never arrived is drawn at its top edge, not left out.
Before: `result`. After: build/demo/otp-latency.png.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display is asked for

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from e2e.demo.result import Outcome, seconds
from e2e.internet.records import Message

_COLOURS = {"lanes": "#1b7f5c", "shared": "#b3402a"}
_TITLES = {"lanes": "two lanes", "shared": "one shared Postfix"}


def draw(file: Path, outcomes: Sequence[Outcome], arrived: Mapping[str, Message]) -> None:
    """Draws the chart; `arrived` has the first copy of each message by Message-ID."""
    figure, (bars, course) = plt.subplots(1, 2, figsize=(13, 5.2), width_ratios=(2, 3), sharey=True)
    try:
        finite = [
            value
            for one in outcomes
            for latency in (one.quiet, one.flood)
            for value in (latency.p50, latency.p99, latency.most)
            if math.isfinite(value)
        ]
        top = 3 * max([*finite, 1.0])
        _draw_bars(bars, outcomes, top)
        _draw_course(course, outcomes, arrived, top)
        bars.set_ylim(0.05, top)
        flood = len(outcomes[0].flooded.bulk)
        figure.suptitle(f"One-time codes while {flood:,} newsletters wait: time from schedule to the ISP's 250")
        figure.tight_layout()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=120)
    finally:
        plt.close(figure)


def _draw_bars(axes: Axes, outcomes: Sequence[Outcome], top: float) -> None:
    groups = [(one, phase) for one in outcomes for phase in ("quiet", "flood")]
    for place, (one, phase) in enumerate(groups):
        latency = one.quiet if phase == "quiet" else one.flood
        for offset, (name, value) in enumerate((("p50", latency.p50), ("p99", latency.p99), ("max", latency.most))):
            height = min(value, top)
            axes.bar(
                place + (offset - 1) * 0.27,
                height,
                width=0.25,
                color=_COLOURS.get(one.way.name, "#555555"),
                alpha=(0.45, 0.75, 1.0)[offset],
            )
            axes.annotate(
                f"{name}\n{seconds(value)}",
                (place + (offset - 1) * 0.27, height),
                ha="center",
                va="bottom",
                fontsize=7,
            )
    axes.set_yscale("log")
    axes.set_xticks(
        range(len(groups)), [f"{_TITLES.get(one.way.name, one.way.name)}\n{phase}" for one, phase in groups]
    )
    axes.tick_params(axis="x", labelsize=8)
    axes.set_ylabel("seconds")


def _draw_course(axes: Axes, outcomes: Sequence[Outcome], arrived: Mapping[str, Message], top: float) -> None:
    for one in outcomes:
        if not one.flooded.otp:
            continue
        start = one.flooded.otp[0].scheduled
        points = [
            (entry.scheduled - start, arrived[entry.message_id].at - entry.scheduled)
            if entry.message_id in arrived
            else (entry.scheduled - start, top)
            for entry in one.flooded.otp
        ]
        name = _TITLES.get(one.way.name, one.way.name)
        axes.plot(*zip(*points, strict=True), ".", ms=3, color=_COLOURS.get(one.way.name, "#555555"), label=name)
    axes.set_xlabel("seconds since the first OTP of the flood phase (each dot is one OTP)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="center right")
