"""Does what `lifecycle` decided: the only place that takes a finalizer off, deletes a workload or lets a lane go."""

from collections.abc import Iterable
from typing import Any

import structlog

from lane_api.names import DRAIN_FINALIZER, QUEUE_FINALIZER
from lane_operator.apply import delete_children
from lane_operator.desired import heads_name
from lane_operator.inputs import Lane, Manifest
from lane_operator.kube import CONFIG_MAP, DNS_ENDPOINT, POD, SENDING_LANE, STATEFUL_SET, VOLUME_CLAIM, Kind
from lane_operator.lifecycle import (
    DRAINED_ANNOTATION,
    Act,
    DeleteWorkload,
    Drained,
    ForgetVolume,
    LetGo,
    ReleaseVolume,
    RetainVolume,
    ScaleToZero,
)
from lane_operator.provision import kept_secrets
from lane_operator.reconcile.finalizers import set_finalizers
from lane_operator.reconcile.volumes import retain
from lane_operator.reconcile.world import QueueKey, World
from lane_operator.references import heads_of

__all__ = ["run_steps", "take_proofs_off"]

log = structlog.get_logger(__name__)


async def run_steps(
    world: World,
    lane: Lane,
    body: Manifest,
    steps: tuple[Act, ...],
    left: frozenset[str] = frozenset(),
    kept: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Does each step; what was looked at must still be there, else ConflictError. Raises KubeError.

    `left` are slots whose workload is not applied in this pass; `kept` are children, as (kind, name), that outlive the
    lane beside those that always do.
    """
    for step in steps:
        log.info("step", step=type(step).__name__, slot=getattr(step, "slot", ""))
        match step:
            case ScaleToZero(slot, drained) if slot in left:
                await _stop(world, lane, slot, drained)
            case ScaleToZero():
                pass  # a StatefulSet at 0 replicas with the proof: `apply` has just done it
            case ReleaseVolume(slot, uid, delete):
                await _release_volume(world, lane, slot, uid, delete=delete)
            case RetainVolume(slot, uid, volume):
                if not await retain(world, lane, slot, volume):
                    await _release_volume(world, lane, slot, uid, delete=False)
            case DeleteWorkload(slot, uid):
                await _delete_workload(world, lane, slot, uid)
            case ForgetVolume(slot, uid, workload_uid):
                await _forget_volume(world, lane, slot, uid, workload_uid)
            case LetGo():
                heads = {(CONFIG_MAP.kind, heads_name(slot)) for slot in heads_of(world.cache, lane)}
                outlive = kept | kept_secrets(lane) | heads | {(DNS_ENDPOINT.kind, lane.name)}
                gone = await delete_children(world.kube, world.cache, lane, outlive)
                gone.raise_passing()  # a child without owner that stays behind now is found by nobody later
                fresh = world.cache.get(SENDING_LANE.kind, *lane.key) or body
                await _without_finalizer(world, SENDING_LANE, fresh, DRAIN_FINALIZER)
                world.enqueue(QueueKey("IPPool", *lane.pool_key))


async def take_proofs_off(world: World, lane: Lane, slots: Iterable[str]) -> None:
    """Takes off workloads what their slots said before they were stopped. Raises KubeError.

    An apply does not: where a proof was patched in (`_stop`), the field is no other apply's to drop.
    """
    for slot in slots:
        workload = world.cache.get(STATEFUL_SET.kind, lane.namespace, slot)
        if workload is None:
            continue
        metadata = workload["metadata"]
        left = {name: value for name, value in metadata["annotations"].items() if name != DRAINED_ANNOTATION}
        operations: list[dict[str, Any]] = [{"op": "add", "path": "/metadata/annotations", "value": left}]
        version = metadata["resourceVersion"]
        changed = await world.kube.patch_json(STATEFUL_SET, lane.namespace, slot, operations, version)
        world.cache.put(STATEFUL_SET.kind, changed)


async def _stop(world: World, lane: Lane, slot: str, drained: Drained) -> None:
    """Takes a StatefulSet that is otherwise left as it is to 0 replicas, with the proof."""
    workload = world.cache.get(STATEFUL_SET.kind, lane.namespace, slot)
    if workload is None:
        return
    metadata = workload["metadata"]
    noted = {**(metadata.get("annotations") or {}), DRAINED_ANNOTATION: drained.text()}
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/metadata/annotations", "value": noted},
        {"op": "add", "path": "/spec/replicas", "value": 0},
    ]
    changed = await world.kube.patch_json(STATEFUL_SET, lane.namespace, slot, operations, metadata["resourceVersion"])
    world.cache.put(STATEFUL_SET.kind, changed)


async def _release_volume(world: World, lane: Lane, slot: str, uid: str, *, delete: bool) -> None:
    """Takes our finalizer off exactly this claim; with `delete` the claim goes as well."""
    claim = _claim_of(world, lane, slot, uid)
    if claim is None:
        return
    if await world.kube.get(POD, lane.namespace, f"{slot}-0") is not None:  # asked anew: a cache may have missed it
        return
    left = await _without_finalizer(world, VOLUME_CLAIM, claim, QUEUE_FINALIZER)
    if delete and left is not None:
        await _delete_as_it_is(world, VOLUME_CLAIM, left)


async def _forget_volume(world: World, lane: Lane, slot: str, uid: str, workload_uid: str | None) -> None:
    """Deletes the slot's workload and exactly this claim, as a person has asked; the volume's mail goes with it."""
    if workload_uid is not None:
        await _delete_workload(world, lane, slot, workload_uid)
    claim = _claim_of(world, lane, slot, uid)
    if claim is None:
        return
    left: Manifest | None = claim
    if QUEUE_FINALIZER in (claim["metadata"].get("finalizers") or ()):
        left = await _without_finalizer(world, VOLUME_CLAIM, claim, QUEUE_FINALIZER)
    if left is not None:
        await _delete_as_it_is(world, VOLUME_CLAIM, left)


async def _delete_workload(world: World, lane: Lane, slot: str, uid: str) -> None:
    """Deletes the slot's workload, if it is still this one."""
    workload = world.cache.get(STATEFUL_SET.kind, lane.namespace, slot)
    if workload is not None and workload["metadata"]["uid"] == uid:
        await _delete_as_it_is(world, STATEFUL_SET, workload)


async def _delete_as_it_is(world: World, kind: Kind, body: Manifest) -> None:
    """Deletes an object in the state that was looked at, or the request might arrive late, when another replica leads
    and has let the slot start again; raises ConflictError."""
    metadata = body["metadata"]
    await world.kube.delete(
        kind,
        metadata["namespace"],
        metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )


def _claim_of(world: World, lane: Lane, slot: str, uid: str) -> Manifest | None:
    """The slot's volume claim, if it is still this one."""
    claim = world.cache.get(VOLUME_CLAIM.kind, lane.namespace, f"queue-{slot}")
    return claim if claim is not None and claim["metadata"]["uid"] == uid else None


async def _without_finalizer(world: World, kind: Kind, body: Manifest, finalizer: str) -> Manifest | None:
    """Takes one finalizer off an object that is still the one that was looked at; None: it is gone."""
    finalizers = body["metadata"].get("finalizers") or ()
    return await set_finalizers(world, kind, body, [one for one in finalizers if one != finalizer])
