"""Reads everything that a lane names, in one place: objects of the cache as frozen values, the rest by name.

First step of a reconciliation. Invariant: what is absent is a value (None), never an error; an error here means that
the API server did not answer, and the pass is tried again.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import Engine, IPPoolSpec, IPPoolStatus
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import LaneStatus
from lane_api.names import (
    ADDRESS_ANNOTATION,
    CLASS_LABEL,
    LANE_LABEL,
    POOL_ANNOTATION,
    QUEUE_FINALIZER,
    RELEASE_ANNOTATION,
    RELEASE_KEEP_VOLUMES,
    SLOT_LABEL,
    slot_index,
)
from lane_api.queue import DrainPolicy
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.cache import Cache
from lane_operator.desired import config_name, heads_name
from lane_operator.errors import ForbiddenError
from lane_operator.inputs import (
    Demand,
    Holding,
    Key,
    Lane,
    LaneDomains,
    LaneSenders,
    Manifest,
    NodeFacts,
    Policy,
    Pool,
    Refusal,
)
from lane_operator.kube import (
    CONFIG_MAP,
    IP_POOL,
    ISP_POLICY,
    NETWORK_ATTACHMENT,
    NODE,
    PERSISTENT_VOLUME,
    SECRET,
    SENDING_LANE,
    STATEFUL_SET,
    VOLUME_CLAIM,
    Kube,
)
from lane_operator.pools import port_block_of

__all__ = [
    "NAMESPACE_LABEL",
    "UnreadableError",
    "configs_of",
    "demands_of",
    "heads_of",
    "holdings_of",
    "lane_of",
    "lanes_of_pool",
    "multus_network",
    "neighbours_of",
    "node_of",
    "nodes_of",
    "others_of",
    "policies_of",
    "policy_of",
    "pool_if_readable",
    "pool_named",
    "pool_of",
    "pools_of",
    "status_of",
    "volumes_of",
    "workloads_of",
]

NAMESPACE_LABEL = "lanewright.dev/namespace"
"""On a PersistentVolume kept beyond its namespace."""


NEIGHBOURS = 32
NEIGHBOURS_SENDERS = 512
"""In all: each lane's senders stand in the configurations of all its neighbours, which are written anew with them."""
SPECS_KEPT = 8192
_specs: dict[str, tuple[int, SendingLaneSpec]] = {}
"""uid -> generation and spec: an allocation reads every lane of its pool, and a spec is one value a generation."""
_pools: dict[str, Pool] = {}
"""uid -> the pool at its resourceVersion: an allocation reads every pool."""


class UnreadableError(Exception):
    """An object that our models do not accept, though the API server did: the message names the fields."""


def lane_of(body: Manifest) -> Lane:
    """A SendingLane of the API as a value; raises UnreadableError."""
    metadata = body["metadata"]
    known = _specs.get(metadata["uid"])
    if known is None or known[0] != metadata["generation"]:
        try:
            known = (metadata["generation"], SendingLaneSpec.model_validate(body["spec"]))
        except ValidationError as error:
            raise UnreadableError(_fields(error)) from error
        if len(_specs) >= SPECS_KEPT:
            _specs.clear()
        _specs[metadata["uid"]] = known
    return Lane(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=known[0],
        spec=known[1],
        status=status_of(LaneStatus, body),
        annotations=metadata.get("annotations") or {},
        deleting_since=metadata.get("deletionTimestamp"),
    )


def pool_of(body: Manifest) -> Pool:
    """An IPPool of the API as a value; raises UnreadableError."""
    metadata = body["metadata"]
    known = _pools.get(metadata["uid"])
    if known is not None and known.resource_version == metadata["resourceVersion"]:
        return known
    try:
        spec = IPPoolSpec.model_validate(body["spec"])
    except ValidationError as error:
        raise UnreadableError(_fields(error)) from error
    if len(_pools) >= SPECS_KEPT:
        _pools.clear()
    pool = _pools[metadata["uid"]] = Pool(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        spec=spec,
        status=status_of(IPPoolStatus, body),
        deleting="deletionTimestamp" in metadata,
    )
    return pool


def pool_if_readable(cache: Cache, key: Key) -> Pool | None:
    """The pool of that name; None where there is none, or one that is broken and says so itself."""
    body = cache.get(IP_POOL.kind, *key)
    try:
        return None if body is None else pool_of(body)
    except UnreadableError:
        return None


def pools_of(cache: Cache) -> Iterable[Pool]:
    """Every pool; of one that our models do not accept only the record: what its slots hold is nobody else's."""
    for body in cache.all(IP_POOL.kind):
        try:
            yield pool_of(body)
        except UnreadableError:
            yield _record_of(body)


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
    try:
        spec = ISPPolicySpec.model_validate(body["spec"])
    except ValidationError as error:
        raise UnreadableError(_fields(error)) from error
    return Policy(
        metadata["namespace"], metadata["name"], metadata["generation"], spec, status_of(ISPPolicyStatus, body)
    )


def policies_of(cache: Cache, lane: Lane, operator_namespace: str) -> tuple[Policy, ...]:
    """The policies for a lane in order of precedence: its namespace's first, higher priority first, then by name."""
    spaces = list(dict.fromkeys((lane.namespace, operator_namespace)))
    found = [policy for space in spaces for policy in _readable_policies(cache, space)]
    return tuple(sorted(found, key=lambda one: (spaces.index(one.namespace), -one.spec.priority, one.name)))


def lanes_of_pool(cache: Cache, pool: Key) -> Iterable[Manifest]:
    """The lanes whose addresses come from a pool."""
    return (body for body in cache.all(SENDING_LANE.kind) if pool_named(body) == pool)


def demands_of(cache: Cache, pool: Key) -> tuple[Demand, ...]:
    """What is asked of a pool: by its lanes, and by what lanes that are gone, or were others, have left behind."""
    demands = []
    for body in lanes_of_pool(cache, pool):
        try:
            demands.append(_lane_demand(cache, lane_of(body)))
        except UnreadableError:  # its own pass says what is wrong with it; its slots run on, and hold what they hold
            key = (body["metadata"]["namespace"], body["metadata"]["name"])
            demands.append(_left_demand(key, pool, _parts_of(cache, key)))
    kept: dict[tuple[Key, str], list[Manifest]] = {}
    kinds = (STATEFUL_SET.kind, VOLUME_CLAIM.kind, PERSISTENT_VOLUME.kind)
    for body in (one for kind in kinds for one in cache.all(kind)):
        lane = _lane_key(body)
        if lane is None or not _is_kept(body) or _pool_key(body) != pool:
            continue
        alive = cache.get(SENDING_LANE.kind, *lane)
        if alive is None or _is_stray(cache, body, pool_named(alive), alive["spec"].get("trafficClass", "")):
            kept.setdefault((lane, _class_label(body)), []).append(body)
    demands.extend(_left_demand(lane, pool, bodies) for (lane, _), bodies in sorted(kept.items()))
    return tuple(demands)


def holdings_of(cache: Cache) -> tuple[Holding, ...]:
    """The addresses that workloads and kept volumes of every lane carry, also of lanes and pools that are gone."""
    said = {
        (body["metadata"]["namespace"], slot.get("name"), slot.get("ip"))
        for body in cache.all(SENDING_LANE.kind)
        for slot in (body.get("status") or {}).get("slots") or ()
    }
    claims = (body for body in cache.all(VOLUME_CLAIM.kind) if _is_kept(body))
    found = set()
    for body in (*cache.all(STATEFUL_SET.kind), *claims, *cache.all(PERSISTENT_VOLUME.kind)):
        lane, pool, address = _lane_key(body), _pool_key(body), _address(body)
        if lane is None or pool is None or not address:
            continue
        slot = _slot(body)
        # only the operator writes a lane's status, and only an administrator a PersistentVolume
        vouched = body["kind"] == PERSISTENT_VOLUME.kind or (lane[0], slot, address) in said
        found.add(Holding(address, pool, lane[0], vouched))
    return tuple(sorted(found))


def others_of(cache: Cache, lane: Lane) -> tuple[LaneDomains, ...]:
    """What the other lanes send from; asked for by Cold lanes only, so the bodies are read as they are."""
    if lane.spec.traffic_class is not TrafficClass.COLD:
        return ()
    return tuple(
        LaneDomains(
            key=(body["metadata"]["namespace"], body["metadata"]["name"]),
            traffic_class=body["spec"].get("trafficClass", ""),
            domains=tuple(domain.get("name", "") for domain in body["spec"].get("domains") or ()),
        )
        for body in cache.all(SENDING_LANE.kind)
        if (body["metadata"]["namespace"], body["metadata"]["name"]) != lane.key
    )


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


def nodes_of(cache: Cache) -> dict[str, NodeFacts]:
    """What the engines need to know of each node."""
    return {body["metadata"]["name"]: node_of(body) for body in cache.all(NODE.kind)}


def configs_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's config Secrets by slot, where we may see them."""
    children = cache.children(lane.key).items()
    secrets = {name: child for (kind, name), child in children if kind == SECRET.kind}
    slots = {slot: config_name(slot) for child in secrets.values() if (slot := _slot(child))}
    return {slot: secrets[name] for slot, name in slots.items() if name in secrets}


def workloads_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's StatefulSets by slot."""
    children = cache.children(lane.key).items()
    return {slot: child for (kind, _), child in children if kind == STATEFUL_SET.kind and (slot := _slot(child))}


def heads_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The ConfigMaps with signed heads of the lane's records by slot, of those that go, too."""
    maps = {name: child for (kind, name), child in cache.children(lane.key).items() if kind == CONFIG_MAP.kind}
    slots = {slot for child in maps.values() if (slot := _slot(child))}
    return {slot: maps[heads_name(slot)] for slot in slots if heads_name(slot) in maps}


def volumes_of(cache: Cache, lane: Lane) -> dict[str, Manifest]:
    """The lane's volume claims by slot."""
    children = cache.children(lane.key).items()
    return {slot: child for (kind, _), child in children if kind == VOLUME_CLAIM.kind and (slot := _slot(child))}


async def multus_network(kube: Kube, pool: Pool | None, kinds: frozenset[str]) -> Manifest | None:
    """The template network that a Multus pool names; None where there is none. Raises KubeError."""
    if pool is None or pool.spec.engine is not Engine.MULTUS or NETWORK_ATTACHMENT.qualified not in kinds:
        return None
    namespace, _, name = (pool.spec.engine_config.network or "").rpartition("/")
    try:
        return await kube.get(NETWORK_ATTACHMENT, namespace or pool.namespace, name) if name else None
    except ForbiddenError:  # namespaced mode: the engine's refusal names this cause too
        return None


def _readable_policies(cache: Cache, namespace: str) -> Iterable[Policy]:
    for body in cache.all(ISP_POLICY.kind, namespace):
        try:
            yield policy_of(body)
        except UnreadableError:
            continue


def _lane_demand(cache: Cache, lane: Lane) -> Demand:
    """A lane's demand; slots that exist are retained whatever the spec says."""
    retained: set[int] = set()
    found: dict[int, str] = {}
    blocks: dict[int, int] = {}
    strays: dict[int, Manifest] = {}
    for child in _parts_of(cache, lane.key):
        index = _index(child, lane.name)
        if index is None:
            continue
        if _is_stray(cache, child, lane.pool_key, lane.spec.traffic_class):
            strays.setdefault(index, child)
            continue
        retained.add(index)
        address = _address(child)
        if address and _pool_key(child) == lane.pool_key:
            found.setdefault(index, address)
        block = port_block_of(child) if child["kind"] == STATEFUL_SET.kind else None
        if block is not None:
            blocks[index] = block
    return Demand(
        namespace=lane.namespace,
        name=lane.name,
        traffic_class=lane.spec.traffic_class,
        pool=lane.pool_key,
        replicas=0 if lane.deleting_since else lane.spec.replicas,
        standby=0 if lane.deleting_since else lane.spec.standby_replicas,
        retained=frozenset(retained),
        found=found,
        blocks=blocks,
        held=lane.spec.drain.policy is DrainPolicy.HOLD,
        deleting=lane.deleting_since is not None,
        withheld=frozenset(strays.keys() - retained),
        objection=next((_stray(lane, body) for index, body in sorted(strays.items()) if index not in retained), None),
    )


def _is_stray(cache: Cache, body: Manifest, pool: Key, traffic_class: str) -> bool:
    """Whether a volume, of a slot that does not run, keeps what a lane of this pool and class may not send.

    Neither can change while a lane lives: an earlier lane of its name had another one, and mail would change its
    address. What the volume does not say is no objection.
    """
    namespace, _ = _lane_key(body) or ("", "")
    if cache.get(STATEFUL_SET.kind, namespace, _slot(body)) is not None:
        return False
    return (_pool_key(body) or pool) != pool or (_class_label(body) or traffic_class) != traffic_class


def _stray(lane: Lane, body: Manifest) -> Refusal:
    """Why a slot gets nothing while this volume is there."""
    volume = f"{body['kind']} {body['metadata']['name']}"
    pool, traffic_class = _pool_key(body) or lane.pool_key, _class_label(body) or lane.spec.traffic_class
    return Refusal(
        Reason.CLASS_MISMATCH,
        f"{volume} keeps mail of an earlier lane {lane.name}, which was {traffic_class} and drew from IPPool "
        f"{'/'.join(pool)}; slot {_slot(body)} would send it from another address. Make the lane as it was, to have it "
        f"sent; or give this one another name; or, to send it as {lane.spec.traffic_class} all the same, set on the "
        f"volume the label {CLASS_LABEL}={lane.spec.traffic_class} and the annotation "
        f"{POOL_ANNOTATION}={'/'.join(lane.pool_key)}. To delete this lane and keep the volume, annotate it with "
        f"{RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}",
    )


def _parts_of(cache: Cache, lane: Key) -> list[Manifest]:
    """What makes a slot exist: its workload, and volumes that may hold mail; the workload's word counts first."""
    children = cache.children(lane)
    found = [child for (kind, _), child in children.items() if kind == STATEFUL_SET.kind]
    found += [child for (kind, _), child in children.items() if kind == VOLUME_CLAIM.kind and _is_kept(child)]
    return found + [body for body in cache.all(PERSISTENT_VOLUME.kind) if _lane_key(body) == lane]


def _left_demand(lane: Key, pool: Key, bodies: list[Manifest]) -> Demand:
    """What a lane that is gone, or cannot be read, still holds by what there is of its slots."""
    slots = {index: body for body in reversed(bodies) if (index := _index(body, lane[1])) is not None}
    known = [said for body in bodies if (said := _class_label(body)) in set(TrafficClass)]
    return Demand(
        namespace=lane[0],
        name=lane[1],
        traffic_class=TrafficClass(known[0]) if known else TrafficClass.COLD,
        pool=pool,
        replicas=0,
        retained=frozenset(slots),
        found={index: address for index, body in slots.items() if (address := _address(body))},
        held=True,
        deleting=True,
        reserving=True,
    )


def pool_named(lane: Manifest) -> Key:
    """The pool that a lane names."""
    reference = lane["spec"].get("poolRef") or {}
    return (reference.get("namespace") or lane["metadata"]["namespace"], reference.get("name", ""))


def _is_kept(body: Manifest) -> bool:
    """Whether it may hold mail: a workload, a claim under our finalizer, or a PersistentVolume that we kept."""
    return body["kind"] in {PERSISTENT_VOLUME.kind, STATEFUL_SET.kind} or QUEUE_FINALIZER in (
        body["metadata"].get("finalizers") or ()
    )


def _lane_key(body: Manifest) -> Key | None:
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or labels.get(NAMESPACE_LABEL)
    return (namespace, labels[LANE_LABEL]) if namespace and LANE_LABEL in labels else None


def _pool_key(body: Manifest) -> Key | None:
    namespace, _, name = (body["metadata"].get("annotations") or {}).get(POOL_ANNOTATION, "").partition("/")
    return (namespace, name) if name else None


def _address(body: Manifest) -> str:
    """The address that a slot's object carries; empty where it has none."""
    return str((body["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION, ""))


def _class_label(body: Manifest) -> str:
    return str((body["metadata"].get("labels") or {}).get(CLASS_LABEL, ""))


def _slot(body: Manifest) -> str:
    return str((body["metadata"].get("labels") or {}).get(SLOT_LABEL, ""))


def _index(body: Manifest, lane: str) -> int | None:
    return slot_index(lane, _slot(body))


def node_of(body: Manifest) -> NodeFacts:
    """What the engines need to know of one node."""
    status = body.get("status") or {}
    addresses = {entry["type"]: entry["address"] for entry in reversed(status.get("addresses") or ())}
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
    return NodeFacts(
        internal_ip=addresses.get("InternalIP", ""),
        ready=conditions.get("Ready") == "True",
        unschedulable=bool(body["spec"].get("unschedulable")),
    )


def status_of(model: Any, body: Manifest) -> Any:
    """The status as we wrote it; one that a hand has broken counts as none, and is written anew."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()


def _fields(error: ValidationError) -> str:
    """Which fields are wrong and how, without their values."""
    return "; ".join(
        f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors(include_input=False)
    )[:1024]
