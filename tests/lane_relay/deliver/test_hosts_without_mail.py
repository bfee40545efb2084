"""A host that takes no mail says so of itself (521, RFC 7504): mail bounces by it once every host has."""

import pytest

from lane_api.isppolicy import Action
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to
from tests.lane_relay.deliver.scripted_peer import Peer, running

FIRST, SECOND = "127.0.0.5", "127.0.0.6"
NEVER = b"521 5.3.2 this host does not accept mail\r\n"
BUSY = b"421 4.3.2 too busy, come again\r\n"
LONG = {"first": "1h", "max": "2h"}
WAITING = 30


def actions_of(delivery: Delivery) -> list[Action | None]:
    """What became of each that was tried."""
    return [attempt.results[0].verdict.action for attempt in delivery.attempts]


@pytest.mark.parametrize(("first", "second"), [(BUSY, NEVER), (NEVER, BUSY)])
async def test_mail_waits_for_the_host_that_is_busy_though_the_other_takes_none(first: bytes, second: bytes) -> None:
    busy, without = Peer({"connect": first}, hosts=(FIRST,)), Peer({"connect": second}, hosts=(SECOND,))
    async with running(busy, without), delivering(retry=LONG) as delivery:
        for _ in range(WAITING):
            delivery.send(route_to(busy.port, FIRST, SECOND))
        await delivery.attempted(1)
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert state.waiting == WAITING - 1
        assert delivery.attempts[0].results[0].reply.code == 421
    assert Action.BOUNCE not in actions_of(delivery)


async def test_mail_waits_for_the_host_that_is_away_though_the_other_takes_none() -> None:
    without = Peer({"connect": NEVER}, hosts=(SECOND,))
    async with running(without), delivering(retry=LONG) as delivery:
        for _ in range(WAITING):
            delivery.send(route_to(without.port, FIRST, SECOND))  # nobody listens at the first
        await delivery.attempted(1)
    assert Action.BOUNCE not in actions_of(delivery)


async def test_mail_bounces_when_no_host_takes_any() -> None:
    one, other = Peer({"connect": NEVER}, hosts=(FIRST,)), Peer({"connect": NEVER}, hosts=(SECOND,))
    async with running(one, other), delivering(retry=LONG) as delivery:
        for _ in range(WAITING):
            delivery.send(route_to(one.port, FIRST, SECOND))
        await delivery.attempted(WAITING)
    assert set(actions_of(delivery)) == {Action.BOUNCE}


async def test_the_host_that_was_busy_and_then_takes_none_either_lets_the_mail_bounce() -> None:
    one, other = Peer({"connect": BUSY}, hosts=(FIRST,)), Peer({"connect": NEVER}, hosts=(SECOND,))
    async with running(one, other), delivering(retry={"first": "20ms", "max": "20ms"}) as delivery:
        for _ in range(WAITING):
            delivery.send(route_to(one.port, FIRST, SECOND))
        await delivery.attempted(1)
        one.script["connect"] = NEVER
        await delivery.attempted(WAITING)
    assert actions_of(delivery)[-1] is Action.BOUNCE
