"""What is read of the cluster: an object that our models do not accept still holds what it holds."""

from typing import Any

from lane_api.ippool import IPPoolStatus
from lane_api.names import ADDRESS_ANNOTATION, CLASS_LABEL, LANE_LABEL, POOL_ANNOTATION, SLOT_LABEL
from lane_operator.cache import Cache
from lane_operator.inputs import Demand, Holding, Pool
from lane_operator.pools import allocate
from lane_operator.references import demands_of, holdings_of, pool_of, pools_of
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


def test_an_address_that_a_broken_pool_has_given_out_is_not_given_out_by_another() -> None:
    cache = Cache()
    cache.put("IPPool", body("IPPool", "a-broken", spec={"engine": "Carrier pigeon"}, status={"addresses": [HELD]}))
    asking = lane("other")
    demand = Demand("mail", "other", asking.spec.traffic_class, ("mail", "z-sound"), replicas=1)

    found = allocate([one_address("z-sound")], [demand], NOW, pools_of(cache))

    assert found.assignments["mail", "other"].claims == ()
    assert found.statuses["mail", "z-sound"].addresses[0].held_elsewhere == "mail/a-broken"


def test_a_sound_pool_is_read_whole() -> None:
    cache = Cache()
    spec = pool(addresses=[ADDRESS]).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    sound = body("IPPool", "sound", spec=spec)
    cache.put("IPPool", sound)

    assert list(pools_of(cache)) == [pool_of(sound)]


def test_what_live_slots_carry_is_read_whatever_became_of_their_pool_and_lane() -> None:
    cache = Cache()
    cache.put("StatefulSet", workload("otp-0"))
    labels = {LANE_LABEL: "old", SLOT_LABEL: "old-1", "lanewright.dev/namespace": "mail"}
    annotations = {POOL_ANNOTATION: "mail/gone", ADDRESS_ANNOTATION: "203.0.113.11"}
    volume = body("PersistentVolume", "pv", metadata={"labels": labels, "annotations": annotations})
    del volume["metadata"]["namespace"]
    cache.put("PersistentVolume", volume)

    said = Holding("203.0.113.10", ("mail", "pool"), "mail", vouched=False)
    assert holdings_of(cache) == (said, Holding("203.0.113.11", ("mail", "gone"), "mail", vouched=True))

    slots = [{"name": "otp-0", "ip": "203.0.113.10"}]
    cache.put("SendingLane", body("SendingLane", "otp", status={"slots": slots}))

    assert holdings_of(cache)[0] == Holding("203.0.113.10", ("mail", "pool"), "mail", vouched=True)
