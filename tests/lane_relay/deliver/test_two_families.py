"""A slot with an address of each family: each connection leaves from the address of its family, if that is proved."""

from typing import Any

import pytest

from lane_api.isppolicy import Category
from tests.lane_relay.deliver.delivery import delivering, make_config, route_to
from tests.lane_relay.deliver.scripted_peer import Peer, running

V4, V6 = "127.0.0.77", "::1"
BOTH: dict[str, Any] = {"address": V4, "source": V4, "second": {"address": V6, "source": V6}}


def of_v4(address: str) -> bool:
    return ":" not in address


@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", V4), ("::1", V6)])
async def test_a_connection_leaves_from_the_address_of_its_family(host: str, source: str) -> None:
    peer = Peer(hosts=("127.0.0.1", "::1"))
    async with running(peer), delivering(egress=BOTH) as delivery:
        delivery.send(route_to(peer.port, host))
        (attempt,) = await delivery.attempted(1)
    assert attempt.peer is not None
    assert (attempt.peer.address, attempt.peer.source) == (host, source)
    assert [seen.source for seen in peer.messages] == [source]


async def test_what_is_not_proved_is_not_connected_from_and_the_other_family_serves() -> None:
    peer = Peer(hosts=("127.0.0.1", "::1"))
    async with running(peer), delivering(egress=BOTH, leads_to=of_v4) as delivery:
        delivery.send(route_to(peer.port, "::1", "127.0.0.1"))
        await delivery.attempted(1)
    assert [seen.source for seen in peer.messages] == [V4]
    assert peer.connections == 1


async def test_a_host_of_the_unproved_family_alone_keeps_its_mail_waiting() -> None:
    peer = Peer(hosts=("::1",))
    async with running(peer), delivering(egress=BOTH, leads_to=of_v4) as delivery:
        delivery.send(route_to(peer.port, "::1"))
        (attempt,) = await delivery.attempted(1)
    (result,) = attempt.results
    assert result.verdict.category is Category.NO_ANSWER_FROM_HOST
    assert "our own IPv6 address is not proved" in str(result.reply)
    assert peer.connections == 0


async def test_connections_end_when_a_second_address_comes_or_goes() -> None:
    peer = Peer()
    async with running(peer), delivering(egress=BOTH) as delivery:
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        delivery.dispatcher.apply(make_config(egress={"address": V4, "source": V4}))
        delivery.send(route_to(peer.port))
        await delivery.attempted(2)
    assert [seen.connection for seen in peer.messages] == [1, 2]


@pytest.mark.parametrize(
    ("egress", "fix"),
    [
        ({"address": V4, "second": {"address": "127.0.0.78"}}, "one is to be IPv4, the other IPv6"),
        ({"source": V4, "second": {"address": V6}}, "add address"),
        ({"address": V4, "second": {"address": V6, "source": V6, "proxy": {"host": V4}}}, "proxy.bound"),
    ],
    ids=["of-the-same-family", "without-a-first", "proxied-and-bound"],
)
def test_a_second_address_that_makes_no_sense_is_refused_with_the_fix(egress: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        make_config(egress=egress)
