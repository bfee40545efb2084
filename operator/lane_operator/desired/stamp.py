"""What every child carries: namespace, labels and, but for what must outlive its lane, an owner.

Each builder gives a name and a spec; here is the only place where labels and owners are written.
"""

from collections.abc import Mapping

from lane_api.names import API_VERSION, CLASS_LABEL, LANE_LABEL, MANAGED_BY, NAMESPACE_LABEL, SLOT_LABEL
from lane_operator.inputs import CLUSTER_SCOPED_CHILDREN, Lane, Manifest

__all__ = ["child", "labels"]


def labels(lane: Lane, slot: str | None = None) -> dict[str, str]:
    """The labels of a lane's child, or of one slot's."""
    found = {**MANAGED_BY, LANE_LABEL: lane.name, CLASS_LABEL: lane.spec.traffic_class.value}
    return found if slot is None else {**found, SLOT_LABEL: slot}


def child(
    lane: Lane,
    manifest: Manifest,
    *,
    slot: str | None = None,
    owned: bool = True,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """The manifest as a child of the lane; what it says of labels and annotations itself stays."""
    given = manifest["metadata"]
    metadata: Manifest = {**given, "labels": {**given.get("labels", {}), **labels(lane, slot)}}
    if manifest["kind"] in CLUSTER_SCOPED_CHILDREN:
        metadata["labels"][NAMESPACE_LABEL], owned = lane.namespace, False  # no owner may be in a namespace
    else:
        metadata["namespace"] = lane.namespace
    if annotations:
        metadata["annotations"] = {**given.get("annotations", {}), **annotations}
    if owned:
        metadata["ownerReferences"] = [_owner(lane)]
    return {**manifest, "metadata": metadata}


def _owner(lane: Lane) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "SendingLane",
        "name": lane.name,
        "uid": lane.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
