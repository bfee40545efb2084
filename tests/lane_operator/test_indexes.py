"""What an index finds is what a look at every object would find, after any sequence of changes."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.names import ADDRESS_ANNOTATION, LANE_LABEL, POOL_ANNOTATION, QUEUE_FINALIZER, SLOT_LABEL
from lane_operator.cache import Cache
from lane_operator.indexes import INDEXES, LANES_BY_ORGANIZATION, LANES_BY_POOL, PARTS_BY_ADDRESS, PODS_BY_NODE
from lane_operator.inputs import Manifest

NAMES, SPACES, ADDRESSES = ("a", "b"), ("one", "two"), ("203.0.113.10", "2001:db8::1", "2001:0DB8::1")
DOMAINS = ("example", "a.example", "b.a.example")


@st.composite
def bodies(draw: st.DrawFn) -> Manifest:
    kind = draw(st.sampled_from(sorted({kind for kinds in INDEXES.values() for kind in kinds})))
    name, space = draw(st.sampled_from(NAMES)), draw(st.sampled_from(SPACES))
    address, pool = draw(st.sampled_from(ADDRESSES)), draw(st.sampled_from(NAMES))
    specs: dict[str, dict[str, Any]] = {
        "SendingLane": {"poolRef": {"name": pool}, "domains": [{"name": draw(st.sampled_from(DOMAINS))}]},
        "IPPool": {"engine": draw(st.sampled_from(NAMES)), "addresses": [{"ip": address, "node": name}]},
        "Pod": {"nodeName": draw(st.sampled_from(("", *NAMES)))},
    }
    metadata = {
        "name": name,
        "namespace": space,
        "uid": name,
        "labels": {LANE_LABEL: pool, SLOT_LABEL: f"{pool}-0"} if draw(st.booleans()) else {},
        "annotations": {POOL_ANNOTATION: f"{space}/{pool}", ADDRESS_ANNOTATION: address},
        "finalizers": [QUEUE_FINALIZER] if draw(st.booleans()) else [],
    }
    return {"kind": kind, "metadata": metadata, "spec": specs.get(kind, {})}


def looked_through(cache: Cache, index: str, value: Any) -> list[Manifest]:
    """Without the index."""
    return [
        body for kind in sorted(INDEXES[index]) for body in cache.all(kind) if value in set(INDEXES[index][kind](body))
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(bodies(), st.booleans()), max_size=30))
def test_an_index_and_a_look_at_everything_agree(changes: list[tuple[Manifest, bool]]) -> None:
    cache, values = Cache(), dict[str, set[Any]]()
    for version, (body, goes) in enumerate(changes, 1):
        body["metadata"]["resourceVersion"] = str(version)
        for index, kinds in INDEXES.items():
            if body["kind"] in kinds:
                values.setdefault(index, set()).update(kinds[body["kind"]](body))
        (cache.drop if goes else cache.put)(body["kind"], body)

    for index, known in values.items():
        for value in known:
            assert list(cache.by(index, value)) == looked_through(cache, index, value)
    left = {(kind, id(body)) for kind in ("SendingLane", "Pod") for body in cache.all(kind)}
    spaces = {(kind, id(body)) for kind in ("SendingLane", "Pod") for ns in SPACES for body in cache.all(kind, ns)}
    assert left == spaces


def put(cache: Cache, kind: str, name: str, version: int, **parts: Any) -> None:
    cache.put(
        kind, {"kind": kind, "metadata": {"name": name, "namespace": "one", "resourceVersion": str(version)}, **parts}
    )


def test_a_change_moves_an_object_and_nothing_is_left_behind() -> None:
    cache = Cache()
    put(cache, "SendingLane", "a", 1, spec={"poolRef": {"name": "x"}})
    put(cache, "SendingLane", "a", 2, spec={"poolRef": {"name": "y", "namespace": "pools"}})

    assert list(cache.by(LANES_BY_POOL, ("one", "x"))) == []
    assert [one["metadata"]["name"] for one in cache.by(LANES_BY_POOL, ("pools", "y"))] == ["a"]
    assert list(cache.by(PODS_BY_NODE, "nowhere")) == []


def test_what_several_values_find_comes_once() -> None:
    cache = Cache()
    domains = [{"name": "b.a.example"}, {"name": "b.example"}]
    put(cache, "SendingLane", "a", 1, spec={"trafficClass": "Bulk", "domains": domains})

    assert len(list(cache.by(LANES_BY_ORGANIZATION, ("a.example", "Bulk"), ("b.example", "Bulk")))) == 1


def test_an_address_is_found_by_its_value() -> None:
    cache = Cache()
    annotations = {ADDRESS_ANNOTATION: "2001:0DB8:0::1"}
    metadata = {"name": "s", "namespace": "one", "resourceVersion": "1", "annotations": annotations}
    cache.put("StatefulSet", {"kind": "StatefulSet", "metadata": metadata})

    assert len(list(cache.by(PARTS_BY_ADDRESS, "2001:db8::1"))) == 1
