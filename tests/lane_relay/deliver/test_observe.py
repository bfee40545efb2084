"""A lane whose automation is Observe: what reply rules ask for is told once while it would last, and not done."""

from typing import Any

import pytest

from lane_api.isppolicy import Action
from tests.lane_relay.deliver.delivery import Delivery, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running

BLOCKED = "451 4.7.1 Messages from you are temporarily refused (S3150)."
WATCHED: dict[str, Any] = {"automation": "Observe"}


def policies(action: str, **more: object) -> list[dict[str, object]]:
    rule = {"id": "r", "pattern": "S3150", "category": "spam-related", "action": action, "for": "1h", **more}
    return [{"name": "isp", "connections": 1, "responses": [{**rule, "examples": [BLOCKED]}]}]


def refusing(stage: str) -> Peer:
    return Peer(script={stage: f"{BLOCKED}\r\n".encode()})


def observed(delivery: Delivery) -> list[tuple[str, str, str]]:
    found = delivery.dispatcher.judgement.acts.observed(delivery.dispatcher.judgement._clock.now())
    return [(act.action, act.site, act.domain) for act in found]


@pytest.mark.parametrize(
    ("rule", "protection", "told"),
    [
        ({"action": "Backoff"}, "Pausable", (Action.BACKOFF, "isp", "")),
        ({"action": "SuspendSite"}, "Pausable", (Action.SUSPEND_SITE, "isp", "")),
        ({"action": "SuspendSite"}, "NeverPause", (Action.BACKOFF, "isp", "")),
        ({"action": "QuarantineIP", "scope": "IP"}, "Conservative", (Action.QUARANTINE_IP, "isp", "")),
        ({"action": "SuspendSite", "scope": "Lane"}, "Pausable", (Action.SUSPEND_SITE, "", "")),
        ({"action": "SuspendDomain"}, "Pausable", (Action.SUSPEND_DOMAIN, "isp", "sender.test")),
        ({"action": "Backoff", "scope": "Domain"}, "Pausable", (Action.BACKOFF, "isp", "sender.test")),
    ],
)
async def test_all_mail_is_tried_and_the_act_is_told_once(
    rule: dict[str, Any], protection: str, told: tuple[Action, str, str]
) -> None:
    peer = refusing("mail")
    async with running(peer), delivering(policies=policies(**rule), protection=protection, **WATCHED) as delivery:
        for _ in range(20):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(20)
        judgement, site = delivery.dispatcher.judgement, delivery.dispatcher.sites["isp"]
        assert observed(delivery) == [told]
        assert (judgement.acts.listed(), site.suspended, site.backed_off, delivery.kept) == ((), None, "", "")
        assert judgement.alerts == {("isp", "isp/r"): 1}
        assert judgement.done == {("isp", Action.ALERT): 1}


async def test_a_trigger_is_waited_for_as_it_would_be() -> None:
    peer, thrice = refusing("mail"), policies("SuspendSite", trigger={"count": 3, "per": "1h"})
    async with running(peer), delivering(policies=thrice, **WATCHED) as delivery:
        for count, told in ((2, 0), (3, 1)):
            while len(delivery.messages.found) < count:
                delivery.send(route_to(peer.port, site="isp", policy="isp"))
            await delivery.attempted(count)
            assert len(observed(delivery)) == told


async def test_a_refused_connection_is_told_as_well() -> None:
    peer = refusing("connect")
    async with running(peer), delivering(policies=policies("QuarantineIP"), **WATCHED) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        assert observed(delivery) == [(Action.QUARANTINE_IP, "isp", "")]
        assert delivery.dispatcher.sites["isp"].suspended is None


async def test_what_a_complaint_rate_would_stop_is_told_and_the_next_level_too() -> None:
    async with delivering(**WATCHED) as delivery:
        judgement = delivery.dispatcher.judgement
        for level, hours in (("act", 4), ("act", 4), ("stop", 24), ("act", 4)):
            said = (f"complaints/{level}", "3 of 600", Action.SUSPEND_SITE, hours * 3600.0, "isp")
            judgement.of_complaints("isp", *said, observed=True)
        (act,) = judgement.acts.observed(judgement._clock.now())
        assert (act.rule, act.lasts, judgement.acts.listed()) == ("complaints/stop", 24 * 3600.0, ())
        assert judgement.alerts == {("isp", "complaints/act"): 1, ("isp", "complaints/stop"): 1}


async def test_once_acts_are_allowed_they_are_done_and_nothing_is_told_of_those_before() -> None:
    peer, rules = refusing("mail"), policies("SuspendSite")
    async with running(peer), delivering(policies=rules, **WATCHED) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        delivery.dispatcher.apply(make_config(policies=rules))
        assert observed(delivery) == []
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await until(lambda: bool(delivery.kept))
        assert [act.action for act in delivery.dispatcher.judgement.acts.listed()] == [Action.SUSPEND_SITE]
