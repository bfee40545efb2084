"""What was seen of a lane's slots: each pod in the cache, and its relay's answer to `GET /v1/slot`; frozen, no I/O.

Part of the values of `inputs`, which names them for all who read them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lane_api.ippool import Quarantine

__all__ = ["ActSeen", "Hour", "NextKeySeen", "Observation", "Recent", "RecordSeen", "SlotObservation", "WarmUpSeen"]


@dataclass(frozen=True, slots=True)
class Recent:
    """What became of a slot's attempts in the last minutes, or since its process began."""

    seconds: float = 0.0
    delivered: int = 0
    failed: int = 0
    p90: float | None = None
    """Seconds within which nine of ten were delivered; None: none was."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What became of mail in the last hour."""

    delivered: int = 0
    """Recipients."""
    deferred: int = 0
    """Attempts."""
    bounced: int = 0
    """Recipients, those that expired among them."""


@dataclass(frozen=True, slots=True)
class WarmUpSeen:
    """Where a slot's address stands with the ISP at which it is least far in warming up."""

    step: int
    isp: str
    since: str | None = None
    """When that step's time began; a step that is not left begins anew."""


@dataclass(frozen=True, slots=True)
class NextKeySeen:
    """What a slot's DNS says of the key that a domain is to sign with next."""

    selector: str
    published: bool
    finding: str
    """A SelectorFinding."""
    message: str = ""
    """The relay's words for it."""
    ed25519: bool = False
    """DNS answers the Ed25519 key beside it too."""


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """What a slot's DNS says of one record that mail from a domain is judged by."""

    purpose: str
    """A RecordPurpose."""
    name: str
    finding: str
    """A RecordFinding; of SPF for the slot's own address."""
    message: str = ""
    """The relay's words for it."""
    found: str = ""
    """The beginning of the record."""


@dataclass(frozen=True, slots=True)
class ActSeen:
    """What a reply rule or a complaint rate stops or slows down in a slot; times are RFC 3339, UTC."""

    action: str
    """An Action."""
    site: str
    """Empty: every ISP."""
    domain: str
    """The From domain whose mail it is about; empty: all mail."""
    rule: str
    since: str
    until: str
    """Its end, or a little after it; empty: it climbs back step by step."""
    sample: str = ""
    """The reply without the numbers, addresses, hosts and ids in it; empty: a relay of an older image, or none."""

    @property
    def about(self) -> str:
        """What it is about, in words."""
        site = self.site or "every ISP"
        return f"mail from {self.domain} to {site}" if self.domain else site


@dataclass(frozen=True, slots=True)
class SlotObservation:
    """One slot as last seen: its pod in the cache, and its answer to `GET /v1/slot`."""

    name: str
    pod_ready: bool = False
    ready_since: str = ""
    """Since when, by the kubelet; empty: it is not ready, or nobody has said."""
    unready_since: str = ""
    """Since when it is not, by the kubelet or the node's lifecycle; empty: it is ready, or has no pod."""
    pod_reason: str = ""
    """Why the pod is not ready, as the kubelet or the scheduler says it."""
    node: str = ""
    rolling: bool = False
    """Its workload is not yet of the template that it is to have: its pod restarts, or will."""
    rolls_later: bool = False
    """It waits for its turn: one slot of a lane restarts at a time."""
    reachable: bool = False
    """False: it did not answer, and every field below is what it said last, or nothing."""
    is_asked: bool = True
    """False: nobody asks it, for want of what it is to be told; it may well serve."""
    is_fresh: bool = True
    """False: the last visit had no answer in time; too little to call it silent, too much to act on for good."""
    config_generation: int = 0
    config_serial: int | None = None
    """None: a relay of an older image, which does not say."""
    config_refused: str = ""
    proof_state: str = ""
    """Proved, Unproved, Mismatch, PortBlocked, ProofStale or NotNeeded."""
    gate_open: bool | None = None
    """Mail may leave, from one of its addresses at least; None: a relay of an older image, which does not say."""
    proof_message: str = ""
    proof_at: str | None = None
    proof_address: str = ""
    """Which address that is about; empty: it has not said yet, or has none of its own."""
    warmup: WarmUpSeen | None = None
    """None: warm for all ISPs that it has sent to, or nothing sent yet."""
    ptr_finding: str = ""
    """A PtrFinding; empty: nobody looks, or a relay of an older image, which does not say."""
    ptr_message: str = ""
    """What is so, and which record to set to what."""
    stopped: bool = False
    """Stopped on purpose, with its last word kept: `queued` is what its volume holds, and nobody is to answer."""
    queued: int = 0
    oldest_since: str | None = None
    disk_used: int | None = None
    """Percent of what its queue may take of the volume, in steps of five; None: a relay of an older image."""
    is_behind: bool = False
    """Mail waits longer for its first attempt than it is to be delivered in."""
    sessions: int = 0
    in_flight: int = 0
    intake: str = ""
    intake_ordered: str = ""
    """The order that its spool keeps over restarts: Open or Closed."""
    process: str = ""
    """The container that said so: uid of its pod, and how often it had been restarted."""
    spool_id: str = ""
    spool_mark: int | None = None
    """How far that spool has come, at most an hour ago; None: a relay of an older image, which does not say."""
    pvc_uid: str = ""
    domains_published: Mapping[str, bool] = field(default_factory=dict)
    domains_dns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Of each domain a SelectorFinding, and the relay's words for it."""
    domains_ed25519: Mapping[str, bool] = field(default_factory=dict)
    """Of each domain with an Ed25519 key, whether DNS answers it."""
    domains_selectors: Mapping[str, str] = field(default_factory=dict)
    """Of each domain, the selector that the slot signs with."""
    domains_next: Mapping[str, NextKeySeen] = field(default_factory=dict)
    """Of each domain with a next key."""
    domains_records: Mapping[str, tuple[RecordSeen, ...]] = field(default_factory=dict)
    """Of each domain what else of it is in DNS; none of a relay of an older image, or before it has looked."""
    certificate_self_signed: bool | None = None
    unarchived: int | None = None
    """Records that the slot's archive does not have yet; None: it has no archive, or does not say."""
    archive_failure: str = ""
    untold: int = 0
    """Records and bounces that their webhooks do not have yet."""
    webhook_failure: str = ""
    """Why, or empty."""
    suppressed: int | None = None
    """Words of its suppression list; None: a relay of an older image, which does not say."""
    list_read_by: tuple[str, ...] = ()
    """The lane's other slots that have every one of them."""
    list_archived: bool = False
    """The slot's archive has every one of them."""
    list_failure: str = ""
    """Why the archive has not, or empty."""
    head: str = ""
    """The newest signed head of its records, a line of JSON."""
    sealing_failure: str = ""
    """Why its records are not sealed."""
    doubts: tuple[str, ...] = ()
    """Mail of which it has not been known for minutes whether another slot has it, in words, one for each slot."""
    owed: Mapping[str, str] = field(default_factory=dict)
    """What other slots gave it and may still ask about, in words, by slot."""
    quarantines: tuple[Quarantine, ...] = ()
    """What its address was refused for, one for each ISP; `isps` is empty where it is about all."""
    acts: tuple[ActSeen, ...] = ()
    """What is stopped or slowed down for what ISPs said, all mail before that of one domain, then the oldest first."""
    observed: tuple[str, ...] = ()
    """What would be stopped or slowed down where the lane's automation is Observe, in words, the newest first."""
    stranded: bool = False
    """Some mail must not leave from its address, and no other slot can take it."""
    restored: str = ""
    """Why the mail that its volume brought is held, since the volume may be an older copy; empty: it is not."""
    orders: tuple[str, ...] = ()
    """What persons have ordered that some of its mail waits for, in words."""
    last_hour: Hour | None = None
    """None: a relay of an older image, which does not say."""
    recent: Recent | None = None
    """None: a process that has just begun, or a relay of an older image, which does not say."""

    def owed_to_others_than(self, empty: Collection[str]) -> tuple[str, ...]:
        """Who may still ask it what became of a transfer, in words; slots that were stopped empty never will."""
        return tuple(text for slot, text in self.owed.items() if slot not in empty)

    @property
    def is_alive(self) -> bool:
        """It serves or answers, so that its volume is not lost."""
        return self.pod_ready or self.reachable

    @property
    def is_verified(self) -> bool:
        """All its addresses are proved, or there is nothing to prove."""
        return self.proof_state in {"Proved", "ProofStale", "NotNeeded"}

    @property
    def may_send(self) -> bool:
        """Mail leaves from one of its addresses at least."""
        return self.is_verified if self.gate_open is None else self.gate_open

    def list_is_with(self, slots: Collection[str]) -> bool:
        """Whether one of these slots has every word of its suppression list, if it has any and says so."""
        return self.suppressed == 0 or (self.suppressed is not None and any(one in slots for one in self.list_read_by))


@dataclass(frozen=True, slots=True)
class Observation:
    """The slots of one lane as last seen."""

    slots: tuple[SlotObservation, ...] = ()

    def slot(self, name: str) -> SlotObservation | None:
        """The slot of that name, if it was looked at."""
        return next((slot for slot in self.slots if slot.name == name), None)
