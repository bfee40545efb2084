"""The frozen values that the steps of one reconciliation hand on: references -> desired -> apply -> observe -> status.

Invariant: plain values, no behaviour, and never the content of a Secret but a slot's configuration, which holds none.
All that decides (pools, desired, status, egress, monitoring) reads only these: a test can repeat each decision.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import IPPoolSpec, IPPoolStatus, PoolAddress, Quarantine
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import KeyPhase, LaneStatus, RestartStatus, SlotRole, UpgradeStatus
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.installation import DesiredSettings, ForcedDelivery, NetworkPolicies
from lane_operator.seen import Observation, SlotObservation

__all__ = [
    "CLUSTER_SCOPED_CHILDREN",
    "Assignment",
    "Claim",
    "Demand",
    "Desired",
    "DesiredSettings",
    "DkimKey",
    "ForcedDelivery",
    "Handed",
    "Holding",
    "Key",
    "KeyTurn",
    "Lane",
    "LaneDomains",
    "LaneSenders",
    "Manifest",
    "NetworkPolicies",
    "NodeFacts",
    "Observation",
    "Policy",
    "Pool",
    "References",
    "Refusal",
    "SecretFacts",
    "Sharer",
    "SlotObservation",
]

Manifest = dict[str, Any]
"""One Kubernetes object as it is applied: only the fields that we own."""
CLUSTER_SCOPED_CHILDREN = frozenset({"CiliumEgressGatewayPolicy"})
"""Kinds of children that are in no namespace: a label says the lane's, and no owner takes them along."""
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One SendingLane as the API server has it."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: SendingLaneSpec
    status: LaneStatus = field(default_factory=LaneStatus)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting_since: str | None = None
    """Its deletionTimestamp."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    @property
    def tls_secret(self) -> str | None:
        """The Secret with the certificate that clients see; None where slots make their own."""
        tls = self.spec.submission.tls
        return f"{self.name}-tls" if tls.issuer_ref is not None else tls.secret_name

    @property
    def deletes_claims(self) -> bool:
        """A slot's claim goes with it: never without an archive, since it has the only copy of the slot's records."""
        return self.spec.queue.reclaim_policy == "Delete" and self.spec.audit.archive is not None

    @property
    def pool_key(self) -> Key:
        """The pool that its addresses come from."""
        return (self.spec.pool_ref.namespace or self.namespace, self.spec.pool_ref.name)


@dataclass(frozen=True, slots=True)
class Pool:
    """One IPPool as the API server has it."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    spec: IPPoolSpec
    status: IPPoolStatus = field(default_factory=IPPoolStatus)
    deleting: bool = False
    """It is to go: it keeps what it has given, and gives nothing new."""

    @property
    def namespaces(self) -> frozenset[str]:
        """Those whose lanes may draw from it."""
        return frozenset({self.namespace, *self.spec.allowed_namespaces.names})

    def is_open_to(self, lane: Lane) -> bool:
        """Whether this lane may draw from it."""
        return lane.namespace in self.namespaces and lane.spec.traffic_class in self.spec.classes

    @property
    def ips(self) -> frozenset[str]:
        """Every address that it lists or has a record of."""
        return frozenset(
            {ip for row in self.spec.addresses for ip in row.ips} | {row.ip for row in self.status.addresses}
        )

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Policy:
    """One ISPPolicy as the API server has it."""

    namespace: str
    name: str
    generation: int
    spec: ISPPolicySpec
    status: ISPPolicyStatus = field(default_factory=ISPPolicyStatus)


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """What may be known of a Secret outside the pod that mounts it: never its content."""

    name: str
    keys: frozenset[str]
    digest: str
    """Over names and content; tells that it changed, not what it holds."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """The signing key of one domain, by reference."""

    selector: str
    secret_name: str
    secret_key: str
    """Entry of the Secret that holds the private key in PEM."""
    public_record: str
    """The TXT record to publish, as one string; empty while the key cannot be read."""
    second: "DkimKey | None" = None
    """The Ed25519 key that signs beside it."""
    place: int = 1
    """Which of the two places of its Secret it has."""
    turn: "KeyTurn | None" = None
    """Of the key that signs: the rotation that it is part of; None where keys are not rotated."""


@dataclass(frozen=True, slots=True)
class KeyTurn:
    """Where the rotation of a domain's keys stands."""

    phase: KeyPhase = KeyPhase.STABLE
    ends: dt.datetime | None = None
    """When the time of this phase is over."""
    following: DkimKey | None = None
    """The key that signs next."""
    before: DkimKey | None = None
    """The key that signed before."""
    retired: str = ""
    """Selector of the last key that was forgotten."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the engines need to know of a node."""

    internal_ip: str
    zone: str = ""
    """What it is labelled with; empty: nothing."""
    ready: bool = True
    unschedulable: bool = False
    ready_since: str = ""
    """When it became so."""
    unready_since: str = ""
    """When it fell silent; empty: it is ready, or nobody says."""
    out_of_service: bool = False
    """A person says that it runs nothing any more (the taint `node.kubernetes.io/out-of-service`)."""


@dataclass(frozen=True, slots=True)
class LaneSenders:
    """What another lane of the namespace sends as."""

    name: str
    senders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sharer:
    """Another lane of the namespace that shares the suppression list."""

    name: str
    slots: tuple[tuple[str, int | None], ...] = ()
    """Each slot's name, and the first port of its block where it has one."""


@dataclass(frozen=True, slots=True)
class LaneDomains:
    """What another lane, of another class, sends from."""

    key: Key
    traffic_class: str
    domains: tuple[str, ...]
    """From domains."""
    seen: tuple[str, ...] = ()
    """Everything that its mail is seen under: those, return paths, the host of its unsubscribe links."""


@dataclass(frozen=True, slots=True)
class Handed:
    """The configuration that a slot's relay is handed in our visits, and the serial that it reported last."""

    digest: str = ""
    serial: int = 0
    reported: int = 0
    spool_id: str = ""
    spool_mark: int | None = None
    """How far its spool had come when it was seen last; None: not seen, or by a relay that does not say."""
    head: str = ""
    """The newest signed head of its records, as it said."""


@dataclass(frozen=True, slots=True)
class References:
    """Everything that a lane names, as read in one place; what is absent is None or missing here, never an error."""

    pool: Pool | None = None
    policies: tuple[Policy, ...] = ()
    """In order of precedence: the lane's namespace before the operator's, higher priority first, then by name."""
    secrets: Mapping[str, SecretFacts | None] = field(default_factory=dict)
    """Of the lane's namespace, for every name in `desired.secret_needs(lane, pool)`; None: absent."""
    dkim: Mapping[str, DkimKey] = field(default_factory=dict)
    """By From domain; a domain that signs and is missing here has no readable key yet."""
    kinds: frozenset[str] = frozenset()
    """API kinds that the cluster serves, such as `PodMonitor.monitoring.coreos.com`."""
    withheld: frozenset[str] = frozenset()
    """Kinds that the chart's values give the operator no rights to, whether the cluster serves them or not."""
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)
    multus_network: Manifest | None = None
    """The template NetworkAttachmentDefinition that a Multus pool names."""
    configs: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> the Secret with its configuration as it stands; it holds paths, and nothing secret."""
    volumes: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> its volume claim as it stands."""
    workloads: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> its StatefulSet as it stands."""
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> its pod; missing while there is none, or one that ends."""
    networks: Mapping[str, Mapping[str, Manifest]] = field(default_factory=dict)
    """Slot name -> its own NetworkAttachmentDefinitions as they stand, by name."""
    certificate: Manifest | None = None
    """The lane's Certificate as it stands."""
    dns_endpoint: Manifest | None = None
    """Its DNSEndpoint as it stands."""
    publishable: tuple[str, ...] | None = None
    """Domains of which, and of all below, the namespace may have records published; None, or `*` in it: every name."""
    heads: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> the ConfigMap with signed heads of its records as it stands."""
    handed: Mapping[str, Handed] = field(default_factory=dict)
    """By slot name, of those that are visited."""
    read_at: int = 0
    """When all this was read, in Unix seconds: the least serial of a new content."""
    others: tuple[LaneDomains, ...] = ()
    """Lanes of other classes that share a domain with it; where one of the two is Cold, an organizational domain."""
    neighbours: tuple[LaneSenders, ...] = ()
    """Other lanes of the namespace, for what a foreign sender is told; none where there are too many to tell."""
    forced_delivery: ForcedDelivery | None = None
    sharers: tuple[Sharer, ...] = ()
    """Lanes that share the suppression list; none unless the lane's scope is Namespace."""

    def delivery_mode(self, lane: Lane) -> tuple[str, str]:
        """The mode in force and its address: what is forced wins over what the lane says, but over Discard."""
        own, forced = lane.spec.delivery, self.forced_delivery
        if forced is None or own.mode == "Discard":
            return own.mode, own.to or ""
        return forced.mode, forced.to


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something that the lane or pool asks for is not done, in words that name the fix."""

    reason: Reason
    """The reason of Stalled once it is one."""
    message: str
    waiting: Reason | None = None
    """Reason of Reconciling as long as there is hope, by `status.patience`: what is absent may come, what says no may
    change in the same sync (then it is `reason` itself). None: Stalled at once."""
    spare: bool = False
    """The lane serves as it did: only standby slots, a volume that is to grow, or an entry of `isps` that lies over
    nothing lack what they are to have."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one lane asks of its pool.

    `retained` are the slots that exist and so hold their claim whatever the spec says: their StatefulSet is there, or
    their queue volume still carries the queue finalizer. A lane that is gone while volumes of it are kept is a demand
    with replicas 0.
    """

    namespace: str
    name: str
    traffic_class: TrafficClass
    pool: Key
    replicas: int
    standby: int = 0
    """Standby slots."""
    retained: frozenset[int] = frozenset()
    found: Mapping[int, str] = field(default_factory=dict)
    """Slot index -> pool address annotated on its StatefulSet or volume: rebuilds a lost pool status."""
    vouched: frozenset[int] = frozenset()
    """Those of which something that no user writes says so too."""
    blocks: Mapping[int, int] = field(default_factory=dict)
    """Slot index -> first port of the block that its workload uses, with HostNetwork; rebuilds it likewise."""
    held: bool = False
    """The drain policy is Hold: slots that are to go keep their mail where it is."""
    deleting: bool = False
    withheld: frozenset[int] = frozenset()
    """Slots that are given nothing: their volume keeps mail that another class or pool is to send."""
    objection: Refusal | None = None
    """What is said of those."""
    reserving: bool = False
    """What a lane that is gone has left behind: it keeps its addresses, and nobody is handed them."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """An address that the objects of a slot name, whatever has become of the pool that it came from."""

    address: str
    pool: Key
    """The pool that they name."""
    namespace: str
    vouched: bool = False
    """Something that no user writes says so too; else anybody could keep addresses from others by a label."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One slot and the address that is its own."""

    slot_index: int
    slot_name: str
    address: PoolAddress | None
    """None with engine ClusterDefault."""
    role: SlotRole
    port_block: int | None
    """HostNetwork: the first of the slot's 8 ports."""
    pool: Key
    found: bool = False
    """Read back from the slot's own objects, since no pool assigns it now: its workload is left as it is."""
    quarantine: Quarantine | None = None
    """Why mail does not leave from its address."""
    stands_in_for: tuple[str, ...] = ()
    """The slots whose mail it sends, since their addresses must not."""
    replaces: bool = False
    """One of those takes no mail at all: this slot does in its place."""
    moves: bool = False
    """Its node is to be emptied: it takes mail, and its siblings get all that it has."""
    hands_over: bool = False
    """It restarts soon: it takes no mail until then, and its siblings get all that it has."""

    @property
    def takes_mail(self) -> bool:
        """Clients hand their mail in here."""
        return self.role is SlotRole.ACTIVE or (self.role is SlotRole.PROMOTED and self.replaces)

    @property
    def intake_is_closed(self) -> bool:
        """It takes nothing, not from its siblings either."""
        return self.role.is_going or self.role is SlotRole.QUARANTINED or self.hands_over

    @property
    def is_closed_by_order(self) -> bool:
        """Its intake stays closed over restarts, until an order opens it."""
        return self.intake_is_closed and not self.hands_over


@dataclass(frozen=True, slots=True)
class Assignment:
    """The claims of one lane, by slot index; `refusal` says why there are fewer than asked for."""

    claims: tuple[Claim, ...] = ()
    refusal: Refusal | None = None
    lacking: tuple[str, ...] = ()
    """Active slots that are asked for, and have nothing to send from."""

    @property
    def draws(self) -> bool:
        """The pool gives it something; a claim that is found says only what somebody's objects say."""
        return any(not claim.found for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Desired:
    """The children as they are to be."""

    manifests: tuple[Manifest, ...] = ()
    left_out: tuple[str, ...] = ()
    """Kinds that the lane asks for and the cluster does not serve."""
    volume_sizes: Mapping[str, str] = field(default_factory=dict)
    """Slot name -> what its volume has, as its claim spells it; missing while it is bound to none."""
    unfenced: str = ""
    """Why a part of the spec that a NetworkPolicy is to enforce keeps nobody out, with the fix."""
    foreign: str = ""
    """What is not ours and stands in the place of a child, or is labelled as one, with the fix."""
    unpublishable: str = ""
    """Names of which external-dns is not asked for records, though the lane asks for it, with the fix."""
    refusals: tuple[Refusal, ...] = ()
    complete: bool = True
    """False: an input was missing, so what is not listed here may still be wanted; nothing is pruned."""
    config_digests: Mapping[str, str] = field(default_factory=dict)
    """Slot name -> digest of its relay.yaml but for the serial: tells when there is something to push."""
    config_serials: Mapping[str, int] = field(default_factory=dict)
    """Slot name -> serial of its relay.yaml."""
    upgrade: UpgradeStatus | None = None
    """How far the slots' images are on their way."""
    restart: RestartStatus | None = None
    """Which slot hands its mail over before it restarts."""
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Slots on nodes that are to be emptied, and when the turn of each began."""
    left: frozenset[str] = frozenset()
    """Slots whose workload is left as it is, since nobody can say now what it is to be."""
    outlived: frozenset[tuple[str, str]] = frozenset()
    """Kind and name of what a slot's pod had before, and neither it nor the next one asks for."""
