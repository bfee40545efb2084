"""However many sites take a connection and say nothing, there is a share for those that answer, and for the next."""

import pytest

from lane_relay.deliver.session_settings import Timeouts
from tests.lane_relay.deliver.delivery import PATIENT, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "end"])
async def test_many_stalled_sites_leave_half_of_all_connections_to_those_that_answer(stage: str) -> None:
    stalled, good = Peer({stage: STALL}), Peer()
    policy = {"name": "good", "domains": ["x.test"], "messages_per_connection": 1}
    async with (
        running(stalled),
        running(good),
        delivering(total_connections=12, connections=5, policies=[policy]) as relay,
    ):
        route = route_to(good.port, site="good", policy="good")
        relay.send(route)
        await relay.attempted(1)
        for number in range(60):
            relay.send(route_to(stalled.port, site=f"stalled{number}"))
        await until(lambda: stalled.open == 6)
        for _ in range(30):
            relay.send(route)
        await until(lambda: len(good.messages) == 31)
        assert stalled.open == 6
        stalled.release.set()


async def test_a_new_site_gets_its_turn_before_stalled_ones_time_out() -> None:
    stalled, good = Peer({"connect": STALL}), Peer()
    timeouts = Timeouts(stages=PATIENT, pressed=0.1)
    async with running(stalled), running(good), delivering(total_connections=4, timeouts=timeouts) as relay:
        for number in range(6):
            relay.send(route_to(stalled.port, site=f"stalled{number}"))
        await until(lambda: stalled.open == 2)
        relay.send(route_to(good.port, site="good"))
        await until(lambda: len(good.messages) == 1)
        assert any("did not answer in time" in reply for replies in relay.replies() for reply in replies)
        stalled.release.set()


async def test_who_has_the_whole_message_is_not_hurried() -> None:
    stalled, good = Peer({"end": STALL}), Peer()
    timeouts = Timeouts(stages=PATIENT, pressed=0.1)
    async with running(stalled), running(good), delivering(total_connections=2, timeouts=timeouts) as relay:
        relay.send(route_to(stalled.port, site="stalled"))
        await until(lambda: stalled.open == 1)
        for number in range(3):
            relay.send(route_to(stalled.port, site=f"other{number}"))
        relay.send(route_to(good.port, site="good"))
        sweeps = len(relay.attempts)
        await until(lambda: relay.dispatcher.sites["stalled"].answers is False)
        assert len(relay.attempts) == sweeps
        stalled.late_answer = b"250 2.0.0 queued\r\n"
        stalled.release.set()
        await until(lambda: len(good.messages) == 1)
        assert all(reply.startswith("250") for replies in relay.replies() for reply in replies)


async def test_connections_of_sites_that_have_not_answered_are_counted_to_the_last_one() -> None:
    good = Peer()
    async with running(good), delivering(total_connections=6) as relay:
        for number in range(40):
            relay.send(route_to(good.port, site=f"site{number}"))
        await relay.attempted(40)
        await relay.dispatcher.drain(0.5)
        assert relay.dispatcher._connections._unanswered == 0
