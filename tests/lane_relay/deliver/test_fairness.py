"""Campaigns of one lane take turns: one that is large holds up no other, wherever the two meet.

Judged by order, never by the clock: what had been sent of the large one when the small one was through.
"""

from lane_relay.records import Attempt
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running


async def _through(relay: Delivery, campaign: str, count: int) -> list[Attempt]:
    """The attempts up to the last one of this campaign."""

    def done() -> int:
        return sum(attempt.entry.campaign == campaign for attempt in relay.attempts)

    await until(lambda: done() >= count, within=60.0)
    last = max(place for place, attempt in enumerate(relay.attempts) if attempt.entry.campaign == campaign)
    return relay.attempts[: last + 1]


def _count(attempts: list[Attempt], campaign: str) -> int:
    return sum(attempt.entry.campaign == campaign for attempt in attempts)


async def test_a_small_campaign_behind_a_large_one_is_through_when_the_large_one_has_barely_begun() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=2) as relay:
        route = route_to(peer.port)
        for _ in range(20_000):
            relay.send(route, campaign="large")
        for _ in range(50):
            relay.send(route, campaign="small")
        sent = await _through(relay, "small", 50)
        # each second one, and what two sessions had at hand before the small one came
        assert _count(sent, "large") <= 50 + 10
        assert relay.dispatcher.sites["peer"].waiting > 19_000


async def test_retries_of_a_large_campaign_are_no_wall_either() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1) as relay:
        route = route_to(peer.port)
        retried = [relay.send(route, campaign="large") for _ in range(2000)]
        for entry in retried:
            entry.attempts = 3
        for _ in range(10):
            relay.send(route, campaign="small")
        assert _count(await _through(relay, "small", 10), "large") <= 10 + 10


async def test_a_small_campaign_is_no_worse_off_where_all_bodies_are_read_from_disk_as_after_a_restart() -> None:
    policy = {"name": "isp", "domains": ["x.test"], "connections": 2, "message_rate": "100/s"}
    peer = Peer()
    async with running(peer), delivering(policies=[policy]) as relay:
        relay.messages.cold = True
        route = route_to(peer.port, site="isp", policy="isp")
        relay.send(route, campaign="large")
        await relay.attempted(1)  # an idle session asks for each entry as it comes
        for _ in range(2000):
            relay.send(route, campaign="large")
        for _ in range(10):
            relay.send(route, campaign="small")
        assert _count(await _through(relay, "small", 10), "large") <= 10 + 10


async def test_campaigns_share_the_connections_of_a_site_however_many_host_sets_the_large_one_is_for() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=2) as relay:
        for number in range(40):
            many = route_to(peer.port, *["127.0.0.1"] * (number + 2))
            for _ in range(100):
                relay.send(many, campaign="large")
        alone = route_to(peer.port)
        for _ in range(60):
            relay.send(alone, campaign="small")
        sent = await _through(relay, "small", 60)
        # the shares are of connections, which send some ten messages each before they make room
        assert _count(sent, "large") <= 4 * 60


async def test_a_campaign_whose_hosts_have_no_connection_yet_gets_its_share_of_a_paced_site() -> None:
    policy = {"name": "isp", "domains": ["x.test"], "connections": 5, "message_rate": "50/s"}
    peer = Peer()
    async with running(peer), delivering(policies=[policy]) as relay:
        large = route_to(peer.port, "127.0.0.1", "127.0.0.1", site="isp", policy="isp")
        for _ in range(1000):
            relay.send(large, campaign="large")
        await relay.attempted(5)  # its sessions stand in line for each message that may be sent
        small = route_to(peer.port, site="isp", policy="isp")
        for _ in range(10):
            relay.send(small, campaign="small")
        before = len(relay.attempts)
        sent = await _through(relay, "small", 10)
        assert _count(sent[before:], "large") <= 2 * 10 + 5


async def test_campaigns_share_the_connections_of_the_address_however_many_sites_the_large_one_is_for() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=5, total_connections=4) as relay:
        for number in range(300):
            for _ in range(3):
                relay.send(route_to(peer.port, site=f"large{number}"), campaign="large")
        for number in range(5):
            relay.send(route_to(peer.port, site=f"small{number}"), campaign="small")
        sent = await _through(relay, "small", 5)
        assert _count(sent, "large") <= 60


async def test_a_campaign_that_joins_sites_in_line_is_not_held_up_by_those_before_them() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=5, total_connections=4) as relay:
        for number in range(300):
            for _ in range(3):
                relay.send(route_to(peer.port, site=f"site{number}"), campaign="large")
        for number in range(290, 295):
            relay.send(route_to(peer.port, site=f"site{number}"), campaign="small")
        sent = await _through(relay, "small", 5)
        assert _count(sent, "large") <= 80


async def test_many_newcomers_leave_no_more_places_in_line_than_there_are_campaigns() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1) as relay:
        route = route_to(peer.port)
        relay.send(route)
        await until(lambda: peer.open == 1)
        for number in range(3000):
            relay.send(route, campaign=f"c{number % 1000}")
        assert len(relay.dispatcher.sites["peer"].line) <= 8
        peer.release.set()
