"""Sessions that end without one delivery, after the greeting: a run of them is a failure of the host."""

import asyncio

import pytest

from lane_api.isppolicy import Action
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import DROP, Peer, running

BUSY = b"421 4.7.0 try again later\r\n"
LONG = {"first": "1h", "max": "2h"}
AT_ONCE = 4
"""Connections that may be under way when the host is left alone."""


def state_of(delivery: Delivery) -> tuple[str, str]:
    """What holds the site, and why."""
    state = delivery.dispatcher.explain_site("peer")
    assert state is not None
    return state.hold.limit, state.hold.detail


def state_waiting(delivery: Delivery) -> int:
    """How many wait for the site."""
    state = delivery.dispatcher.explain_site("peer")
    return state.waiting if state is not None else 0


def taken(delivery: Delivery) -> int:
    """How many attempts were deliveries."""
    return sum(attempt.results[0].verdict.action is None for attempt in delivery.attempts)


@pytest.mark.parametrize("word", [BUSY, DROP])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end"])
async def test_a_site_that_ends_every_session_is_left_alone_whatever_the_stage(stage: str, word: bytes | str) -> None:
    peer = Peer({stage: word})
    async with running(peer), delivering(connections=AT_ONCE, retry=LONG) as delivery:
        for _ in range(200):
            delivery.send(route_to(peer.port))
        await until(lambda: state_of(delivery)[0] == "no-answer")
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert state.waiting == 200 - len(delivery.attempts)
        assert "sessions in a row ended without a delivery" in state.hold.detail
        assert "421" in state.hold.detail
        delivery.send(route_to(peer.port))
        await asyncio.sleep(0)
        assert delivery.dispatcher.figures().connections == 0
    assert 5 <= peer.connections <= 5 + AT_ONCE
    assert len(delivery.attempts) <= 5 + AT_ONCE
    """What waits keeps its own tries."""


async def test_a_site_that_was_left_alone_is_tried_by_one_session_until_the_first_delivery() -> None:
    peer = Peer({"rcpt": BUSY})
    async with running(peer), delivering(connections=AT_ONCE, retry={"first": "50ms", "max": "50ms"}) as delivery:
        for _ in range(100):
            delivery.send(route_to(peer.port))
        await until(lambda: state_of(delivery)[0] == "no-answer")
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        before, peer.most_open = peer.connections, 0
        await until(lambda: peer.connections >= before + 3)
        assert peer.most_open == 1
        del peer.script["rcpt"]
        await delivery.attempted(100)
        assert taken(delivery) >= 100 - before - 5
    assert peer.most_open == AT_ONCE


async def test_each_message_that_is_refused_by_421_between_deliveries_costs_the_others_nothing() -> None:
    said = 0

    def every_other(_line: str) -> bytes:
        nonlocal said
        said += 1
        return b"250 ok\r\n" if said % 2 else BUSY

    peer = Peer({"rcpt": every_other})
    async with running(peer), delivering(connections=2, retry=LONG) as delivery:
        for _ in range(100):
            delivery.send(route_to(peer.port))
        await delivery.attempted(100)
    assert len(peer.messages) == 50


async def test_a_host_that_ends_every_session_leaves_the_next_one() -> None:
    first, second = Peer({"rcpt": BUSY}, hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
    async with running(first, second), delivering(connections=AT_ONCE, retry=LONG) as delivery:
        for _ in range(60):
            delivery.send(route_to(first.port, "127.0.0.5", "127.0.0.6"))
        await delivery.attempted(60)
    assert len(second.messages) >= 60 - 5 - AT_ONCE
    assert first.connections <= 5 + AT_ONCE


async def test_an_isp_that_takes_mail_on_some_connections_and_ends_the_others_goes_on_with_those() -> None:
    peer, served = Peer(), set[asyncio.Task[object]]()

    def only_two(_line: str) -> bytes:
        connection = asyncio.current_task()
        assert connection is not None
        if connection not in served and sum(not one.done() for one in served) < 2:
            served.add(connection)
        return b"250 ok\r\n" if connection in served else BUSY

    peer.script["mail"] = only_two
    policy = {"name": "isp", "connections": 10, "messagesPerConnection": 20}
    async with running(peer), delivering(policies=[policy], retry=LONG) as delivery:
        for _ in range(300):
            delivery.send(route_to(peer.port, policy="isp"))
        await until(lambda: not state_waiting(delivery))
    assert len(peer.messages) >= 300 - len(served) * 13
    """While two connections work, a run of others that end costs five messages and those under way."""


async def test_a_rule_of_the_policy_that_says_otherwise_wins() -> None:
    rule = {
        "id": "grey", "stage": "Rcpt", "pattern": "^421.*try again", "category": "greylisted", "action": "Retry",
        "scope": "Recipient", "examples": ["421 4.7.0 try again later"],
    }  # fmt: skip
    peer = Peer({"rcpt": BUSY})
    policy = {"name": "isp", "connections": AT_ONCE, "responses": [rule]}
    async with running(peer), delivering(policies=[policy], retry=LONG) as delivery:
        for _ in range(50):
            delivery.send(route_to(peer.port, policy="isp"))
        await delivery.attempted(50)
    assert {attempt.results[0].verdict.rule for attempt in delivery.attempts} == {"isp/grey"}


async def test_a_421_to_the_first_recipients_of_a_message_leaves_the_others_for_later() -> None:
    peer = Peer({"rcpt": BUSY})
    policy = {"name": "isp", "connections": 1, "recipientsPerMessage": 1}
    async with running(peer), delivering(policies=[policy], retry=LONG) as delivery:
        delivery.send(route_to(peer.port, policy="isp"), "a@peer.test", "b@peer.test")
        (attempt,) = await delivery.attempted(1)
        await until(lambda: delivery.dispatcher.figures().connections == 0)
    assert [result.index for result in attempt.results] == [0, 1]
    assert {result.verdict.action for result in attempt.results} == {Action.RETRY}
