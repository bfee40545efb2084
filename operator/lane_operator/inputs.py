"""The frozen values that the steps of one reconciliation hand on: references -> desired -> apply -> observe -> status.

Invariant: plain values, no behaviour, and never the content of a Secret but a slot's configuration, which holds none.
Everything that decides (pools, desired,
status, egress, monitoring) reads only these, so each decision can be repeated from what a test writes down.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import IPPoolSpec, IPPoolStatus, PoolAddress, Quarantine
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import LaneStatus, SlotRole
from lane_api.sendinglane import SendingLaneSpec

__all__ = [
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


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the engines need to know of a node."""

    internal_ip: str
    ready: bool = True
    unschedulable: bool = False


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
class ForcedDelivery:
    """The mode that the installation forces on every lane."""

    mode: str
    """Redirect or Discard."""
    to: str = ""


@dataclass(frozen=True, slots=True)
class LaneDomains:
    """What another lane sends from."""

    key: Key
    traffic_class: str
    domains: tuple[str, ...]


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
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)
    multus_network: Manifest | None = None
    """The template NetworkAttachmentDefinition that a Multus pool names."""
    configs: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> the Secret with its configuration as it stands; it holds paths, and nothing secret."""
    volumes: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> its volume claim as it stands."""
    heads: Mapping[str, Manifest] = field(default_factory=dict)
    """Slot name -> the ConfigMap with signed heads of its records as it stands."""
    handed: Mapping[str, Handed] = field(default_factory=dict)
    """By slot name, of those that are visited."""
    read_at: int = 0
    """When all this was read, in Unix seconds: the least serial of a new content."""
    others: tuple[LaneDomains, ...] = ()
    """Every other lane of the cluster; read for Cold lanes only, which share a domain with nobody."""
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

    @property
    def takes_mail(self) -> bool:
        """Clients hand their mail in here."""
        return self.role is SlotRole.ACTIVE or (self.role is SlotRole.PROMOTED and self.replaces)

    @property
    def intake_is_closed(self) -> bool:
        """It takes nothing, not from its siblings either."""
        return self.role.is_going or self.role is SlotRole.QUARANTINED


@dataclass(frozen=True, slots=True)
class Assignment:
    """The claims of one lane, by slot index; `refusal` says why there are fewer than asked for."""

    claims: tuple[Claim, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class NetworkPolicies:
    """What an installation adds to every lane's NetworkPolicy."""

    closed: tuple[str, ...] = ()
    """Networks of pods and nodes: no mail goes there, only to what a lane names."""
    metrics_from: tuple[str, ...] = ()
    """Namespaces that scrape; empty: everybody may."""


@dataclass(frozen=True, slots=True)
class DesiredSettings:
    """What an installation decides for all lanes."""

    relay_image: str
    resolver_image: str
    operator_namespace: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    monitoring_labels: Mapping[str, str] = field(default_factory=dict)
    """Extra labels of PodMonitor and PrometheusRule, such as `release: kube-prometheus-stack`."""
    forced_delivery: ForcedDelivery | None = None
    network_policies: NetworkPolicies | None = field(default_factory=NetworkPolicies)
    """None: lanes get none."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The children as they are to be."""

    manifests: tuple[Manifest, ...] = ()
    left_out: tuple[str, ...] = ()
    """Kinds that the lane asks for and the cluster does not serve."""
    unfenced: str = ""
    """Why a part of the spec that a NetworkPolicy is to enforce keeps nobody out, with the fix."""
    refusals: tuple[Refusal, ...] = ()
    complete: bool = True
    """False: an input was missing, so what is not listed here may still be wanted; nothing is pruned."""
    config_digests: Mapping[str, str] = field(default_factory=dict)
    """Slot name -> digest of its relay.yaml but for the serial: tells when there is something to push."""
    config_serials: Mapping[str, int] = field(default_factory=dict)
    """Slot name -> serial of its relay.yaml."""
    left: frozenset[str] = frozenset()
    """Slots whose workload is left as it is, since nobody can say now what it is to be."""


@dataclass(frozen=True, slots=True)
class SlotObservation:
    """One slot as last seen: its pod in the cache, and its answer to `GET /v1/slot`."""

    name: str
    pod_ready: bool = False
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
    proof_message: str = ""
    proof_at: str | None = None
    stopped: bool = False
    """Stopped on purpose, with its last word kept: `queued` is what its volume holds, and nobody is to answer."""
    queued: int = 0
    oldest_since: str | None = None
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
    stranded: bool = False
    """Some mail must not leave from its address, and no other slot can take it."""
    restored: str = ""
    """Why the mail that its volume brought is held, since the volume may be an older copy; empty: it is not."""
    orders: tuple[str, ...] = ()
    """What persons have ordered that some of its mail waits for, in words."""

    def owed_to_others_than(self, empty: Collection[str]) -> tuple[str, ...]:
        """Who may still ask it what became of a transfer, in words; slots that were stopped empty never will."""
        return tuple(text for slot, text in self.owed.items() if slot not in empty)

    @property
    def may_send(self) -> bool:
        """Its egress is proved, or there is nothing to prove."""
        return self.proof_state in {"Proved", "ProofStale", "NotNeeded"}

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
