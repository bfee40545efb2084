"""The queue volume of one slot: ours, so that it can grow and outlive its lane.

It has no owner and carries the queue finalizer, which is taken off only on proof of empty. What it says of address,
pool and class lets a lane of the same name adopt it, and a lost pool status be rebuilt.
Invariants: a claim is never asked to shrink (an adopted one may be larger than the lane asks for), nor to grow before
it is bound, nor while its slot goes, for the API server refuses the first two and the third is of no use.
"""

from lane_api.names import ADDRESS_ANNOTATION, CLASS_LABEL, POOL_ANNOTATION, QUEUE_FINALIZER, SECOND_ANNOTATION
from lane_api.quantities import format_size
from lane_operator.inputs import Claim, Lane, Manifest
from lane_operator.quantities import quantity

__all__ = ["claim_annotations", "held_bytes", "requested_bytes", "volume_claim", "volume_claim_name"]


def volume_claim_name(slot: str) -> str:
    """The claim's name."""
    return f"queue-{slot}"


def volume_claim(lane: Lane, claim: Claim, live: Manifest | None) -> Manifest:
    """The claim; its size may grow, nothing else of it changes. `live` is the claim as it stands."""
    queue = lane.spec.queue
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": _request(lane, claim, live)}},
    }
    if queue.storage_class_name is not None:
        spec["storageClassName"] = queue.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": volume_claim_name(claim.slot_name),
            "finalizers": [QUEUE_FINALIZER],
            "annotations": {CLASS_LABEL: lane.spec.traffic_class.value, **claim_annotations(claim)},
        },
        "spec": spec,
    }


def claim_annotations(claim: Claim) -> dict[str, str]:
    """The second record of an assignment, on what the slot is made of."""
    pool = {POOL_ANNOTATION: "/".join(claim.pool)}
    if claim.address is None:
        return pool
    second = claim.address.second
    own = {ADDRESS_ANNOTATION: claim.address.ip}
    return {**pool, **own} if second is None else {**pool, **own, SECOND_ANNOTATION: second.ip}


def requested_bytes(live: Manifest) -> int:
    """What the claim asks for."""
    return _bytes(live.get("spec", {}).get("resources", {}).get("requests", {}).get("storage"))


def held_bytes(live: Manifest) -> int:
    """What its volume has; 0 while it is bound to none."""
    status = live.get("status") or {}
    return _bytes((status.get("capacity") or {}).get("storage")) if status.get("phase") == "Bound" else 0


def _request(lane: Lane, claim: Claim, live: Manifest | None) -> str:
    """The size to ask for, as the claim spells it where it stays as it is."""
    size = lane.spec.queue.size
    if live is None:
        return format_size(size)
    has, held = requested_bytes(live), held_bytes(live)
    grows = has < size and 0 < held < size and not claim.role.is_going and lane.deleting_since is None
    return format_size(size) if grows or not has else str(live["spec"]["resources"]["requests"]["storage"])


def _bytes(text: object) -> int:
    """A quantity in bytes; 0 for what is none, which a hand may have written."""
    return int(quantity(text) or 0)
