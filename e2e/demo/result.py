"""What the demo prints and records: pure arithmetic over ledgers, ISP records and samples.

Invariant: a figure that cannot be had (nothing delivered) is infinite, never left out; an OTP that had not arrived when
the ISPs' delay was lifted counts as never delivered, and what is said of its wait is a lower bound.
Before: `measure`. After: `chart`, the tables of `report`, `build/figures/demo.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from e2e.demo.measure import Flood, Quiet, Scale, Way
from e2e.internet.policy import ROUND_TRIP_S
from e2e.internet.records import Connection, Message, Record
from e2e.load.ledger import Comparison, Entry, Latency, compare, latency, percentile

SCRIPTED_S = 2 * ROUND_TRIP_S  # on a connection kept open: envelope and body, one round trip each
SCRIPTED_OPENING_S = 4 * ROUND_TRIP_S  # greeting, EHLO, STARTTLS, EHLO: what a new connection costs before that
RATIO_TARGET = 1.2
USED_TARGET = 0.95  # of the connections that Bulk may have: less is no flood at its limit
SHARED_TARGET_S = 60.0  # at full size: minutes, or the whole flood
SLOW_RIG = 2.5  # a quiet p99 of more than so many times what the ISPs' own delays take is the machine's, not ours
NEVER_S = 1e9  # JSON knows no infinity


@dataclass(frozen=True)
class Course:
    """One phase of OTPs: (seconds since its first, latency in seconds) of each, and what is left without the script."""

    points: tuple[tuple[float, float], ...]
    own_p99: float
    opening: int  # OTPs for which no connection stood open: they waited for one of their own, or for another's to open
    open_p99: float  # of the others

    @property
    def latency(self) -> Latency:
        """Percentiles; the undelivered count as infinite."""
        return latency([value for _, value in self.points])


@dataclass(frozen=True)
class Outcome:
    """One way, judged."""

    way: Way
    quiet_course: Course
    flood_course: Course
    at_least: Latency  # of the flood's OTPs; what was not delivered counts with the time that it had waited by then
    flooded: Flood
    comparison: Comparison
    used: float  # share of Bulk's connections in use between the first and the last OTP of the flood
    allowed: int

    @property
    def quiet(self) -> Latency:
        """OTPs while nothing else was sent."""
        return self.quiet_course.latency

    @property
    def flood(self) -> Latency:
        """OTPs while the flood waited."""
        return self.flood_course.latency

    @property
    def ratio(self) -> float:
        """OTP p99 during the flood over OTP p99 quiet."""
        if not (math.isfinite(self.flood.p99) and math.isfinite(self.quiet.p99)):
            return math.inf
        return self.flood.p99 / self.quiet.p99

    @property
    def received(self) -> int:
        """Messages of this way that the ISPs took, every copy."""
        return sum(sum(seen.values()) for seen in self.comparison.source_ips.values())


def judge(
    way: Way, quiet: Quiet, flooded: Flood, records: Sequence[Record], allowed: Mapping[str, int] | None = None
) -> Outcome:
    """Compares all that was offered on one way with all that the ISPs took; `allowed`: Bulk's connections by ISP."""
    first = first_copies(records)
    asked = sum((allowed or {}).values())
    return Outcome(
        way,
        _course(quiet.otp, first, quiet.until),
        _course(flooded.otp, first, flooded.lifted_at),
        latency([min(wait, flooded.lifted_at - one.scheduled) for one, wait in _waits(flooded.otp, first, math.inf)]),
        flooded,
        compare(offered(quiet, flooded), records, way.expected_ips()),
        connections_in_use(records, way.bulk_ips, allowed or {}, flooded.span()),
        asked,
    )


def offered(quiet: Quiet, flooded: Flood) -> list[Entry]:
    """Every message of one way."""
    return [*quiet.warm, *quiet.otp, *flooded.warm, *flooded.otp, *flooded.bulk]


def first_copies(records: Iterable[Record]) -> dict[str, Message]:
    """The first copy of each message, by Message-ID."""
    found: dict[str, Message] = {}
    for one in sorted((r for r in records if isinstance(r, Message)), key=lambda message: message.at):
        found.setdefault(one.message_id, one)
    return found


def _waits(otp: Sequence[Entry], first: Mapping[str, Message], until: float) -> list[tuple[Entry, float]]:
    arrived = {one.message_id: first[one.message_id].at for one in otp if one.message_id in first}
    at = [arrived.get(one.message_id, math.inf) for one in otp]
    return [(one, when - one.scheduled if when <= until else math.inf) for one, when in zip(otp, at, strict=True)]


def _course(otp: Sequence[Entry], first: Mapping[str, Message], until: float) -> Course:
    start = otp[0].scheduled if otp else 0.0
    waits = _waits(otp, first, until)
    own = [wait - _scripted(one, first) if math.isfinite(wait) else math.inf for one, wait in waits]
    others = [wait for one, wait in waits if not _waited_for_opening(one, first)]
    points = tuple((one.scheduled - start, wait) for one, wait in waits)
    return Course(points, percentile(own, 0.99), len(waits) - len(others), percentile(others, 0.99))


def _waited_for_opening(one: Entry, first: Mapping[str, Message]) -> bool:
    """Its connection was not yet open and free when it was due: an OTP can also wait for the one it was opened for."""
    copy = first.get(one.message_id)
    return copy is not None and copy.connection_opened > one.scheduled - SCRIPTED_OPENING_S - SCRIPTED_S


def _scripted(one: Entry, first: Mapping[str, Message]) -> float:
    """What the ISP's own delays cost this OTP: more where it had a connection opened for it."""
    copy = first[one.message_id]
    return SCRIPTED_S + (SCRIPTED_OPENING_S if copy.connection_opened > one.scheduled else 0.0)


def connections_in_use(
    records: Iterable[Record], ips: frozenset[str], allowed: Mapping[str, int], span: tuple[float, float]
) -> float:
    """The share of the allowed connections that these addresses had open, over the whole span and all ISPs.

    From the ISPs' times of accept and end; a connection being closed or not yet opened again is not in use.
    """
    begin, end = span
    room = sum(allowed.values()) * (end - begin)
    if room <= 0:
        return 0.0
    used = 0.0
    for one in records:
        if isinstance(one, Connection) and one.source_ip in ips and one.isp in allowed:
            used += max(0.0, min(one.closed or end, end) - max(one.opened, begin))
    return used / room


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
        Figure("otp_p50_quiet_s", lanes.quiet.p50, "s", None, "lower"),
        Figure("otp_p50_flood_s", lanes.flood.p50, "s", None, "lower"),
        Figure("otp_p99_ratio", lanes.ratio, "x", RATIO_TARGET, "lower"),
        Figure("shared_otp_p99_s", shared.at_least.p99, "s", SHARED_TARGET_S, "higher"),
        Figure("shared_otp_p50_s", shared.at_least.p50, "s", None, "higher"),
        Figure("shared_otps", shared.flood.count, "messages", None, "higher"),
        Figure("shared_otps_in_time", shared.flood.delivered, "messages", None, "lower"),
        Figure("accepted", found.accepted, "messages", None, "higher"),
        Figure("received", lanes.received, "messages", None, "higher"),
        Figure("otps_quiet", lanes.quiet.count, "messages", None, "higher"),
        Figure("otps_flood", lanes.flood.count, "messages", None, "higher"),
        Figure("otps_quiet_in_time", lanes.quiet.delivered, "messages", None, "higher"),
        Figure("otps_flood_in_time", lanes.flood.delivered, "messages", None, "higher"),
        Figure("bulk_connections_used", lanes.used, "share", USED_TARGET, "higher"),
        Figure("wrong_ip", len(found.wrong_ip), "messages", 0, "lower"),
        Figure("lost", len(found.lost), "messages", 0, "lower"),
        Figure("duplicated", sum(found.duplicated.values()), "messages", 0, "lower"),
        Figure("flood_messages", len(lanes.flooded.bulk), "messages", None, "higher"),
        Figure("first_mail_s", first_mail_s, "s", None, "lower"),
    ]
    return [Figure(one.name, round(min(one.value, NEVER_S), 4), one.unit, one.target, one.better) for one in rows]


def shortcomings(lanes: Outcome, least_backlog: int) -> list[str]:
    """What keeps the run from proving what it is for; empty if it does."""
    found = lanes.comparison
    checks: Mapping[str, bool] = {
        f"{lanes.quiet.count - lanes.quiet.delivered} OTPs of the quiet phase did not arrive": (
            lanes.quiet.delivered < lanes.quiet.count
        ),
        f"quiet OTP p99 was {lanes.quiet.p99:.3f} s, more than {SLOW_RIG:g} x the ISPs' own delays: the machine is too "
        "busy to measure on": lanes.quiet.count > 0 and lanes.quiet.p99 > SLOW_RIG * SCRIPTED_S,
        f"OTP p99 grew to {lanes.ratio:.2f} x quiet, more than {RATIO_TARGET}": lanes.ratio > RATIO_TARGET,
        f"{len(found.lost)} of {found.accepted} accepted messages are lost": bool(found.lost),
        f"{len(found.duplicated)} messages arrived twice": bool(found.duplicated),
        f"{len(found.wrong_ip)} messages came from another lane's address": bool(found.wrong_ip),
        f"{len(found.altered)} messages arrived altered": bool(found.altered),
        f"{found.refused + found.in_doubt} messages were not accepted": bool(found.refused + found.in_doubt),
        f"the backlog fell to {lanes.flooded.least_backlog()}, below {least_backlog}, while OTPs were sent": (
            lanes.flooded.least_backlog() <= least_backlog
        ),
        f"Bulk used {lanes.used:.1%} of its {lanes.allowed} connections, less than {USED_TARGET:.0%}: no flood at its "
        "limit": lanes.used < USED_TARGET,
        "the flood did not drain in time": not lanes.flooded.drained,
    }
    return [sentence for sentence, broken in checks.items() if broken]


def no_contrast(shared: Outcome, scale: Scale) -> list[str]:
    """What keeps the run from showing that the same OTPs behind one shared server wait; empty if it shows it."""
    waited, flooded = shared.at_least.p99, shared.flooded
    checks: Mapping[str, bool] = {
        f"OTP p99 behind the shared Postfix was {waited:.1f} s, less than {scale.shared_s:g}": waited < scale.shared_s,
        f"the shared Postfix had {flooded.least_backlog()} waiting, not over {scale.backlog}, while OTPs were sent": (
            flooded.least_backlog() <= scale.backlog
        ),
    }
    return [sentence for sentence, broken in checks.items() if broken]
