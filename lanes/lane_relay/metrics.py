"""Every metric of the relay, declared with its meaning, and the collector that reads plain figures at scrape time.

Stages count in plain integers; nothing on a message's path looks up a label. The `policy` label is bounded: the
configured policies and `other`, never a domain.
Invariant: a scrape reads `Figures`, made at that instant by `pipeline`, and changes nothing.
Before it: the stages' counters. After it: `health`, which serves the text.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

__all__ = ["CATALOGUE", "OTHER_POLICY", "Declared", "Figures", "Kind", "LatencyHistogram", "RecordsFigures", "expose"]

OTHER_POLICY: Final = "other"
"""Label of destinations that no configured policy matches."""

_BASE_EDGES_S: Final = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0),
    *(300.0, 450.0, 600.0, 900.0, 1350.0, 1800.0, 2700.0, 3600.0, 14400.0),
)
"""From one round trip to the shortest lifetime. Holds every class's p95 alert and objective (lane_api.classes), with
edges within half as much again on both sides, so that a percentile near one is told well."""


class Kind(StrEnum):
    """The Prometheus types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: name without a counter's `_total`, type, meaning, labels; `source` is the field of Figures."""

    name: str
    kind: Kind
    meaning: str
    source: str
    labels: tuple[str, ...] = ()


class LatencyHistogram:
    """Seconds from acceptance to the final 250, per recipient; `observe` is the only writer."""

    __slots__ = ("counts", "edges", "sum_s")

    def __init__(self, objective_s: float | None) -> None:
        """The objective is an edge exactly, so that a rule on it is exact."""
        self.edges = tuple(sorted({*_BASE_EDGES_S, *([objective_s] if objective_s else [])}))
        self.counts = [0] * (len(self.edges) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float, recipients: int = 1) -> None:
        """Counts one delivery of so many recipients."""
        self.counts[bisect_left(self.edges, seconds)] += recipients
        self.sum_s += seconds * recipients

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper edge, as Prometheus writes them."""
        total, rows = 0, []
        for edge, count in zip((*map(repr, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((edge, float(total)))
        return rows


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
    latency: LatencyHistogram
    trigger_latency: LatencyHistogram = field(default_factory=lambda: LatencyHistogram(None))
    accepted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, result)."""
    recipients_accepted: int = 0
    recipients_recovered: int = 0
    recipients_finished: Mapping[str, int] = field(default_factory=dict)
    """By what became of them."""
    recipients_queued: int = 0
    recipients_unaccounted: int = 0
    orders: Mapping[str, int] = field(default_factory=dict)
    """By what they say is to be done."""
    http_requests: Mapping[str, int] = field(default_factory=dict)
    """By status."""
    sessions: int = 0
    connections: Mapping[str, int] = field(default_factory=dict)
    sites_backing_off: Mapping[str, int] = field(default_factory=dict)
    live: int = 0
    in_flight: int = 0
    oldest_age_s: float = 0.0
    spool_bytes: int = 0
    spool_budget_bytes: int = 0
    spool_failed: bool = False
    spool_damaged: int = 0
    unreadable: int = 0
    active_bytes: int = 0
    commits: int = 0
    commit_s: float = 0.0
    egress_state: str = ""
    egress_states: tuple[str, ...] = ()
    egress_open: bool = True
    egress_shut_s: float = 0.0
    config_generation: int = 0
    config_refused: bool = False
    config_refusals: int = 0
    held_domains: int = 0
    feedback_reports: Mapping[str, int] = field(default_factory=dict)
    feedback_bounces: Mapping[str, int] = field(default_factory=dict)
    feedback_refused: int = 0
    complaints: Mapping[str, int] = field(default_factory=dict)
    complaint_thresholds: Mapping[str, float] = field(default_factory=dict)
    suppressions: int = 0
    suppressions_added: Mapping[str, int] = field(default_factory=dict)
    suppressions_failed: bool = False
    suppressions_damaged: int = 0
    webhook_waiting: int = 0
    webhook_dropped: int = 0
    tls_attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (what had to be proved, what it came to)."""
    reply_acts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, action)."""
    reply_alerts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, rule)."""
    default_replies: Mapping[str, int] = field(default_factory=dict)
    acts_in_force: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By (policy, action)."""
    records: RecordsFigures = field(default_factory=RecordsFigures)
    handover_given: int = 0
    handover_taken: int = 0
    handover_waiting: int = 0
    handover_in_doubt: int = 0


CATALOGUE: Final = (
    Declared("accepted_messages", Kind.COUNTER, "Messages answered with 250, on disk by then.", "accepted"),
    Declared("intake_refused", Kind.COUNTER, "Submissions refused, by reason.", "refused", ("reason",)),
    Declared(
        "attempts",
        Kind.COUNTER,
        "Recipients attempted, by ISP policy and result: delivered, deferred, bounced, expired.",
        "attempts",
        ("policy", "result"),
    ),
    Declared("recipients_accepted", Kind.COUNTER, "Recipients of messages on disk.", "recipients_accepted"),
    Declared("recipients_recovered", Kind.COUNTER, "Recipients in the spool at the start.", "recipients_recovered"),
    Declared(
        "recipients_finished",
        Kind.COUNTER,
        "Recipients by what became of them: delivered, bounced, expired, suppressed, handed_over, dropped.",
        "recipients_finished",
        ("outcome",),
    ),
    Declared("recipients_queued", Kind.GAUGE, "Recipients that nothing has become of so far.", "recipients_queued"),
    Declared(
        "recipients_unaccounted",
        Kind.GAUGE,
        "Recovered and accepted recipients less finished and queued ones: 0, or some were lost or counted twice.",
        "recipients_unaccounted",
    ),
    Declared("orders", Kind.GAUGE, "Orders that stand, see GET /v1/actions, by action.", "orders", ("action",)),
    Declared(
        "delivery_latency_seconds",
        Kind.HISTOGRAM,
        "Seconds from acceptance to the receiver's 250, per recipient; mail not delivered yet is not in it.",
        "latency",
        ("class",),
    ),
    Declared(
        "trigger_latency_seconds",
        Kind.HISTOGRAM,
        "Seconds from X-Lane-Triggered-At to the receiver's 250, per recipient of mail that carried it.",
        "trigger_latency",
        ("class",),
    ),
    Declared("http_requests", Kind.COUNTER, "Submissions by HTTP answered, by status.", "http_requests", ("status",)),
    Declared("intake_sessions", Kind.GAUGE, "SMTP sessions open and HTTP requests in work now.", "sessions"),
    Declared("connections", Kind.GAUGE, "Outbound connections open now, by ISP policy.", "connections", ("policy",)),
    Declared(
        "sites_backing_off", Kind.GAUGE, "Sites slowed down now, by ISP policy.", "sites_backing_off", ("policy",)
    ),
    Declared("queue_messages", Kind.GAUGE, "Messages accepted and not settled for every recipient.", "live"),
    Declared("in_flight_attempts", Kind.GAUGE, "Attempts that a session holds now.", "in_flight"),
    Declared(
        "oldest_undelivered_age_seconds",
        Kind.GAUGE,
        "Age of the oldest message in the queue; 0 if none.",
        "oldest_age_s",
    ),
    Declared("spool_bytes", Kind.GAUGE, "Bytes that live messages take in the spool.", "spool_bytes"),
    Declared("spool_budget_bytes", Kind.GAUGE, "Bytes beyond which intake answers 452.", "spool_budget_bytes"),
    Declared(
        "spool_failed", Kind.GAUGE, "1 after a failed write or fsync: intake is stopped for good.", "spool_failed"
    ),
    Declared(
        "spool_damaged_places",
        Kind.GAUGE,
        "Places in the spool that cannot be read; their segments stay as they are, for a person to look at.",
        "spool_damaged",
    ),
    Declared(
        "unreadable_messages",
        Kind.GAUGE,
        "Messages that left delivery because their bytes in the spool are damaged.",
        "unreadable",
    ),
    Declared("active_bytes", Kind.GAUGE, "Bytes of message bodies held in memory.", "active_bytes"),
    Declared(
        "spool_commit_seconds",
        Kind.SUMMARY,
        "Seconds from handing a message to the spool until it was durable.",
        "commit_s",
    ),
    Declared("egress_proof", Kind.GAUGE, "1 for the state that the egress proof is in.", "egress_state", ("state",)),
    Declared("egress_open", Kind.GAUGE, "1 while mail may leave from this slot's address.", "egress_open"),
    Declared(
        "egress_shut_seconds",
        Kind.COUNTER,
        "Seconds in which nothing could leave for want of a proof.",
        "egress_shut_s",
    ),
    Declared("config_generation", Kind.GAUGE, "Generation of the configuration in force.", "config_generation"),
    Declared("config_refused", Kind.GAUGE, "1 while the newest configuration was refused.", "config_refused"),
    Declared("config_refusals", Kind.COUNTER, "Configurations refused.", "config_refusals"),
    Declared(
        "tls_attempts",
        Kind.COUNTER,
        "Attempts by what TLS had to prove (dane, mta-sts, pkix, none) and its result: verified, encrypted, plain, or "
        "what failed in the words of TLS reports (RFC 8460); also connections after which another host is tried.",
        "tls_attempts",
        ("asked", "result"),
    ),
    Declared(
        "reply_acts",
        Kind.COUNTER,
        "Acts done because of replies, by ISP policy and action, such as Backoff or QuarantineIP.",
        "reply_acts",
        ("policy", "action"),
    ),
    Declared(
        "reply_alerts",
        Kind.COUNTER,
        "Replies that a person should look at, by ISP policy and rule: action Alert, a quarantine, or an act that the "
        "lane's protection does not allow.",
        "reply_alerts",
        ("policy", "rule"),
    ),
    Declared(
        "acts_in_force",
        Kind.GAUGE,
        "Sites, addresses and From domains stopped or slowed down by reply rules now, by ISP policy and action.",
        "acts_in_force",
        ("policy", "action"),
    ),
    Declared(
        "default_replies",
        Kind.COUNTER,
        "Refusals that no rule of the ISP's policy was for; GET /v1/replies lists them.",
        "default_replies",
        ("policy",),
    ),
    Declared("handover_given", Kind.COUNTER, "Entries that a sibling slot has taken over.", "handover_given"),
    Declared("handover_taken", Kind.COUNTER, "Entries taken over from sibling slots.", "handover_taken"),
    Declared("handover_waiting", Kind.GAUGE, "Entries on their way to a sibling slot.", "handover_waiting"),
    Declared(
        "handover_in_doubt",
        Kind.GAUGE,
        "Transfers whose sibling has not said yet what it has of them; nobody else sends that mail.",
        "handover_in_doubt",
    ),
    Declared("held_domains", Kind.GAUGE, "Signing domains whose DKIM selector is not live in DNS.", "held_domains"),
    Declared("records_bytes", Kind.GAUGE, "Bytes of accounting records on the volume.", "records.disk_bytes"),
    Declared("records_budget_bytes", Kind.GAUGE, "Bytes beyond which the oldest go.", "records.budget_bytes"),
    Declared("records_written", Kind.COUNTER, "Accounting records, ever, of this journal.", "records.last_seq"),
    Declared("records_sealed", Kind.COUNTER, "Of these, in a sealed segment.", "records.sealed_seq"),
    Declared("records_archived", Kind.COUNTER, "Of these, in the archive.", "records.archived_seq"),
    Declared(
        "records_archive_lag_seconds",
        Kind.GAUGE,
        "Seconds for which the oldest sealed segment has waited for the archive; 0 if none waits.",
        "records.archive_lag_s",
    ),
    Declared(
        "records_archive_failures", Kind.COUNTER, "Tries that the archive did not take.", "records.archive_failures"
    ),
    Declared("records_webhook_lag", Kind.GAUGE, "Records that wait for the webhook's receiver.", "records.webhook_lag"),
    Declared(
        "records_webhook_failures",
        Kind.COUNTER,
        "Requests that the webhook's receiver did not take.",
        "records.webhook_failures",
    ),
    Declared(
        "records_dropped",
        Kind.COUNTER,
        "Records removed from the volume by its own rules: Retention, Budget, VolumeFull.",
        "records.dropped",
        ("reason",),
    ),
    Declared("records_lost", Kind.COUNTER, "Records removed before the archive had them.", "records.lost"),
    Declared(
        "feedback_reports",
        Kind.COUNTER,
        "Mail that came back, by what it was: bounce, delay, success, complaint, unsubscribe, not-spam, automatic, "
        "not-understood, or unproved where no token of ours was in it.",
        "feedback_reports",
        ("kind",),
    ),
    Declared(
        "feedback_bounces",
        Kind.COUNTER,
        "Bounces that came in after the peer had taken the message, by category.",
        "feedback_bounces",
        ("category",),
    ),
    Declared("feedback_refused", Kind.COUNTER, "Recipients of returned mail that nobody is here.", "feedback_refused"),
    Declared(
        "complaints",
        Kind.COUNTER,
        "Complaints about mail of ours, by ISP policy; beside attempts with result delivered they give the rate.",
        "complaints",
        ("policy",),
    ),
    Declared(
        "complaint_threshold",
        Kind.GAUGE,
        "Complaints by delivered mail at which to warn, act and stop, as configured; for alerts, nothing acts on it.",
        "complaint_thresholds",
        ("level",),
    ),
    Declared(
        "suppressions", Kind.GAUGE, "Words on the suppression list, those that count no more as well.", "suppressions"
    ),
    Declared(
        "suppressions_added", Kind.COUNTER, "Addresses suppressed by what came back.", "suppressions_added", ("reason",)
    ),
    Declared(
        "suppressions_failed", Kind.GAUGE, "1 if the suppression list takes no more words.", "suppressions_failed"
    ),
    Declared(
        "suppressions_damaged",
        Kind.GAUGE,
        "Parts of the suppression list that the volume did not give back.",
        "suppressions_damaged",
    ),
    Declared("webhook_waiting", Kind.GAUGE, "Bounces that a webhook has not taken yet.", "webhook_waiting"),
    Declared("webhook_dropped", Kind.COUNTER, "Bounces given up for newer ones.", "webhook_dropped"),
)
PREFIX: Final = "lane_relay_"


def _family(declared: Declared, figures: Figures) -> Metric:
    """One metric's samples, read from the figures."""
    name, value = PREFIX + declared.name, attrgetter(declared.source)(figures)
    match declared.kind:
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, declared.meaning, labels=declared.labels)
            histogram.add_metric([figures.traffic_class], value.buckets(), value.sum_s)
            return histogram
        case Kind.SUMMARY:
            return SummaryMetricFamily(name, declared.meaning, count_value=figures.commits, sum_value=value)
        case Kind.COUNTER:
            family: CounterMetricFamily | GaugeMetricFamily = CounterMetricFamily(
                name, declared.meaning, labels=declared.labels
            )
        case Kind.GAUGE:
            family = GaugeMetricFamily(name, declared.meaning, labels=declared.labels)
    for labels, number in _rows(declared, figures, value):
        family.add_metric(labels, number)
    return family


def _rows(declared: Declared, figures: Figures, value: object) -> Iterator[tuple[list[str], float]]:
    """(label values, number) of a counter or gauge."""
    if declared.source == "egress_state":
        yield from (([state], float(state == value)) for state in figures.egress_states)
    elif isinstance(value, Mapping):
        for key, number in sorted(value.items()):
            yield list(key) if isinstance(key, tuple) else [key], float(number)
    elif isinstance(value, int | float):
        yield [], float(value)


class _Once:
    """A collector over figures that were read before."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """All families, the relay's identity first."""
        figures = self._figures
        identity = GaugeMetricFamily(PREFIX + "info", "The relay.", labels=("version", "lane", "slot", "class"))
        identity.add_metric([figures.version, figures.lane, figures.slot, figures.traffic_class], 1.0)
        yield identity
        for declared in CATALOGUE:
            yield _family(declared, figures)


def expose(figures: Figures) -> bytes:
    """The exposition text of Prometheus for these figures."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(figures))
    return generate_latest(registry)
