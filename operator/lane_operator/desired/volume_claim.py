"""The queue volume of one slot: ours, so that it can grow and outlive its lane.

It has no owner and carries the queue finalizer, which is taken off only on proof of empty. What it says of address,
pool and class lets a lane of the same name adopt it, and a lost pool status be rebuilt.
"""

from lane_api.names import ADDRESS_ANNOTATION, CLASS_LABEL, POOL_ANNOTATION, QUEUE_FINALIZER
from lane_api.quantities import format_size
from lane_operator.inputs import Claim, Lane, Manifest

__all__ = ["claim_annotations", "volume_claim", "volume_claim_name"]


def volume_claim_name(slot: str) -> str:
    """The claim's name."""
    return f"queue-{slot}"


def volume_claim(lane: Lane, claim: Claim) -> Manifest:
    """The claim; its size may grow, nothing else of it changes."""
    queue = lane.spec.queue
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": format_size(queue.size)}},
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
    return pool if claim.address is None else {**pool, ADDRESS_ANNOTATION: claim.address.ip}
