"""Cold lanes see what the others send from, and look again when that changes."""

from typing import Any

import pytest

from lane_operator.cache import Cache, Change
from lane_operator.inputs import LaneDomains
from lane_operator.reconcile import woken_by
from lane_operator.references import others_of
from tests.lane_operator import made


def lane(name: str, traffic_class: str, generation: int = 1) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "mail", "uid": name, "generation": generation, "resourceVersion": "1"}
    spec = {"trafficClass": traffic_class, "poolRef": {"name": "pool"}, "domains": [{"name": f"{name}.example"}]}
    return {"kind": "SendingLane", "metadata": metadata, "spec": spec}


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    for one in (lane("otp", "Transactional"), lane("outreach", "Cold")):
        cache.put("SendingLane", one)
    return cache


def woken(cache: Cache, before: dict[str, Any] | None, after: dict[str, Any]) -> set[str]:
    keys = woken_by(cache, Change("SendingLane", before, after), "lanewright-system")
    return {key.name for key in keys if key.kind == "SendingLane"}


def test_a_cold_lane_sees_the_domains_of_the_others(cache: Cache) -> None:
    assert others_of(cache, made.lane("outreach", trafficClass="Cold")) == (
        LaneDomains(("mail", "otp"), "Transactional", ("otp.example",)),
    )


def test_other_lanes_need_not_look(cache: Cache) -> None:
    assert others_of(cache, made.lane("otp")) == ()


def test_a_new_lane_makes_the_cold_ones_look_again(cache: Cache) -> None:
    assert woken(cache, None, lane("news", "Bulk")) == {"news", "outreach"}


def test_a_status_does_not(cache: Cache) -> None:
    assert woken(cache, lane("otp", "Transactional"), lane("otp", "Transactional")) == {"otp"}
