"""Writes an object's finalizers, of the state that was looked at; the only place that does."""

from collections.abc import Iterable

from lane_operator.errors import NotFoundError
from lane_operator.inputs import Manifest
from lane_operator.kube import Kind
from lane_operator.reconcile.world import World

__all__ = ["set_finalizers"]


async def set_finalizers(world: World, kind: Kind, body: Manifest, finalizers: Iterable[str]) -> Manifest | None:
    """The object with these finalizers; None where it is gone, also by this very write. Raises KubeError.

    ConflictError: it is not what was looked at any more.
    """
    metadata, wanted = body["metadata"], list(finalizers)
    operation = {"op": "add", "path": "/metadata/finalizers", "value": wanted}
    try:
        changed = await world.kube.patch_json(
            kind, metadata["namespace"], metadata["name"], [operation], metadata["resourceVersion"]
        )
    except NotFoundError:
        world.cache.drop(kind.kind, body)
        return None
    if "deletionTimestamp" in metadata and not wanted:
        # gone with this; the answer has the version that is known already, and until the watch speaks another pass
        # would find it alive: a lane without its children, which it would make anew
        world.cache.drop(kind.kind, body)
        return None
    world.cache.put(kind.kind, changed)
    return changed
