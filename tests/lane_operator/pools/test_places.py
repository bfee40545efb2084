"""Which of several free addresses a lane gets: other zones, other nodes, all mail before some ISPs' mail."""

from typing import Any

from lane_operator.pools import allocate
from tests.lane_operator.pools.test_allocate import NOW, after, demand, held, pool


def address(last: int, **more: Any) -> dict[str, Any]:
    return {"ip": f"203.0.113.{last}", "hostname": f"out{last}.example.com", **more}


def given(addresses: list[dict[str, Any]], replicas: int, standby: int = 0) -> list[str]:
    """Addresses by their last byte, in order of slots."""
    result = allocate([pool(addresses=addresses)], [demand("x", replicas, standby=standby)], NOW)
    found = held(result)
    return [found[slot].rpartition(".")[2] for slot in sorted(found)]


def test_a_lanes_slots_get_addresses_of_different_zones() -> None:
    addresses = [address(10, zone="a"), address(11, zone="a"), address(12, zone="b"), address(13, zone="c")]

    assert given(addresses, 3) == ["10", "12", "13"]
    assert given(addresses, 4) == ["10", "12", "13", "11"]


def test_of_one_zone_those_of_different_nodes_come_first() -> None:
    addresses = [
        address(10, zone="a", node="a1"),
        address(11, zone="a", node="a1"),
        address(12, zone="a", node="a2"),
        address(13, zone="b", node="b1"),
    ]

    assert given(addresses, 3) == ["10", "13", "12"]


def test_standby_slots_are_apart_from_one_another_as_active_ones_are() -> None:
    addresses = [
        address(10, zone="a"),
        address(11, zone="a", role="Standby"),
        address(12, zone="a", role="Standby"),
        address(13, zone="b", role="Standby"),
    ]

    assert given(addresses, 1, standby=2) == ["10", "11", "13"]


def test_all_mail_has_two_ways_out_before_some_isps_have_one_of_their_own() -> None:
    addresses = [address(10, isps=["gmail"]), address(11), address(12), address(13)]

    assert given(addresses, 1) == ["11"]
    assert given(addresses, 2) == ["11", "12"]
    assert given(addresses, 3) == ["11", "12", "10"], "then ISPs that have none of their own"
    assert given(addresses, 4) == ["11", "12", "10", "13"]


def test_another_address_for_the_same_isps_comes_last() -> None:
    addresses = [address(10), address(11), address(12, isps=["gmail"]), address(13, isps=["gmail"]), address(14)]

    assert given(addresses, 5) == ["10", "11", "12", "14", "13"]


def test_where_there_is_nothing_else_a_slot_gets_what_there_is() -> None:
    assert given([address(10, isps=["gmail"])], 1) == ["10"]


def test_a_slot_keeps_an_address_that_would_be_given_to_another_now() -> None:
    first = pool(addresses=[address(10, zone="a"), address(11, zone="a")])
    result = allocate([first], [demand("x", 2)], NOW)
    wider = after(result, first, addresses=pool(addresses=[*({"ip": one.ip, "hostname": one.hostname, "zone": one.zone}
        for one in first.spec.addresses), address(9, zone="b")]).spec.addresses)  # fmt: skip

    assert held(allocate([wider], [demand("x", 2)], NOW)) == held(result)


def test_the_record_says_where_an_address_lives() -> None:
    first = pool(addresses=[address(10, zone="fra-1", node="n1")])
    result = allocate([first], [demand("x")], NOW)
    left = after(result, first, addresses=())

    record = result.statuses[first.key].addresses[0]
    claim = allocate([left], [demand("x")], NOW).assignments["mail", "x"].claims[0]

    assert (record.zone, record.node) == ("fra-1", "n1")
    assert claim.address is not None
    assert claim.address.zone == "fra-1", "also when the pool lists it no more"
