"""Lanes see those of other classes that share a domain with them, and look again when that changes."""

from typing import Any

import pytest

from lane_operator.cache import Cache, Change
from lane_operator.inputs import LaneDomains
from lane_operator.reconcile import woken_by
from lane_operator.references import others_of


def lane(
    name: str, traffic_class: str, generation: int = 1, domain: str = "shop.example", **more: Any
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "mail", "uid": name, "generation": generation, "resourceVersion": "1"}
    spec = {"trafficClass": traffic_class, "poolRef": {"name": "pool"}, "domains": [{"name": domain}], **more}
    return {"kind": "SendingLane", "metadata": metadata, "spec": spec}


@pytest.fixture
def cache() -> Cache:
    cache = Cache()
    for one in (
        lane("otp", "Transactional", domain="otp.shop.example"),
        lane("apart", "Transactional", domain="apart.example"),
        lane("outreach", "Cold"),
    ):
        cache.put("SendingLane", one)
    return cache


def woken(cache: Cache, before: dict[str, Any] | None, after: dict[str, Any]) -> set[str]:
    keys = woken_by(cache, Change("SendingLane", before, after), "lanewright-system")
    return {key.name for key in keys if key.kind == "SendingLane"}


@pytest.mark.parametrize("domain", ["shop.example", "otp.shop.example", "deep.otp.shop.example", "beside.shop.example"])
def test_a_cold_lane_sees_the_others_of_its_organization(cache: Cache, domain: str) -> None:
    seen = LaneDomains(("mail", "otp"), "Transactional", ("otp.shop.example",), ("otp.shop.example",))

    assert others_of(cache, lane("outreach", "Cold", domain=domain)) == (seen,)


@pytest.mark.parametrize(
    "more",
    [
        {"domains": [{"name": "cold.example", "returnPath": {"domain": "b.otp.shop.example"}}]},
        {"feedback": {"unsubscribe": {"url": "https://www.shop.example/u"}}},
    ],
    ids=["return path", "unsubscribe link"],
)
def test_its_return_path_and_its_links_count_as_well(cache: Cache, more: dict[str, Any]) -> None:
    found = others_of(cache, lane("outreach", "Cold", **({"domain": "cold.example"} | more)))

    assert [other.key[1] for other in found] == ["otp"]


def test_another_organization_under_one_public_suffix_is_not_its_concern(cache: Cache) -> None:
    cache.put("SendingLane", lane("there", "Bulk", domain="news.there.co.uk"))

    assert others_of(cache, lane("outreach", "Cold", domain="here.co.uk")) == ()


def test_other_lanes_see_who_sends_from_the_very_same_domain_in_another_class(cache: Cache) -> None:
    otp = lane("otp", "Transactional", domain="apart.example")

    assert others_of(cache, otp) == (), "of one class"
    cache.put("SendingLane", lane("news", "Bulk", domain="apart.example"))
    cache.put("SendingLane", lane("beside", "Bulk", domain="news.apart.example"))
    assert [other.key[1] for other in others_of(cache, otp)] == ["news"]


def test_a_new_lane_makes_the_cold_ones_look_again_that_share_an_organization_with_it(cache: Cache) -> None:
    assert woken(cache, None, lane("news", "Bulk")) == {"news", "outreach"}
    assert woken(cache, None, lane("news", "Bulk", domain="news.shop.example")) == {"news", "outreach"}
    assert woken(cache, None, lane("news", "Bulk", domain="hop.example")) == {"news"}


def test_a_new_lane_makes_those_of_other_classes_look_again_that_have_its_domain(cache: Cache) -> None:
    assert woken(cache, None, lane("news", "Bulk", domain="apart.example")) == {"news", "apart"}
    assert woken(cache, None, lane("more", "Transactional", domain="apart.example")) == {"more"}


def test_a_lane_that_leaves_a_domain_does_so_too(cache: Cache) -> None:
    before, after = lane("news", "Bulk"), lane("news", "Bulk", generation=2, domain="elsewhere.example")

    assert woken(cache, before, after) == {"news", "outreach"}


def test_a_status_does_not(cache: Cache) -> None:
    assert woken(cache, lane("otp", "Transactional"), lane("otp", "Transactional")) == {"otp"}
