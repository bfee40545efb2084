"""The demo's last screen: what happened, in the order in which a reader asks.

Invariant: every zero stands beside the number that it was counted over; what is only a lower bound carries a `>`;
all of it fits on 80 columns, also where the screen is wider, because the file is read anywhere.
Before: `result`, `seeded`. After: the terminal, and `build/demo/report.txt` with the same words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from e2e.demo.lanes import LanePod
from e2e.demo.result import SCRIPTED_OPENING_S, SCRIPTED_S, Course, Outcome
from e2e.demo.seeded import Counts
from e2e.internet.policy import ROUND_TRIP_S
from e2e.load.ledger import Latency

WIDTH = 80
TITLES = {"lanes": "two lanes", "shared": "one shared Postfix", "no-requests": "two lanes, no CPU requests"}
_HEADS = {"lanes": "two lanes", "shared": "shared\nPostfix", "no-requests": "no CPU\nrequests"}
_ROWS = ("newsletters", "OTPs", "arrived in time", "p50", "p99", "max", "p99 less ISPs' delay", "p99 : quiet's")
_TELLING = 1.2  # the codes that wait for a connection make the p99 if without them it is so many times smaller


def screen() -> Console:
    """Where the report is printed, and remembered for the file; never narrower than its tables."""
    return Console(record=True, width=WIDTH)


def seconds(value: float) -> str:
    """A latency as people read it, in six characters: 103 ms, 1.3 s, 117 s."""
    if math.isinf(value):
        return "never"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def bounded(latency: Latency, at_least: Latency) -> tuple[str, str, str]:
    """p50, p99 and max; where one was never seen, how long it took at least."""
    pairs = ((latency.p50, at_least.p50), (latency.p99, at_least.p99), (latency.most, at_least.most))
    return tuple(seconds(seen) if math.isfinite(seen) else f"> {seconds(least)}" for seen, least in pairs)  # type: ignore[return-value]  # three in, three out


@dataclass(frozen=True)
class Phase:
    """One column of the main table: a way while it was quiet or flooded, and a figure for each of `_ROWS`."""

    head: str
    figures: tuple[str, ...]


def phases(outcomes: Iterable[Outcome]) -> list[Phase]:
    """Quiet and flood of each way; a control run without a quiet phase has only the flood, and no ratio."""
    found: list[Phase] = []
    for one in outcomes:
        head = _HEADS.get(one.way.name, one.way.name)
        if one.quiet.count:
            found.append(_phase(f"{head}\nquiet", 0, one.quiet, one.quiet, one.quiet_course, ""))
        p99 = one.flood.p99 if math.isfinite(one.flood.p99) else one.at_least.p99
        growth = f"{'' if math.isfinite(one.flood.p99) else '> '}{_times(p99 / one.quiet.p99)}"
        ratio = growth if one.quiet.count and math.isfinite(one.quiet.p99) else ""
        sent = len(one.flooded.bulk)
        found.append(_phase(f"{head}\nflood", sent, one.flood, one.at_least, one.flood_course, ratio))
    return found


def _phase(head: str, newsletters: int, seen: Latency, at_least: Latency, course: Course, ratio: str) -> Phase:
    own = seconds(course.own_p99) if math.isfinite(seen.p99) else ""
    counts = (f"{newsletters:,}", f"{seen.count:,}", f"{seen.delivered:,}")
    return Phase(head, (*counts, *bounded(seen, at_least), own, ratio))


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
    """A table whose first `left` columns are words and whose others are figures; what does not fit is folded."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right", overflow="fold", vertical="bottom")
    for row in rows:
        made.add_row(*row)
    return made


def tables(outcomes: Mapping[str, Outcome], counts: Counts, seeded: Counts) -> tuple[Table, Table, Table]:
    """Latencies, what must be zero, source addresses."""
    order = [outcomes[name] for name in TITLES if name in outcomes]
    columns = phases(order)
    figures = list(zip(_ROWS, *(one.figures for one in columns), strict=True))
    return (
        table(
            "How long a one-time code takes, from its scheduled time to the ISP's 250",
            ("", *(one.head for one in columns)),
            figures,
        ),
        table(
            "What must be zero",
            ("in both lanes", "counted", "of", "after 1\nseeded fault"),
            count_rows(outcomes["lanes"], counts, seeded),
        ),
        table(
            "Source addresses that the ISPs saw", ("way", "mail", "source address", "messages"), source_rows(order), 3
        ),
    )


def show(console: Console, outcomes: Mapping[str, Outcome], counts: Counts, seeded: Counts) -> None:
    """Prints the tables and the sentences that they amount to."""
    latencies, zeros, sources = tables(outcomes, counts, seeded)
    lanes, shared = outcomes["lanes"], outcomes["shared"]
    console.print(latencies)
    begin, end = lanes.flooded.span()
    console.print(
        f"\nThrough two lanes a code's p99 during the flood is {_times(lanes.ratio)} that of quiet; behind one shared "
        f"Postfix {'it is' if math.isfinite(shared.flood.p99) else 'it is more than'} {seconds(shared.at_least.p99)}.\n"
        f"In those {end - begin:.0f} s at least {lanes.flooded.least_backlog():,} newsletters waited in the Bulk lane, "
        f"and {lanes.used:.1%} of the {lanes.allowed} connections that it may have were in use.\n"
        f"The ISPs answer after {ROUND_TRIP_S * 1000:.0f} ms a round trip: {SCRIPTED_S * 1000:.0f} ms a code, "
        f"{(SCRIPTED_S + SCRIPTED_OPENING_S) * 1000:.0f} ms if it opens a connection. {opening_sentence(lanes)}"
    )
    if "no-requests" in outcomes:
        console.print(control_sentence(outcomes["no-requests"]))
    for one in (zeros, sources):
        console.print()
        console.print(one)


def opening_sentence(lanes: Outcome) -> str:
    """Why the quiet p99 is several times the p50, where connections are why: each may carry only so many messages."""
    quiet, others = lanes.quiet_course, lanes.quiet_course.open_p99
    if not (quiet.opening and math.isfinite(lanes.quiet.p99) and lanes.quiet.p99 > _TELLING * others):
        return ""
    return (
        f"The quiet p99 is that of the {quiet.opening:,} of {lanes.quiet.count:,} codes that waited for a connection "
        f"to open; of the others it is {seconds(others)}, and {seconds(lanes.flood_course.open_p99)} during the flood."
    )


def control_sentence(control: Outcome) -> str:
    """What the control is for, and why its p99 stands beside no other."""
    return (
        "The control (no CPU requests) is the same two lanes, whose pods ask for no CPU: it shows whether the codes "
        f"owe their time to that. It is smaller, {control.flood.count:,} OTPs beside {len(control.flooded.bulk):,} "
        "newsletters, so that fewer connections are opened and its p99 is not to be compared with the others'."
    )


def by_weight(groups: Mapping[str, str]) -> list[tuple[str, str]]:
    """(weight, the groups that have it), the heaviest first."""
    found: dict[str, list[str]] = {}
    for name, weight in sorted(groups.items()):
        found.setdefault(weight, []).append(name)
    return [(weight, ", ".join(found[weight])) for weight in sorted(found, key=int, reverse=True)]


def weights(groups: Mapping[str, str]) -> Table:
    """The CPU weights, one line each, whose groups are folded at words."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(justify="right")
    made.add_column(overflow="fold")
    for weight, names in by_weight(groups):
        made.add_row(f"  {weight}", names)
    return made


def conditions(console: Console, pods: Iterable[LanePod], groups: Mapping[str, str], *sentences: str) -> None:
    """Prints under what it was measured: pods, CPU weights, and what else the run has to say."""
    console.print("\nPods:", highlight=False)
    for one in pods:
        words = f"  {one.name} on {one.node}, {f'asks for {one.cpu}' if one.cpu else 'asks for no'} CPU, {one.qos}"
        console.print(words, highlight=False)
    console.print("CPU weights of the control groups:", highlight=False)
    console.print(weights(groups))
    for sentence in sentences:
        console.print(sentence, highlight=False)
