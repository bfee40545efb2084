"""What is asked of a pool, and what slots hold of it, as the objects of the cache say.

Beside `references`; before the allocation. Invariant: what exists holds what it carries, whatever has become of
the lane or the pool that it came from.
"""

from collections.abc import Iterable, Mapping

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.names import (
    CLASS_LABEL,
    POOL_ANNOTATION,
    RELEASE_ANNOTATION,
    RELEASE_KEEP_VOLUMES,
    STANDBY_FROM,
)
from lane_api.queue import DrainPolicy
from lane_operator.cache import Cache
from lane_operator.indexes import KEPT_VOLUMES_BY_LANE, PARTS_BY_ADDRESS, PARTS_BY_POOL, address_value
from lane_operator.inputs import Demand, Holding, Key, Lane, Manifest, Refusal
from lane_operator.kube import PERSISTENT_VOLUME, SENDING_LANE, STATEFUL_SET, VOLUME_CLAIM
from lane_operator.marks import (
    address_of,
    addresses_of,
    class_label,
    index_of,
    is_kept,
    key_of,
    lane_key,
    pool_key,
    pool_named,
    slot_of,
)
from lane_operator.pools import port_block_of
from lane_operator.references import UnreadableError, lane_of, lanes_of_pool

__all__ = ["demand_of", "demands_of", "holdings_of", "indices_of"]


def demands_of(cache: Cache, pool: Key) -> tuple[Demand, ...]:
    """What is asked of a pool: by its lanes, and by what lanes that are gone, or were others, have left behind."""
    demands = []
    for body in lanes_of_pool(cache, pool):
        try:
            demands.append(demand_of(cache, lane_of(body, read_status=False)))
        except UnreadableError:  # its own pass says what is wrong with it; its slots run on, and hold what they hold
            key = key_of(body)
            demands.append(_left_demand(cache, key, pool, _parts_of(cache, key)))
    kept: dict[tuple[Key, str], list[Manifest]] = {}
    kinds = (STATEFUL_SET.kind, VOLUME_CLAIM.kind, PERSISTENT_VOLUME.kind)
    for body in sorted(cache.marked_by(PARTS_BY_POOL, pool), key=lambda one: kinds.index(one["kind"])):
        lane = lane_key(body)
        if lane is None:
            continue
        alive = cache.get(SENDING_LANE.kind, *lane)
        if alive is None or _is_stray(cache, body, pool_named(alive), alive["spec"].get("trafficClass", "")):
            kept.setdefault((lane, class_label(body)), []).append(body)
    demands.extend(_left_demand(cache, lane, pool, bodies) for (lane, _), bodies in sorted(kept.items()))
    return tuple(demands)


def indices_of(demand: Demand) -> frozenset[int]:
    """Slots that are to have a claim: those asked for, but those withheld, and those that exist."""
    asked = {*range(demand.replicas), *range(STANDBY_FROM, STANDBY_FROM + demand.standby)}
    return frozenset(asked - demand.withheld | demand.retained)


def holdings_of(cache: Cache, addresses: Iterable[str]) -> tuple[Holding, ...]:
    """Which of these addresses workloads and kept volumes carry, also of lanes and pools that are gone."""
    found = set()
    for body in cache.marked_by(PARTS_BY_ADDRESS, *{address_value(address) for address in addresses}):
        lane, pool = lane_key(body), pool_key(body)
        if lane is None or pool is None or not is_kept(body):
            continue
        said = _said(cache, lane)
        for address in addresses_of(body):
            found.add(Holding(address, pool, lane[0], _is_vouched(body, address, said)))
    return tuple(sorted(found))


def _is_vouched(body: Manifest, address: str, said: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether more than a slot's own object names the address, which whoever may write there can make up: only the
    operator writes a lane's status, and only an administrator, or we by that status, a PersistentVolume."""
    return body["kind"] == PERSISTENT_VOLUME.kind or address in said.get(slot_of(body), ())


def _said(cache: Cache, lane: Key) -> dict[str, tuple[str, ...]]:
    """The addresses of each slot as the lane's status names them."""
    slots = ((cache.get(SENDING_LANE.kind, *lane) or {}).get("status") or {}).get("slots") or ()
    return {one.get("name", ""): (one.get("ip", ""), one.get("second", "")) for one in slots}


def demand_of(cache: Cache, lane: Lane) -> Demand:
    """A lane's demand; slots that exist are retained whatever the spec says."""
    retained: set[int] = set()
    named: list[tuple[int, Manifest]] = []
    blocks: dict[int, int] = {}
    strays: dict[int, Manifest] = {}
    for child in _parts_of(cache, lane.key):
        index = index_of(child, lane.name)
        if index is None:
            continue
        if _is_stray(cache, child, lane.pool_key, lane.spec.traffic_class):
            strays.setdefault(index, child)
            continue
        retained.add(index)
        if pool_key(child) == lane.pool_key:
            named.append((index, child))
        block = port_block_of(child) if child["kind"] == STATEFUL_SET.kind else None
        if block is not None:
            blocks[index] = block
    found, vouched = _named(cache, lane.key, named)
    return Demand(
        namespace=lane.namespace,
        name=lane.name,
        traffic_class=lane.spec.traffic_class,
        pool=lane.pool_key,
        replicas=0 if lane.deleting_since else lane.spec.replicas,
        standby=0 if lane.deleting_since else lane.spec.standby_replicas,
        retained=frozenset(retained),
        found=found,
        vouched=vouched,
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
    namespace, _ = lane_key(body) or ("", "")
    if cache.has(STATEFUL_SET.kind, namespace, slot_of(body)):
        return False
    return (pool_key(body) or pool) != pool or (class_label(body) or traffic_class) != traffic_class


def _stray(lane: Lane, body: Manifest) -> Refusal:
    """Why a slot gets nothing while this volume is there."""
    volume = f"{body['kind']} {body['metadata']['name']}"
    pool, traffic_class = pool_key(body) or lane.pool_key, class_label(body) or lane.spec.traffic_class
    return Refusal(
        Reason.CLASS_MISMATCH,
        f"{volume} keeps mail of an earlier lane {lane.name}, which was {traffic_class} and drew from IPPool "
        f"{'/'.join(pool)}; slot {slot_of(body)} would send it from another address. Make the lane as it was, to have "
        f"it sent; or give this one another name; or, to send it as {lane.spec.traffic_class} all the same, set on the "
        f"volume the label {CLASS_LABEL}={lane.spec.traffic_class} and the annotation "
        f"{POOL_ANNOTATION}={'/'.join(lane.pool_key)}. To delete this lane and keep the volume, annotate it with "
        f"{RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}",
    )


def _parts_of(cache: Cache, lane: Key) -> list[Manifest]:
    """What makes a slot exist: its workload, and volumes that may hold mail; the workload's word counts first."""
    kept = [child for child in cache.marked(lane) if is_kept(child)]
    found = [child for child in kept if child["kind"] == STATEFUL_SET.kind]
    found += [child for child in kept if child["kind"] == VOLUME_CLAIM.kind]
    return found + list(cache.marked_by(KEPT_VOLUMES_BY_LANE, lane))


def _named(cache: Cache, lane: Key, bodies: Iterable[tuple[int, Manifest]]) -> tuple[dict[int, str], frozenset[int]]:
    """The address of each slot by what there is of it, the first word first, and those that are vouched for: such a
    word comes before all others."""
    found: dict[int, str] = {}
    vouched: dict[int, str] = {}
    said = _said(cache, lane)
    for index, body in bodies:
        address = address_of(body)
        if address:
            found.setdefault(index, address)
        if address and _is_vouched(body, address, said):
            vouched.setdefault(index, address)
    return found | vouched, frozenset(vouched)


def _left_demand(cache: Cache, lane: Key, pool: Key, bodies: list[Manifest]) -> Demand:
    """What a lane that is gone, or cannot be read, still holds by what there is of its slots."""
    slots = [(index, body) for body in bodies if (index := index_of(body, lane[1])) is not None]
    found, vouched = _named(cache, lane, slots)
    known = [said for body in bodies if (said := class_label(body)) in set(TrafficClass)]
    return Demand(
        namespace=lane[0],
        name=lane[1],
        traffic_class=TrafficClass(known[0]) if known else TrafficClass.COLD,
        pool=pool,
        replicas=0,
        retained=frozenset(index for index, _ in slots),
        found=found,
        vouched=vouched,
        held=True,
        deleting=True,
        reserving=True,
    )
