"""From a change in the cache to everything that must be looked at again.

Uses the object before and after: a lane that pointed elsewhere until now wakes both pools. Our own writes come back as
events that change nothing in the cache any more, so they wake nobody.
"""

from collections.abc import Iterable

from lane_api.ippool import ADDRESS_FIGURES, Engine
from lane_api.names import LANE_LABEL, NAMESPACE_LABEL, POOL_ANNOTATION
from lane_operator.cache import Cache, Change
from lane_operator.indexes import PODS_BY_NODE, POOLS_BY_ENGINE
from lane_operator.inputs import CLUSTER_SCOPED_CHILDREN, Key, Manifest
from lane_operator.kube import (
    IP_POOL,
    ISP_POLICY,
    NETWORK_ATTACHMENT,
    NODE,
    PERSISTENT_VOLUME,
    POD,
    SECRET,
    SENDING_LANE,
    STATEFUL_SET,
    VOLUME_CLAIM,
)
from lane_operator.marks import pool_key, pool_named
from lane_operator.reconcile.world import QueueKey
from lane_operator.references import (
    lanes_beside,
    lanes_of_pool,
    node_of,
    others_of,
    pools_sharing_networks,
    pools_with_network,
)
from lane_operator.sharers import shares_list

__all__ = ["everything", "woken_by"]


def woken_by(cache: Cache, change: Change, operator_namespace: str) -> frozenset[QueueKey]:
    """The keys to look at after one change."""
    bodies = [body for body in (change.before, change.after) if body is not None]
    metadata = bodies[-1]["metadata"]
    own = QueueKey(change.kind, metadata.get("namespace") or "", metadata["name"])
    match change.kind:
        case SENDING_LANE.kind:
            pools = {QueueKey(IP_POOL.kind, *pool_named(body)) for body in bodies} if _is_turned(change) else set()
            if not _is_turned(change):
                return frozenset({own} | pools)
            sharers = _sharers(cache, own.namespace) if any(map(shares_list, bodies)) else set()
            if _senders(change.before) != _senders(change.after):
                sharers |= {_key(own.kind, body) for body in lanes_beside(cache, own.namespace)}
            around = {QueueKey(own.kind, *one.key) for body in bodies for one in others_of(cache, body)}
            return frozenset({own} | pools | around | sharers)
        case IP_POOL.kind:
            if _is_turned(change):
                near = {_key(own.kind, body) for one in bodies for body in pools_sharing_networks(cache, one)}
                return frozenset({own} | near | set(_lanes_of_pools(cache, {own.key})))
            return frozenset({own} | set(_lanes_with_other_records(cache, change)))
        case ISP_POLICY.kind:
            if not _is_turned(change):
                return frozenset({own})
            space = None if own.namespace == operator_namespace else own.namespace
            beside = {_key(ISP_POLICY.kind, body) for body in cache.all(ISP_POLICY.kind, own.namespace)}
            return frozenset(
                {own} | beside | {_key(SENDING_LANE.kind, body) for body in cache.all("SendingLane", space)}
            )
        case NODE.kind:
            if not _node_turned(change):
                return frozenset()
            return frozenset({*_lanes_on_nodes(cache), *_lanes_with_pods_on(cache, own.name)})
        case NETWORK_ATTACHMENT.kind:
            named_by = set(pools_with_network(cache, own.key))
            return frozenset(
                {*_lanes_of_pools(cache, named_by), *(key for one in bodies for key in _of_child(own.kind, one))}
            )
        case _:
            woken = {key for body in bodies for key in _of_child(change.kind, body)}
            if change.kind == STATEFUL_SET.kind and change.after is None:  # its address may have been its last hold
                woken |= {QueueKey(IP_POOL.kind, *pool) for body in bodies if (pool := pool_key(body)) is not None}
            return frozenset(woken | (_sharers(cache, own.namespace) if _turns_sharers(cache, change) else set()))


def everything(cache: Cache) -> Iterable[QueueKey]:
    """Every object that has a pass of its own: pools first, so that lanes find their figures fresh. Last the lanes that
    are gone and have left something outside of their namespace."""
    for kind in (IP_POOL.kind, ISP_POLICY.kind, SENDING_LANE.kind):
        for body in cache.all(kind):
            yield _key(kind, body)
    left = {key for kind in CLUSTER_SCOPED_CHILDREN for body in cache.all(kind) for key in _of_child(kind, body)}
    yield from (key for key in sorted(left) if not cache.has(SENDING_LANE.kind, *key.key))


def _of_child(kind: str, body: Manifest) -> Iterable[QueueKey]:
    """The lane that a child, pod or kept volume belongs to, and the pool whose address a volume reserves."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or labels.get(NAMESPACE_LABEL)
    if namespace and LANE_LABEL in labels:
        yield QueueKey(SENDING_LANE.kind, namespace, labels[LANE_LABEL])
    pool = (metadata.get("annotations") or {}).get(POOL_ANNOTATION, "").partition("/")
    if kind in {VOLUME_CLAIM.kind, PERSISTENT_VOLUME.kind} and pool[2]:
        yield QueueKey(IP_POOL.kind, pool[0], pool[2])


def _lanes_of_pools(cache: Cache, pools: set[Key]) -> Iterable[QueueKey]:
    return (_key(SENDING_LANE.kind, body) for pool in sorted(pools) for body in lanes_of_pool(cache, pool))


def _lanes_with_other_records(cache: Cache, change: Change) -> Iterable[QueueKey]:
    """Those of which the pool's status says something else: the allocation that wrote it has served them all."""
    before, after = (_records(body) for body in (change.before, change.after))
    for name in sorted(before.keys() | after.keys()):
        namespace, _, lane = name.partition("/")
        if before.get(name) != after.get(name) and cache.get(SENDING_LANE.kind, namespace, lane) is not None:
            yield QueueKey(SENDING_LANE.kind, namespace, lane)


def _records(pool: Manifest | None) -> dict[str, list[Manifest]]:
    """The records of a pool's status by lane (`namespace/name`), without what its slots say themselves."""
    found: dict[str, list[Manifest]] = {}
    for record in ((pool or {}).get("status") or {}).get("addresses") or ():
        kept = {name: value for name, value in record.items() if name not in ADDRESS_FIGURES}
        found.setdefault(record.get("lane", ""), []).append(kept)
    return found


def _sharers(cache: Cache, namespace: str) -> set[QueueKey]:
    """The lanes of a namespace that share their suppression lists: each names the others' slots and authorities."""
    bodies = cache.all(SENDING_LANE.kind, namespace)
    return {_key(SENDING_LANE.kind, body) for body in bodies if shares_list(body)}


def _turns_sharers(cache: Cache, change: Change) -> bool:
    """A slot came or went, or an authority is another, of a lane that shares its list."""
    body = change.after or change.before
    if body is None or change.kind not in (STATEFUL_SET.kind, SECRET.kind):
        return False
    metadata = body["metadata"]
    lane = cache.get(
        SENDING_LANE.kind, metadata.get("namespace") or "", (metadata.get("labels") or {}).get(LANE_LABEL, "")
    )
    if lane is None or not shares_list(lane):
        return False
    is_authority = change.kind == SECRET.kind and metadata["name"] == f"{lane['metadata']['name']}-ca"
    return is_authority or (change.kind == STATEFUL_SET.kind and (change.before is None or change.after is None))


def _senders(lane: Manifest | None) -> object:
    """What a lane sends as; its neighbours tell a stranger whose a sender is."""
    return None if lane is None else (lane["spec"].get("submission") or {}).get("senders")


def _lanes_on_nodes(cache: Cache) -> Iterable[QueueKey]:
    pools = {_key(IP_POOL.kind, body).key for body in cache.by(POOLS_BY_ENGINE, Engine.HOST_NETWORK.value)}
    return _lanes_of_pools(cache, pools)


def _lanes_with_pods_on(cache: Cache, node: str) -> Iterable[QueueKey]:
    """Their slots may be evicted once the node is cordoned."""
    for body in cache.by(PODS_BY_NODE, node):
        yield from _of_child(POD.kind, body)


def _is_turned(change: Change) -> bool:
    """Whether more than the status is another: new, gone, another generation or one that is to go."""
    if change.before is None or change.after is None:
        return True
    before, after = change.before["metadata"], change.after["metadata"]
    return any(before.get(name) != after.get(name) for name in ("uid", "generation", "deletionTimestamp"))


def _node_turned(change: Change) -> bool:
    if change.before is None or change.after is None:
        return True
    return node_of(change.before) != node_of(change.after)


def _key(kind: str, body: Manifest) -> QueueKey:
    return QueueKey(kind, body["metadata"].get("namespace") or "", body["metadata"]["name"])
