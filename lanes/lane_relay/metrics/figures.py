"""What a scrape shows, as plain figures of one instant, and the histogram that stages count into.

Stages count in plain integers; nothing on a message's path looks up a label.
Before it: the stages' counters. After it: `slot` fills them in, `exposition` writes them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["OTHER_POLICY", "Figures", "Latencies", "LatencyHistogram", "RecordsFigures"]

OTHER_POLICY: Final = "other"
"""Label of destinations that no configured policy matches."""

_BASE_EDGES_S: Final = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0),
    *(300.0, 450.0, 600.0, 900.0, 1350.0, 1800.0, 2700.0, 3600.0, 14400.0),
)
"""From one round trip to the shortest lifetime. Holds every class's p95 alert and objective (lane_api.classes), with
edges within half as much again on both sides, so that a percentile near one is told well."""


class LatencyHistogram:
    """Seconds from acceptance to the final 250, per recipient; `observe` is the only writer."""

    __slots__ = ("counts", "edges", "sum_s")

    def __init__(self, objective_s: float | None, edges: tuple[float, ...] = ()) -> None:
        """The objective is an edge exactly, so that a rule on it is exact; or with these edges."""
        self.edges = edges or tuple(sorted({*_BASE_EDGES_S, *([objective_s] if objective_s else [])}))
        self.counts = [0] * (len(self.edges) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float, recipients: int = 1) -> None:
        """Counts one delivery of so many recipients."""
        self.counts[bisect_left(self.edges, seconds)] += recipients
        self.sum_s += seconds * recipients

    def add(self, other: "LatencyHistogram") -> None:
        """Counts what another one of the same edges has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper edge, as Prometheus writes them."""
        total, rows = 0, []
        for edge, count in zip((*map(repr, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((edge, float(total)))
        return rows


class Latencies:
    """Seconds from acceptance to the final 250 by ISP policy: a histogram for each policy, and one for all others."""

    __slots__ = ("by_policy",)

    def __init__(self, objective_s: float | None, policies: Iterable[str]) -> None:
        """See `adopt`."""
        self.by_policy: dict[str, LatencyHistogram] = {}
        self.adopt(objective_s, policies)

    def adopt(self, objective_s: float | None, policies: Iterable[str]) -> None:
        """Another configuration is in force; what was counted stays where it is, unless the edges are others.

        Of a policy that has gone, too: added to the others it would be taken for deliveries of now.
        """
        edges = LatencyHistogram(objective_s).edges
        kept = {name: one for name, one in self.by_policy.items() if one.edges == edges and any(one.counts)}
        names = sorted({*policies, *kept} - {OTHER_POLICY})
        self.by_policy = {name: kept.get(name) or LatencyHistogram(objective_s) for name in (*names, OTHER_POLICY)}

    def of(self, policy: str) -> LatencyHistogram:
        """Where deliveries of this policy are counted."""
        return self.by_policy.get(policy) or self.by_policy[OTHER_POLICY]

    def total(self) -> LatencyHistogram:
        """All of them in one."""
        edges = self.by_policy[OTHER_POLICY].edges
        total = LatencyHistogram(None, edges)
        for histogram in self.by_policy.values():
            total.add(histogram)
        return total


@dataclass(frozen=True, slots=True)
class RecordsFigures:
    """The accounting records, as of one instant."""

    disk_bytes: int = 0
    budget_bytes: int = 0
    last_seq: int = 0
    sealed_seq: int = 0
    archived_seq: int = 0
    archive_lag_s: float = 0.0
    archive_failures: int = 0
    webhook_lag: int = 0
    """Records."""
    webhook_failures: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    lost: int = 0


@dataclass(slots=True)
class Figures:
    """Everything a scrape shows, as of one instant; durations in seconds, sizes in bytes."""

    version: str
    lane: str
    slot: str
    traffic_class: str
    latency: Latencies
    form: str = "pure"
    """`compiled`, `pure` or `mixed`: see `compiled`."""
    trigger_latency: LatencyHistogram = field(default_factory=lambda: LatencyHistogram(None))
    accepted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, result)."""
    failures: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """By (policy, result, category)."""
    recipients_accepted: int = 0
    recipients_recovered: int = 0
    recipients_finished: Mapping[str, int] = field(default_factory=dict)
    """By what became of them."""
    recipients_missed: int = 0
    recipients_queued: int = 0
    recipients_unaccounted: int = 0
    orders: Mapping[str, int] = field(default_factory=dict)
    """By what they say is to be done."""
    http_requests: Mapping[str, int] = field(default_factory=dict)
    """By status."""
    http_keys: Mapping[str, int] = field(default_factory=dict)
    """By who has them."""
    http_keys_failed: bool = False
    sessions: int = 0
    connections: Mapping[str, int] = field(default_factory=dict)
    sites_backing_off: Mapping[str, int] = field(default_factory=dict)
    live: int = 0
    in_flight: int = 0
    late: int = 0
    oldest_age_s: float = 0.0
    untried_age_s: float = 0.0
    spool_bytes: int = 0
    spool_budget_bytes: int = 0
    spool_failed: bool = False
    spool_damaged: int = 0
    unreadable: int = 0
    contained: Mapping[str, int] = field(default_factory=dict)
    active_bytes: int = 0
    commits: int = 0
    commit_s: float = 0.0
    egress_state: str = ""
    egress_states: tuple[str, ...] = ()
    egress_ptr: Mapping[str, float] = field(default_factory=dict)
    """1 for the finding that holds; empty where nobody looks."""
    dns_records_wrong: Mapping[str, float] = field(default_factory=dict)
    """By purpose."""
    egress_open: bool = True
    egress_shut_s: float = 0.0
    config_generation: int = 0
    config_refused: bool = False
    config_refusals: int = 0
    held_domains: int = 0
    feedback_reports: Mapping[str, int] = field(default_factory=dict)
    feedback_bounces: Mapping[str, int] = field(default_factory=dict)
    feedback_refused: int = 0
    feedback_waiting: int = 0
    complaints: Mapping[str, int] = field(default_factory=dict)
    complaints_unauthenticated: Mapping[str, int] = field(default_factory=dict)
    complaint_thresholds: Mapping[str, float] = field(default_factory=dict)
    complaint_levels: Mapping[str, int] = field(default_factory=dict)
    suppressions: int = 0
    suppressions_added: Mapping[str, int] = field(default_factory=dict)
    suppressions_limit: int = 0
    suppressions_left_out: Mapping[str, int] = field(default_factory=dict)
    suppressions_displaced: int = 0
    suppressions_held_back: Mapping[str, int] = field(default_factory=dict)
    suppressions_doubted: Mapping[str, int] = field(default_factory=dict)
    suppressions_failed: bool = False
    suppressions_damaged: int = 0
    webhook_waiting: int = 0
    webhook_dropped: int = 0
    webhook_refused: int = 0
    tls_attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (what had to be proved, what it came to)."""
    reply_acts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, action)."""
    reply_alerts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, rule)."""
    default_replies: Mapping[str, int] = field(default_factory=dict)
    acts_in_force: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, action)."""
    acts_observed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, action)."""
    records: RecordsFigures = field(default_factory=RecordsFigures)
    broken_tasks: Mapping[str, int] = field(default_factory=dict)
    """By task."""
    handover_given: int = 0
    handover_taken: int = 0
    handover_waiting: int = 0
    handover_stranded: int = 0
    quarantine_unrelieved: int = 0
    standby: bool = False
    handover_in_doubt: int = 0
    handover_in_doubt_s: float = 0.0
    handover_owed: int = 0
