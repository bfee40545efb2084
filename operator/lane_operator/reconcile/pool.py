"""Addresses: who asks a pool for what, and the one record of who holds which.

The assignment's only record is IPPool.status. Invariant: it is committed there, under the resourceVersion that the
decision was made on, before anything that uses an address is applied; two slots never hold one address. With the first
address that a pool gives it gets our finalizer, so that the record outlives whoever it is about.
"""

import structlog

from lane_api.ippool import AddressStatus, IPPoolStatus
from lane_api.names import POOL_FINALIZER
from lane_operator import metrics
from lane_operator.errors import ConflictError, ForbiddenError, NotFoundError
from lane_operator.inputs import Assignment, Key, Lane, Manifest, Pool
from lane_operator.kube import IP_POOL, SENDING_LANE
from lane_operator.pools.allocate import AllocationResult, allocate
from lane_operator.pools.quarantine import with_stand_ins
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.finalizers import set_finalizers
from lane_operator.reconcile.world import World
from lane_operator.references import (
    UnreadableError,
    demands_of,
    holdings_of,
    pool_if_readable,
    pool_of,
    pools_of,
    status_of,
)
from lane_operator.status import broken_status, next_end, pool_status

__all__ = ["assign", "reconcile_pool"]

log = structlog.get_logger(__name__)


async def assign(world: World, lane: Lane, pool: Pool | None) -> Assignment:
    """The lane's claims, committed; raises ConflictError when the pool has moved on or gone since, else KubeError."""
    if pool is None:
        demands = demands_of(world.cache, lane.pool_key)
        return allocate((), demands, world.wall()).assignments.get(lane.key, Assignment())
    async with world.allocating:
        fresh = pool_if_readable(world.cache, pool.key)
        result = None if fresh is None else _allocated(world, fresh)
        if fresh is None or result is None or not await _commit(world, fresh, result):
            raise ConflictError(f"IPPool {'/'.join(pool.key)} has changed or gone since it was looked at")
        return result.assignments.get(lane.key, Assignment())


async def reconcile_pool(world: World, key: Key) -> float | None:
    """Brings one pool's status forward: addresses whose lanes are gone, cool-downs, figures. Raises KubeError."""
    body = world.cache.get(IP_POOL.kind, *key)
    if body is None:
        return None
    try:
        pool = pool_of(body)
    except UnreadableError as error:
        # who holds what is recorded nowhere else: it stays, whatever is wrong with the spec
        recorded = IPPoolStatus.model_validate(body.get("status") or {})
        await _write(world, body, broken_status(recorded, body, str(error), world.wall()))
        await _let_go(world, key)
        return None
    async with world.allocating:
        fresh = pool_if_readable(world.cache, pool.key)
        if fresh is not None:  # else it went, or was broken, while another allocation was under way
            await _commit(world, fresh, _allocated(world, fresh))
    await _let_go(world, key)
    known = pool_if_readable(world.cache, key)
    return None if known is None else next_end(known.status.conditions, world.wall())


def _allocated(world: World, pool: Pool) -> AllocationResult:
    beside = [other for other in pools_of(world.cache) if other.key != pool.key]
    demands, holdings = demands_of(world.cache, pool.key), holdings_of(world.cache)
    result = allocate((pool,), demands, world.wall(), beside, holdings)
    return with_stand_ins(result, world.observer.seen, world.wall())


async def _commit(world: World, pool: Pool, result: AllocationResult) -> bool:
    """Writes the pool's status where it says anything new; whether it stands there now."""
    body = world.cache.get(IP_POOL.kind, *pool.key)
    if body is None or body["metadata"]["resourceVersion"] != pool.resource_version:
        return False
    status = pool_status(pool, result.statuses[pool.key], world.wall())
    if any(_is_held(record) for record in status.addresses):
        body = await _guarded(world, body)
    return body is not None and await _write(world, body, status)


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
    metadata = body["metadata"]
    try:
        changed = await world.kube.patch_status(
            IP_POOL, metadata["namespace"], metadata["name"], wanted, metadata["resourceVersion"]
        )
    except NotFoundError:
        world.cache.drop(IP_POOL.kind, body)
        return False
    metrics.status_writes.labels(kind=IP_POOL.kind).inc()
    world.cache.put(IP_POOL.kind, changed)
    await post_transitions(world, body, wanted)
    return True
