"""What the demo prints and records: pure arithmetic over ledgers, ISP records and samples.

Invariant: a figure that cannot be had (nothing delivered) is infinite, never left out.
Before: `measure`. After: `chart`, the table of `__main__`, `build/figures/demo.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from e2e.demo.measure import Flood, Way
from e2e.internet.policy import ROUND_TRIP_S
from e2e.internet.records import Record
from e2e.load.ledger import Comparison, Entry, Latency, compare

SCRIPTED_S = 2 * ROUND_TRIP_S  # on a connection kept open: envelope and body, one round trip each
RATIO_TARGET = 1.2
NEVER_S = 1e9  # JSON knows no infinity


@dataclass(frozen=True)
class Outcome:
    """One way, judged."""

    way: Way
    quiet: Latency
    flood: Latency
    flooded: Flood
    comparison: Comparison

    @property
    def ratio(self) -> float:
        """OTP p99 during the flood over OTP p99 quiet."""
        if not (math.isfinite(self.flood.p99) and math.isfinite(self.quiet.p99)):
            return math.inf
        return self.flood.p99 / self.quiet.p99


def judge(way: Way, quiet: Sequence[Entry], flooded: Flood, records: Sequence[Record]) -> Outcome:
    """Compares everything that was offered on one way with everything that the ISPs took."""
    entries = [*quiet, *flooded.otp, *flooded.bulk]
    found = compare(entries, records, way.expected_ips())
    return Outcome(
        way,
        found.latency[way.stream("otp-quiet")],
        found.latency[way.stream("otp-flood")],
        flooded,
        found,
    )


@dataclass(frozen=True)
class Figure:
    """One row of build/figures/demo.json."""

    name: str
    value: float
    unit: str
    target: float | None
    better: Literal["lower", "higher"]


def figures(lanes: Outcome, shared: Outcome, first_mail_s: float) -> list[Figure]:
    """The demo's figures, infinities as a number that nobody takes for a latency."""
    found = lanes.comparison
    rows = [
        Figure("otp_p99_quiet_s", lanes.quiet.p99, "s", None, "lower"),
        Figure("otp_p99_flood_s", lanes.flood.p99, "s", None, "lower"),
        Figure("otp_p99_ratio", lanes.ratio, "x", RATIO_TARGET, "lower"),
        Figure("shared_otp_p99_s", shared.flood.p99, "s", None, "higher"),
        Figure("wrong_ip", len(found.wrong_ip), "messages", 0, "lower"),
        Figure("lost", len(found.lost), "messages", 0, "lower"),
        Figure("duplicated", sum(found.duplicated.values()), "messages", 0, "lower"),
        Figure("flood_messages", len(lanes.flooded.bulk), "messages", None, "higher"),
        Figure("first_mail_s", first_mail_s, "s", None, "lower"),
    ]
    return [Figure(one.name, round(min(one.value, NEVER_S), 4), one.unit, one.target, one.better) for one in rows]


def seconds(value: float) -> str:
    """A latency as people read it."""
    if math.isinf(value):
        return "never"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def latency_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """(path, phase, OTPs, delivered, p50, p99, max, p99 less the scripted time) for the table."""
    rows: list[tuple[str, ...]] = []
    for one in outcomes:
        for phase, latency in (("quiet", one.quiet), ("flood", one.flood)):
            own = latency.p99 - SCRIPTED_S if math.isfinite(latency.p99) else math.inf
            rows.append(
                (
                    one.way.name,
                    phase,
                    str(latency.count),
                    str(latency.delivered),
                    seconds(latency.p50),
                    seconds(latency.p99),
                    seconds(latency.most),
                    seconds(own),
                )
            )
    return rows


def source_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    """(stream, source address, messages) as the ISPs saw them."""
    return [
        (stream, ip, str(count))
        for one in outcomes
        for stream, seen in sorted(one.comparison.source_ips.items())
        for ip, count in sorted(seen.items())
    ]


def shortcomings(lanes: Outcome, least_backlog: int) -> list[str]:
    """What keeps the run from proving what it is for; empty if it does."""
    found = lanes.comparison
    checks: Mapping[str, bool] = {
        f"OTP p99 grew to {lanes.ratio:.2f} x quiet, more than {RATIO_TARGET}": lanes.ratio > RATIO_TARGET,
        f"{len(found.lost)} of {found.accepted} accepted messages are lost": bool(found.lost),
        f"{len(found.duplicated)} messages arrived twice": bool(found.duplicated),
        f"{len(found.wrong_ip)} messages came from another lane's address": bool(found.wrong_ip),
        f"{len(found.altered)} messages arrived altered": bool(found.altered),
        f"{found.refused + found.in_doubt} messages were not accepted": bool(found.refused + found.in_doubt),
        f"the backlog fell to {lanes.flooded.least_backlog()}, below {least_backlog}, while OTPs were sent": (
            lanes.flooded.least_backlog() <= least_backlog
        ),
        "the flood did not drain in time": not lanes.flooded.drained,
    }
    return [sentence for sentence, broken in checks.items() if broken]
