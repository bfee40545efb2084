"""What `/v1/slot`, `/v1/sites` and `/v1/replies` answer, as models. Before: `slot_requests`. After: the document.

The operator makes a lane's status of the report: fields are only ever added, and may be absent while the spool is
being recovered where they have a default here. Invariant: tests hold the reports of running relays against these.
"""

from typing import Literal

from pydantic import Field, JsonValue

from lane_api.dnsrecords import RecordFinding, RecordPurpose
from lane_api.reverse import PtrFinding
from lane_api.selector import SelectorFinding
from lane_relay.api.operation import AnswerModel, Name
from lane_relay.deliver.pacing import Limit
from lane_relay.egress.proof import ProofState

__all__ = ["ConfigInForce", "IntakeOrder", "IntakeState", "Replies", "Sites", "SlotReport"]

State = Literal["Open", "Closed"]


class Act(AnswerModel):
    """One thing that a reply rule stops or slows down."""

    action: str
    site: str
    """`*`: all of them."""
    domain: str | None = None
    """From domain that it is about; absent: all."""
    since: str
    until: str
    rule: str
    reply: str
    sample: str
    """The reply without the numbers, addresses, hosts and ids in it."""


class IntakeReport(AnswerModel):
    """Whether mail is taken."""

    state: State
    ready: bool
    """It can accept durably, as `/readyz` says."""
    sessions: int
    """SMTP sessions open and HTTP requests in work."""
    ordered: State | None = None
    """What a restart would read as the order."""


class Proof(AnswerModel):
    """Of the address that mail leaves from; of two of what is worse off."""

    state: ProofState
    open: bool
    """Mail leaves, from one of them at least."""
    message: str
    address: str
    seen: str
    at: str | None


class PtrReport(AnswerModel):
    """What DNS says of the address's own name."""

    finding: PtrFinding
    message: str
    """What is so, and which record to set to what."""
    names: list[str]
    """That its PTR records hold."""
    at: str | None
    """Of the last answer; an outage of DNS is none."""


class DeliveryReport(AnswerModel):
    """Whether mail may leave."""

    state: str
    restored: str | None = None
    """Why the mail of a volume that may be an older copy is held; empty: it is not."""
    orders: list[str] | None = None
    """What persons have ordered that mail waits for now, in words; GET /v1/actions has all that stands."""
    proof: Proof | None = None
    ptr: PtrReport | None = None
    """Absent where it is not looked up."""
    acts: list[Act] | None = None
    slowed: list[Act] | None = None
    """Sites that are slowed down as a whole; such a one is held down until then, and climbs back by steps."""
    observed: list[Act] | None = None
    """What would be in force where the lane's automation is Observe."""


class QueueReport(AnswerModel):
    """What waits."""

    live: int
    """Messages."""
    in_flight: int
    """Attempts."""
    oldest_since: str | None
    bytes: int
    disk_bytes: int
    """What the spool takes of its volume, with what it has not given back yet."""
    budget_bytes: int
    """What it may take."""
    behind: bool
    """Mail waits longer for its first attempt than it is to be delivered in (`slo.latency`)."""


class SpoolReport(AnswerModel):
    """Which volume this is, and how far its deliveries go."""

    id: str
    mark: int


class SecondKey(AnswerModel):
    """A domain's key for which no mail waits, such as its Ed25519 key."""

    selector: str
    published: bool
    dns: SelectorFinding
    message: str


class NextKey(SecondKey):
    """The key that is to sign after the present one."""

    ed25519: SecondKey | None = Field(alias="ed25519")


class RecordReport(AnswerModel):
    """What DNS says of one record that mail from a domain is judged by."""

    purpose: RecordPurpose
    name: str
    finding: RecordFinding
    message: str
    """What is so; of SPF for the address that mail leaves from."""
    found: str
    """The first 256 characters of it; of MX records the hosts, with preference."""
    at: str | None
    """Of the last answer; an outage of DNS is none."""


class DomainReport(AnswerModel):
    """One signing domain."""

    name: str
    selector: str
    published: bool
    dns: SelectorFinding
    message: str
    ed25519: SecondKey | None = Field(alias="ed25519")
    next: NextKey | None = None
    records: list[RecordReport] | None = None
    """SPF and MX of the return path, DMARC; MTA-STS and TLS-RPT where they are published."""


class ArchiveReport(AnswerModel):
    """How far records are archived; empty without an archive."""

    target: str | None = None
    archived_seq: int | None = None
    archived_head: int | None = None
    last_head: int | None = None
    lag_seconds: float | None = None
    failure: str | None = None


class WebhookReport(AnswerModel):
    """How far the webhook's receiver has records; empty without one."""

    url: str | None = None
    sent_seq: int | None = None
    unsent: int | None = None
    """Records that it does not have yet; what left the volume before is none."""
    failure: str | None = None
    never_sent: JsonValue = None


class RecordsReport(AnswerModel):
    """How far records are proven; empty while the journal is being opened."""

    last_seq: int | None = None
    sealed_seq: int | None = None
    failure: str | None = None
    dropped: dict[str, int] | None = None
    """By reason."""
    lost: int | None = None
    public_key: str | None = None
    head: str | None = None
    archive: ArchiveReport | None = None
    webhook: WebhookReport | None = None


class CertificateReport(AnswerModel):
    """Whose certificate clients see."""

    self_signed: bool
    not_after: str | None


class WarmUp(AnswerModel):
    """Where the address stands with one ISP; `amount` is null where it is warm."""

    isp: str
    step: int
    amount: int | None
    used: int
    since: str | None
    delivered: int
    deferred: int
    bounced: int
    reason: str


class SiblingDoubt(AnswerModel):
    """What is in doubt with one sibling; more than a few minutes of it want a person."""

    slot: str
    transfers: int
    entries: int
    since: str | None
    """Of the oldest transfer."""
    reason: str
    """Why the sibling does not answer."""
    overdue: bool
    """For five minutes now: a sibling that only restarts answers sooner."""


class SiblingOwed(AnswerModel):
    """What one sibling gave here and may still ask about; a slot that goes waits until it does not need it any more."""

    slot: str
    transfers: int
    since: str | None
    """Of the oldest transfer."""
    reason: str
    """Why the sibling has not said that they are over, or empty."""


class HandoverReport(AnswerModel):
    """What goes to siblings."""

    waiting: int
    """Entries."""
    stranded: int
    """Those of them that must not leave from here while no sibling can take them."""
    in_doubt: int
    """Transfers."""
    doubts: list[SiblingDoubt]
    """The same by sibling."""
    owed: list[SiblingOwed]
    """Answers that siblings may still need, by sibling."""


class FeedbackReport(AnswerModel):
    """What of feedback is still to be told."""

    unsent: int
    """Bounces that their webhook does not have yet."""
    failure: str
    """Why, or empty."""


class ListReport(AnswerModel):
    """Who else has the suppression list."""

    words: int
    read_by: list[str]
    """Siblings that have every word, but for what other slots that are still there have themselves."""
    archived: bool
    """Every word is in the archive, where a slot puts them once it is drained."""
    failure: str
    """Why not, or empty."""
    doubted: list[str]
    """Sites that say of far more mailboxes than usual that they do not exist: their hard bounces are held back."""


class RecentReport(AnswerModel):
    """The last five minutes' attempts, or those since the process began if that is sooner."""

    seconds: float
    """How long these figures are of."""
    delivered: int
    """Recipients."""
    failed: int
    """Attempts that ended in waiting, and recipients given up for another reason than their own mailbox or domain."""
    p90: float | None
    """Seconds within which nine of ten were delivered, as the upper edge of the histogram's bucket; null: none was."""


class HourReport(AnswerModel):
    """The last hour, or the time since the process began if that is less."""

    delivered: int
    """Recipients."""
    deferred: int
    """Attempts that ended in waiting: a recipient may be in it many times."""
    bounced: int
    """Recipients given up, those that expired among them."""


class SlotReport(AnswerModel):
    """One slot; what has a default is absent while the spool is being recovered, or where it is not in use."""

    slot: str
    lane: str
    generation: int
    """Of the configuration in force."""
    serial: int
    """Of its content."""
    refused: str
    """Why the newest configuration is not in force; empty: it is."""
    intake: IntakeReport
    delivery: DeliveryReport
    domains: list[DomainReport]
    records: RecordsReport
    certificate: CertificateReport
    spool_id: str | None = None
    spool: SpoolReport | None = None
    queue: QueueReport | None = None
    last_hour: HourReport | None = None
    recent: RecentReport | None = None
    """Null in a process's first seconds, too."""
    warmup: list[WarmUp] | None = None
    handover: HandoverReport | None = None
    feedback: FeedbackReport | None = None
    suppressions: ListReport | None = None


class Site(AnswerModel):
    """One bucket of limits: what waits, what is open, what holds it now."""

    site: str
    policy: str
    waiting: int
    oldest_since: str | None
    connections: int
    connection_limit: int
    messages_per_second: float | None
    backed_off: str
    """The reply that caused the back-off, or empty."""
    held_by: Limit
    detail: str
    last_failure: str
    attempts: int
    delivered: int
    acts: list[Act]


class Sites(AnswerModel):
    """Those with the most mail first."""

    total: int
    sites: list[Site]
    next: int | None
    """`first` of the next page; null: this is the last one."""


class ReplySampleReport(AnswerModel):
    """One reply, numbers and addresses masked, with a rule to begin with."""

    site: str
    policy: str
    stage: str
    reply: str
    count: int
    first_seen: str
    last_seen: str
    judged_by: str
    category: str
    action: str
    suggested: JsonValue


class Replies(AnswerModel):
    """Replies that no rule of a policy was for, the most frequent first."""

    replies: list[ReplySampleReport]
    counts: dict[str, int]
    """By policy."""
    dropped: int
    skipped: int


class IntakeState(AnswerModel):
    """Whether mail is taken: as ordered, and as it is in force."""

    state: State


class IntakeOrder(IntakeState):
    """Whether mail is to be taken."""

    owner: Name
    """Who says so."""
    reason: Name


class ConfigInForce(AnswerModel):
    """Which configuration is in force."""

    generation: int
    serial: int
    """Of its content; 0 where nobody numbers contents."""
    refused: str
    """Why a newer one is not; empty: none was refused."""
