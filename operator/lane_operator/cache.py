"""What the API server holds, as far as we watch it, by kind, by name, by lane, and by what
`indexes` finds it by.

Fed by events and by lists; read by everything. Invariant: an object never goes back to an older state, whichever of
event, list and answer to our own write comes last (resourceVersions are ordered since Kubernetes 1.35, and were with
etcd before); where etcd itself went back, `replace` and `leadership` find out. Objects are shared, never changed in
place. What is read with every pass over any lane is kept as it is, all else packed, and unpacked when it is read.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from lane_api.names import LANE_LABEL, NAMESPACE_LABEL
from lane_operator.errors import WentBackError
from lane_operator.indexes import INDEXES, Index
from lane_operator.inputs import CLUSTER_SCOPED_CHILDREN
from lane_operator.marks import marked
from lane_operator.packed import PackedObject

__all__ = ["Cache", "Change"]

Manifest = dict[str, Any]
K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=Hashable)
TOMBSTONES = 10_000  # deletions remembered, so that a late answer does not bring an object back
UNPACKED = 256  # objects kept unpacked after they were read: the parts of a lane are asked for many times in one pass
_PLAIN = frozenset({"SendingLane", "IPPool", "ISPPolicy", "Node"})
"""Kinds that are never packed: a pass over one lane looks at those of others, too."""


class Change(NamedTuple):
    """One object before and after; None where it was not, or is no more."""

    kind: str
    before: Manifest | None
    after: Manifest | None


class _Kept:
    """One object, packed or as it is."""

    __slots__ = ("body", "identity", "marks", "version")

    def __init__(
        self, identity: tuple[str, str, str], version: int, body: Manifest | PackedObject, marks: Manifest | None
    ) -> None:
        self.identity = identity
        """Kind, namespace, name."""
        self.version = version
        self.body = body
        self.marks = marks
        """See `marks.marked`."""


class Cache:
    """Objects by kind, namespace and name; children also by lane; all by what the indexes say of them."""

    def __init__(self, indexes: Mapping[str, Mapping[str, Index]] = INDEXES) -> None:
        self._kinds: dict[str, dict[tuple[str, str], _Kept]] = defaultdict(dict)
        self._spaces: dict[tuple[str, str], dict[str, _Kept]] = defaultdict(dict)  # (kind, namespace) -> name
        self._indexes: dict[str, list[tuple[str, Index]]] = defaultdict(list)
        for name, kinds in indexes.items():
            for kind, index in kinds.items():
                self._indexes[kind].append((name, index))
        self._found: dict[tuple[str, Hashable], dict[tuple[str, str, str], _Kept]] = defaultdict(dict)
        self._children: dict[tuple[str, str], dict[tuple[str, str], _Kept]] = defaultdict(dict)
        self._unpacked: OrderedDict[tuple[str, str, str], Manifest] = OrderedDict()
        self._gone: OrderedDict[tuple[str, str, str], int] = OrderedDict()

    def put(self, kind: str, body: Manifest) -> Change | None:
        """Keeps the object unless a newer state is known; the change, or None."""
        namespace, name, version = _identity(body)
        known = self._kinds[kind].get((namespace, name))
        if known is not None and known.version >= version:
            return None
        if self._gone.get((kind, namespace, name), -1) >= version:
            return None
        body.get("metadata", {}).pop("managedFields", None)  # half of an object's size, and never read
        before = None if known is None else self._unlist(known)
        self._list(kind, body)
        return Change(kind, before, body)

    def drop(self, kind: str, body: Manifest) -> Change | None:
        """Forgets a deleted object, unless another one of its name is known by now; the change, or None."""
        namespace, name, version = _identity(body)
        known = self._kinds[kind].get((namespace, name))
        if known is not None and self._read(known)["metadata"].get("uid") != body["metadata"].get("uid"):
            return None
        self._gone[kind, namespace, name] = max(version, -1 if known is None else known.version)
        if len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)
        return None if known is None else Change(kind, self._unlist(known), None)

    def replace(
        self, kind: str, namespace: str | None, bodies: Iterable[Manifest], listed_at: int | None = None
    ) -> tuple[Change, ...]:
        """Makes a list the truth of one namespace (None: of all); what changed, and what vanished unseen.

        `listed_at` is the list's resourceVersion: what is newer than that is not missing from the list, only later.
        Raises WentBackError where the list shows an object older than one that it must have seen: etcd was restored,
        with its revisions going on (`etcdutl snapshot restore --bump-revision`), and we would keep what is no more.
        """
        bodies = tuple(bodies)
        seen = {_identity(body)[:2] for body in bodies}
        return (*self.take(kind, bodies, listed_at), *self.keep_only(kind, namespace, seen, listed_at))

    def take(self, kind: str, bodies: Iterable[Manifest], listed_at: int | None = None) -> tuple[Change, ...]:
        """Keeps a part of a list; what changed. Raises WentBackError as `replace`."""
        changes = []
        for body in bodies:
            self._refuse_older(kind, body, listed_at)
            change = self.put(kind, body)
            if change is not None:
                changes.append(change)
        return tuple(changes)

    def keep_only(
        self, kind: str, namespace: str | None, seen: Collection[tuple[str, str]], listed_at: int | None = None
    ) -> tuple[Change, ...]:
        """Forgets what a list of one namespace (None: of all) has not shown in any part; what vanished unseen."""
        changes = []
        for known in [*self._of(kind, namespace)]:
            if known.identity[1:] in seen:
                continue
            if listed_at is not None and known.version > listed_at:
                continue
            change = self.drop(kind, self._read(known))
            if change is not None:
                changes.append(change)
        return tuple(changes)

    def _refuse_older(self, kind: str, body: Manifest, listed_at: int | None) -> None:
        namespace, name, version = _identity(body)
        known = self._kinds[kind].get((namespace, name))
        if known is not None and listed_at is not None and version < known.version <= listed_at:
            raise WentBackError(
                f"{kind} {namespace}/{name} is older (resourceVersion {version}) than it was ({known.version})"
            )

    def newest(self, kind: str, namespace: str | None) -> int:
        """The highest resourceVersion that we know of objects of a kind, in one namespace or in all; 0 for none."""
        return max((known.version for known in self._shelf(kind, namespace).values()), default=0)

    def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, if known."""
        known = self._kinds[kind].get((namespace or "", name))
        return None if known is None else self._read(known)

    def has(self, kind: str, namespace: str | None, name: str) -> bool:
        """Whether the object is known."""
        return (namespace or "", name) in self._kinds[kind]

    def count(self, kind: str, namespace: str | None = None) -> int:
        """How many objects of a kind are known, in one namespace or in all."""
        return len(self._shelf(kind, namespace))

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Manifest]:
        """The objects of a kind, of one namespace or of all, in order of name."""
        return (self._read(one) for one in self._of(kind, namespace))

    def by(self, index: str, *values: Hashable) -> Iterator[Manifest]:
        """What an index finds under any of these values, each object once, in order of kind, namespace and name."""
        return (self._read(one) for one in self._by(index, values))

    def children(self, lane: tuple[str, str]) -> dict[tuple[str, str], Manifest]:
        """Everything labelled as the lane's, by (kind, name)."""
        return {name: self._read(one) for name, one in self._children.get(lane, {}).items()}

    def marked(self, lane: tuple[str, str]) -> Iterator[Manifest]:
        """The workloads and volumes labelled as the lane's, with their marks alone."""
        return (one.marks for one in self._children.get(lane, {}).values() if one.marks is not None)

    def marked_by(self, index: str, *values: Hashable) -> Iterator[Manifest]:
        """As `by`, of workloads and volumes, with their marks alone."""
        return (one.marks for one in self._by(index, values) if one.marks is not None)

    def _by(self, index: str, values: Iterable[Hashable]) -> Iterator[_Kept]:
        found: dict[tuple[str, str, str], _Kept] = {}
        for value in values:
            found.update(self._found.get((index, value)) or {})
        return (found[key] for key in sorted(found))

    def _of(self, kind: str, namespace: str | None) -> Iterator[_Kept]:
        shelf = self._shelf(kind, namespace)
        return (shelf[name] for name in sorted(shelf))

    def _shelf(self, kind: str, namespace: str | None) -> Mapping[Any, _Kept]:
        return self._kinds[kind] if namespace is None else self._spaces.get((kind, namespace), {})

    def _read(self, kept: _Kept) -> Manifest:
        """The object as it is; of those that were packed, the ones that were read last are at hand."""
        if not isinstance(kept.body, PackedObject):
            return kept.body
        body = self._unpacked.get(kept.identity)
        if body is None:
            body = self._unpacked[kept.identity] = kept.body.unpacked()
            if len(self._unpacked) > UNPACKED:
                self._unpacked.popitem(last=False)
        else:
            self._unpacked.move_to_end(kept.identity)
        return body

    def _list(self, kind: str, body: Manifest) -> None:
        namespace, name, version = _identity(body)
        identity = (kind, namespace, name)
        kept = _Kept(identity, version, body if kind in _PLAIN else PackedObject(body), marked(kind, body))
        self._kinds[kind][namespace, name] = self._spaces[kind, namespace][name] = kept
        for index, values in self._indexes.get(kind) or ():
            for value in values(body):
                self._found[index, value][identity] = kept
        lane = _lane_of(kind, body)
        if lane is not None:
            self._children[lane][kind, name] = kept

    def _unlist(self, kept: _Kept) -> Manifest:
        kind, namespace, name = kept.identity
        body = self._read(kept)
        self._unpacked.pop(kept.identity, None)
        self._kinds[kind].pop((namespace, name), None)
        _take(self._spaces, (kind, namespace), name)
        for index, values in self._indexes.get(kind) or ():
            for value in values(body):
                _take(self._found, (index, value), kept.identity)
        lane = _lane_of(kind, body)
        if lane is not None:
            _take(self._children, lane, (kind, name))
        return body


def _take(shelves: dict[K, dict[N, _Kept]], key: K, name: N) -> None:
    """Takes one object off a shelf, and the shelf away where nothing is left on it."""
    shelf = shelves.get(key)
    if shelf is not None:
        shelf.pop(name, None)
        if not shelf:
            del shelves[key]


def _identity(body: Manifest) -> tuple[str, str, int]:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"], _version(body)


def _version(body: Manifest) -> int:
    return int(body["metadata"].get("resourceVersion") or 0)


def _lane_of(kind: str, body: Manifest) -> tuple[str, str] | None:
    """Namespace and name of the lane that the object is a child of; a kept volume, in no namespace, is none."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    namespace = labels.get(NAMESPACE_LABEL) if kind in CLUSTER_SCOPED_CHILDREN else metadata.get("namespace")
    return (namespace or "", labels[LANE_LABEL]) if labels.get(LANE_LABEL) else None
