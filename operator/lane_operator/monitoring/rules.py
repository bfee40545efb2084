"""The alerts of one lane; each says what is wrong, and comes before mail is late where that can be known."""

from collections.abc import Iterator, Mapping

from lane_api.effective import Effective, effective
from lane_api.quantities import format_duration
from lane_operator.inputs import Lane, Manifest
from lane_operator.monitoring.queries import Queries
from lane_operator.monitoring.runbook import DESCRIPTIONS, RUNBOOK, runbook_url

__all__ = ["RULE_KIND", "prometheus_rule"]

RULE_KIND = "PrometheusRule.monitoring.coreos.com"
ARCHIVE_LATE_S = 900
"""Seconds that a sealed segment may wait for the archive before somebody is told."""
FEW = 10
"""Fewer deliveries than this in five minutes make no percentile, and a shorter queue no trend."""

ALMOST_FULL = 0.95
"""Share of the words that a suppression list may have at which somebody is told."""
IN_DOUBT_S = 300
"""Seconds that a slot may owe another one its answer at which somebody is told; a restart takes less."""
ENOUGH_A_DAY = 1000
"""Deliveries of a lane of which each standby slot has its part."""
WRONG_NAME = 'finding=~"NoPTR|HELOMismatch|NoWayBack"'
"""Findings about a PTR record that are no outage of DNS."""
SPF = 'purpose="SPF"'
REFUSED_SHARE = 0.01
"""Share of messages that the slots could not take at which somebody is told."""


def prometheus_rule(lane: Lane, extra_labels: Mapping[str, str], runbook: str = RUNBOOK) -> Manifest:
    """The PrometheusRule; extra labels are those by which a Prometheus selects its rules, runbook is the page that
    explains them."""
    rules = [_explained(rule, runbook) for rule in _rules(lane)]
    group = {"name": f"lane-{lane.namespace}-{lane.name}", "interval": "15s", "rules": rules}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": lane.name, "labels": dict(extra_labels)},
        "spec": {"groups": [group]},
    }


def _explained(rule: Manifest, runbook: str) -> Manifest:
    """An alert with its description and the address of its section; a recorded figure as it is."""
    name = rule.get("alert")
    if name is None:
        return rule
    more = {"description": DESCRIPTIONS[name], "runbook_url": runbook_url(runbook, name)}
    return rule | {"annotations": rule["annotations"] | more}


def _rules(lane: Lane) -> Iterator[Manifest]:
    queries, values = Queries.of(lane), effective(lane.spec)
    yield from _indicators(lane, queries, values)
    if values.slo_latency_s is not None:
        yield from _budget(lane, queries, values.slo_latency_s, values.slo_objective)
    if values.p95_alert_s is not None:
        yield from _latency(lane, queries, values, values.p95_alert_s)
    half = values.lifetime_s / 2
    yield _alert(
        lane,
        "LaneOldestMessageOld",
        f"max({queries.metric('oldest_undelivered_age_seconds')}) > {half:g}",
        "5m",
        "warning",
        f"The oldest message of lane {lane.namespace}/{lane.name} is older than half of its lifetime "
        f"({format_duration(values.lifetime_s)}); then it bounces.",
    )
    yield from _slots(lane, queries)
    yield from _replies(lane, queries)
    if lane.spec.standby_replicas:
        yield from _standby(lane, queries)
    if lane.spec.submission.http is not None:
        yield from _requests(lane, queries)
    if lane.spec.feedback is not None:
        yield from _feedback(lane, queries)
    if lane.spec.audit.archive is not None:
        yield from _archive(lane, queries)
    yield _alert(
        lane,
        "LaneTaskBroken",
        f"sum by (slot, task) (increase({queries.metric('broken_tasks_total')}[15m])) > 0",
        "0s",
        "warning",
        "Task {{ $labels.task }} of slot {{ $labels.slot }} broke off by a fault of ours and begins again; its log has "
        "the traceback.",
    )
    slots = lane.spec.replicas + lane.spec.standby_replicas
    if slots:
        yield _alert(
            lane,
            "LaneSlotsMissing",
            f"(count({queries.metric('info')}) or vector(0)) < {slots}",
            "3m",
            "warning",
            f"Lane {lane.namespace}/{lane.name} has {{{{ $value }}}} of {slots} slots.",
        )


def _slots(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What keeps a slot from sending, from taking mail, or on an old configuration."""
    yield _alert(
        lane,
        "LaneEgressUnproved",
        f"min by (slot) ({queries.metric('egress_open')}) == 0",
        "2m",
        "critical",
        "Slot {{ $labels.slot }} sends nothing: its egress address is not proved. See the condition EgressVerified.",
    )
    yield from _names(lane, queries)
    yield _alert(
        lane,
        "LaneIntakeRefused",
        f"{queries.refused_by_us()} > {REFUSED_SHARE}",
        "5m",
        "critical",
        f"Lane {lane.namespace}/{lane.name} refuses mail that it should take: its slots are full, failed or closed. "
        "lane_relay_intake_refused_total has the replies.",
    )
    yield _alert(
        lane,
        "LaneConfigRefused",
        f"max by (slot) ({queries.metric('config_refused')}) == 1",
        "1m",
        "warning",
        "Slot {{ $labels.slot }} refused its newest configuration and runs on the one before. "
        "See the condition ConfigInForce.",
    )
    yield _alert(
        lane,
        "LaneSpoolFailed",
        f"max by (slot) ({queries.metric('spool_failed')}) == 1",
        "0s",
        "critical",
        "Slot {{ $labels.slot }} could not write its spool and takes no mail until its pod is restarted.",
    )
    yield from _volume(lane, queries)
    yield _alert(
        lane,
        "LaneMailInDoubt",
        f"max by (slot) ({queries.metric('handover_in_doubt_age_seconds')}) > {IN_DOUBT_S}",
        "0s",
        "critical",
        "Slot {{ $labels.slot }} offered mail to a slot that does not say whether it has it; nobody sends it. Bring "
        "that slot back, or give the order take-back. See the condition MailHeld.",
    )
    yield _alert(
        lane,
        "LaneMailStranded",
        f"max by (slot) ({queries.metric('handover_stranded')}) > 0",
        "5m",
        "warning",
        "Slot {{ $labels.slot }} has mail that its address must not send, and no other slot can take it. See the "
        "condition MailHeld.",
    )


def _volume(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What a slot's volume did not give back."""
    yield _alert(
        lane,
        "LaneMailUnaccounted",
        f"max by (slot) (abs({queries.metric('recipients_unaccounted')})) > 0",
        "1m",
        "critical",
        "Slot {{ $labels.slot }} does not know what became of {{ $value }} recipients: lost, or counted twice. Its log "
        "since the start says what is missing.",
    )
    yield _alert(
        lane,
        "LaneSpoolDamaged",
        f"max by (slot) ({queries.metric('spool_damaged_places')}) > 0",
        "1m",
        "warning",
        "Slot {{ $labels.slot }} cannot read {{ $value }} places of its spool; its log since the start names them.",
    )
    yield _alert(
        lane,
        "LaneFaultContained",
        f"sum by (slot, where) (increase({queries.metric('contained_faults_total')}[15m])) > 0",
        "0m",
        "warning",
        "A mistake in the relay itself met a peer or client of slot {{ $labels.slot }} ({{ $labels.where }}). Its log "
        "has the traceback; please report it.",
    )


def _names(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What DNS says of a slot's address; a record that was set takes the old answer's TTL to be seen."""
    yield _alert(
        lane,
        "LanePTRWrong",
        f"max by (slot) ({queries.metric('egress_ptr', WRONG_NAME)}) == 1",
        "15m",
        "warning",
        "ISPs refuse mail from the address of slot {{ $labels.slot }}: its PTR record does not name the slot's "
        "hostname, or that one does not lead back. The condition PTRMatches names the record to set.",
    )
    yield _alert(
        lane,
        "LaneSPFWrong",
        f"max by (slot) ({queries.metric('dns_records_wrong', SPF)}) > 0",
        "15m",
        "warning",
        "SPF of a return path does not let the address of slot {{ $labels.slot }} send. The condition DNSMatches "
        "names the record to publish.",
    )


def _standby(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What standby slots are there for and do not do."""
    yield _alert(
        lane,
        "LaneQuarantineUnrelieved",
        f"max by (slot) ({queries.metric('quarantine_unrelieved')}) > 0",
        "2m",
        "critical",
        "ISPs refuse the address of slot {{ $labels.slot }}, and no standby slot can send their mail: it "
        "waits, or leaves slowly where protection is NeverPause. See the condition AddressQuarantined.",
    )
    attempts = queries.metric("attempts_total", 'result="delivered"')
    delivered = f"increase({attempts}[1d])"
    yield _alert(  # ISPs forget an address within weeks: facts of providers' guides
        lane,
        "LaneStandbyForgotten",
        f"max by (slot) ({queries.metric('standby')}) == 1 "
        f"unless on (slot) sum by (slot) ({delivered}) > 0 and on () sum({delivered}) > {ENOUGH_A_DAY}",
        "1h",
        "warning",
        "Standby slot {{ $labels.slot }} has delivered nothing for a day, so that ISPs forget its address: see whether "
        "its egress is proved, and whether the other slots reach it.",
    )


def _requests(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What keeps a slot from taking requests by HTTP."""
    yield _alert(
        lane,
        "LaneKeysFailed",
        f"max by (slot) ({queries.metric('http_keys_failed')}) == 1",
        "2m",
        "critical",
        "Slot {{ $labels.slot }} cannot write the idempotency keys of requests by HTTP: it refuses them, and its queue "
        "fills, for it keeps what was sent. Its log says why; replace its volume if that does not pass.",
    )


def _replies(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What ISPs said that somebody should know."""
    told = queries.metric("reply_alerts_total")
    yield _alert(
        lane,
        "LaneStoppedByReplies",
        f"max by (slot, policy, action) ({queries.metric('acts_in_force')}) > 0",
        "0s",
        "warning",
        "Slot {{ $labels.slot }}: {{ $labels.action }} towards {{ $labels.policy }}, for what it was told there; "
        "GET /v1/slot has the reply and the end.",
    )
    yield _alert(  # a counter's first value is no increase
        lane,
        "LaneReplyNeedsLook",
        f"sum by (slot, policy, rule) (increase({told}[15m])) > 0 or sum by (slot, policy, rule) "
        f"({told} unless {told} offset 15m) > 0",
        "0s",
        "warning",
        "Slot {{ $labels.slot }} was told by {{ $labels.policy }} what rule {{ $labels.rule }} is for: see its log.",
    )


def _feedback(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What comes back and cannot be lived by."""
    level = f"max by (slot, policy) ({queries.metric('complaint_level')})"
    about = "of slot {{ $labels.slot }} at {{ $labels.policy }} is proved to be beyond feedback.complaints"
    for name, reached, severity, more in (
        ("LaneComplaintsRising", "== 1", "warning", ".warn: find out which mail is not wanted before it is refused."),
        ("LaneComplaintsHigh", ">= 2", "critical", ".act or .stop; GET /v1/slot says what is paused, until when."),
    ):
        yield _alert(lane, name, f"{level} {reached}", "0s", severity, f"The complaint rate {about}{more}")
    told = f"sum by (policy) (increase({queries.metric('complaints_unauthenticated_total')}[1d]))"
    delivered = queries.metric("attempts_total", 'result="delivered"')
    warn = queries.metric("complaint_threshold", 'level="warn"')
    yield _alert(
        lane,
        "LaneComplaintsUnauthenticated",
        f"{told} > {FEW} and {told} / sum by (policy) (increase({delivered}[1d])) > scalar(max({warn}))",
        "0s",
        "warning",
        "{{ $labels.policy }}: so many complaints that are of no reporter whom its policy names that they would be "
        "beyond feedback.complaints.warn. They stop nothing: name the loop's mailbox in reporters of an ISPPolicy; the "
        "Feedback records say who reported (docs/feedback.md).",
    )
    yield _alert(
        lane,
        "LaneBouncesUntold",
        " or ".join(
            f"sum by (slot) (increase({queries.metric(f'webhook_{what}_total')}[15m])) > 0"
            for what in ("refused", "dropped")
        ),
        "0s",
        "warning",
        "Slot {{ $labels.slot }} gave up telling a webhook of bounces, which refused them for a day or was away too "
        "long. Its log has their ids, its OOB records all of them.",
    )
    words, limit = queries.metric("suppressions"), queries.metric("suppressions_limit")
    yield _alert(
        lane,
        "LaneSuppressionListFull",
        f"max by (slot) ({words}) / max by (slot) ({limit}) > {ALMOST_FULL}",
        "5m",
        "warning",
        "The suppression list of slot {{ $labels.slot }} is full or will be: hard bounces go from it for newer words, "
        "and once there are none, complaints are left out. Raise feedback.suppression.maxEntries.",
    )
    yield from _list_on_volume(lane, queries)
    yield _alert(
        lane,
        "LaneMailboxesDoubted",
        f"max by (slot, policy) ({queries.metric('suppressions_doubted')}) > 0",
        "0s",
        "warning",
        "Slot {{ $labels.slot }}: a site of {{ $labels.policy }} says of far more mailboxes than usual that they do "
        "not exist: its ISP fails, or a list is bad. Its words are held back until somebody decides: "
        "suppressions.doubted of GET /v1/slot names it (docs/feedback.md).",
    )


def _list_on_volume(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """What a slot's volume does with its suppression list."""
    yield _alert(
        lane,
        "LaneSuppressionListFailed",
        f"max by (slot) ({queries.metric('suppressions_failed')}) == 1",
        "1m",
        "warning",
        "Slot {{ $labels.slot }} cannot write its suppression list: complaints and unsubscribes are not kept there. "
        "Its log says why; see to its volume, then delete its pod.",
    )
    yield _alert(
        lane,
        "LaneSuppressionListDamaged",
        f"max by (slot) ({queries.metric('suppressions_damaged')}) > 0",
        "1m",
        "warning",
        "Slot {{ $labels.slot }} could not read {{ $value }} parts of its suppression list: whom they name may get "
        "mail from it, until the list is whole again from a sibling or the archive.",
    )


def _archive(lane: Lane, queries: Queries) -> Iterator[Manifest]:
    """Behind first, lost only when the records' budget is used up meanwhile."""
    yield _alert(
        lane,
        "LaneArchiveBehind",
        f"max by (slot) ({queries.metric('records_archive_lag_seconds')}) > {ARCHIVE_LATE_S}",
        "5m",
        "warning",
        "Slot {{ $labels.slot }} cannot reach its archive; /v1/slot says why. Its records wait on its volume until "
        "audit.maxSize is used up.",
    )
    yield _alert(
        lane,
        "LaneRecordsLost",
        f"sum by (slot) (increase({queries.metric('records_lost_total')}[15m])) > 0",
        "0s",
        "critical",
        "Slot {{ $labels.slot }} dropped records that its archive never got: raise audit.maxSize, see to the archive.",
    )


def _indicators(lane: Lane, queries: Queries, values: Effective) -> Iterator[Manifest]:
    """What a service level is made of, recorded so that it can be summed up over months."""
    shares = {
        "lane:lane_relay_intake_refused:ratio_rate5m": queries.refused_by_us(),
        "lane:lane_relay_egress_shut:ratio_rate5m": queries.egress_shut(),
    }
    if values.slo_latency_s is not None:
        for window in ("5m", "1h"):
            name = f"lane:lane_relay_delivered_in_time:ratio_rate{window}"
            shares[name] = queries.in_time(values.slo_latency_s, window)
        shares["lane:lane_relay_delivered_in_time:objective"] = f"vector({values.slo_objective / 100:.4f})"
    for name, expression in shares.items():
        yield {"record": name, "expr": expression, "labels": _labels(lane)}


def _labels(lane: Lane) -> Manifest:
    return {"namespace": lane.namespace, "lane": lane.name, "class": lane.spec.traffic_class.value}


def _latency(lane: Lane, queries: Queries, values: Effective, p95_s: float) -> Iterator[Manifest]:
    name = f"{lane.namespace}/{lane.name}"
    promise = "" if values.slo_latency_s is None else f" (promised: {format_duration(values.slo_latency_s)})"
    yield _alert(
        lane,
        "LaneLatencyP95High",
        f"{queries.latency(0.95)} > {p95_s:g} and {queries.deliveries()} > {FEW}",
        "30s",
        "critical",
        f"One in twenty messages of lane {name} takes longer than {format_duration(p95_s)}{promise}.",
    )
    # mail that waits is in no histogram: a queue that stands still shows here first
    yield _alert(
        lane,
        "LaneLatencyExpected",
        f"{queries.expected_wait()} > {p95_s:g} and {queries.queue_growth()} > 0 "
        f"and sum({queries.metric('queue_messages')}) > {FEW}",
        "30s",
        "critical",
        f"The queue of lane {name} grows and would take longer than {format_duration(p95_s)} to empty{promise}.",
    )


def _budget(lane: Lane, queries: Queries, promise_s: float, objective: float) -> Iterator[Manifest]:
    """What misses the promise, against what may: Google's SRE workbook, chapter 5, 2 % and 5 % of a month's budget."""
    allowed = 1 - objective / 100
    for name, long, short, times, severity in (
        ("LaneErrorBudgetFast", "1h", "5m", 14.4, "critical"),
        ("LaneErrorBudgetSlow", "6h", "30m", 6.0, "warning"),
    ):
        burns = (f"1 - {queries.in_time(promise_s, window)} > {times * allowed:.6f}" for window in (long, short))
        yield _alert(
            lane,
            name,
            f"{' and '.join(burns)} and {queries.late(promise_s, long)} > {FEW}",
            "1m",
            severity,
            f"{{{{ $value | humanizePercentage }}}} of the recipients of lane {lane.namespace}/{lane.name} in {long} "
            f"did not get their mail within {format_duration(promise_s)} (objective: {objective:g} % do). "
            "What expires, bounces for another reason than the mailbox, or still waits counts.",
        )


def _alert(lane: Lane, name: str, expression: str, wait: str, severity: str, summary: str) -> Manifest:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity} | _labels(lane),
        "annotations": {"summary": summary},
    }
