"""What is said of domains and networks that several classes share."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.conditions import Condition
from lane_api.ippool import AddressStatus, IPPoolStatus
from lane_operator.indexes import network_of
from lane_operator.inputs import Desired, LaneDomains, Observation, Pool
from lane_operator.status import lane_status, pool_status
from tests.lane_operator import made

DOMAIN = "notify.example.com"


def shared(*others: LaneDomains, **lane: Any) -> Condition | None:
    of = made.lane(**lane)
    references = made.references(of, made.pool(), others=others)
    status = lane_status(of, references, made.assignment(), Desired(), Observation((made.seen(0),)), made.NOW)
    return next((one for one in status.conditions if one.type == "SharedDomain"), None)


def test_a_domain_of_two_classes_is_told_with_who_else_has_it() -> None:
    found = shared(LaneDomains(("shop", "news"), "Bulk", (DOMAIN,)))

    assert found is not None
    assert (found.status, found.reason) == ("True", "DomainShared")
    assert f"{DOMAIN} by lane shop/news (Bulk)" in found.message
    assert "give each class a domain of its own" in found.message


def test_many_that_share_it_are_counted() -> None:
    found = shared(*(LaneDomains(("shop", f"l{number}"), "Bulk", (DOMAIN,)) for number in range(9)))

    assert found is not None
    assert "shop/l2 (Bulk); and 6 more" in found.message


@pytest.mark.parametrize(
    "other",
    [(), (LaneDomains(("shop", "cold"), "Cold", ("other.example.com",), ("other.example.com",)),)],
    ids=["nobody", "a Cold lane of the same organization"],
)
def test_a_domain_of_its_own_is_nothing_to_tell(other: tuple[LaneDomains, ...]) -> None:
    assert shared(*other) is None


def test_a_cold_lane_stops_instead() -> None:
    assert shared(LaneDomains(("shop", "news"), "Bulk", (DOMAIN,)), trafficClass="Cold") is None


def pool(name: str, classes: list[str], *ips: str, held: str = "") -> Pool:
    addresses = [{"ip": ip, "hostname": "out.example.com"} for ip in ips]
    of = made.pool(classes=classes, addresses=addresses, engineConfig={"network": "mail/public", "prefixLength": 64})
    rows = [AddressStatus(ip=ip, lane="mail/x", lane_class=held, slot="x-0") for ip in ips[:1] if held]
    return replace(of, name=name, status=IPPoolStatus(addresses=tuple(rows)))


def mixed(of: Pool, *neighbours: Pool) -> str:
    status = pool_status(of, of.status, made.NOW, neighbours)
    found = next((one for one in status.conditions if one.type == "MixedNetworks"), None)
    assert found is None or (found.status, found.reason) == ("True", "ClassesMixed")
    return found.message if found else ""


@pytest.mark.parametrize(
    ("mine", "theirs", "network"),
    [
        ("203.0.113.10", "203.0.113.200", "203.0.113.0/24"),
        ("2001:db8:0:1::10", "2001:DB8:0:1:ffff::1", "2001:db8:0:1::/64"),
    ],
)
def test_pools_of_two_classes_in_one_network_are_told(mine: str, theirs: str, network: str) -> None:
    said = mixed(pool("otp", ["Transactional"], mine), pool("news", ["Bulk"], theirs))

    assert f"{network} has Bulk in IPPool mail-pools/news" in said
    assert "Give each class a network of its own" in said


@pytest.mark.parametrize(
    ("mine", "theirs"), [("203.0.113.10", "203.0.114.10"), ("2001:db8:0:1::10", "2001:db8:0:2::10")]
)
def test_other_networks_are_nothing_to_tell(mine: str, theirs: str) -> None:
    assert mixed(pool("otp", ["Transactional"], mine), pool("news", ["Bulk"], theirs)) == ""


def test_a_pool_for_several_classes_counts_by_who_holds_its_addresses() -> None:
    several = ["Transactional", "Bulk"]
    here = pool("otp", ["Transactional"], "203.0.113.10")

    assert mixed(here, pool("both", several, "203.0.113.20")) == "", "nobody has one yet"
    assert "Bulk in IPPool mail-pools/both" in mixed(here, pool("both", several, "203.0.113.20", held="Bulk"))
    assert mixed(here, pool("both", several, "203.0.113.20", held="Transactional")) == ""


def test_two_classes_in_one_pool_and_network_are_told() -> None:
    of = pool("both", ["Transactional", "Bulk"], "203.0.113.10", "203.0.113.11")
    rows = tuple(
        AddressStatus(ip=ip, lane=f"mail/{of_class}", lane_class=of_class, slot="s")
        for ip, of_class in (("203.0.113.10", "Bulk"), ("203.0.113.11", "Transactional"))
    )

    assert "203.0.113.0/24 has Bulk and Transactional in this pool" in mixed(
        replace(of, status=IPPoolStatus(addresses=rows))
    )


def test_what_belongs_to_another_pool_is_not_counted_here() -> None:
    of = pool("otp", ["Transactional"], "203.0.113.10")
    row = AddressStatus(ip="203.0.113.10", held_elsewhere="mail-pools/news")
    elsewhere = replace(of, status=IPPoolStatus(addresses=(row,)))

    assert mixed(elsewhere, pool("news", ["Bulk"], "203.0.113.20")) == ""


def test_what_is_no_address_is_in_no_network() -> None:
    assert network_of("otp") == ""
