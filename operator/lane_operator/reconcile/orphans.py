"""What a lane that is gone has left outside of its namespace, where no owner takes it along.

A lane's last pass takes it along. One that went without that, since somebody took our finalizer off, leaves it: a
gateway policy would bring the traffic of any pod with the slot's label out from the slot's address, for good.
Invariant: nothing goes on the cache's word that there is no lane, nor while a pod of the slot may send by it.
"""

from lane_operator.apply import delete_ours
from lane_operator.cache import Cache
from lane_operator.errors import NotFoundError
from lane_operator.inputs import CLUSTER_SCOPED_CHILDREN, Key, Manifest
from lane_operator.kube import POD, SENDING_LANE, STATEFUL_SET
from lane_operator.marks import slot_of
from lane_operator.reconcile.world import World

__all__ = ["delete_orphans", "orphans"]


def orphans(cache: Cache, lane: Key) -> tuple[Manifest, ...]:
    """The children outside of its namespace of a lane that is gone, of slots of which nothing runs any more."""
    children = cache.children(lane).items()
    running = {slot_of(child) for (kind, _), child in children if kind in {STATEFUL_SET.kind, POD.kind}}
    return tuple(
        child for (kind, _), child in children if kind in CLUSTER_SCOPED_CHILDREN and slot_of(child) not in running
    )


async def delete_orphans(world: World, lane: Key) -> None:
    """Deletes them, of a lane that the cache does not know and that the API server has not either. Raises KubeError."""
    found, watched = orphans(world.cache, lane), world.settings.watch_namespaces
    if not found or (watched and lane[0] not in watched):  # another installation's, whose lanes we do not see
        return
    if not await _is_there(world, lane):
        (await delete_ours(world.kube, found)).raise_passing()


async def _is_there(world: World, lane: Key) -> bool:
    try:
        return await world.kube.find(SENDING_LANE, *lane) is not None
    except NotFoundError:  # nor is there such a kind any more
        return False
