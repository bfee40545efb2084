"""The demo's last screen: what happened, in the order in which a reader asks.

Invariant: every zero stands beside the number that it was counted over; what is only a lower bound carries a `>`.
Before: `result`, `seeded`. After: the terminal, and `build/demo/report.txt` with the same words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from e2e.demo.result import SCRIPTED_OPENING_S, SCRIPTED_S, Outcome
from e2e.demo.seeded import Counts
from e2e.internet.policy import ROUND_TRIP_S
from e2e.load.ledger import Latency

TITLES = {"lanes": "two lanes", "no-requests": "two lanes, no CPU requests", "shared": "one shared Postfix"}


def seconds(value: float) -> str:
    """A latency as people read it."""
    if math.isinf(value):
        return "never"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def bounded(latency: Latency, at_least: Latency) -> tuple[str, str, str]:
    """p50, p99 and max; where one was never seen, how long it took at least."""
    pairs = ((latency.p50, at_least.p50), (latency.p99, at_least.p99), (latency.most, at_least.most))
    return tuple(seconds(seen) if math.isfinite(seen) else f"> {seconds(least)}" for seen, least in pairs)  # type: ignore[return-value]  # three in, three out


def latency_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """(way, phase, OTPs, delivered in time, p50, p99, max, p99 without the script, p99 over quiet)."""
    rows: list[tuple[str, ...]] = []
    calm: Latency | None = None
    for one in outcomes:
        title = TITLES.get(one.way.name, one.way.name)
        if one.quiet.count:
            calm, found = one.quiet, one.quiet
            rows.append(
                (title, "quiet", *_counts(found), *bounded(found, found), seconds(one.quiet_course.own_p99), "")
            )
        assert calm is not None  # a control run has no quiet phase of its own and follows one that has
        p99 = one.flood.p99 if math.isfinite(one.flood.p99) else one.at_least.p99
        growth = f"{'' if math.isfinite(one.flood.p99) else '> '}{_times(p99 / calm.p99)}"
        own = seconds(one.flood_course.own_p99) if math.isfinite(one.flood.p99) else ""
        rows.append((title, "flood", *_counts(one.flood), *bounded(one.flood, one.at_least), own, growth))
    return rows


def _counts(latency: Latency) -> tuple[str, str]:
    return f"{latency.count:,}", f"{latency.delivered:,}"


def _times(value: float) -> str:
    return f"{value:.2f} x" if value < 10 else f"{value:,.0f} x"


def count_rows(lanes: Outcome, counts: Counts, seeded: Counts) -> list[tuple[str, str, str, str]]:
    """(what, how many, of how many, how many after one such fault was put into a copy of the records)."""
    accepted = f"{lanes.comparison.accepted:,} accepted"
    return [
        ("from another lane's address", str(counts.wrong_ip), f"{lanes.received:,} received", str(seeded.wrong_ip)),
        ("lost", str(counts.lost), accepted, str(seeded.lost)),
        ("received twice", str(counts.duplicated), accepted, str(seeded.duplicated)),
    ]


def source_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str, str]]:
    """(way, mail, source address, messages) as the ISPs saw them."""
    found: dict[tuple[str, str, str], int] = {}
    for one in outcomes:
        for stream, seen in sorted(one.comparison.source_ips.items()):
            mail = "newsletters" if stream == one.way.stream("bulk") else "OTPs"
            for ip, count in seen.items():
                key = (TITLES.get(one.way.name, one.way.name), mail, ip)
                found[key] = found.get(key, 0) + count
    return [(*key, f"{count:,}") for key, count in found.items()]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """A table whose first `left` columns are words and whose others are figures."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def show(console: Console, outcomes: Mapping[str, Outcome], counts: Counts, seeded: Counts) -> None:
    """Prints the tables and the two sentences that they amount to."""
    lanes, shared = outcomes["lanes"], outcomes["shared"]
    titles = ("OTPs through", "phase", "OTPs", "in time", "p50", "p99", "max", "p99 less ISPs' delay", "p99 : quiet")
    order = [outcomes[name] for name in TITLES if name in outcomes]
    console.print(
        table(
            "How long a one-time code takes, from its scheduled time to the ISP's 250", titles, latency_rows(order), 2
        )
    )
    begin, end = lanes.flooded.span()
    console.print(
        f"Through two lanes a code's p99 during the flood is {_times(lanes.ratio)} that of quiet; behind one shared "
        f"Postfix {'it is' if math.isfinite(shared.flood.p99) else 'it is more than'} {seconds(shared.at_least.p99)}.\n"
        f"In those {end - begin:.0f} s at least {lanes.flooded.least_backlog():,} newsletters waited in the Bulk lane, "
        f"and {lanes.used:.1%} of the {lanes.allowed} connections that it may have were in use.\n"
        f"The ISPs answer after {ROUND_TRIP_S * 1000:.0f} ms a round trip: {SCRIPTED_S * 1000:.0f} ms a code, "
        f"{(SCRIPTED_S + SCRIPTED_OPENING_S) * 1000:.0f} ms if it opens a connection."
    )
    columns = ("in both lanes", "counted", "of", "after 1 seeded fault")
    console.print(table("What must be zero", columns, count_rows(lanes, counts, seeded)))
    columns = ("way", "mail", "source address", "messages")
    console.print(table("Source addresses that the ISPs saw", columns, source_rows(order), 3))
