"""Addresses: who asks a pool for what, and the one record of who holds which.

The assignment's only record is IPPool.status. Invariant: it is committed there, under the resourceVersion that the
decision was made on, before anything that uses an address is applied; two slots never hold one address.
"""

from lane_api.ippool import IPPoolStatus
from lane_operator import metrics
from lane_operator.errors import ConflictError, NotFoundError
from lane_operator.inputs import Assignment, Key, Lane, Manifest, Pool
from lane_operator.kube import IP_POOL
from lane_operator.pools.allocate import AllocationResult, allocate
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.world import World
from lane_operator.references import UnreadableError, demands_of, holdings_of, pool_if_readable, pool_of, pools_of
from lane_operator.status import broken_status, pool_status

__all__ = ["assign", "reconcile_pool"]


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
        return None
    async with world.allocating:
        fresh = pool_if_readable(world.cache, pool.key)
        if fresh is not None:  # else it went, or was broken, while another allocation was under way
            await _commit(world, fresh, _allocated(world, fresh))
    return None


def _allocated(world: World, pool: Pool) -> AllocationResult:
    beside = [other for other in pools_of(world.cache) if other.key != pool.key]
    demands, holdings = demands_of(world.cache, pool.key), holdings_of(world.cache)
    return allocate((pool,), demands, world.wall(), beside, holdings)


async def _commit(world: World, pool: Pool, result: AllocationResult) -> bool:
    """Writes the pool's status where it says anything new; whether it stands there now."""
    body = world.cache.get(IP_POOL.kind, *pool.key)
    if body is None or body["metadata"]["resourceVersion"] != pool.resource_version:
        return False
    return await _write(world, body, pool_status(pool, result.statuses[pool.key], world.wall()))


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
