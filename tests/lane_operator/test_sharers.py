"""Which lanes share their suppression lists: those of one namespace that say so, and each knows whoever knows it."""

from typing import Any

from lane_api.names import LANE_LABEL, SLOT_LABEL
from lane_operator.cache import Cache
from lane_operator.inputs import Lane, Sharer
from lane_operator.sharers import MOST, sharers_of
from tests.lane_operator import made

SHARED = {"suppression": {"scope": "Namespace"}}


def put(cache: Cache, name: str, namespace: str = "mail", feedback: dict[str, Any] | None = None) -> None:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "resourceVersion": "1"}
    spec = {"feedback": feedback} if feedback is not None else {}
    cache.put("SendingLane", {"kind": "SendingLane", "metadata": metadata, "spec": spec})


def slot(cache: Cache, lane: str, name: str, port: int | None = None) -> None:
    labels = {LANE_LABEL: lane, SLOT_LABEL: name}
    metadata = {"name": name, "namespace": "mail", "uid": name, "resourceVersion": "1", "labels": labels}
    pod: dict[str, Any] = {}
    if port is not None:
        pod = {"hostNetwork": True, "containers": [{"ports": [{"name": "smtp", "containerPort": port}]}]}
    cache.put("StatefulSet", {"kind": "StatefulSet", "metadata": metadata, "spec": {"template": {"spec": pod}}})


def named(name: str, feedback: dict[str, Any] | None = None) -> Lane:
    return made.lane(name=name, feedback=SHARED if feedback is None else feedback)


def test_they_are_of_one_namespace_and_say_so_and_are_reached_at_their_slots() -> None:
    cache = Cache()
    put(cache, "otp", feedback=SHARED)
    put(cache, "news", feedback=SHARED)
    put(cache, "alone", feedback={"suppression": {"scope": "Lane"}})
    put(cache, "plain")
    put(cache, "far", "shop", SHARED)
    slot(cache, "news", "news-1", 20000)
    slot(cache, "news", "news-0")
    slot(cache, "alone", "alone-0")
    assert sharers_of(cache, named("otp")) == (Sharer("news", (("news-0", None), ("news-1", 20000))),)
    assert sharers_of(cache, named("otp", {"suppression": {"scope": "Domain"}})) == ()
    assert sharers_of(cache, made.lane()) == ()


def test_of_very_many_each_knows_whoever_knows_it() -> None:
    cache = Cache()
    names = [f"lane-{number:03d}" for number in range(3 * MOST)]
    for name in names:
        put(cache, name, feedback=SHARED)
    known = {name: {one.name for one in sharers_of(cache, named(name))} for name in names}
    assert {len(found) for found in known.values()} == {MOST}
    assert all(name in known[other] for name, found in known.items() for other in found)
