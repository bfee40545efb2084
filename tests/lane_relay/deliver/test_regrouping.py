"""What a changed configuration means for what waits, and for connections that are open."""

import pytest

from lane_relay.deliver.regrouping import grouping, trust
from tests.lane_relay.deliver.delivery import delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running


@pytest.mark.parametrize(
    ("change", "is_trust"),
    [
        ({"outbound_tls": "Required"}, True),
        ({"outbound_tls": "DANE", "trust_ad": True}, True),
        ({"resolvers": ["192.0.2.53"]}, True),
        ({"trust_ad": True}, True),
        ({"routes": [{"domains": ["a.test"], "host": "192.0.2.1"}]}, False),
        ({"policies": [{"name": "isp", "domains": ["a.test"]}]}, False),
    ],
)
def test_what_decides_where_mail_goes_makes_what_waits_ask_anew(change: dict[str, object], is_trust: bool) -> None:
    assert grouping(make_config()) != grouping(make_config(**change))
    assert (trust(make_config()) != trust(make_config(**change))) is is_trust


def test_a_pace_makes_nothing_ask_anew() -> None:
    slow = {"name": "isp", "domains": ["a.test"], "messageRate": "1/s"}
    fast = slow | {"messageRate": "9/s"}
    assert grouping(make_config(policies=[slow])) == grouping(make_config(policies=[fast]))


@pytest.mark.parametrize("change", [{"outbound_tls": "Required"}, {"outbound_tls": "DANE", "trust_ad": True}])
async def test_tightened_tls_reaches_what_waits_and_the_connections_that_are_open(change: dict[str, object]) -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1) as delivery:

        def tighten(_line: str) -> bytes:
            if len(peer.messages) == 1:
                delivery.dispatcher.apply(make_config(connections=1, **change))
            return b"250 ok\r\n"

        peer.script["end"] = tighten
        for _ in range(5):
            delivery.send(route_to(peer.port))
        await until(lambda: len(delivery.rerouted) == 3)
        await until(lambda: not peer.open)
        assert (len(peer.messages), len(delivery.attempts)) == (2, 2)
        delivery.dispatcher.add(delivery.rerouted[0], route_to(peer.port, tls="None"))  # as its route is by now
        await until(lambda: len(peer.messages) == 3)
    assert peer.messages[-1].connection == 2


async def test_what_is_on_its_way_from_disk_when_tls_is_tightened_asks_for_its_route_anew() -> None:
    peer = Peer({"ehlo": STALL})
    async with running(peer), delivering() as delivery:
        delivery.messages.cold = True
        delivery.messages.gate.clear()
        for _ in range(20):
            delivery.send(route_to(peer.port))
        await until(lambda: peer.connections == 2)
        delivery.dispatcher.apply(make_config(outbound_tls="DANE", trust_ad=True))
        delivery.messages.gate.set()
        await until(lambda: len(delivery.rerouted) == 20)
        peer.script["ehlo"] = b"250 peer.test\r\n"
        peer.late_answer = b"250 peer.test\r\n"
        peer.release.set()
        await until(lambda: not peer.open)
        assert (peer.connections, delivery.attempts) == (2, [])
