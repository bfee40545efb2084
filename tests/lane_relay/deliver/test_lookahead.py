"""Bodies that are made ready ahead of the sessions, with real connections on loopback."""

from typing import Final

from tests.lane_relay.deliver.delivery import BODY, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running


async def test_bodies_read_back_count_in_the_spool_s_memory_until_they_are_sent() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1, lifetime="1h") as delivery:
        delivery.messages.cold = True
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await delivery.attempted(4)
        assert delivery.messages.lent_most >= len(BODY)
        await until(lambda: delivery.messages.lent == 0)


_PACED: Final = {"name": "isp", "domains": ["x.test"], "connections": 2, "message_rate": "100/s"}


async def test_no_more_bodies_are_read_for_a_site_that_is_paced_than_its_sessions_need_next() -> None:
    peer = Peer()
    async with running(peer), delivering(policies=[_PACED]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        await delivery.attempted(1)  # from now on a session is idle, and asks for each entry that comes
        delivery.messages.cold = True
        delivery.messages.gate.clear()
        for _ in range(300):
            delivery.send(route)
        await until(lambda: delivery.messages.loading > 0)
        assert delivery.messages.loading <= 2 * 2 + 4
        delivery.messages.gate.set()
        await delivery.attempted(2)
        assert delivery.messages.lent_most <= (2 * 2 + 4 + 2) * len(BODY)  # ahead of two sessions, and in them


async def test_a_session_gets_its_body_though_many_others_of_its_site_are_still_being_read() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=5, active_bytes="256Ki") as delivery:
        route = route_to(peer.port)
        delivery.messages.cold = True
        body = BODY + b"x" * 30_000 + b"\r\n"  # two of them are more than may wait for sessions
        for _ in range(40):
            delivery.send(route, body=body)
        await delivery.attempted(40)
        await until(lambda: delivery.messages.lent == 0)
