"""What is read of the cluster: an object that our models do not accept still holds what it holds."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.ippool import IPPoolStatus
from lane_api.names import (
    ADDRESS_ANNOTATION,
    CLASS_LABEL,
    LANE_LABEL,
    POOL_ANNOTATION,
    QUEUE_FINALIZER,
    SLOT_LABEL,
    ZONE_LABEL,
)
from lane_operator.cache import Cache
from lane_operator.demands import demands_of, holdings_of
from lane_operator.inputs import Demand, Holding, LaneSenders, Pool
from lane_operator.pools import allocate
from lane_operator.references import (
    NEIGHBOURS,
    NEIGHBOURS_SENDERS,
    neighbours_of,
    node_of,
    nodes_of,
    pool_of,
    pools_beside,
)
from tests.lane_operator.made import NOW, lane, pool

ADDRESS = {"ip": "203.0.113.10", "hostname": "out0.example.com"}
HELD = {
    **ADDRESS,
    "lane": "mail/otp",
    "laneClass": "Transactional",
    "slot": "otp-0",
}


def body(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "mail", "uid": name, "generation": 1, "resourceVersion": "7"}
    return {"kind": kind, "metadata": metadata | parts.pop("metadata", {}), "spec": {}, **parts}


def workload(slot: str) -> dict[str, Any]:
    metadata = {
        "labels": {LANE_LABEL: "otp", SLOT_LABEL: slot, CLASS_LABEL: "Transactional"},
        "annotations": {POOL_ANNOTATION: "mail/pool", ADDRESS_ANNOTATION: "203.0.113.10"},
    }
    return body("StatefulSet", slot, metadata=metadata)


def one_address(name: str, records: tuple[dict[str, Any], ...] = ()) -> Pool:
    made = pool(addresses=[ADDRESS])
    status = IPPoolStatus.model_validate({"addresses": list(records)})
    return Pool("mail", name, name, 1, "7", made.spec, status)


def test_the_slots_of_a_lane_that_cannot_be_read_keep_their_addresses() -> None:
    cache = Cache()
    cache.put("SendingLane", body("SendingLane", "otp", spec={"poolRef": {"name": "pool"}, "replicas": "two"}))
    cache.put("StatefulSet", workload("otp-0"))

    demands = demands_of(cache, ("mail", "pool"))
    found = allocate([one_address("pool", (HELD,))], demands, NOW)

    assert [(demand.key, demand.retained) for demand in demands] == [(("mail", "otp"), frozenset({0}))]
    assert found.statuses["mail", "pool"].addresses[0].lane == "mail/otp"
    assert found.statuses["mail", "pool"].addresses[0].released_at is None


def test_a_workload_whose_lane_is_gone_keeps_its_address() -> None:
    cache = Cache()
    cache.put("StatefulSet", workload("otp-0"))

    found = allocate([one_address("pool", (HELD,))], demands_of(cache, ("mail", "pool")), NOW)

    assert found.statuses["mail", "pool"].addresses[0].released_at is None


def test_an_address_that_a_broken_pool_has_given_out_is_not_given_out_by_another() -> None:
    cache = Cache()
    cache.put("IPPool", body("IPPool", "a-broken", spec={"engine": "Carrier pigeon"}, status={"addresses": [HELD]}))
    asking = lane("other")
    demand = Demand("mail", "other", asking.spec.traffic_class, ("mail", "z-sound"), replicas=1)

    sound = one_address("z-sound")
    found = allocate([sound], [demand], NOW, pools_beside(cache, sound))

    assert found.assignments["mail", "other"].claims == ()
    assert found.statuses["mail", "z-sound"].addresses[0].held_elsewhere == "mail/a-broken"


def volume(slot: str, of_class: str, of_pool: str, kind: str = "PersistentVolumeClaim") -> dict[str, Any]:
    labels = {LANE_LABEL: "otp", SLOT_LABEL: slot, CLASS_LABEL: of_class, "lanewright.dev/namespace": "mail"}
    metadata: dict[str, Any] = {
        "labels": labels,
        "annotations": {POOL_ANNOTATION: of_pool, ADDRESS_ANNOTATION: "203.0.113.10"},
        "finalizers": [QUEUE_FINALIZER] if kind == "PersistentVolumeClaim" else [],
    }
    made = body(kind, f"queue-{slot}", metadata=metadata)
    if kind == "PersistentVolume":
        del made["metadata"]["namespace"]
    return made


def made_again(of_class: str = "Transactional", of_pool: str = "pool") -> dict[str, Any]:
    spec = lane(trafficClass=of_class, poolRef={"name": of_pool}, replicas=1).spec
    metadata = {"uid": f"{of_class} of {of_pool}"}
    return body(
        "SendingLane", "otp", metadata=metadata, spec=spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    )


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "PersistentVolume"])
@pytest.mark.parametrize(("of_class", "of_pool"), [("Bulk", "pool"), ("Transactional", "other"), ("Bulk", "other")])
def test_a_lane_made_again_with_another_class_or_pool_does_not_get_the_mail_of_the_one_before(
    kind: str, of_class: str, of_pool: str
) -> None:
    cache = Cache()
    cache.put("SendingLane", made_again(of_class, of_pool))
    cache.put(kind, volume("otp-0", "Transactional", "mail/pool", kind))
    first = replace(
        one_address("pool", (HELD,)), spec=pool(addresses=[ADDRESS, {**ADDRESS, "ip": "203.0.113.11"}]).spec
    )
    beside = replace(one_address("other"), spec=pool(addresses=[{**ADDRESS, "ip": "203.0.113.20"}]).spec)
    keys = (first.key, beside.key)

    found = allocate([first, beside], [one for key in keys for one in demands_of(cache, key)], NOW)

    assignment = found.assignments["mail", "otp"]
    assert assignment.claims == ()
    assert assignment.refusal is not None
    assert (assignment.refusal.reason, assignment.refusal.waiting) == (Reason.CLASS_MISMATCH, None)
    assert (
        f"{kind} queue-otp-0 keeps mail of an earlier lane otp, which was Transactional" in assignment.refusal.message
    )
    kept = found.statuses["mail", "pool"].addresses[0]
    assert (kept.lane, kept.lane_class, kept.released_at) == ("mail/otp", "Transactional", None)


def test_a_lane_made_again_as_it_was_gets_its_volume_and_its_address() -> None:
    cache = Cache()
    cache.put("SendingLane", made_again())
    cache.put("PersistentVolumeClaim", volume("otp-0", "Transactional", "mail/pool"))

    found = allocate([one_address("pool", (HELD,))], demands_of(cache, ("mail", "pool")), NOW).assignments[
        "mail", "otp"
    ]

    assert found.refusal is None
    assert [(claim.slot_name, claim.address and claim.address.ip) for claim in found.claims] == [
        ("otp-0", "203.0.113.10")
    ]


def test_a_copy_of_a_claim_or_workload_under_another_name_is_no_slot() -> None:
    cache = Cache()
    cache.put("SendingLane", made_again())
    for index in range(3):
        claim, copy = volume(f"otp-{index}", "Transactional", "mail/pool"), workload(f"otp-{index}")
        for one in (claim, copy):
            one["metadata"] |= {"name": f"mine-{index}", "uid": f"{one['kind']}-{index}"}
            cache.put(one["kind"], one)

    (demand,) = demands_of(cache, ("mail", "pool"))

    assert (demand.retained, demand.found, demand.withheld) == (frozenset(), {}, frozenset())
    assert holdings_of(cache, ["203.0.113.10"]) == ()
    cache.drop("SendingLane", made_again())
    assert demands_of(cache, ("mail", "pool")) == ()


@pytest.mark.parametrize("readable", [True, False])
def test_what_the_status_or_a_kept_volume_names_is_vouched_for_and_comes_first(*, readable: bool) -> None:
    cache = Cache()
    mine = made_again()
    mine["spec"] |= {} if readable else {"replicas": "two"}
    cache.put("SendingLane", mine | {"status": {"slots": [{"name": "otp-1", "ip": "203.0.113.10"}]}})
    for index in (0, 1):
        cache.put("PersistentVolumeClaim", volume(f"otp-{index}", "Transactional", "mail/pool"))
    by_hand = workload("otp-1")
    by_hand["metadata"]["annotations"][ADDRESS_ANNOTATION] = "203.0.113.12"
    cache.put("StatefulSet", by_hand)
    cache.put("PersistentVolume", volume("otp-2", "Transactional", "mail/pool", "PersistentVolume"))

    (demand,) = demands_of(cache, ("mail", "pool"))

    assert demand.found == {0: "203.0.113.10", 1: "203.0.113.10", 2: "203.0.113.10"}
    assert demand.vouched == {1, 2}


def test_a_slot_that_runs_is_not_hurt_by_what_a_hand_has_written_on_its_volume() -> None:
    cache = Cache()
    cache.put("SendingLane", made_again())
    cache.put("StatefulSet", workload("otp-0"))
    cache.put("PersistentVolumeClaim", volume("otp-0", "Bulk", "mail/elsewhere"))

    (demand,) = demands_of(cache, ("mail", "pool"))

    assert (demand.withheld, demand.objection, demand.retained) == (frozenset(), None, frozenset({0}))


def test_the_ports_that_a_workload_uses_on_its_node_are_read_back() -> None:
    cache = Cache()
    cache.put("SendingLane", made_again())
    ports = [{"name": "admin", "containerPort": 20003}, {"name": "smtp", "containerPort": 20000}]
    spec = {"template": {"spec": {"hostNetwork": True, "containers": [{"name": "relay", "ports": ports}]}}}
    cache.put("StatefulSet", workload("otp-0") | {"spec": spec})

    (demand,) = demands_of(cache, ("mail", "pool"))

    assert demand.blocks == {0: 20000}


def test_without_addresses_too_a_volume_of_another_class_is_left_alone() -> None:
    cache = Cache()
    cache.put("SendingLane", made_again("Bulk"))
    cache.put("PersistentVolumeClaim", volume("otp-0", "Transactional", "mail/pool"))
    shared = replace(one_address("pool"), spec=pool("ClusterDefault").spec)

    found = allocate([shared], demands_of(cache, ("mail", "pool")), NOW).assignments["mail", "otp"]

    assert found.claims == ()
    assert found.refusal is not None


def test_beside_a_pool_stand_those_that_share_an_address_or_a_node_with_it_whatever_the_spelling() -> None:
    cache = Cache()
    specs = {
        "one": [ADDRESS, {"ip": "2001:db8::1", "hostname": "six.example.com"}],
        "same": [ADDRESS],
        "spelled": [{"ip": "2001:0DB8:0::1", "hostname": "six.example.com"}],
        "apart": [{**ADDRESS, "ip": "203.0.113.77"}],
        "near": [{**ADDRESS, "ip": "203.0.113.78", "node": "node-a"}],
    }
    for name, addresses in specs.items():
        spec = pool(addresses=addresses).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        cache.put("IPPool", body("IPPool", name, spec=spec, metadata={"uid": name}))
    of = {name: cache.get("IPPool", "mail", name) or {} for name in specs}

    assert list(pools_beside(cache, pool_of(of["one"]))) == [pool_of(of["same"]), pool_of(of["spelled"])]
    assert list(pools_beside(cache, pool_of(of["apart"]))) == []
    on_node = body("IPPool", "apart", metadata={"uid": "apart", "resourceVersion": "9"}, spec=of["near"]["spec"])
    on_node["spec"] |= {"addresses": [{**ADDRESS, "ip": "203.0.113.77", "node": "node-a"}]}
    assert list(pools_beside(cache, pool_of(on_node))) == [pool_of(of["near"])]


def test_what_live_slots_carry_is_read_whatever_became_of_their_pool_and_lane() -> None:
    cache = Cache()
    cache.put("StatefulSet", workload("otp-0"))
    labels = {LANE_LABEL: "old", SLOT_LABEL: "old-1", "lanewright.dev/namespace": "mail"}
    annotations = {POOL_ANNOTATION: "mail/gone", ADDRESS_ANNOTATION: "203.0.113.11"}
    volume = body("PersistentVolume", "pv", metadata={"labels": labels, "annotations": annotations})
    del volume["metadata"]["namespace"]
    cache.put("PersistentVolume", volume)

    said = Holding("203.0.113.10", ("mail", "pool"), "mail", vouched=False)
    both = ["203.0.113.10", "203.0.113.11"]
    assert holdings_of(cache, both) == (said, Holding("203.0.113.11", ("mail", "gone"), "mail", vouched=True))

    slots = [{"name": "otp-0", "ip": "203.0.113.10"}]
    cache.put("SendingLane", body("SendingLane", "otp", status={"slots": slots}))

    assert holdings_of(cache, both)[0] == Holding("203.0.113.10", ("mail", "pool"), "mail", vouched=True)
    assert holdings_of(cache, ["203.0.113.12"]) == ()


def of_namespace(name: str, senders: list[str], namespace: str = "mail") -> dict[str, Any]:
    made = body("SendingLane", name, spec={"submission": {"senders": senders}})
    return made | {"metadata": made["metadata"] | {"namespace": namespace}}


def test_neighbours_are_the_other_lanes_of_the_namespace_and_of_no_other() -> None:
    cache = Cache()
    for one in (of_namespace("news", ["@news.example"]), of_namespace("otp", ["@notify.example.com"])):
        cache.put("SendingLane", one)
    cache.put("SendingLane", of_namespace("theirs", ["@theirs.example"], namespace="shop"))

    assert neighbours_of(cache, lane()) == (LaneSenders("news", ("@news.example",)),)


@pytest.mark.parametrize(("lanes", "senders"), [(NEIGHBOURS + 1, 1), (3, NEIGHBOURS_SENDERS)])
def test_where_there_are_too_many_neighbours_none_is_told_of(lanes: int, senders: int) -> None:
    cache = Cache()
    for number in range(lanes):
        cache.put("SendingLane", of_namespace(f"lane{number}", [f"@{one}.example" for one in range(senders)]))

    assert neighbours_of(cache, lane()) == ()


@pytest.mark.parametrize(("labels", "zone"), [({ZONE_LABEL: "fra-1"}, "fra-1"), ({"rack": "7"}, ""), (None, "")])
def test_a_node_is_in_the_zone_that_its_label_says(labels: dict[str, str] | None, zone: str) -> None:
    metadata = {"name": "a"} | ({"labels": labels} if labels is not None else {})

    assert node_of({"metadata": metadata, "spec": {}}).zone == zone


@pytest.mark.parametrize(("said", "taken"), [("192.0.2.10", "192.0.2.10"), ("FD00::a", "FD00::a"), ("node-a.lan", "")])
def test_an_internal_address_that_is_none_is_as_good_as_nothing(said: str, taken: str) -> None:
    addresses = [{"type": "InternalIP", "address": said}, {"type": "Hostname", "address": "node-a"}]

    assert node_of({"metadata": {"name": "a"}, "spec": {}, "status": {"addresses": addresses}}).internal_ip == taken


def test_nodes_are_read_when_asked_for_and_a_pass_sees_each_as_it_was_then() -> None:
    cache = Cache()
    for name in ("n1", "n2"):
        cache.put("Node", node(name, ready=True, version=1))
    nodes = nodes_of(cache)

    assert (len(nodes), sorted(nodes), nodes["n1"].ready, nodes.get("n3")) == (2, ["n1", "n2"], True, None)
    cache.put("Node", node("n1", ready=False, version=2))
    assert nodes["n1"].ready
    assert not nodes_of(cache)["n1"].ready


def node(name: str, *, ready: bool, version: int) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "resourceVersion": str(version)}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"kind": "Node", "metadata": metadata, "spec": {}, "status": {"conditions": conditions}}
