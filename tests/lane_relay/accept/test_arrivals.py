"""Connections that have no session yet: who gets a place, and who makes room."""

import socket
import ssl

import pytest

from lane_relay.accept.arrivals import Arrivals
from tests.lane_relay.accept.clients import Raw, eventually
from tests.lane_relay.accept.conftest import Start, make_config
from tests.lane_relay.accept.test_proxy import header


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def test_the_longest_arriving_stranger_makes_room_and_hears_that_it_is_over() -> None:
    arrivals, pairs = Arrivals(), [_pair() for _ in range(3)]
    first, second = (arrivals.come(pairs[place][0], 2) for place in (0, 1))
    assert first is not None
    assert second is not None
    assert arrivals.name(first, "192.0.2.1", may_submit=True, most=1)

    assert arrivals.come(pairs[2][0], 2) is not None
    assert pairs[1][1].recv(1) == b""
    arrivals.go(second)
    assert (len(arrivals), arrivals.take_turned_away(), arrivals.take_turned_away()) == (2, 1, 0)
    for one in (*pairs[0], *pairs[1], *pairs[2]):
        one.close()


def test_who_may_submit_makes_room_for_nobody() -> None:
    arrivals, (ours, theirs) = Arrivals(), _pair()
    first = arrivals.come(ours, 1)
    assert first is not None
    assert arrivals.name(first, "192.0.2.1", may_submit=True, most=1)
    assert arrivals.come(ours, 1) is None
    arrivals.go(first)
    assert arrivals.come(ours, 1) is not None
    assert arrivals.take_turned_away() == 1
    ours.close()
    theirs.close()


def test_a_client_that_has_gone_is_forgotten() -> None:
    arrivals, (ours, theirs) = Arrivals(), _pair()
    for _ in range(3):
        arrival = arrivals.come(ours, 1)
        assert arrival is not None
        assert arrivals.name(arrival, "192.0.2.1", may_submit=False, most=1)
        arrivals.go(arrival)
        arrivals.go(arrival)
    assert (len(arrivals), dict(arrivals._by_client)) == (0, {})
    ours.close()
    theirs.close()


async def test_one_silent_client_behind_a_balancer_shuts_no_door(start: Start, trusting: ssl.SSLContext) -> None:
    limits = {"sessions": 8, "sessionsPerClient": 3}
    listener = await start(make_config(proxies=["127.0.0.9/32"], clients=["127.0.0.1/32"], limits=limits))
    flood = []
    for _ in range(8):
        balancer = await Raw.connect(listener.ports[1], "127.0.0.9")
        balancer.writer.write(header("203.0.113.66"))
        flood.append(balancer)
    for late in flood[3:]:
        assert await late.rest() == ""
    other = await Raw.connect(listener.ports[0], "127.0.0.9")
    assert (await other.ask(header("203.0.113.7")))[0].startswith("220 ")
    for port, context in ((listener.ports[0], None), (listener.ports[1], trusting)):
        own = await Raw.connect(port, "127.0.0.1", context)
        assert (await own.ask(b""))[0].startswith("220 ")
        await own.close()
    listener.sweep()
    assert listener.counters.refused == {"421 4.7.0": 5}
    for client in (*flood, other):
        await client.close()
    await eventually(lambda: not listener._tasks)


@pytest.mark.parametrize("silent", [b"", header("203.0.113.66")], ids=["nothing", "their clients"])
async def test_who_shakes_hands_gets_in_though_many_who_do_not_have_all_places_of_a_door(
    start: Start, trusting: ssl.SSLContext, silent: bytes
) -> None:
    limits = {"sessions": 4, "sessionsPerClient": 4}
    listener = await start(make_config(proxies=["127.0.0.9/32"], clients=["127.0.0.1/32"], limits=limits))
    flood = [await Raw.connect(listener.ports[1], "127.0.0.9") for _ in range(4)]
    for balancer in flood:
        balancer.writer.write(silent)
    await eventually(lambda: len(listener._tasks) == 4)
    own = await Raw.connect(listener.ports[1], "127.0.0.1", trusting)

    assert (await own.ask(b""))[0].startswith("220 ")
    assert await flood[0].rest() == ""
    for client in (*flood, own):
        await client.close()
    await eventually(lambda: not listener._tasks)
