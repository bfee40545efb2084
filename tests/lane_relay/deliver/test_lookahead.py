"""Bodies that are made ready ahead of the sessions, with real connections on loopback."""

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
