"""What the API server holds, as far as we watch it, by kind, by name and by lane.

Fed by events and by lists; read by everything. Invariant: an object never goes back to an older state, whichever of
event, list and answer to our own write comes last (resourceVersions are ordered since Kubernetes 1.35, and were with
etcd before). Objects are shared, never changed in place.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lane_api.names import LANE_LABEL

__all__ = ["Cache", "Change"]

Manifest = dict[str, Any]
TOMBSTONES = 10_000  # deletions remembered, so that a late answer does not bring an object back


class Change(NamedTuple):
    """One object before and after; None where it was not, or is no more."""

    kind: str
    before: Manifest | None
    after: Manifest | None


class Cache:
    """Objects by kind, namespace and name; children also by lane."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[tuple[str, str], Manifest]] = defaultdict(dict)
        self._children: dict[tuple[str, str], dict[tuple[str, str], Manifest]] = defaultdict(dict)
        self._gone: OrderedDict[tuple[str, str, str], int] = OrderedDict()

    def put(self, kind: str, body: Manifest) -> Change | None:
        """Keeps the object unless a newer state is known; the change, or None."""
        namespace, name, version = _identity(body)
        before = self._kinds[kind].get((namespace, name))
        if before is not None and _version(before) >= version:
            return None
        if self._gone.get((kind, namespace, name), -1) >= version:
            return None
        body.get("metadata", {}).pop("managedFields", None)  # half of an object's size, and never read
        if before is not None:
            self._unlist(kind, before)
        self._kinds[kind][namespace, name] = body
        lane = _lane_of(body)
        if lane is not None:
            self._children[lane][kind, name] = body
        return Change(kind, before, body)

    def drop(self, kind: str, body: Manifest) -> Change | None:
        """Forgets a deleted object, unless another one of its name is known by now; the change, or None."""
        namespace, name, version = _identity(body)
        before = self._kinds[kind].get((namespace, name))
        if before is not None and before["metadata"].get("uid") != body["metadata"].get("uid"):
            return None
        self._gone[kind, namespace, name] = max(version, -1 if before is None else _version(before))
        if len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)
        if before is None:
            return None
        self._unlist(kind, before)
        del self._kinds[kind][namespace, name]
        return Change(kind, before, None)

    def replace(
        self, kind: str, namespace: str | None, bodies: Iterable[Manifest], listed_at: int | None = None
    ) -> tuple[Change, ...]:
        """Makes a list the truth of one namespace (None: of all); what changed, and what vanished unseen.

        `listed_at` is the list's resourceVersion: what is newer than that is not missing from the list, only later.
        """
        changes = []
        seen = set()
        for body in bodies:
            seen.add(_identity(body)[:2])
            change = self.put(kind, body)
            if change is not None:
                changes.append(change)
        for key, before in list(self._kinds[kind].items()):
            if key in seen or (namespace is not None and key[0] != namespace):
                continue
            if listed_at is not None and _version(before) > listed_at:
                continue
            change = self.drop(kind, before)
            if change is not None:
                changes.append(change)
        return tuple(changes)

    def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, if known."""
        return self._kinds[kind].get((namespace or "", name))

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Manifest]:
        """The objects of a kind, of one namespace or of all, in order of name."""
        objects = self._kinds[kind]
        return (objects[key] for key in sorted(objects) if namespace is None or key[0] == namespace)

    def children(self, lane: tuple[str, str]) -> dict[tuple[str, str], Manifest]:
        """Everything labelled as the lane's, by (kind, name)."""
        return dict(self._children.get(lane, {}))

    def _unlist(self, kind: str, body: Manifest) -> None:
        lane = _lane_of(body)
        if lane is not None:
            self._children[lane].pop((kind, body["metadata"]["name"]), None)
            if not self._children[lane]:
                del self._children[lane]


def _identity(body: Manifest) -> tuple[str, str, int]:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"], _version(body)


def _version(body: Manifest) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)


def _lane_of(body: Manifest) -> tuple[str, str] | None:
    metadata = body["metadata"]
    lane = (metadata.get("labels") or {}).get(LANE_LABEL)
    return (metadata.get("namespace") or "", lane) if lane else None
