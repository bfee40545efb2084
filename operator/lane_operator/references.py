"""Reads what a lane names and we watch, in one place: objects of the cache as frozen values.

First step of a reconciliation. Invariant: what is absent is a value (None), never an error.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from lane_api.classes import TrafficClass
from lane_api.ippool import AddressStatus, Engine, IPPoolSpec, IPPoolStatus, PoolAddress
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import LaneStatus
from lane_api.names import LANE_LABEL, QUEUE_FINALIZER, ZONE_LABEL
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.cache import Cache
from lane_operator.desired import config_name, heads_name
from lane_operator.indexes import (
    LANES_BY_DOMAIN,
    LANES_BY_ORGANIZATION,
    LANES_BY_POOL,
    POOLS_BY_ADDRESS,
    POOLS_BY_ENGINE,
    POOLS_BY_NETWORK,
    POOLS_BY_NODE,
    address_value,
    networks_listed,
)
from lane_operator.inputs import (
    Key,
    Lane,
    LaneDomains,
    LaneSenders,
    Manifest,
    NodeFacts,
    Policy,
    Pool,
)
from lane_operator.kube import (
    CONFIG_MAP,
    IP_POOL,
    ISP_POLICY,
    NETWORK_ATTACHMENT,
    NODE,
    POD,
    SECRET,
    SENDING_LANE,
    STATEFUL_SET,
    VOLUME_CLAIM,
)
from lane_operator.marks import key_of, part_of, slot_of
from lane_operator.organizations import from_domains, organization_of, seen_domains

__all__ = [
    "UnreadableError",
    "configs_of",
    "copies_of",
    "heads_of",
    "lane_of",
    "lanes_beside",
    "lanes_of_pool",
    "multus_network",
    "neighbours_of",
    "networks_of",
    "node_of",
    "nodes_of",
    "others_of",
    "pods_of",
    "policies_of",
    "policy_of",
    "pool_if_readable",
    "pool_of",
    "pools_beside",
    "pools_near",
    "pools_sharing_networks",
    "pools_with_network",
    "records_of",
    "status_of",
    "volumes_of",
    "workloads_of",
]

COPIES_TOLD = 5
NEIGHBOURS = 32
NEIGHBOURS_SENDERS = 512
"""In all: each lane's senders stand in the configurations of all its neighbours, which are written anew with them."""
SPECS_KEPT = 8192
OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
_NO_STATUS = LaneStatus()
V = TypeVar("V")
M = TypeVar("M", bound=BaseModel)


class _Kept(Generic[V]):
    """What was made of each object, by its uid, as long as its version is the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, V]] = {}

    def of(self, uid: str, version: object, make: Callable[[], V]) -> V:
        """The value; made anew where the version is another. What `make` raises is not kept."""
        known = self._known.get(uid)
        if known is not None and known[0] == version:
            return known[1]
        value = make()
        if len(self._known) >= SPECS_KEPT:
            self._known.clear()
        self._known[uid] = (version, value)
        return value


_specs: _Kept[SendingLaneSpec] = _Kept()
"""By generation: an allocation reads every lane of its pool."""
_pools: _Kept[Pool] = _Kept()
_records: _Kept[Mapping[str, tuple[AddressStatus, ...]]] = _Kept()
"""What each lane holds: each pass over a lane asks."""
_policies: _Kept[Policy] = _Kept()
"""Each lane reads all that are for it."""


class UnreadableError(Exception):
    """An object that our models do not accept, though the API server did: the message names the fields."""


def lane_of(body: Manifest, *, read_status: bool = True) -> Lane:
    """A SendingLane of the API as a value, without its status where nobody asks for it; raises UnreadableError."""
    metadata = body["metadata"]
    spec = _specs.of(metadata["uid"], metadata["generation"], partial(_spec, SendingLaneSpec, body))
    return Lane(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=spec,
        status=status_of(LaneStatus, body) if read_status else _NO_STATUS,
        annotations=metadata.get("annotations") or {},
        deleting_since=metadata.get("deletionTimestamp"),
    )


def pool_of(body: Manifest) -> Pool:
    """An IPPool of the API as a value; raises UnreadableError."""
    metadata = body["metadata"]
    return _pools.of(metadata["uid"], metadata["resourceVersion"], partial(_pool, body))


def _pool(body: Manifest) -> Pool:
    metadata = body["metadata"]
    return Pool(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        spec=_spec(IPPoolSpec, body),
        status=status_of(IPPoolStatus, body),
        deleting="deletionTimestamp" in metadata,
    )


def records_of(pool: Pool) -> Mapping[str, tuple[AddressStatus, ...]]:
    """What each lane (`namespace/name`) holds by the pool's record."""
    return _records.of(pool.uid, pool.resource_version, partial(_held_by_lane, pool))


def _held_by_lane(pool: Pool) -> Mapping[str, tuple[AddressStatus, ...]]:
    found: dict[str, list[AddressStatus]] = {}
    for row in pool.status.addresses:
        if row.lane and row.released_at is None:
            found.setdefault(row.lane, []).append(row)
    return {lane: tuple(rows) for lane, rows in found.items()}


def pool_if_readable(cache: Cache, key: Key) -> Pool | None:
    """The pool of that name; None where there is none, or one that is broken and says so itself."""
    body = cache.get(IP_POOL.kind, *key)
    try:
        return None if body is None else pool_of(body)
    except UnreadableError:
        return None


def pools_beside(cache: Cache, pool: Pool) -> Iterable[Pool]:
    """The other pools that an address or a node of this one stands in.

    Of one that our models do not accept only the record: what its slots hold is nobody else's.
    """
    rows: list[PoolAddress | AddressStatus] = [*pool.spec.addresses, *pool.status.addresses]
    found = {
        key_of(body): body
        for index, values in (
            (POOLS_BY_ADDRESS, {address_value(ip) for ip in pool.ips}),
            (POOLS_BY_NODE, {row.node for row in rows if row.node}),
        )
        for body in cache.by(index, *sorted(values))
    }
    for key, body in sorted(found.items()):
        if key == pool.key:
            continue
        try:
            yield pool_of(body)
        except UnreadableError:
            yield _record_of(body)


def pools_near(cache: Cache, pool: Pool) -> tuple[Pool, ...]:
    """The pools of other classes with addresses in the networks of this one's, as far as they can be read."""
    body = cache.get(IP_POOL.kind, *pool.key)
    near = pools_sharing_networks(cache, body) if body is not None else ()
    pools = (pool_if_readable(cache, key_of(one)) for one in near)
    return tuple(one for one in pools if one is not None)


def pools_sharing_networks(cache: Cache, pool: Manifest) -> Iterable[Manifest]:
    """The other pools with addresses in the networks of this one's, but those for the very same one class."""
    classes = pool["spec"].get("classes") or ()
    for body in cache.by(POOLS_BY_NETWORK, *sorted(networks_listed(pool))):
        is_alike = len(classes) == 1 and body["spec"].get("classes") == classes
        if body["metadata"].get("uid") != pool["metadata"].get("uid") and not is_alike:
            yield body


def _record_of(body: Manifest) -> Pool:
    """A pool that offers nothing and holds what it holds."""
    metadata = body["metadata"]
    nothing = IPPoolSpec(classes=(TrafficClass.COLD,), engine=Engine.CLUSTER_DEFAULT)
    status = status_of(IPPoolStatus, body)
    version, generation = metadata["resourceVersion"], metadata["generation"]
    return Pool(metadata["namespace"], metadata["name"], metadata["uid"], generation, version, nothing, status)


def policy_of(body: Manifest) -> Policy:
    """An ISPPolicy of the API as a value; raises UnreadableError."""
    metadata = body["metadata"]
    return _policies.of(metadata["uid"], metadata["resourceVersion"], partial(_policy, body))


def _policy(body: Manifest) -> Policy:
    metadata = body["metadata"]
    spec, status = _spec(ISPPolicySpec, body), status_of(ISPPolicyStatus, body)
    return Policy(metadata["namespace"], metadata["name"], metadata["generation"], spec, status)


def policies_of(cache: Cache, lane: Lane, operator_namespace: str) -> tuple[Policy, ...]:
    """The policies for a lane in order of precedence: its namespace's first, higher priority first, then by name."""
    spaces = list(dict.fromkeys((lane.namespace, operator_namespace)))
    found = [policy for space in spaces for policy in _readable_policies(cache, space)]
    return tuple(sorted(found, key=lambda one: (spaces.index(one.namespace), -one.spec.priority, one.name)))


def lanes_of_pool(cache: Cache, pool: Key) -> Iterable[Manifest]:
    """The lanes whose addresses come from a pool."""
    return cache.by(LANES_BY_POOL, pool)


def others_of(cache: Cache, lane: Manifest) -> tuple[LaneDomains, ...]:
    """The lanes of other classes that share a From domain with this one; where it, or the other, is Cold, an
    organizational domain of anything that their mail is seen under.

    The bodies are read as they are: one that is broken shares a domain all the same.
    """
    spec, key = lane["spec"], key_of(lane)
    classes = {str(one) for one in TrafficClass} - {spec.get("trafficClass", "")}
    organizations = {organization_of(domain) for domain in seen_domains(spec)}
    cold = classes if spec.get("trafficClass") == TrafficClass.COLD else {str(TrafficClass.COLD)} & classes
    bodies = (
        *cache.by(LANES_BY_DOMAIN, *((domain, one) for domain in from_domains(spec) for one in sorted(classes))),
        *cache.by(LANES_BY_ORGANIZATION, *((domain, one) for domain in sorted(organizations) for one in sorted(cold))),
    )
    found = {key_of(body): body for body in bodies}
    return tuple(
        LaneDomains(
            key=other,
            traffic_class=body["spec"].get("trafficClass", ""),
            domains=from_domains(body["spec"]),
            seen=seen_domains(body["spec"]),
        )
        for other, body in sorted(found.items())
        if other != key
    )


def lanes_beside(cache: Cache, namespace: str) -> Iterable[Manifest]:
    """The lanes of a namespace that name one another's senders, or did before one more came; none of too many."""
    few = cache.count(SENDING_LANE.kind, namespace) <= NEIGHBOURS + 2
    return cache.all(SENDING_LANE.kind, namespace) if few else ()


def neighbours_of(cache: Cache, lane: Lane) -> tuple[LaneSenders, ...]:
    """What the other lanes of the namespace send as; nothing where they are more than a configuration should carry."""
    found = []
    for body in cache.all(SENDING_LANE.kind, lane.namespace):
        senders = (body["spec"].get("submission") or {}).get("senders") or ()
        if body["metadata"]["name"] != lane.name:
            found.append(LaneSenders(body["metadata"]["name"], tuple(senders)))
        if len(found) > NEIGHBOURS or sum(len(one.senders) for one in found) > NEIGHBOURS_SENDERS:
            return ()
    return tuple(found)


class _Nodes(Mapping[str, NodeFacts]):
    """Each node is read when somebody asks for it, and once: a pass over a lane asks for few of thousands."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._read: dict[str, NodeFacts] = {}

    def __getitem__(self, name: str) -> NodeFacts:
        if name not in self._read:
            body = self._cache.get(NODE.kind, None, name)
            if body is None:
                raise KeyError(name)
            self._read[name] = node_of(body)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return (body["metadata"]["name"] for body in self._cache.all(NODE.kind))

    def __len__(self) -> int:
        return self._cache.count(NODE.kind)


def nodes_of(cache: Cache) -> Mapping[str, NodeFacts]:
    """What the engines need to know of each node."""
    return _Nodes(cache)


def configs_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's config Secrets by slot, where we may see them."""
    children = cache.children(lane.key).items()
    secrets = {name: child for (kind, name), child in children if kind == SECRET.kind}
    slots = {slot: config_name(slot) for child in secrets.values() if (slot := slot_of(child))}
    return {slot: secrets[name] for slot, name in slots.items() if name in secrets}


def workloads_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's StatefulSets by slot."""
    return _of_slots(cache, lane, STATEFUL_SET.kind)


def heads_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The ConfigMaps with signed heads of the lane's records by slot, of those that go, too."""
    maps = {name: child for (kind, name), child in cache.children(lane.key).items() if kind == CONFIG_MAP.kind}
    slots = {slot for child in maps.values() if (slot := slot_of(child))}
    return {slot: maps[heads_name(slot)] for slot in slots if heads_name(slot) in maps}


def pods_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's pods by slot, but for those that end."""
    pods = _of_slots(cache, lane, POD.kind)
    return {slot: pod for slot, pod in pods.items() if not pod["metadata"].get("deletionTimestamp")}


def networks_of(cache: Cache, lane: Lane) -> dict[str, dict[str, Manifest]]:
    """The networks that were made for the lane's slots, by slot and name."""
    found: dict[str, dict[str, Manifest]] = {}
    for (kind, name), child in cache.children(lane.key).items():
        if kind == NETWORK_ATTACHMENT.kind and (slot := slot_of(child)):
            found.setdefault(slot, {})[name] = child
    return found


def volumes_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's volume claims by slot."""
    return _of_slots(cache, lane, VOLUME_CLAIM.kind)


def _of_slots(cache: Cache, lane: Lane, wanted: str) -> dict[str, Manifest]:
    children = cache.children(lane.key).items()
    return {slot: child for (kind, _), child in children if kind == wanted and (slot := part_of(child))}


def copies_of(cache: Cache, lane: Lane) -> str:
    """Objects that carry a slot's labels beside its own, in words that name the fix; empty where there are none."""
    kinds = {STATEFUL_SET.kind, VOLUME_CLAIM.kind, POD.kind}
    found = [
        f"{kind} {name} (of {slot_of(child)})"
        for (kind, name), child in sorted(cache.children(lane.key).items())
        if kind in kinds and slot_of(child) and not part_of(child)
    ]
    if not found:
        return ""
    more = f" and {len(found) - COPIES_TOLD} more" if len(found) > COPIES_TOLD else ""
    return (
        f"{', '.join(found[:COPIES_TOLD])}{more}: labelled as a part of a slot, and not by the name of one, so that "
        f"nothing is done with it; take the label {LANE_LABEL} off, and of a claim the finalizer {QUEUE_FINALIZER}"
    )


def multus_network(cache: Cache, pool: Pool | None, kinds: frozenset[str]) -> Manifest | None:
    """The template network that a Multus pool names; None where there is none, or none in a namespace that we watch."""
    if pool is None or pool.spec.engine is not Engine.MULTUS or NETWORK_ATTACHMENT.qualified not in kinds:
        return None
    return cache.get(NETWORK_ATTACHMENT.kind, *_network_key(pool.spec.engine_config.network, pool.namespace))


def pools_with_network(cache: Cache, template: Key) -> Iterable[Key]:
    """The Multus pools that name this template network."""
    for body in cache.by(POOLS_BY_ENGINE, Engine.MULTUS.value):
        named = (body["spec"].get("engineConfig") or {}).get("network")
        if _network_key(named, body["metadata"]["namespace"]) == template:
            yield key_of(body)


def _network_key(named: str | None, namespace: str) -> Key:
    """Namespace and name of a template network as a pool of that namespace spells it."""
    elsewhere, _, name = (named or "").rpartition("/")
    return (elsewhere or namespace, name)


def _readable_policies(cache: Cache, namespace: str) -> Iterable[Policy]:
    for body in cache.all(ISP_POLICY.kind, namespace):
        try:
            yield policy_of(body)
        except UnreadableError:
            continue


def node_of(body: Manifest) -> NodeFacts:
    """What the engines need to know of one node."""
    status = body.get("status") or {}
    addresses = {entry["type"]: entry["address"] for entry in reversed(status.get("addresses") or ())}
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    heard: Manifest = conditions.get("Ready") or {}
    ready, changed = heard.get("status") == "True", str(heard.get("lastTransitionTime") or "")
    return NodeFacts(
        internal_ip=_address(addresses.get("InternalIP", "")),
        zone=str((body["metadata"].get("labels") or {}).get(ZONE_LABEL, "")),
        ready=ready,
        ready_since=changed if ready else "",
        unready_since="" if ready else changed,
        unschedulable=bool(body["spec"].get("unschedulable")),
        out_of_service=any(one.get("key") == OUT_OF_SERVICE_TAINT for one in body["spec"].get("taints") or ()),
    )


def _address(text: str) -> str:
    """What a kubelet calls one and is none is as good as nothing."""
    try:
        ip_address(text)
    except ValueError:
        return ""
    return text


def status_of(model: Any, body: Manifest) -> Any:
    """The status as we wrote it; one that a hand has broken counts as none, and is written anew."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()


def _spec(model: type[M], body: Manifest) -> M:
    """The spec by its model; raises UnreadableError."""
    try:
        return model.model_validate(body["spec"])
    except ValidationError as error:
        raise UnreadableError(faults_of(error)) from error


def faults_of(error: ValidationError) -> str:
    """Which fields are wrong and how, without their values."""
    return "; ".join(
        f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors(include_input=False)
    )[:1024]
