"""Every metric of the relay, declared with its meaning; docs/metrics.md has the same lines, and a test compares.

Invariant: labels are bounded. `policy` is a configured policy or `other`, never a domain.
Before it: `figures`, whose fields it names. After it: `exposition`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["CATALOGUE", "PREFIX", "Declared", "Kind"]

PREFIX: Final = "lane_relay_"


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
    Declared(
        "failures",
        Kind.COUNTER,
        "Those of them that were not delivered, by ISP policy, result and why: the category of the reply.",
        "failures",
        ("policy", "result", "category"),
    ),
    Declared("recipients_accepted", Kind.COUNTER, "Recipients of messages on disk.", "recipients_accepted"),
    Declared(
        "recipients_recovered",
        Kind.COUNTER,
        "Recipients that should wait in the spool at the start.",
        "recipients_recovered",
    ),
    Declared(
        "recipients_finished",
        Kind.COUNTER,
        "Recipients by what became of them: delivered, bounced, expired, suppressed, handed_over, dropped.",
        "recipients_finished",
        ("outcome",),
    ),
    Declared(
        "recipients_missed",
        Kind.COUNTER,
        "Recipients bounced or expired for another reason than their own mailbox or domain.",
        "recipients_missed",
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
        "Seconds from acceptance to the receiver's 250, per recipient, by ISP policy; mail not delivered yet is not in "
        "it.",
        "latency",
        ("policy",),
    ),
    Declared(
        "trigger_latency_seconds",
        Kind.HISTOGRAM,
        "Seconds from X-Lane-Triggered-At to the receiver's 250, per recipient of mail that carried it.",
        "trigger_latency",
        ("class",),
    ),
    Declared("http_requests", Kind.COUNTER, "Submissions by HTTP answered, by status.", "http_requests", ("status",)),
    Declared(
        "http_keys",
        Kind.COUNTER,
        "New idempotency keys in a lane of several slots, by who has them: Here, OneWitness (here, but only one slot "
        "could be asked: should this one go away as well, another may take the key again), Sibling, Nobody (answered "
        "503).",
        "http_keys",
        ("settled",),
    ),
    Declared(
        "http_keys_failed",
        Kind.GAUGE,
        "1 while idempotency keys cannot be written: requests with keys get 503, and the spool keeps what was sent.",
        "http_keys_failed",
    ),
    Declared("intake_sessions", Kind.GAUGE, "SMTP sessions open and HTTP requests in work now.", "sessions"),
    Declared("connections", Kind.GAUGE, "Outbound connections open now, by ISP policy.", "connections", ("policy",)),
    Declared(
        "sites_backing_off", Kind.GAUGE, "Sites slowed down now, by ISP policy.", "sites_backing_off", ("policy",)
    ),
    Declared("queue_messages", Kind.GAUGE, "Messages accepted and not settled for every recipient.", "live"),
    Declared("in_flight_attempts", Kind.GAUGE, "Attempts that a session holds now.", "in_flight"),
    Declared(
        "queue_late",
        Kind.GAUGE,
        "Of what is queued, those that wait for longer than the lane promises (one for each recipient domain of a "
        "message); 0 without a promise.",
        "late",
    ),
    Declared(
        "oldest_undelivered_age_seconds",
        Kind.GAUGE,
        "Age of the oldest message in the queue; 0 if none.",
        "oldest_age_s",
    ),
    Declared(
        "oldest_untried_age_seconds",
        Kind.GAUGE,
        "Age of the oldest message that was not attempted yet; 0 if none, or while the slot is not to send.",
        "untried_age_s",
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
    Declared(
        "contained_faults",
        Kind.COUNTER,
        "Exceptions of ours that one peer or client met and that ended its business alone, by where; the log has each.",
        "contained",
        ("where",),
    ),
    Declared("active_bytes", Kind.GAUGE, "Bytes of message bodies held in memory.", "active_bytes"),
    Declared(
        "spool_commit_seconds",
        Kind.SUMMARY,
        "Seconds from handing a message to the spool until it was durable.",
        "commit_s",
    ),
    Declared("egress_proof", Kind.GAUGE, "1 for the state that the egress proof is in.", "egress_state", ("state",)),
    Declared("egress_ptr", Kind.GAUGE, "1 for what DNS says of the address's PTR record.", "egress_ptr", ("finding",)),
    Declared(
        "dns_records_wrong",
        Kind.GAUGE,
        "Records of From domains and return paths that are absent from DNS, or not as they must be.",
        "dns_records_wrong",
        ("purpose",),
    ),
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
        "lane's protection or automation does not allow.",
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
        "acts_observed",
        Kind.GAUGE,
        "What would be stopped or slowed down now if the lane's automation were not Observe, by ISP policy and action.",
        "acts_observed",
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
        "handover_stranded",
        Kind.GAUGE,
        "Those of them that must not leave from this address while no sibling can take them.",
        "handover_stranded",
    ),
    Declared(
        "handover_in_doubt",
        Kind.GAUGE,
        "Transfers whose sibling has not said yet what it has of them; nobody else sends that mail.",
        "handover_in_doubt",
    ),
    Declared(
        "handover_in_doubt_age_seconds",
        Kind.GAUGE,
        "Age of the oldest of them; minutes mean that a sibling is gone.",
        "handover_in_doubt_s",
    ),
    Declared(
        "handover_owed",
        Kind.GAUGE,
        "Transfers from sibling slots that may still ask about them; a slot that is drained waits for 0.",
        "handover_owed",
    ),
    Declared(
        "quarantine_unrelieved",
        Kind.GAUGE,
        "Sites that refuse this slot's address, to which no standby slot can send in its place now.",
        "quarantine_unrelieved",
    ),
    Declared(
        "standby", Kind.GAUGE, "1 if the slot takes no submissions: its address is kept known to the ISPs.", "standby"
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
        "broken_tasks",
        Kind.COUNTER,
        "Turns that a task for evidence, lists or figures broke off by a fault; it begins again, and mail goes on.",
        "broken_tasks",
        ("task",),
    ),
    Declared(
        "feedback_reports",
        Kind.COUNTER,
        "Mail that came back, by what it was: bounce, delay, success, complaint, unsubscribe, not-spam, automatic, "
        "not-understood, unauthenticated for a complaint of nobody whom a policy names, or unproved where no token of "
        "ours was in it.",
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
    Declared("feedback_waiting", Kind.GAUGE, "Mail that came back and waits to be read.", "feedback_waiting"),
    Declared(
        "complaints",
        Kind.COUNTER,
        "Complaints about mail of ours, by ISP policy; beside attempts with result delivered they give the rate.",
        "complaints",
        ("policy",),
    ),
    Declared(
        "complaints_unauthenticated",
        Kind.COUNTER,
        "Complaints about mail of ours that no reporter whom the ISP's policy names is proved to have sent, each once.",
        "complaints_unauthenticated",
        ("policy",),
    ),
    Declared(
        "complaint_threshold",
        Kind.GAUGE,
        "Complaints by delivered mail at which to warn, act and stop, as configured.",
        "complaint_thresholds",
        ("level",),
    ),
    Declared(
        "complaint_level",
        Kind.GAUGE,
        "How high the complaint rate is by ISP policy, as far as proved: 0 below warn, 1, 2 from act, 3 from stop.",
        "complaint_levels",
        ("policy",),
    ),
    Declared(
        "suppressions", Kind.GAUGE, "Words on the suppression list, those that count no more as well.", "suppressions"
    ),
    Declared(
        "suppressions_added", Kind.COUNTER, "Addresses suppressed by what came back.", "suppressions_added", ("reason",)
    ),
    Declared("suppressions_limit", Kind.GAUGE, "Words that the suppression list may have.", "suppressions_limit"),
    Declared(
        "suppressions_displaced",
        Kind.COUNTER,
        "Hard bounces that still counted and went from a full suppression list for newer words.",
        "suppressions_displaced",
    ),
    Declared(
        "suppressions_held_back",
        Kind.COUNTER,
        "Hard bounces that do not count, by the policy of the site that was not believed.",
        "suppressions_held_back",
        ("policy",),
    ),
    Declared(
        "suppressions_doubted",
        Kind.GAUGE,
        "Sites by policy that say of far more mailboxes than usual that they do not exist, and are not believed.",
        "suppressions_doubted",
        ("policy",),
    ),
    Declared(
        "suppressions_left_out",
        Kind.COUNTER,
        "Words for which a full suppression list had no room; their reports are on record all the same.",
        "suppressions_left_out",
        ("reason",),
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
    Declared(
        "webhook_refused",
        Kind.COUNTER,
        "Bounces given up since their webhook refused them for a day.",
        "webhook_refused",
    ),
)
