"""From a change to what must be looked at again: nothing is missed, and nobody is woken for nothing."""

from typing import Any

import pytest

from lane_api.names import LANE_LABEL, POOL_ANNOTATION
from lane_operator.cache import Cache, Change
from lane_operator.reconcile import QueueKey, woken_by
from lane_operator.references import NEIGHBOURS

OPERATOR = "lanewright-system"


def body(kind: str, name: str, namespace: str = "mail", generation: int = 1, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": name, "generation": generation, "resourceVersion": "1"}
    metadata |= parts.pop("metadata", {})
    return {"kind": kind, "metadata": metadata, "spec": {}, **parts}


def lane(name: str, pool: str = "pool", namespace: str = "mail", **more: Any) -> dict[str, Any]:
    return body("SendingLane", name, namespace, spec={"poolRef": {"name": pool}}, **more)


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    for one in (lane("otp"), lane("bulk", pool="other"), lane("shop", namespace="shop")):
        cache.put("SendingLane", one)
    cache.put("IPPool", body("IPPool", "pool", spec={"engine": "HostNetwork"}))
    return cache


def woken(cache: Cache, kind: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> set[str]:
    keys = woken_by(cache, Change(kind, before, after), OPERATOR)
    return {f"{key.kind} {key.namespace}/{key.name}" for key in keys}


def test_a_lane_that_changes_pools_wakes_both(cache: Cache) -> None:
    found = woken(cache, "SendingLane", lane("otp"), lane("otp", pool="other", generation=2))

    assert found == {"SendingLane mail/otp", "IPPool mail/pool", "IPPool mail/other"}


def test_a_lanes_own_status_wakes_the_lane_only(cache: Cache) -> None:
    assert woken(cache, "SendingLane", lane("otp"), lane("otp", status={"queued": 1})) == {"SendingLane mail/otp"}


def sends_as(name: str, *senders: str, generation: int = 1) -> dict[str, Any]:
    one = lane(name, generation=generation)
    one["spec"]["submission"] = {"senders": [*senders]}
    return one


def test_lanes_that_name_one_anothers_senders_are_woken_by_another_sender_alone(cache: Cache) -> None:
    before, other = sends_as("otp", "@a.example"), sends_as("otp", "@b.example", generation=2)
    same = sends_as("otp", "@a.example", generation=2)

    assert woken(cache, "SendingLane", before, other) >= {"SendingLane mail/otp", "SendingLane mail/bulk"}
    assert "SendingLane shop/shop" not in woken(cache, "SendingLane", before, other)
    assert "SendingLane mail/bulk" in woken(cache, "SendingLane", None, before)
    assert "SendingLane mail/bulk" in woken(cache, "SendingLane", before, None)
    assert "SendingLane mail/bulk" not in woken(cache, "SendingLane", before, same)


def test_where_lanes_are_too_many_to_name_one_another_no_sender_wakes_them(cache: Cache) -> None:
    for number in range(NEIGHBOURS + 1):
        cache.put("SendingLane", lane(f"l{number}"))

    found = woken(cache, "SendingLane", sends_as("otp", "@a.example"), sends_as("otp", "@b.example", generation=2))
    assert found == {"SendingLane mail/otp", "IPPool mail/pool"}


def test_a_pool_wakes_the_lanes_that_name_it_and_no_others(cache: Cache) -> None:
    before, after = body("IPPool", "pool"), body("IPPool", "pool", generation=2)

    assert woken(cache, "IPPool", before, after) == {"IPPool mail/pool", "SendingLane mail/otp"}


def test_a_template_network_wakes_the_lanes_of_the_pools_that_name_it(cache: Cache) -> None:
    named = {"engine": "Multus", "engineConfig": {"network": "nets/public"}}
    cache.put("IPPool", body("IPPool", "other", spec=named))
    cache.put("IPPool", body("IPPool", "near", namespace="nets", spec={**named, "engineConfig": {"network": "public"}}))
    cache.put("IPPool", body("IPPool", "elsewhere", spec={**named, "engineConfig": {"network": "nets/private"}}))
    cache.put("SendingLane", lane("beside", pool="near", namespace="nets"))
    cache.put("SendingLane", lane("private", pool="elsewhere"))
    template = body("NetworkAttachmentDefinition", "public", namespace="nets")

    found = woken(cache, "NetworkAttachmentDefinition", None, template)

    assert found == {"SendingLane mail/bulk", "SendingLane nets/beside"}


def test_a_slots_own_network_wakes_its_lane(cache: Cache) -> None:
    network = body("NetworkAttachmentDefinition", "otp-0", metadata={"labels": {LANE_LABEL: "otp"}})

    assert woken(cache, "NetworkAttachmentDefinition", network, None) == {"SendingLane mail/otp"}


def test_a_pools_record_wakes_the_lanes_of_which_it_says_something_else(cache: Cache) -> None:
    def pool(*lanes: str) -> dict[str, Any]:
        rows = [{"ip": f"203.0.113.{10 + at}", "lane": name, "slot": "s"} for at, name in enumerate(lanes)]
        return body("IPPool", "pool", status={"addresses": rows})

    quiet = woken(cache, "IPPool", pool("mail/otp", "mail/bulk"), pool("mail/otp", "mail/bulk"))
    given = woken(cache, "IPPool", pool("mail/otp"), pool("mail/otp", "mail/bulk", "mail/gone"))

    assert quiet == {"IPPool mail/pool"}
    assert given == {"IPPool mail/pool", "SendingLane mail/bulk"}


def test_a_workload_that_goes_wakes_the_pool_that_its_address_came_from(cache: Cache) -> None:
    gone = body(
        "StatefulSet",
        "otp-0",
        metadata={"labels": {LANE_LABEL: "otp"}, "annotations": {POOL_ANNOTATION: "mail/pool"}},
    )

    assert woken(cache, "StatefulSet", gone, None) == {"SendingLane mail/otp", "IPPool mail/pool"}
    assert woken(cache, "StatefulSet", gone, gone) == {"SendingLane mail/otp"}


def test_a_policy_wakes_its_namespace_and_the_operators_wakes_everybody(cache: Cache) -> None:
    mine = woken(cache, "ISPPolicy", None, body("ISPPolicy", "gmail"))
    shared = woken(cache, "ISPPolicy", None, body("ISPPolicy", "gmail", OPERATOR))

    assert mine == {"ISPPolicy mail/gmail", "SendingLane mail/otp", "SendingLane mail/bulk"}
    assert "SendingLane shop/shop" in shared
    assert "SendingLane mail/otp" in shared


def test_a_policys_status_wakes_no_lane(cache: Cache) -> None:
    before, after = body("ISPPolicy", "gmail"), body("ISPPolicy", "gmail", status={})

    assert woken(cache, "ISPPolicy", before, after) == {"ISPPolicy mail/gmail"}


def test_a_child_wakes_its_lane_also_when_its_labels_were_taken_off(cache: Cache) -> None:
    child = body("Service", "otp", metadata={"labels": {"lanewright.dev/lane": "otp"}})

    assert woken(cache, "Service", child, body("Service", "otp")) == {"SendingLane mail/otp"}
    assert woken(cache, "Service", child, None) == {"SendingLane mail/otp"}


def test_a_queue_volume_wakes_the_pool_whose_address_it_reserves(cache: Cache) -> None:
    labels, annotations = {"lanewright.dev/lane": "gone"}, {"lanewright.dev/pool": "mail/pool"}
    claim = body("PersistentVolumeClaim", "queue-gone-0", metadata={"labels": labels, "annotations": annotations})

    assert woken(cache, "PersistentVolumeClaim", claim, None) == {"SendingLane mail/gone", "IPPool mail/pool"}


def test_a_nodes_heartbeat_wakes_nobody_and_its_loss_wakes_the_lanes_that_may_sit_on_it(cache: Cache) -> None:
    def node(ready: str, beat: str) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]
        return body("Node", "n1", "", status={"conditions": conditions})

    assert woken(cache, "Node", node("True", "1"), node("True", "2")) == set()
    assert woken(cache, "Node", node("True", "2"), node("Unknown", "2")) == {"SendingLane mail/otp"}


def test_an_object_without_a_lane_wakes_nobody(cache: Cache) -> None:
    assert woken(cache, "Pod", None, body("Pod", "stranger")) == set()


def test_keys_are_values() -> None:
    assert QueueKey("IPPool", "mail", "pool").key == ("mail", "pool")


def test_a_cordoned_node_wakes_the_lanes_with_slots_on_it(cache: Cache) -> None:
    pod = body("Pod", "shop-0-0", "shop", metadata={"labels": {"lanewright.dev/lane": "shop"}})
    cache.put("Pod", {**pod, "spec": {"nodeName": "n1"}})
    node = body("Node", "n1", "")

    found = woken(cache, "Node", node, {**node, "spec": {"unschedulable": True}})

    assert "SendingLane shop/shop" in found
    assert "SendingLane mail/bulk" not in found


def test_lanes_that_share_their_lists_are_woken_by_one_anothers_coming_and_going(cache: Cache) -> None:
    shared = {"poolRef": {"name": "p"}, "feedback": {"suppression": {"scope": "Namespace"}}}
    for name, namespace in (("news", "mail"), ("deals", "mail"), ("far", "shop")):
        cache.put("SendingLane", body("SendingLane", name, namespace, spec=shared))
    both = {"SendingLane mail/news", "SendingLane mail/deals"}
    others = body("SendingLane", "news", spec={"poolRef": {"name": "p"}})
    assert both <= woken(cache, "SendingLane", others, body("SendingLane", "news", generation=2, spec=shared))
    assert woken(cache, "SendingLane", lane("otp"), lane("otp", generation=2)).isdisjoint(both)
    of_news, of_otp = ({"labels": {LANE_LABEL: name}} for name in ("news", "otp"))
    slot = body("StatefulSet", "news-0", metadata=of_news)
    assert woken(cache, "StatefulSet", None, slot) == both
    assert woken(cache, "StatefulSet", slot, slot) == {"SendingLane mail/news"}
    authority = body("Secret", "news-ca", metadata=of_news)
    assert woken(cache, "Secret", authority, authority) == both
    assert woken(cache, "Secret", None, body("Secret", "news-0-admin", metadata=of_news)) == {"SendingLane mail/news"}
    assert woken(cache, "StatefulSet", None, body("StatefulSet", "otp-0", metadata=of_otp)) == {"SendingLane mail/otp"}
