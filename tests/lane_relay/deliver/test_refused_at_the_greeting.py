"""What a refusal as greeting comes to: no more than its rule asks for, and no less once its trigger is reached."""

import pytest

from lane_api.isppolicy import Action
from lane_relay.deliver.ready_queue import Limit
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running

SLOW = b"421 4.7.0 [TSS04] temporarily deferred due to user complaints\r\n"
SOON = {"first": "20ms", "factor": 1, "max": "20ms"}


def policy(action: str, **more: object) -> dict[str, object]:
    rule = {"id": "r", "pattern": "TSS04", "category": "spam-related", "action": action, "retryAfter": "1h", **more}
    backoff = {"messageRate": "50/s", "for": "1h"}
    return {"name": "isp", "connections": 1, "backoff": backoff, "responses": [{**rule, "examples": [SLOW.decode()]}]}


def refusing(times: int) -> Peer:
    """Refuses so many connections and takes all that come after."""
    replies = iter([SLOW] * times)
    return Peer({"connect": lambda _line: next(replies, b"220 peer.test ESMTP\r\n")})


def send(delivery: Delivery, peer: Peer, count: int = 10) -> None:
    for _ in range(count):
        delivery.send(route_to(peer.port, site="isp", policy="isp"))


def acts(delivery: Delivery) -> list[Action]:
    return [act.action for act in delivery.dispatcher.judgement.acts.listed()]


@pytest.mark.parametrize("action", ["Backoff", "SuspendSite", "QuarantineIP"])
async def test_before_the_trigger_a_refused_connection_holds_up_one_message(action: str) -> None:
    peer, rule = refusing(1), policy(action, trigger={"count": 2, "per": "1h"})
    async with running(peer), delivering(policies=[rule], retry=SOON, protection="NeverPause") as delivery:
        send(delivery, peer)
        attempts = await delivery.attempted(10)
        assert [one.results[0].verdict.action for one in attempts].count(None) == 9
        assert acts(delivery) == []
        assert not delivery.dispatcher.sites["isp"].backed_off


@pytest.mark.parametrize("action", ["Backoff", "SuspendSite", "QuarantineIP"])
async def test_what_is_never_paused_is_slowed_down_and_goes_on_as_soon_as_it_is_taken(action: str) -> None:
    peer = refusing(3)
    async with running(peer), delivering(policies=[policy(action)], retry=SOON, protection="NeverPause") as delivery:
        send(delivery, peer)
        attempts = await delivery.attempted(10)
        assert [one.results[0].verdict.action for one in attempts].count(None) == 7
        assert acts(delivery) == []
        assert "TSS04" in delivery.dispatcher.sites["isp"].backed_off


@pytest.mark.parametrize(
    ("protection", "action", "done", "held"),
    [
        ("Pausable", "QuarantineIP", Action.QUARANTINE_IP, Limit.SUSPENDED),
        ("Pausable", "SuspendSite", Action.SUSPEND_SITE, Limit.SUSPENDED),
        ("NeverPause", "QuarantineIP", Action.BACKOFF, None),
    ],
)
async def test_who_refuses_every_connection_reaches_a_trigger_that_is_shorter_than_the_pauses(
    protection: str, action: str, done: Action, held: Limit | None
) -> None:
    peer, rule = refusing(100), policy(action, trigger={"count": 3, "per": "700ms"})
    often = {"first": "400ms", "factor": 1, "max": "400ms"}
    async with running(peer), delivering(policies=[rule], retry=often, protection=protection) as delivery:
        send(delivery, peer)
        judgement = delivery.dispatcher.judgement
        await until(lambda: ("isp", done) in judgement.done)
        assert peer.connections >= 3
        assert judgement.alerts[("isp", "isp/r")] == (action == "QuarantineIP")
        if held is not None:
            state = delivery.dispatcher.explain_site("isp")
            assert state is not None
            assert state.hold.limit is held
