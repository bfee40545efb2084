"""What the operator says of a lane: its slots as last seen, its domains, its conditions."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from lane_api.conditions import Condition
from lane_api.dnsrecords import RecordPurpose
from lane_api.model import ApiModel, list_map
from lane_api.moment import Moment, OptionalMoment
from lane_api.pod import FreeForm

__all__ = [
    "AttemptFigures",
    "DkimStatus",
    "DnsRecord",
    "DomainStatus",
    "DrainStatus",
    "Ed25519Status",
    "HourFigures",
    "KeyPhase",
    "KeyStatus",
    "LaneStatus",
    "RestartStatus",
    "SlotImages",
    "SlotRole",
    "SlotStatus",
    "SlotWarmUp",
    "UpgradePhase",
    "UpgradeStatus",
]


class SlotRole(StrEnum):
    """What a slot does at present."""

    ACTIVE = "Active"
    """Takes mail and sends it."""
    DRAINING = "Draining"
    """Takes none, sends what it has, and goes when it is empty."""
    HELD = "Held"
    """Takes none and sends none, by drain.policy Hold."""
    STANDBY = "Standby"
    """Takes no submissions and sends a small part of the lane's mail, so that its address stays known."""
    PROMOTED = "Promoted"
    """A standby slot that sends what an active slot's address must not, or takes mail until a new slot is as good."""
    QUARANTINED = "Quarantined"
    """Takes none and sends none: its address is quarantined; the lane's others have its mail."""

    @property
    def is_going(self) -> bool:
        """The slot is to go."""
        return self in (SlotRole.DRAINING, SlotRole.HELD)


class SlotWarmUp(ApiModel):
    """How far the slot's address is in warming up."""

    step: int = 0
    """Of the ISP at which it is least far, from 0, among those that it has sent to and is not warm for."""
    isp: str = ""
    """Which one: an ISPPolicy, or `other`."""


class SlotStatus(ApiModel):
    """One slot, as last seen."""

    name: str
    """Of the slot, its StatefulSet and, behind `queue-`, its volume claim: LANE-0, LANE-1, …, in standby LANE-s0,
    LANE-s1, …"""
    ip: str = ""
    """The address the world sees; `shared` with engine ClusterDefault."""
    second: str = ""
    """The one of the other family beside it; empty where it has none."""
    hostname: str = ""
    """HELO name; empty with engine ClusterDefault."""
    role: SlotRole = SlotRole.ACTIVE
    """What it does at present."""
    ready: bool = False
    """Its pod is Ready; one that takes no submissions is not."""
    egress_verified: bool = False
    """Mail may leave: its address is proved, or shared with nothing to prove."""
    message: str = ""
    """Why it is not ready or not verified, what its address is refused for, or for whom it stands in."""
    waiting_since: OptionalMoment = None
    """Since when it has not served as asked (RFC 3339, UTC), and nothing else is waited for before it; absent while it
    serves. Ten minutes of it are Stalled."""
    leaving_since: OptionalMoment = None
    """Since when it is its turn to leave its node, which is to be emptied (RFC 3339, UTC); absent: it is not."""
    queued: int = 0
    """Messages, rounded to two significant digits."""
    oldest_since: OptionalMoment = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
    warmup: SlotWarmUp | None = None
    """Absent: its address is warm for all ISPs that it has sent to, or has sent to none yet."""
    volume: str = ""
    """Size of its volume; below `effective.queue.size` while that grows. Empty while its claim is not bound."""
    config_generation: int = 0
    """The lane's generation that its relay runs on; a newer one is on its way, or was refused."""


class Ed25519Status(ApiModel):
    """The Ed25519 key that signs beside the RSA one."""

    record_name: str = ""
    """Where to publish it."""
    record: str = ""
    """The TXT record to publish; until then the domain's mail is signed with RSA alone."""
    published: bool = False
    """DNS answers the name with this key, as every slot that looked says."""


class KeyPhase(StrEnum):
    """Where the rotation of a domain's keys stands."""

    STABLE = "Stable"
    """One key signs, and there is no other."""
    PUBLISHING = "Publishing"
    """The next key is made; not every slot has found its record in DNS."""
    PROPAGATING = "Propagating"
    """DNS answers the next key, and it signs when `propagation` is over."""
    RETIRING = "Retiring"
    """The next key signs; the record of the one before stays for `retire`."""


class KeyStatus(ApiModel):
    """A key that does not sign: the next one, or the one before."""

    selector: str = ""
    """Made with the key."""
    record_name: str = ""
    """Where its record is: SELECTOR._domainkey.DOMAIN."""
    record: str = ""
    """The TXT record, in one string."""
    published: bool = False
    """Of the next key: DNS answers the name with it, as every slot says that was asked to look."""
    ed25519: Ed25519Status | None = None
    """The Ed25519 key beside it; absent where there is none."""


class DkimStatus(ApiModel):
    """The DKIM key of one domain."""

    mode: str = "Sign"
    """Sign or Off, as the spec says; all else is empty with Off, and before there is a key."""
    selector: str = ""
    """The one given, or made with the key."""
    record_name: str = ""
    """Where to publish it: SELECTOR._domainkey.DOMAIN."""
    record: str = ""
    """The TXT record to publish, in one string; split it at 255 characters where your DNS host asks for it."""
    published: bool = False
    """DNS answers the name with this key, as every slot that looked says; until then the domain's mail waits."""
    secret_name: str = ""
    """Secret with the private key, in the lane's namespace."""
    ed25519: Ed25519Status | None = None
    """The second key; absent where none signs."""
    phase: KeyPhase | None = None
    """Where the rotation of its keys stands; absent where no key is rotated."""
    until: OptionalMoment = None
    """When the time of this phase is over (RFC 3339, UTC): the next key is made, signs, or the one before is forgotten,
    as soon as DNS answers what it must. Absent where time alone ends nothing."""
    next: KeyStatus | None = None
    """The key that signs next; publish its record."""
    previous: KeyStatus | None = None
    """The key that signed before; leave its record in DNS."""
    retired: str = ""
    """Name of the last record that may be taken out of DNS, and of the one beside it, SELECTOR-ed25519."""


class DnsRecord(ApiModel):
    """One record that mail from the domain is judged by, as DNS answers it; its keys are beside, in `dkim`."""

    purpose: RecordPurpose
    """SPF and MX of a return path that is rewritten, DMARC; MTA-STS and TLS-RPT of that return path where published."""
    name: str = ""
    """Where it is to be."""
    type: str = ""
    """TXT or MX."""
    wanted: str = ""
    """What to publish there; empty where it is as it must be, or yours to choose."""
    found: str = ""
    """What DNS answers, the first 256 characters; empty: nothing. Of several MX their hosts, with preference."""
    ok: bool | None = None
    """It is as it must be: of SPF, it lets each slot's address send. Absent: nobody can say."""


class DomainStatus(ApiModel):
    """One From domain."""

    name: str
    """As in the spec."""
    dkim: DkimStatus = DkimStatus()
    records: Annotated[
        tuple[DnsRecord, ...],
        Field(json_schema_extra=list_map("purpose")),
    ] = ()
    """What else mail from it is judged by, looked up by each slot: hourly while it is right, else each minute."""


class UpgradePhase(StrEnum):
    """How far an upgrade of the slots' images is."""

    WAITING = "Waiting"
    """As many other lanes as may are upgraded now."""
    ROLLING = "Rolling"
    """One slot restarts with the new images."""
    WATCHED = "Watched"
    """It serves; the next one follows if it does no worse than the others, and than before."""
    DONE = "Done"
    """Every slot has them."""
    ROLLED_BACK = "RolledBack"
    """A slot did worse: all have the previous images again, and keep them until others are named."""


class SlotImages(ApiModel):
    """The images of a slot."""

    relay: str = ""
    """Of its relay."""
    resolver: str = ""
    """Of its resolver; empty where it has none."""


class AttemptFigures(ApiModel):
    """What slots' attempts came to, over some minutes."""

    attempts: int = 0
    """Deliveries and failures."""
    failed: int = 0
    """Those that ended in waiting, or for another reason than the recipient's own."""
    p90_milliseconds: int = 0
    """Nine of ten were delivered within so long; of several slots the longest."""


class UpgradeStatus(ApiModel):
    """The last upgrade of the slots' images, or the one that is under way."""

    phase: UpgradePhase = UpgradePhase.WAITING
    images: SlotImages = SlotImages()
    """What the slots are to have."""
    previous: SlotImages = SlotImages()
    """What they had before, and go back to."""
    slot: str = ""
    """The one that restarts, or is watched; while Waiting, one that could not be given its images."""
    since: Moment = ""
    """Since when it does (RFC 3339, UTC)."""
    before: AttemptFigures = AttemptFigures()
    """What the lane's slots did in the minutes before it began."""
    message: str = ""
    """Why it was rolled back."""


class RestartStatus(ApiModel):
    """The slot that restarts next, because its pod is to be another, and what it does before."""

    slot: str = ""
    """The one whose turn it is."""
    since: OptionalMoment = None
    """Since when it takes no mail and hands over what it has (RFC 3339, UTC); absent while it waits for the others to
    serve, and when it has handed over."""
    handed_over: bool = False
    """It has handed over what it could, and restarts."""


class DrainStatus(ApiModel):
    """How far the slots are whose mail is to leave them: those that go, restart, or whose node is to be emptied."""

    slots: tuple[str, ...] = ()
    """Those that still have to; one that has stopped, with its mail or without, is in it no more."""
    queued: int = 0
    """Messages in them, rounded to two significant digits."""
    oldest_since: str | None = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
    per_hour: int = 0
    """Messages an hour that leave them, by the last minutes; 0 as well in the first half minute."""
    ends_at: str | None = None
    """When they are empty if it goes on so (RFC 3339, UTC, to the minute); absent where nobody can say."""
    measured: int = 0
    """Messages in them at `measuredAt`: the rate is from there."""
    measured_at: str = ""
    """RFC 3339, UTC."""


class HourFigures(ApiModel):
    """What became of the lane's mail in the last hour, or since its slots' processes began; each rounded."""

    delivered: int = 0
    """Recipients."""
    deferred: int = 0
    """Attempts that ended in waiting: a recipient may be in it many times."""
    bounced: int = 0
    """Recipients given up, those that expired among them."""


class LaneStatus(ApiModel):
    """What the lane is."""

    observed_generation: int = -1
    """The `metadata.generation` that this status is about; -1: none yet."""
    replicas: int = 0
    """Slots that there are, also those that drain or are held; not those in standby."""
    selector: str = ""
    """Labels of the slots' pods, for the scale subresource."""
    queued: int = 0
    """Messages in all slots, rounded to two significant digits."""
    oldest_since: OptionalMoment = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
    last_hour: HourFigures | None = None
    """Of all slots; absent where none says."""
    ips: str = ""
    """Of all slots, for the printer column, which shows one value only."""
    slots: Annotated[
        tuple[SlotStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    """Each slot, as last seen."""
    domains: Annotated[
        tuple[DomainStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    """The From domains, each with the record to publish."""
    upgrade: Annotated[UpgradeStatus | None, AfterValidator(lambda one: one if one and one.since else None)] = None
    """The last upgrade of the slots' images; absent where there was none since the lane was made."""
    restart: RestartStatus | None = None
    """The slot whose pod is to be another, from when it is to hand its mail over; absent while none is."""
    drain: DrainStatus | None = None
    """What is left in slots whose mail is to leave them, and when they will be empty; absent while there are none."""
    effective: FreeForm = {}
    """What the spec comes to with its defaults and its class's, the delivery mode that the installation forces
    (`delivery`), and what the pool's engine cannot do (`egress`)."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
    """Ready, and why not; Reconciling, Stalled, Draining and Suspended stand here only while they are true."""
