"""The address plan keeps its promises for any number of nodes."""

import ipaddress

import pytest

from e2e.cluster import addresses

_NODES = ("n1", "n2", "n3")


def test_every_range_is_reserved_for_documentation_or_tests() -> None:
    reserved = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")]
    for text in (addresses.NODE_NETWORK, addresses.INTERNET, addresses.EGRESS, addresses.PODS, addresses.SERVICES):
        network = ipaddress.ip_network(text)
        assert any(network.subnet_of(r) for r in reserved if isinstance(r, ipaddress.IPv4Network)), text  # type: ignore[arg-type] # both are IPv4


def test_no_two_places_share_an_address() -> None:
    given = [a for leg in addresses.legs(_NODES) for a in leg.addresses]
    assert len(given) == len(set(given))


def test_pods_of_all_nodes_are_apart_and_inside_the_pod_range() -> None:
    ranges = [ipaddress.ip_network(addresses.pod_range(f"n{i}")) for i in range(1, 40)]
    assert len(set(ranges)) == 39
    assert all(r.subnet_of(ipaddress.ip_network(addresses.PODS)) for r in ranges)  # type: ignore[arg-type] # both are IPv4


@pytest.mark.parametrize("place", ["ctl", "net", "n1", "n2", "n3"])
def test_every_place_has_a_route_to_every_other_node_s_pods(place: str) -> None:
    leg = next(leg for leg in addresses.legs(_NODES) if leg.place == place)
    wanted = {(addresses.pod_range(n), addresses.node_address(n)) for n in _NODES if n != place}
    assert wanted <= set(leg.routes)


def test_nodes_leave_through_the_internet_s_router() -> None:
    legs = {leg.place: leg for leg in addresses.legs(_NODES)}
    assert ("default", addresses.ROUTER) in legs["n1"].routes
    assert f"{addresses.ROUTER}/24" in legs["net"].addresses
    assert legs["net"].forwards
