"""What the operator says of a lane: its slots as last seen, its domains, its conditions."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lane_api.conditions import Condition
from lane_api.model import ApiModel, list_map
from lane_api.pod import FreeForm

__all__ = ["DkimStatus", "DomainStatus", "Ed25519Status", "LaneStatus", "SlotRole", "SlotStatus"]


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
    """A standby slot that sends what an active slot's address must not."""
    QUARANTINED = "Quarantined"
    """Takes none and sends none: its address is quarantined; the lane's others have its mail."""

    @property
    def is_going(self) -> bool:
        """The slot is to go."""
        return self in (SlotRole.DRAINING, SlotRole.HELD)


class SlotStatus(ApiModel):
    """One slot, as last seen."""

    name: str
    """Of the slot, its StatefulSet and, behind `queue-`, its volume claim: LANE-0, LANE-1, …, in standby LANE-s0,
    LANE-s1, …"""
    ip: str = ""
    """The address the world sees; `shared` with engine ClusterDefault."""
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
    waiting_since: str | None = None
    """Since when it has not served as asked (RFC 3339, UTC), and nothing else is waited for before it; absent while it
    serves. Ten minutes of it are Stalled."""
    queued: int = 0
    """Messages, rounded to two significant digits."""
    oldest_since: str | None = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
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


class DomainStatus(ApiModel):
    """One From domain."""

    name: str
    """As in the spec."""
    dkim: DkimStatus = DkimStatus()


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
    oldest_since: str | None = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
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
    effective: FreeForm = {}
    """What the spec comes to with the class's defaults (`pod` is the class's, also beside `spec.pod.resources`), and
    what the pool's engine cannot do."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
    """Ready, and why not; Reconciling, Stalled, Draining and Suspended stand here only while they are true."""
