"""Whether a live object already is what we want: only fields that we own count, in the spelling the API stores.

Pure. Invariant: equal here means that a server-side apply would change nothing, so it is not sent (a no-op apply is
still a write). A map that has one owner counts as a whole. Fields that we owned and want no more cannot be seen in a
subset, so each object carries a digest of what was applied last; it changes with every such removal.
"""

import base64
import hashlib
import json
from fractions import Fraction
from typing import Any

from lane_operator.quantities import as_asked, quantity

__all__ = ["APPLIED_ANNOTATION", "is_in_force", "prepared"]

Manifest = dict[str, Any]
APPLIED_ANNOTATION = "lanewright.dev/applied"
"""On every child: digest of the manifest that was applied last."""

_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    # list field -> keys that identify an entry (x-kubernetes-list-map-keys of the built-in types)
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_PORT_KEYS = (("containerPort", "protocol"), ("port", "protocol"))
_ATOMIC_MAPS = frozenset(
    {"selector", "labelSelector", "matchLabels", "nodeSelector", "podSelector", "namespaceSelector"}
)
"""One writer owns the whole (x-kubernetes-map-type: atomic): a key more is an edit, and selects something else."""
_ATOMIC_LISTS = frozenset({"ingress", "egress"})
"""Rules of a NetworkPolicy, in which the API fills in nothing: whatever else stands there opens or closes something."""
_SETS = frozenset({"finalizers"})
_QUANTITY_FIELDS = frozenset({"requests", "limits", "capacity"})


def prepared(manifest: Manifest) -> Manifest:
    """The manifest as it is sent: stored spellings only, with the digest of itself."""
    ready = {**manifest, "metadata": {**manifest["metadata"]}}  # what is below is read only
    text = ready.pop("stringData", None)
    if text:
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
        ready["data"] = {**ready.get("data", {}), **encoded}
    content = json.dumps(ready, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    ready["metadata"]["annotations"] = {**ready["metadata"].get("annotations", {}), APPLIED_ANNOTATION: digest}
    return ready


def is_in_force(wanted: Manifest, live: Manifest | None) -> bool:
    """Whether applying the prepared manifest would change nothing of the live object."""
    return live is not None and _covers(wanted, live, "")


def _covers(wanted: Any, live: Any, field: str) -> bool:
    """Whether the live value holds everything that the wanted one says."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        if field in _ATOMIC_MAPS:
            return wanted == live
        inner = field if field in _QUANTITY_FIELDS else None
        return all(_covers(value, live.get(name), inner or name) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return _list_covers(list(wanted), live, field)
    if live is None:
        return not wanted  # the API leaves out what is empty, 0 or false
    if field in _QUANTITY_FIELDS:
        return bool(wanted == live) or _is_same(as_asked(wanted), as_asked(live))
    if field == "sizeLimit":
        return bool(wanted == live) or _is_same(quantity(wanted), quantity(live))
    return bool(wanted == live)


def _is_same(wanted: Fraction | None, live: Fraction | None) -> bool:
    return wanted is not None and wanted == live


def _list_covers(wanted: list[Any], live: Any, field: str) -> bool:
    if not isinstance(live, list):
        return not wanted and live is None
    if field in _ATOMIC_LISTS:
        return wanted == live
    if field in _SETS:
        return set(wanted) <= set(live)
    keys = _keys_of(wanted, field)
    if keys is None:  # atomic: nobody else adds entries, but the API may fill in defaults inside of one
        return len(wanted) == len(live) and all(
            _covers(one, other, field) for one, other in zip(wanted, live, strict=True)
        )
    found = {_entry_key(entry, keys): entry for entry in live}
    return all(_covers(entry, found.get(_entry_key(entry, keys)), field) for entry in wanted)


def _keys_of(entries: list[Any], field: str) -> tuple[str, ...] | None:
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        return None
    if field == "ports":
        return next((keys for keys in _PORT_KEYS if all(keys[0] in entry for entry in entries)), None)
    return _MERGE_KEYS.get(field)


def _entry_key(entry: Manifest, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(entry.get(key, "TCP" if key == "protocol" else None) for key in keys)
