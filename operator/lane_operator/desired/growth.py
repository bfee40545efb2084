"""A queue volume on its way to a larger size: what it has, what the relay may use of it meanwhile, what is said; pure.

Comes after the claim as it stands and before the slot's configuration. Invariants: spool and records together never
count on more than the volume has; records that are kept already are not given up for a volume that is to grow.
"""

from collections.abc import Iterator

from lane_api.conditions import Reason
from lane_api.effective import effective, spool_bytes
from lane_api.quantities import format_size
from lane_api.relayconfig import RelayConfig
from lane_operator.desired.config_secret import parsed_config
from lane_operator.desired.volume_claim import held_bytes, requested_bytes, volume_claim_name
from lane_operator.inputs import Claim, Lane, Manifest, References, Refusal

__all__ = ["growing", "refused_growth", "with_room"]

_FAILED = {"ControllerResizeError", "NodeResizeError"}
"""Conditions of a claim (Kubernetes, RecoverVolumeExpansionFailure); both are tried again by whoever said so."""
_INFEASIBLE = {"ControllerResizeInfeasible", "NodeResizeInfeasible"}
"""What a claim says of a driver that will not be asked for this size again."""


def growing(lane: Lane, claim: Claim, live: Manifest | None) -> Refusal | None:
    """What a volume that was asked to grow is waiting for; None where it has what the lane asks for, or was not asked.

    `live` is the claim as it stands.
    """
    size = lane.spec.queue.size
    if live is None or claim.role.is_going or lane.deleting_since is not None:
        return None
    held = held_bytes(live)
    if not 0 < held < size or requested_bytes(live) < size:
        return None
    name = volume_claim_name(claim.slot_name)
    reason, step = _step(claim, live)
    message = f"{name} has {format_size(held)} of {format_size(size)}: {step}"
    return Refusal(reason, message, waiting=Reason.WAITING_FOR_VOLUME, spare=True)


def refused_growth(lane: Lane, live: Manifest | None, said: str) -> Refusal | None:
    """Why the API server takes no larger claim, with the fix; None where it was not asked for a larger one.

    `said` are its own words. The slot serves as it did, and so does the lane.
    """
    size = lane.spec.queue.size
    if live is None or not 0 < held_bytes(live) < size or requested_bytes(live) >= size:
        return None
    has, storage_class = format_size(held_bytes(live)), live["spec"].get("storageClassName") or ""
    fix = "raise the quota, or the limit, that it names"
    if "resize" in said:  # the admission plugin PersistentVolumeClaimResize has one message for both
        of_class = f"StorageClass {storage_class}" if storage_class else "a StorageClass, for this volume has none"
        fix = (
            f"set allowVolumeExpansion: true on {of_class}, if its driver can grow volumes; else make a second lane "
            "with volumes of this size and delete this one, which drains it"
        )
    message = f"{live['metadata']['name']} stays at {has}, and the lane serves as before: {said}; {fix}"
    return Refusal(Reason.VOLUME_CANNOT_GROW, message, waiting=Reason.VOLUME_CANNOT_GROW, spare=True)


def with_room(config: RelayConfig, lane: Lane, references: References, slot: str) -> RelayConfig:
    """The configuration with sizes that fit the slot's volume as it is: more would be promised than can be kept."""
    live, size = references.volumes.get(slot), lane.spec.queue.size
    held = held_bytes(live) if live is not None else 0
    if not 0 < held < size:
        return config
    before = parsed_config(references.configs.get(slot))
    kept = before.records.max_size if before is not None else 0
    records = effective(lane.spec).records_bytes
    records = min(records, max(kept, records * held // size))
    spool = config.spool.model_copy(update={"max_size": spool_bytes(held, records)})
    of_records = config.records.model_copy(update={"max_size": records})
    return config.model_copy(update={"spool": spool, "records": of_records})


def _step(claim: Claim, live: Manifest) -> tuple[Reason, str]:
    """How far the growth has come, as the claim says it."""
    status = live.get("status") or {}
    standing = {one["type"]: one.get("message", "") for one in _true(status)}
    stage = (status.get("allocatedResourceStatuses") or {}).get("storage", "")
    failed = next((name for name in sorted(_FAILED) if name in standing), "")
    if failed or stage in _INFEASIBLE:
        said = standing.get(failed) or stage
        return Reason.VOLUME_NOT_GROWN, f"the storage's driver failed: {said}"
    if "FileSystemResizePending" in standing:
        return Reason.FILE_SYSTEM_RESIZE_PENDING, (
            "the volume has grown and its file system is grown where it is mounted, by some drivers only when it is "
            f"mounted anew: if this stays, delete pod {claim.slot_name}-0, whose mail waits on the volume meanwhile"
        )
    return Reason.VOLUME_NOT_GROWN, "the storage's driver is at work" if standing or stage else "it has been asked for"


def _true(status: Manifest) -> Iterator[Manifest]:
    return (one for one in status.get("conditions") or () if one.get("status") == "True")
