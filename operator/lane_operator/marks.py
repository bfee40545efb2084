"""What a slot's objects carry about it: lane, slot, address, pool and class, as labels and annotations. Pure.

They are how a slot is found again when the record of it is lost, and whose volume it is when its lane is gone.
"""

from typing import Final

from lane_api.names import (
    ADDRESS_ANNOTATION,
    CLASS_LABEL,
    LANE_LABEL,
    NAMESPACE_LABEL,
    POOL_ANNOTATION,
    QUEUE_FINALIZER,
    SECOND_ANNOTATION,
    SLOT_LABEL,
    slot_index,
)
from lane_operator.inputs import Key, Manifest

_PARTS: Final = {"StatefulSet": "{}", "Pod": "{}-0", "PersistentVolumeClaim": "queue-{}"}
"""How the parts of a slot are called of which it has one: whoever copies an object copies its labels, too."""

__all__ = [
    "address_of",
    "addresses_of",
    "class_label",
    "index_of",
    "is_kept",
    "key_of",
    "lane_key",
    "marked",
    "part_of",
    "pool_key",
    "pool_named",
    "slot_of",
]


_ASKED = ("name", "namespace", "labels", "finalizers")
_NOTES = (POOL_ANNOTATION, ADDRESS_ANNOTATION, SECOND_ANNOTATION)


def key_of(body: Manifest) -> Key:
    """Namespace and name of an object that is in one."""
    return (body["metadata"]["namespace"], body["metadata"]["name"])


def pool_named(lane: Manifest) -> Key:
    """The pool that a lane names."""
    reference = lane["spec"].get("poolRef") or {}
    return (reference.get("namespace") or lane["metadata"]["namespace"], reference.get("name", ""))


def is_kept(body: Manifest) -> bool:
    """Whether it may hold mail: a workload, a claim under our finalizer, or a PersistentVolume that we kept."""
    if body["kind"] == "PersistentVolume":
        return True
    of_a_slot = bool(part_of(body))
    return of_a_slot and (
        body["kind"] == "StatefulSet" or QUEUE_FINALIZER in (body["metadata"].get("finalizers") or ())
    )


def lane_key(body: Manifest) -> Key | None:
    """The lane that an object belongs to, also one outside of namespaces; None where it names none."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or labels.get(NAMESPACE_LABEL)
    return (namespace, labels[LANE_LABEL]) if namespace and LANE_LABEL in labels else None


def pool_key(body: Manifest) -> Key | None:
    """The pool that a slot's address came from; None where the object names none."""
    namespace, _, name = (body["metadata"].get("annotations") or {}).get(POOL_ANNOTATION, "").partition("/")
    return (namespace, name) if name else None


def address_of(body: Manifest) -> str:
    """The address that a slot's object carries; empty where it has none."""
    return str((body["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION, ""))


def addresses_of(body: Manifest) -> tuple[str, ...]:
    """The addresses that a slot's object carries: none, one, or one of each family."""
    second = str((body["metadata"].get("annotations") or {}).get(SECOND_ANNOTATION, ""))
    return tuple(text for text in (address_of(body), second) if text)


def class_label(body: Manifest) -> str:
    """The traffic class of the lane that made it; empty where it does not say."""
    return str((body["metadata"].get("labels") or {}).get(CLASS_LABEL, ""))


def slot_of(body: Manifest) -> str:
    """The slot that an object is a part of; empty where it is of none."""
    return str((body["metadata"].get("labels") or {}).get(SLOT_LABEL, ""))


def marked(kind: str, body: Manifest) -> Manifest | None:
    """The object with no more than what is asked of it for slots that are others'; None for what has none of it.

    An allocation goes through the workloads and volumes of all lanes of a pool: whole ones would be unpacked for it.
    """
    if kind not in {"StatefulSet", "PersistentVolumeClaim", "PersistentVolume"}:
        return None
    pod = ((body.get("spec") or {}).get("template") or {}).get("spec") or {}
    metadata = {name: body["metadata"][name] for name in _ASKED if name in body["metadata"]}
    annotations = body["metadata"].get("annotations") or {}
    metadata["annotations"] = {name: annotations[name] for name in _NOTES if name in annotations}
    kept: Manifest = {"kind": kind, "metadata": metadata, "spec": {}}
    if pod.get("hostNetwork"):
        ports = [{"ports": container.get("ports") or ()} for container in pod.get("containers") or ()]
        kept["spec"] = {"template": {"spec": {"hostNetwork": True, "containers": ports}}}
    return kept


def part_of(body: Manifest) -> str:
    """The slot whose one workload, pod or volume claim it is, by label and by name; empty for a copy beside it."""
    slot, spelled = slot_of(body), _PARTS.get(body["kind"])
    return slot if slot and spelled is not None and body["metadata"]["name"] == spelled.format(slot) else ""


def index_of(body: Manifest, lane: str) -> int | None:
    """The number of that slot in a lane of this name; None where it is none of its slots."""
    return slot_index(lane, slot_of(body))
