"""The cache: whatever order events, lists and our own answers come in, it holds the newest state."""

from typing import Any

import pytest

from lane_operator.cache import Cache
from lane_operator.errors import WentBackError
from lane_operator.inputs import CLUSTER_SCOPED_CHILDREN
from lane_operator.kube import CHILD_KINDS


def thing(name: str, version: int, uid: str = "u1", lane: str | None = None, **extra: Any) -> dict[str, Any]:
    labels = {"lanewright.dev/lane": lane} if lane else {}
    metadata = {"namespace": "mail", "name": name, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"kind": "Service", "metadata": {**metadata, **extra}}


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_an_older_event_does_not_undo_a_newer_answer(cache: Cache) -> None:
    cache.put("Service", thing("a", 7))

    assert cache.put("Service", thing("a", 5)) is None
    held = cache.get("Service", "mail", "a")
    assert held is not None
    assert held["metadata"]["resourceVersion"] == "7"


def test_the_same_state_again_is_no_change(cache: Cache) -> None:
    cache.put("Service", thing("a", 7))

    assert cache.put("Service", thing("a", 7)) is None


def test_a_late_answer_does_not_bring_a_deleted_object_back(cache: Cache) -> None:
    cache.put("Service", thing("a", 5))
    cache.drop("Service", thing("a", 9))

    assert cache.put("Service", thing("a", 8)) is None
    assert cache.get("Service", "mail", "a") is None


def test_an_object_made_again_after_its_deletion_is_known(cache: Cache) -> None:
    cache.put("Service", thing("a", 5))
    cache.drop("Service", thing("a", 9))

    assert cache.put("Service", thing("a", 12, uid="u2")) is not None


def test_the_deletion_of_an_earlier_object_does_not_drop_its_successor(cache: Cache) -> None:
    cache.put("Service", thing("a", 12, uid="u2"))

    assert cache.drop("Service", thing("a", 9, uid="u1")) is None
    assert cache.get("Service", "mail", "a") is not None


def test_a_list_drops_what_vanished_unseen(cache: Cache) -> None:
    cache.put("Service", thing("a", 5))
    cache.put("Service", thing("b", 6))

    changes = cache.replace("Service", None, [thing("a", 5)], listed_at=10)

    assert [(change.before or {})["metadata"]["name"] for change in changes] == ["b"]
    assert cache.get("Service", "mail", "b") is None


def test_a_list_does_not_drop_what_is_newer_than_itself(cache: Cache) -> None:
    cache.put("Service", thing("new", 11))

    assert cache.replace("Service", None, [], listed_at=10) == ()
    assert cache.get("Service", "mail", "new") is not None


def test_a_list_that_is_newer_than_what_is_known_and_older_in_it_is_of_a_restored_store(cache: Cache) -> None:
    cache.put("Service", thing("a", 9))

    with pytest.raises(WentBackError, match="Service mail/a"):
        cache.replace("Service", None, [thing("a", 5)], listed_at=10)


def test_a_list_from_before_what_is_known_is_only_late(cache: Cache) -> None:
    cache.put("Service", thing("a", 11))

    assert cache.replace("Service", None, [thing("a", 5)], listed_at=10) == ()


def test_a_list_of_one_namespace_leaves_the_others_alone(cache: Cache) -> None:
    cache.put("Service", thing("a", 5))

    cache.replace("Service", "elsewhere", [])

    assert cache.get("Service", "mail", "a") is not None


def test_children_are_found_by_their_lane(cache: Cache) -> None:
    cache.put("Service", thing("a", 5, lane="otp"))
    cache.put("Service", thing("b", 6, lane="bulk"))

    assert list(cache.children(("mail", "otp"))) == [("Service", "a")]


def test_a_child_that_loses_its_label_is_its_lanes_no_more(cache: Cache) -> None:
    cache.put("Service", thing("a", 5, lane="otp"))
    cache.put("Service", thing("a", 6))

    assert cache.children(("mail", "otp")) == {}


def test_managed_fields_are_not_kept(cache: Cache) -> None:
    cache.put("Service", thing("a", 5, managedFields=[{"manager": "lanewright"}]))

    held = cache.get("Service", "mail", "a")
    assert held is not None
    assert "managedFields" not in held["metadata"]


def test_what_is_in_no_namespace_is_its_lanes_child_by_label_but_a_kept_volume_is_not(cache: Cache) -> None:
    labels = {"lanewright.dev/lane": "otp", "lanewright.dev/namespace": "mail"}
    for kind in ("CiliumEgressGatewayPolicy", "PersistentVolume"):
        metadata = {"name": "mail.otp-0", "uid": kind, "resourceVersion": "5", "labels": labels}
        cache.put(kind, {"kind": kind, "metadata": metadata})

    assert list(cache.children(("mail", "otp"))) == [("CiliumEgressGatewayPolicy", "mail.otp-0")]
    gone = {"name": "mail.otp-0", "uid": "CiliumEgressGatewayPolicy", "resourceVersion": "9", "labels": labels}
    cache.drop("CiliumEgressGatewayPolicy", {"metadata": gone})
    assert cache.children(("mail", "otp")) == {}


def test_the_children_in_no_namespace_are_those_of_the_table() -> None:
    assert {kind.kind for kind in CHILD_KINDS if not kind.namespaced} == CLUSTER_SCOPED_CHILDREN
