"""Addresses: who asks a pool for what, and the one record of who holds which.

The assignment's only record is IPPool.status. Invariant: it is committed there, under the resourceVersion that the
decision was made on, before anything that uses an address is applied; two slots never hold one address, also where
the record was put back to an older one (`unseen`). With the first address that a pool gives it gets our finalizer, so
that the record outlives whoever it is about.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from math import inf

import structlog

from lane_api.dnsbl import Listing, shown
from lane_api.ippool import ADDRESS_FIGURES, AddressStatus, Engine, IPPoolStatus, PoolAddress
from lane_api.names import POOL_FINALIZER, slot_name
from lane_operator import metrics
from lane_operator.blocklists import Aim
from lane_operator.deliverability.listings import Follows, ListingsOf, follows, with_listings, without_listed
from lane_operator.demands import demand_of, demands_of, holdings_of, indices_of
from lane_operator.errors import ConflictError, ForbiddenError, NotFoundError
from lane_operator.inputs import Assignment, Demand, Key, Lane, Manifest, Pool
from lane_operator.kube import IP_POOL, SENDING_LANE
from lane_operator.pools.allocate import AllocationResult, allocate
from lane_operator.pools.growth import with_growth
from lane_operator.pools.ledger import next_thaw
from lane_operator.pools.quarantine import with_stand_ins
from lane_operator.pools.sightings import with_sightings
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.finalizers import set_finalizers
from lane_operator.reconcile.unseen import still_unseen
from lane_operator.reconcile.world import QueueKey, World
from lane_operator.references import (
    UnreadableError,
    lane_of,
    pool_if_readable,
    pool_of,
    pools_beside,
    pools_near,
    records_of,
    status_of,
)
from lane_operator.status import broken_status, next_end, pool_status

__all__ = ["assign", "note_sightings", "reconcile_pool"]

_AS_ASSIGNED = ("hostname", "node", "zone", "source")
"""Of an address, what its record keeps: a slot goes on with it when the address leaves the spec."""

log = structlog.get_logger(__name__)


async def assign(world: World, lane: Lane, pool: Pool | None) -> Assignment:
    """The lane's claims, committed; raises ConflictError when the pool has moved on or gone since, else KubeError."""
    if pool is None:
        demands = demands_of(world.cache, lane.pool_key)
        return allocate((), demands, world.wall()).assignments.get(lane.key, Assignment())
    standing = _as_recorded(world, lane, pool)
    if standing is not None:
        return standing
    async with world.allocating:
        fresh = pool_if_readable(world.cache, pool.key)
        result = None if fresh is None else _allocated(world, fresh)
        if fresh is None or result is None or not await _commit(world, fresh, result):
            raise ConflictError(f"IPPool {'/'.join(pool.key)} has changed or gone since it was looked at")
        return result.assignments.get(lane.key, Assignment())


def _as_recorded(world: World, lane: Lane, pool: Pool) -> Assignment | None:
    """What the lane has by the record, where that is all that it asks for; None where the pool has to be gone through.

    Nothing else changes with such a lane, and the whole pool would be worked out anew with every pass of its lanes.
    """
    demand, name = demand_of(world.cache, lane), "/".join(lane.key)
    records = records_of(pool).get(name, ())
    listed = {address.ip: address for address in pool.spec.addresses} if records else {}
    firsts = tuple(record for record in records if not record.first)
    known = world.cache.get(IP_POOL.kind, *pool.key)
    if known is None or known["metadata"]["resourceVersion"] != pool.resource_version or pool.deleting:
        return None
    if pool.spec.engine is not Engine.CLUSTER_DEFAULT:
        slots = {slot_name(lane.name, index) for index in indices_of(demand)}
        if {record.slot for record in firsts} != slots or len(firsts) != len(slots):
            return None
    if any(_is_moved(record, listed.get(record.ip), demand) for record in firsts):
        return None
    if not _has_its_seconds(records, [listed[record.ip] for record in firsts]):
        return None
    if any((seen := world.observer.seen(lane.key, record.slot)) is not None and seen.quarantines for record in records):
        return None
    part = replace(
        pool,
        spec=pool.spec.model_copy(update={"addresses": tuple(listed[record.ip] for record in firsts)}),
        status=pool.status.model_copy(update={"addresses": records}),
    )
    result = allocate((part,), (demand,), world.wall())
    recorded = result.statuses[pool.key].addresses
    return result.assignments.get(lane.key) if recorded in (records, ()) else None


def _is_moved(record: AddressStatus, listed: PoolAddress | None, demand: Demand) -> bool:
    """Whether the record is about to change: by the pool's spec, a quarantine, or another pool that has the address."""
    return (
        listed is None
        or listed.quarantined
        or any(getattr(listed, name) != getattr(record, name) for name in _AS_ASSIGNED)
        or (listed.proxy.record if listed.proxy is not None else None) != record.proxy
        or record.lane_class != demand.traffic_class
        or record.quarantine is not None
        or record.joining
        or bool(record.held_elsewhere)
    )


def _has_its_seconds(records: Iterable[AddressStatus], listed: Iterable[PoolAddress]) -> bool:
    """Whether the record has what stands beside the slots' addresses, and no more."""
    recorded = {record.first: record for record in records if record.first}
    wanted = {address.ip: address.second for address in listed if address.second is not None}
    return recorded.keys() == wanted.keys() and all(
        (record.ip, record.source) == (wanted[first].ip, wanted[first].source)
        and record.proxy == (proxy.record if (proxy := wanted[first].proxy) is not None else None)
        and not record.held_elsewhere
        for first, record in recorded.items()
    )


async def reconcile_pool(world: World, key: Key) -> float | None:
    """Brings one pool's status forward: addresses whose lanes are gone, cool-downs, figures. Raises KubeError."""
    body = world.cache.get(IP_POOL.kind, *key)
    world.pools_behind.discard(key)
    if body is None:
        world.pool_figures_written.pop(key, None)
        world.blocklists.aim(key, None, {})
        return None
    try:
        pool = pool_of(body)
    except UnreadableError as error:
        # who holds what is recorded nowhere else: it stays, whatever is wrong with the spec
        recorded = IPPoolStatus.model_validate(body.get("status") or {})
        await _write(world, body, broken_status(recorded, body, str(error), world.wall()))
        await _let_go(world, key)
        return None
    world.blocklists.aim(key, _blocklists_of(pool), {row.ip: row.listings for row in pool.status.addresses})
    async with world.allocating:
        fresh = pool_if_readable(world.cache, pool.key)
        if fresh is not None:  # else it went, or was broken, while another allocation was under way
            await _commit(world, fresh, _allocated(world, fresh))
    await _let_go(world, key)
    known = pool_if_readable(world.cache, key)
    if known is None:
        return None
    now = world.wall()
    looks = (next_end(known.status.conditions, now), next_thaw(known, now), _figures_wait(world, known))
    return min((look for look in looks if look is not None), default=None)


def _allocated(world: World, pool: Pool) -> AllocationResult:
    beside, demands = pools_beside(world.cache, pool), demands_of(world.cache, pool.key)
    holdings = holdings_of(world.cache, pool.ips)
    listings = _listings_of(world, pool)
    giving = without_listed(pool, listings)
    result = allocate((giving,), demands, world.wall(), beside, holdings, still_unseen(world))
    result = replace(result, statuses={key: with_listings(one, listings) for key, one in result.statuses.items()})
    result = with_stand_ins(result, world.observer.seen, world.wall(), partial(_follows, world, pool))
    result = with_growth(result, world.observer.seen, partial(_warms_up, pool))
    statuses = {key: with_sightings(status, world.observer.seen) for key, status in result.statuses.items()}
    return replace(result, statuses=statuses)


def _blocklists_of(pool: Pool) -> Aim | None:
    """What is asked for it: of each address that it gives, or that a slot still has."""
    dnsbl = pool.spec.dnsbl
    if dnsbl is None:
        return None
    addresses = {ip for address in pool.spec.addresses for ip in address.ips}
    addresses |= {row.ip for row in pool.status.addresses if _is_held(row)}
    if not addresses:  # ClusterDefault has none
        return None
    return Aim(dnsbl.every, tuple(sorted(dnsbl.lists)), tuple(sorted(addresses)))


def _listings_of(world: World, pool: Pool) -> ListingsOf:
    """What counts of each address: as the lists said, or, before they were asked, as it is recorded."""
    standing = world.blocklists.standing(pool.key)
    asked = frozenset(map(shown, pool.spec.dnsbl.lists)) if pool.spec.dnsbl is not None else frozenset()
    recorded = {row.ip: row.listings for row in pool.status.addresses}

    def listings_of(ip: str) -> tuple[Listing, ...]:
        found = recorded.get(ip, ()) if standing is None else standing.listings(ip)
        return tuple(one for one in found if one.list in asked)

    return listings_of


def _follows(world: World, pool: Pool, lane: Key) -> Follows:
    """What a listing means for the lane; one whose spec cannot be read goes on."""
    body = world.cache.get(SENDING_LANE.kind, *lane)
    if body is None:
        return Follows.TOLD
    try:
        return follows(pool, lane_of(body, read_status=False).spec)
    except UnreadableError:
        return Follows.TOLD


def _warms_up(pool: Pool, address: PoolAddress) -> bool:
    """Whether the ISPs are to come to know it first."""
    return address.released_from is not None or (pool.spec.warmup is not None and not address.warm)


def note_sightings(world: World, lane: Lane) -> None:
    """Has the lane's pool looked at, where its slots say of their addresses what does not stand there yet."""
    pool = pool_if_readable(world.cache, lane.pool_key) if lane.pool_key not in world.pools_behind else None
    if pool is None:
        return
    records = IPPoolStatus(addresses=records_of(pool).get("/".join(lane.key), ()))
    if with_sightings(records, world.observer.seen) != records:
        world.pools_behind.add(pool.key)
        world.enqueue(QueueKey(IP_POOL.kind, *pool.key))


def _figures_wait(world: World, pool: Pool) -> float | None:
    """Seconds until what slots say of the pool's addresses may be written; None where it stands there."""
    if with_sightings(pool.status, world.observer.seen) == pool.status:
        return None
    world.pools_behind.add(pool.key)
    return _held_back_s(world, pool.key)


def _held_back_s(world: World, key: Key) -> float:
    every = world.settings.figures_every_s
    return max(0.0, world.pool_figures_written.get(key, -inf) + every - world.monotonic())


async def _commit(world: World, pool: Pool, result: AllocationResult) -> bool:
    """Writes the pool's status where it says anything new; whether it stands there now."""
    body = world.cache.get(IP_POOL.kind, *pool.key)
    if body is None or body["metadata"]["resourceVersion"] != pool.resource_version:
        return False
    near, standing = pools_near(world.cache, pool), world.blocklists.standing(pool.key)
    status = pool_status(pool, result.statuses[pool.key], world.wall(), near, standing)
    if any(_is_held(record) for record in status.addresses):
        body = await _guarded(world, body)
    if body is None or not await _write(world, body, status):
        return False
    _wake_the_listed(world, pool.status, status)
    return True


def _wake_the_listed(world: World, before: IPPoolStatus, after: IPPoolStatus) -> None:
    """Has the lanes looked at whose addresses are listed otherwise: the write that is our own wakes nobody."""
    known = {(row.ip, row.lane): row.listings for row in before.addresses}
    for row in after.addresses:
        if row.lane and row.released_at is None and row.listings != known.get((row.ip, row.lane), ()):
            namespace, _, name = row.lane.partition("/")
            world.enqueue(QueueKey(SENDING_LANE.kind, namespace, name))


async def _guarded(world: World, body: Manifest) -> Manifest | None:
    """The pool with our finalizer, if it may have one; None where it is gone."""
    metadata = body["metadata"]
    finalizers = list(metadata.get("finalizers") or ())
    if POOL_FINALIZER in finalizers or "deletionTimestamp" in metadata:  # a pool that goes takes no new one
        return body
    try:
        return await set_finalizers(world, IP_POOL, body, [*finalizers, POOL_FINALIZER])
    except ForbiddenError as error:  # of a chart before this one: live slots still keep their addresses from others
        log.warning("pool not guarded", pool=f"{metadata['namespace']}/{metadata['name']}", error=str(error))
        return body


async def _let_go(world: World, key: Key) -> None:
    """Takes our finalizer off a pool that is to go, once no lane that lives holds an address of it.

    What lanes that are gone have left behind keeps no pool: its namespace or definition could not go for years.
    """
    body = world.cache.get(IP_POOL.kind, *key)
    if body is None or "deletionTimestamp" not in body["metadata"]:
        return
    finalizers = list(body["metadata"].get("finalizers") or ())
    held = [record.lane.partition("/") for record in status_of(IPPoolStatus, body).addresses if _is_held(record)]
    if POOL_FINALIZER not in finalizers or any(world.cache.get(SENDING_LANE.kind, one[0], one[2]) for one in held):
        return
    await set_finalizers(world, IP_POOL, body, [one for one in finalizers if one != POOL_FINALIZER])


def _is_held(record: AddressStatus) -> bool:
    return bool(record.lane) and record.released_at is None


async def _write(world: World, body: Manifest, status: IPPoolStatus) -> bool:
    """Writes the status unless it is there already; whether it stands there now, else the pool is gone."""
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    if wanted == body.get("status"):
        return True
    metadata, key = body["metadata"], (body["metadata"]["namespace"], body["metadata"]["name"])
    only_figures = _without_figures(wanted) == _without_figures(body.get("status") or {})
    if only_figures and _held_back_s(world, key):
        return True  # they depend on nothing, and nothing on them
    try:
        changed = await world.kube.patch_status(
            IP_POOL, metadata["namespace"], metadata["name"], wanted, metadata["resourceVersion"]
        )
    except NotFoundError:
        world.cache.drop(IP_POOL.kind, body)
        return False
    metrics.status_writes.labels(kind=IP_POOL.kind).inc()
    world.cache.put(IP_POOL.kind, changed)
    world.pool_figures_written[key] = world.monotonic()
    await post_transitions(world, body, wanted)
    return True


def _without_figures(status: Manifest) -> Manifest:
    rows = status.get("addresses") or ()
    kept = [{name: value for name, value in row.items() if name not in ADDRESS_FIGURES} for row in rows]
    return {**status, "addresses": kept}
