"""Queue volumes that outlive their namespace: kept when it goes, adopted by a lane of the same name afterwards.

A claim cannot survive its namespace, a PersistentVolume can: its reclaim policy becomes Retain and it is labelled with
namespace, lane and slot. A lane of that name whose claim is missing binds it again. Needs rights to PersistentVolumes,
which an installation for one namespace has not (`Settings.volumes`).
Invariant: whoever may write a claim can have it name any volume of the cluster; whose a volume is its own `claimRef`
says, and another's is neither labelled nor handed on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lane_api.conditions import Reason
from lane_api.names import (
    ADDRESS_ANNOTATION,
    CLAIM_BEFORE_ANNOTATION,
    CLASS_LABEL,
    LANE_LABEL,
    MANAGED_BY,
    NAMESPACE_LABEL,
    POOL_ANNOTATION,
    SECOND_ANNOTATION,
    SLOT_LABEL,
    STANDBY_FROM,
)
from lane_operator.cache import Cache
from lane_operator.errors import ConflictError
from lane_operator.indexes import KEPT_VOLUMES_BY_LANE
from lane_operator.inputs import Claim, Lane, Manifest, Refusal
from lane_operator.kube import PERSISTENT_VOLUME, VOLUME_CLAIM
from lane_operator.quantities import quantity
from lane_operator.reconcile.world import World

__all__ = ["adopted", "deleted_by_hand", "retain", "settle_adopted"]

ADOPTED_ANNOTATION = "lanewright.dev/adopted-volume"
"""On a claim: the kept volume that it was made for."""
RECLAIM_ANNOTATION = "lanewright.dev/reclaim-policy"
"""On a kept volume: the reclaim policy that it goes back to once it is adopted."""


async def retain(world: World, lane: Lane, slot: str, volume: str) -> bool:
    """Keeps a PersistentVolume beyond its claim; False: it is another's, the claim holds nothing. Raises KubeError."""
    body = await world.kube.get(PERSISTENT_VOLUME, None, volume)
    claim = world.cache.get(VOLUME_CLAIM.kind, lane.namespace, f"queue-{slot}")
    if body is None or claim is None or claim["spec"].get("volumeName") != volume:
        return True
    if not _is_behind(body, claim):
        return False
    metadata, noted = body["metadata"], _vouched(lane, slot, claim["metadata"].get("annotations") or {})
    labels = {**MANAGED_BY, LANE_LABEL: lane.name, SLOT_LABEL: slot, NAMESPACE_LABEL: lane.namespace}
    labels[CLASS_LABEL] = lane.spec.traffic_class.value
    annotations = {
        name: noted[name] for name in (ADDRESS_ANNOTATION, SECOND_ANNOTATION, POOL_ANNOTATION) if name in noted
    }
    annotations[CLAIM_BEFORE_ANNOTATION] = claim["metadata"]["uid"]
    annotations[RECLAIM_ANNOTATION] = body["spec"].get("persistentVolumeReclaimPolicy", "Delete")
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/metadata/labels", "value": {**(metadata.get("labels") or {}), **labels}},
        {"op": "add", "path": "/metadata/annotations", "value": {**(metadata.get("annotations") or {}), **annotations}},
        {"op": "add", "path": "/spec/persistentVolumeReclaimPolicy", "value": "Retain"},
    ]
    changed = await world.kube.patch_json(PERSISTENT_VOLUME, None, volume, operations, metadata["resourceVersion"])
    world.cache.put(PERSISTENT_VOLUME.kind, changed)
    return True


def deleted_by_hand(cache: Cache, lane: Lane, claims: Iterable[Claim]) -> tuple[Refusal, ...]:
    """Claims under serving slots that somebody has deleted: our finalizer holds them, and nothing can undelete them."""
    found = []
    for claim in claims:
        volume = cache.get(VOLUME_CLAIM.kind, lane.namespace, f"queue-{claim.slot_name}") or {}
        if claim.role.is_going or "deletionTimestamp" not in volume.get("metadata", {}):
            continue
        field, lower, now = "replicas", claim.slot_index, lane.spec.replicas
        if lower >= STANDBY_FROM:
            field, lower, now = "standbyReplicas", lower - STANDBY_FROM, lane.spec.standby_replicas
        message = (
            f"PersistentVolumeClaim queue-{claim.slot_name} was deleted by hand. Nothing is lost: it stays while slot "
            f"{claim.slot_name} runs, but a pod that is made anew cannot mount it. Set {field} to {lower}, "
            f"so that the slot drains and gives it up, then back to {now}"
        )
        found.append(Refusal(Reason.VOLUME_DELETED, message))
    return tuple(found)


async def adopted(world: World, lane: Lane, manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    """The manifests with claims bound to the volumes that were kept for them. Raises KubeError."""
    return tuple(
        [
            await _adopting(world, lane, manifest) if manifest["kind"] == VOLUME_CLAIM.kind else manifest
            for manifest in manifests
        ]
    )


async def settle_adopted(world: World, lane: Lane) -> None:
    """Gives volumes that are bound again back their own reclaim policy and takes our labels off. Raises KubeError."""
    for body in _kept(world, lane):
        slot = body["metadata"]["labels"][SLOT_LABEL]
        claim = world.cache.get(VOLUME_CLAIM.kind, lane.namespace, f"queue-{slot}")
        bound = (claim or {}).get("status", {}).get("phase") == "Bound"
        if claim is None or not bound or claim["spec"].get("volumeName") != body["metadata"]["name"]:
            continue
        if not _is_behind(body, claim):
            continue
        if claim["metadata"].get("deletionTimestamp"):
            continue
        await _let_go(world, body)


async def _adopting(world: World, lane: Lane, manifest: Manifest) -> Manifest:
    """The claim's manifest, with the volume that waits for it where there is one."""
    name, slot = manifest["metadata"]["name"], (manifest["metadata"].get("labels") or {}).get(SLOT_LABEL)
    live = world.cache.get(VOLUME_CLAIM.kind, lane.namespace, name)
    if live is not None:
        noted = live["metadata"].get("annotations") or {}
        volume = noted.get(ADOPTED_ANNOTATION)
        return _bound(manifest, volume, noted.get(CLAIM_BEFORE_ANNOTATION, "")) if volume else manifest
    claim = {"apiVersion": "v1", "kind": VOLUME_CLAIM.kind, "namespace": lane.namespace, "name": name}
    kept = (one for one in _kept(world, lane) if one["metadata"]["labels"].get(SLOT_LABEL) == slot)
    body = next((one for one in kept if _is_for(one, claim)), None)
    if body is None:
        return manifest
    if (body.get("status") or {}).get("phase") == "Bound":  # else an empty volume would be made in its place
        raise ConflictError(f"PersistentVolume {body['metadata']['name']} is still bound to the claim before {name}")
    gone = body["spec"].get("claimRef", {}).get("uid", "")
    if gone:  # of the claim that went with the old namespace
        operation = {"op": "add", "path": "/spec/claimRef", "value": claim}
        metadata = body["metadata"]
        changed = await world.kube.patch_json(
            PERSISTENT_VOLUME, None, metadata["name"], [operation], metadata["resourceVersion"]
        )
        world.cache.put(PERSISTENT_VOLUME.kind, changed)
    before = (body["metadata"].get("annotations") or {}).get(CLAIM_BEFORE_ANNOTATION, gone)
    return _bound(_fitting(manifest, body), body["metadata"]["name"], before)


def _vouched(lane: Lane, slot: str, noted: Mapping[str, str]) -> dict[str, str]:
    """A claim's annotations with no address but those that the lane's status names too: what a PersistentVolume says
    keeps an address from others, and a claim's annotations are its writer's to choose."""
    said = {ip for one in lane.status.slots if one.name == slot for ip in (one.ip, one.second) if ip}
    addresses = (ADDRESS_ANNOTATION, SECOND_ANNOTATION)
    return {name: value for name, value in noted.items() if name not in addresses or value in said}


def _is_for(body: Manifest, claim: Mapping[str, str]) -> bool:
    """Whether a volume is for the claim of this namespace and name, or for none in particular."""
    holder = body["spec"].get("claimRef") or claim
    return all(holder.get(part) == claim[part] for part in ("namespace", "name"))


def _is_behind(body: Manifest, claim: Manifest) -> bool:
    """Whether a volume is bound to this very claim, or reserved for it."""
    metadata, holder = claim["metadata"], body["spec"].get("claimRef")
    return bool(holder) and _is_for(body, metadata) and holder.get("uid", metadata["uid"]) == metadata["uid"]


def _fitting(manifest: Manifest, body: Manifest) -> Manifest:
    """The claim, asking for no more than the volume has, for else it is never bound; it grows once it is."""
    asked, has = manifest["spec"]["resources"]["requests"]["storage"], body["spec"].get("capacity", {}).get("storage")
    room, wanted = quantity(has), quantity(asked)
    if room is None or wanted is None or room >= wanted:
        return manifest
    return {**manifest, "spec": {**manifest["spec"], "resources": {"requests": {"storage": has}}}}


def _bound(manifest: Manifest, volume: str, before: str) -> Manifest:
    """The claim for this volume; the field stays ours for good, since a claim's volume cannot change."""
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ADOPTED_ANNOTATION: volume}
    if before:
        annotations[CLAIM_BEFORE_ANNOTATION] = before
    return {
        **manifest,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**manifest["spec"], "volumeName": volume},
    }


def _kept(world: World, lane: Lane) -> list[Manifest]:
    """The volumes kept for a lane of this namespace and name."""
    return list(world.cache.by(KEPT_VOLUMES_BY_LANE, lane.key))


async def _let_go(world: World, body: Manifest) -> None:
    metadata = body["metadata"]
    ours = {*MANAGED_BY, CLASS_LABEL, LANE_LABEL, SLOT_LABEL, NAMESPACE_LABEL}
    noted = {ADDRESS_ANNOTATION, SECOND_ANNOTATION, POOL_ANNOTATION, RECLAIM_ANNOTATION, CLAIM_BEFORE_ANNOTATION}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name not in ours}
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name not in noted}
    policy = (metadata.get("annotations") or {}).get(RECLAIM_ANNOTATION, "Retain")
    operations = [
        {"op": "add", "path": "/metadata/labels", "value": labels},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "add", "path": "/spec/persistentVolumeReclaimPolicy", "value": policy},
    ]
    changed = await world.kube.patch_json(
        PERSISTENT_VOLUME, None, metadata["name"], operations, metadata["resourceVersion"]
    )
    world.cache.drop(PERSISTENT_VOLUME.kind, changed)
