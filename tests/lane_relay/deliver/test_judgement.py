"""What replies come to on the wire: who is stopped, slowed down or told, what is kept, and when it ends."""

import asyncio
import re
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import pytest

from lane_api.isppolicy import Action, Scope
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.deliver.acts import Act, Acts
from lane_relay.deliver.ready_queue import Limit
from lane_relay.deliver.samples import masked_text
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.deliver.told import act_as_json, slowed_sites
from lane_relay.errors import SpoolError
from tests.lane_relay.deliver.delivery import PATIENT, Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running

BLOCKED = "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. It is on our block list (S3150)."


def policy(**rule: object) -> dict[str, object]:
    values = {"id": "r", "pattern": "S3150", "category": "spam-related", "examples": [BLOCKED], **rule}
    return {"name": "isp", "connections": 1, "responses": [values]}


@dataclass
class Spare:
    """A standby slot that can send to one site."""

    site: str

    def has_standby(self, site: str) -> bool:
        return site == self.site

    def is_relieved(self, site: str) -> bool:
        return site == self.site


def refusing(stage: str = "mail", reply: str = BLOCKED) -> Peer:
    return Peer(script={stage: f"{reply}\r\n".encode()})


async def test_a_5xx_about_the_source_stops_the_address_and_bounces_nobody() -> None:
    peer = refusing()
    async with running(peer), delivering(policies=[policy(action="QuarantineIP", retryAfter="1h")]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        for _ in range(20):
            delivery.send(route)
        await until(lambda: bool(delivery.kept))
        await until(lambda: peer.open == 0)
        asked = len(delivery.attempts)
        delivery.send(route)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert state.hold.limit is Limit.SUSPENDED
        assert re.search(r"QuarantineIP until \S+ by isp/r", state.hold.detail)
        assert [(act.action, act.rule) for act in state.acts] == [(Action.QUARANTINE_IP, "isp/r")]
        assert state.waiting == 21 - asked
        assert {result.verdict.action for one in delivery.attempts for result in one.results} == {Action.QUARANTINE_IP}
        assert delivery.dispatcher.judgement.alerts == {("isp", "isp/r"): 1}
        assert peer.connections == 1


async def test_what_was_stopped_is_stopped_after_a_restart_and_goes_on_by_itself() -> None:
    peer = refusing()
    rules = policy(action="SuspendSite", retryAfter="1h", **{"for": "3s"})
    async with running(peer):
        route = route_to(peer.port, site="isp", policy="isp")
        async with delivering(policies=[rules]) as first:
            first.send(route)
            await first.attempted(1)
            kept = first.kept
        assert kept
        del peer.script["mail"]
        async with delivering(policies=[rules], kept=kept) as second:
            second.send(route)
            state = second.dispatcher.explain_site("isp")
            assert state is not None and state.hold.limit is Limit.SUSPENDED  # noqa: PT018
            await second.attempted(1)
            (act,) = state.acts
            assert SYSTEM_CLOCK.now() >= act.until
            assert second.kept == ""
            assert second.dispatcher.explain_site("isp") is not None
    assert len(peer.messages) == 1


async def test_a_stopped_site_s_wait_ends_after_the_act_and_is_told_anew_until_then() -> None:
    """Else the site would ask again and again in the second before the act is ended, or for as long as a clock is
    set back."""
    peer = refusing("rcpt", "550 5.7.1 mail for ann@isp.test: block list (S3150)")
    rule = policy(action="SuspendSite", examples=["550 block list (S3150)"], **{"for": "1h"})
    async with running(peer), delivering(policies=[rule]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        await delivery.attempted(1)
        delivery.send(route)
        site, judgement = delivery.dispatcher.sites["isp"], delivery.dispatcher.judgement
        (act,) = judgement.acts.listed()
        assert "ann" not in act.reply
        first = site.suspended
        assert first is not None
        assert first.until >= SYSTEM_CLOCK.monotonic() + act.until - SYSTEM_CLOCK.now() + 1.5
        site.suspended = None
        assert judgement.expire() is False
        assert site.suspended is not None


async def test_a_from_domain_that_is_slowed_down_sends_one_message_in_its_time_and_the_others_go_on() -> None:
    peer = Peer()
    refusals = iter([b"421 4.7.28 S3150 unusual rate of mail from your domain\r\n"])
    peer.script["end"] = lambda _line: next(refusals, b"250 ok\r\n")
    examples = ["421 4.7.28 S3150 unusual rate of mail from your domain"]
    rules = policy(action="Backoff", scope="Domain", examples=examples) | {"backoff": {"messageRate": "1/h"}}
    async with running(peer), delivering(policies=[rules]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route, from_domain="fast.example")
        await delivery.attempted(1)
        for domain in ("fast.example", "fast.example", "calm.example", "calm.example"):
            delivery.send(route, from_domain=domain)
        await delivery.attempted(5)
        sent = [one.message.from_domain for one in delivery.attempts[1:] if one.results[0].verdict.action is None]
        assert sorted(sent) == ["calm.example", "calm.example", "fast.example"]
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert state.backed_off == ""


async def test_a_spool_that_failed_costs_the_act_its_memory_and_no_attempt(caplog: pytest.LogCaptureFixture) -> None:
    def keep(_text: str) -> None:
        raise SpoolError("the volume is gone")

    peer = refusing()
    async with running(peer), delivering(policies=[policy(action="SuspendSite")], keep=keep) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        assert len(delivery.dispatcher.judgement.acts.listed()) == 1
    assert "the volume is gone" in caplog.text


async def test_an_act_about_a_site_without_mail_is_still_listed() -> None:
    peer = refusing()
    async with running(peer), delivering(policies=[policy(action="SuspendSite")]) as first:
        first.send(route_to(peer.port, site="isp", policy="isp"))
        await first.attempted(1)
    async with delivering(policies=[policy(action="SuspendSite")], kept=first.kept) as second:
        state = second.dispatcher.explain_site("isp")
        assert state is not None
        assert (state.waiting, state.hold.limit, len(state.acts)) == (0, Limit.SUSPENDED, 1)
        assert second.dispatcher.explain_site("other") is None


async def test_a_lane_that_is_never_paused_is_slowed_down_and_somebody_is_told() -> None:
    peer = refusing()
    async with (
        running(peer),
        delivering(policies=[policy(action="QuarantineIP")], protection="NeverPause") as delivery,
    ):
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        delivery.send(route)
        await delivery.attempted(2)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert "S3150" in state.backed_off
        assert state.acts == ()
        assert delivery.dispatcher.judgement.alerts["isp", "isp/r"] == 2
        (slowed,) = slowed_sites(delivery.dispatcher.judgement, delivery.dispatcher.sites)
        assert (slowed.action, slowed.site, slowed.rule) == ("Backoff", "isp", "isp/r")
        assert act_as_json(slowed)["sample"] == masked_text(slowed.reply)


async def test_an_act_names_no_recipient_though_the_reply_does_without_his_domain() -> None:
    peer = refusing("rcpt", "550 5.7.1 S3150 johnsmith <johnsmith@peer.test> gets too much of this")
    async with running(peer), delivering(policies=[policy(action="SuspendSite")]) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"), "JohnSmith@peer.test")
        await delivery.attempted(1)
        (act,) = delivery.dispatcher.judgement.acts.listed()
        assert act_as_json(act)["sample"] == "550 5.7.1 <N> <> <> gets too much of this"
        assert act.reply == "550 5.7.1 S3150 <> <> gets too much of this"


@pytest.mark.parametrize("action", ["SuspendSite", "Backoff"])
async def test_what_a_person_ends_stops_and_slows_nothing_any_more_and_stays_ended(action: str) -> None:
    peer, refusals = Peer(), iter([f"{BLOCKED}\r\n".encode()])
    peer.script["mail"] = lambda _line: next(refusals, b"250 ok\r\n")
    rules = policy(action=action) | {"backoff": {"messageRate": "1/h"}}
    async with running(peer), delivering(policies=[rules]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        await delivery.attempted(1)
        delivery.send(route), delivery.send(route)
        judgement = delivery.dispatcher.judgement
        assert [act.action for act in judgement.acts_about("isp", "")] == [action]
        assert judgement.acts_about("isp", "brand.example") == judgement.acts_about("other", "") == []
        assert judgement.end("other", "") == []
        assert [act.action for act in judgement.end("isp", "")] == [action]

        await delivery.attempted(3)
        assert (delivery.attempts[-1].results[0].verdict.action, judgement.acts_about("isp", "")) == (None, [])
        assert delivery.kept == ""


async def test_a_site_that_was_slowed_down_is_slow_after_a_restart_and_climbs_from_where_it_was() -> None:
    peer = refusing()
    rules = policy(action="Backoff", **{"for": "90m"})
    async with running(peer):
        route = route_to(peer.port, site="isp", policy="isp")
        async with delivering(policies=[rules]) as first:
            first.send(route)
            await first.attempted(1)
            before = first.dispatcher.sites["isp"].pacing
            kept = first.kept
        del peer.script["mail"]
        async with delivering(policies=[rules], kept=kept) as second:
            second.send(route)
            await second.attempted(1)
            after = second.dispatcher.sites["isp"].pacing
            state = second.dispatcher.explain_site("isp")
            assert before is not None and after is not None and state is not None  # noqa: PT018
            assert (after.connections, after.message_rate) == (before.connections, before.message_rate)
            assert after.backed_off_until == pytest.approx(before.backed_off_until, abs=5.0)
            assert "S3150" in state.backed_off
            assert state.acts == ()


@pytest.mark.parametrize("able", [True, False])
async def test_a_lane_that_is_never_paused_leaves_an_address_only_for_a_standby_slot_that_can_send(able: bool) -> None:
    peer = refusing()
    rules = [policy(action="QuarantineIP")]
    async with running(peer), delivering(policies=rules, protection="NeverPause", standby=True) as delivery:
        judgement = delivery.dispatcher.judgement
        judgement.stand_ins = Spare("isp" if able else "")
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert bool(state.backed_off) is not able
        assert judgement.acts.quarantined() == ({"isp"} if able else set())


def listed(seconds_ago: float) -> str:
    """What an earlier process kept of a refusal."""
    acts, now = Acts(), SYSTEM_CLOCK.now()
    acts.place(Act(Action.QUARANTINE_IP, "isp", now - seconds_ago, now + 3600, "isp/r", BLOCKED))
    return acts.dump()


async def test_what_is_never_paused_goes_on_slowly_where_nobody_stands_in() -> None:
    peer = Peer()
    async with running(peer), delivering(protection="NeverPause", kept=listed(60)) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert state.backed_off == BLOCKED
        assert (state.delivered, len(state.acts)) == (1, 1)


@pytest.mark.parametrize(
    ("protection", "since", "relieved"), [("NeverPause", 60, True), ("NeverPause", 5, False), ("Pausable", 60, False)]
)
async def test_what_a_stand_in_sends_or_may_be_paused_waits(protection: str, since: float, relieved: bool) -> None:
    peer = Peer()
    async with running(peer), delivering(protection=protection, kept=listed(since)) as delivery:
        judgement = delivery.dispatcher.judgement
        judgement.stand_ins = Spare("isp" if relieved else "")
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        assert judgement.expire() is False
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert (state.hold.limit, state.waiting, peer.connections) == (Limit.SUSPENDED, 1, 0)


async def test_an_act_with_a_trigger_waits_for_the_second_reply() -> None:
    peer = refusing("rcpt")
    rule = policy(action="SuspendSite", scope="Site", trigger={"count": 2, "per": "1h"})
    async with running(peer), delivering(policies=[rule]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        await delivery.attempted(1)
        assert delivery.kept == ""
        delivery.send(route)
        await delivery.attempted(2)
        assert "SuspendSite" in delivery.kept


async def test_a_from_domain_that_is_suspended_waits_and_the_others_are_delivered() -> None:
    peer = Peer()
    refusals = iter([f"{BLOCKED}\r\n".encode()])
    peer.script["end"] = lambda _line: next(refusals, b"250 ok\r\n")
    async with running(peer), delivering(policies=[policy(action="SuspendDomain", **{"for": "1h"})]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route, from_domain="bad.example")
        await delivery.attempted(1)
        for domain in ("bad.example", "good.example", "bad.example"):
            delivery.send(route, from_domain=domain)
        await delivery.attempted(4)
        said = [(one.message.from_domain, one.results[0].ours) for one in delivery.attempts]
        assert sorted(said) == [("bad.example", False), ("bad.example", True), ("bad.example", True),
                                ("good.example", False)]  # fmt: skip
        by_domain = [(one.message.from_domain, one.results[0].verdict) for one in delivery.attempts[1:]]
        held = [verdict for domain, verdict in by_domain if domain == "bad.example"]
        assert [verdict.action for domain, verdict in by_domain if domain == "good.example"] == [None]
        assert {(one.action, one.scope, one.rule) for one in held} == {(Action.RETRY, Scope.DOMAIN, "isp/r")}
        assert all(one.retry_after is not None and 3500 < one.retry_after <= 3600 for one in held)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert [act.domain for act in state.acts] == ["bad.example"]
    assert len(peer.messages) == 1


@pytest.mark.parametrize("cold", [False, True])
async def test_mail_of_a_suspended_from_domain_costs_the_isp_no_connection(*, cold: bool) -> None:
    peer = refusing()
    brief = Timeouts(stages=PATIENT, idle=0.0)
    rules = policy(action="SuspendDomain", **{"for": "1h"})
    async with running(peer), delivering(policies=[rules], timeouts=brief) as delivery:
        delivery.messages.cold = cold
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route, from_domain="bad.example")
        await delivery.attempted(1)
        await until(lambda: not delivery.dispatcher.figures().connections)
        for _ in range(150):
            delivery.send(route, from_domain="bad.example")
        await delivery.attempted(151)
        assert {one.results[0].ours for one in delivery.attempts[1:]} == {True}
        assert peer.connections == 1
        del peer.script["mail"]
        delivery.send(route, from_domain="good.example")
        await delivery.attempted(152)
        assert (peer.connections, len(peer.messages)) == (2, 1)


def most_at_once(delivery: Delivery, count: int) -> list[int]:
    """How many attempts were told of in each turn of the loop until there are so many; filled as it goes on."""
    loop, seen = asyncio.get_running_loop(), [0]

    def turn() -> None:
        seen.append(len(delivery.attempts))
        if seen[-1] < count:
            loop.call_soon(turn)

    loop.call_soon(turn)
    return seen


async def test_thousands_that_are_put_off_do_not_hold_up_the_loop_in_one_go() -> None:
    peer = refusing("end")
    async with running(peer), delivering(policies=[policy(action="SuspendDomain")]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        for _ in range(1501):
            delivery.send(route)
        seen = most_at_once(delivery, 1501)
        await delivery.attempted(1501)
        assert max(after - before for before, after in pairwise(seen)) <= 501, "a portion, and the one that began it"
        delivery.send(route, from_domain="good.example")
        await delivery.attempted(1502)


async def test_an_act_about_the_lane_stops_every_site() -> None:
    peer = refusing()
    async with running(peer), delivering(policies=[policy(action="SuspendSite", scope="Lane")]) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        delivery.send(route_to(peer.port, site="another"))
        state = delivery.dispatcher.explain_site("another")
        assert state is not None
        assert state.hold.limit is Limit.SUSPENDED


async def test_what_bounces_the_message_bounces_all_its_recipients_that_were_not_taken() -> None:
    replies = iter([b"250 ok\r\n", b"450 4.2.0 busy\r\n", f"{BLOCKED}\r\n".encode()])
    peer = Peer()
    peer.script["rcpt"] = lambda _line: next(replies)
    for scope, actions in (("Message", [None, Action.BOUNCE, Action.BOUNCE]),):
        async with running(peer), delivering(policies=[policy(action="Bounce", scope=scope)]) as delivery:
            delivery.send(route_to(peer.port, site="isp", policy="isp"), "a@p.test", "b@p.test", "c@p.test")
            (attempt,) = await delivery.attempted(1)
            assert [one.verdict.action for one in attempt.results] == actions


@pytest.mark.parametrize(("scope", "delivered"), [("Site", 1), ("IP", 0)])
async def test_what_a_host_says_of_itself_leaves_the_next_host_and_what_it_says_of_us_does_not(
    scope: str, delivered: int
) -> None:
    busy = Peer(hosts=("127.0.0.1", "127.0.0.2"))
    calls = iter([b"421 4.3.2 S3150 too busy\r\n"])
    busy.script["connect"] = lambda _line: next(calls, b"220 peer.test ESMTP\r\n")
    rule = policy(action="Backoff", scope=scope, retryAfter="1h", examples=["421 4.3.2 S3150 too busy"])
    async with running(busy), delivering(policies=[rule]) as delivery:
        delivery.send(route_to(busy.port, "127.0.0.1", "127.0.0.2", site="isp", policy="isp"))
        (attempt,) = await delivery.attempted(1)
        assert len(busy.messages) == delivered
        assert attempt.results[0].verdict.action is (None if delivered else Action.BACKOFF)


async def test_an_alert_is_counted_and_the_message_tried_again() -> None:
    peer = refusing("end")
    async with running(peer), delivering(policies=[policy(action="Alert")]) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        (attempt,) = await delivery.attempted(1)
        assert attempt.results[0].verdict.action is Action.ALERT
        assert delivery.dispatcher.judgement.alerts == {("isp", "isp/r"): 1}
        assert delivery.dispatcher.judgement.done == {("isp", Action.ALERT): 1}


async def test_only_what_no_rule_of_the_policy_was_for_is_kept_as_a_sample() -> None:
    peer = Peer()
    replies = iter([f"{BLOCKED}\r\n".encode(), b"550 5.1.1 <b@peer.test> unknown user 77\r\n"])
    peer.script["rcpt"] = lambda _line: next(replies)
    async with running(peer), delivering(policies=[policy(action="Retry")]) as delivery:
        route = route_to(peer.port, site="isp", policy="isp")
        delivery.send(route)
        delivery.send(route)
        await delivery.attempted(2)
        samples = delivery.dispatcher.judgement.samples
        assert [(one.text, one.count) for one in samples.listed()] == [("550 5.1.1 <ADDRESS> unknown user <N>", 1)]
        assert samples.counts == {"isp": 1}


async def test_what_complaints_ask_for_stops_the_isp_over_a_restart_and_is_explained() -> None:
    peer = Peer()
    async with running(peer), delivering(policies=[policy(action="Retry")]) as first:
        judgement = first.dispatcher.judgement
        judgement.of_complaints("isp", "complaints/warn", "3 of 1000", Action.ALERT, 0.0, "isp")
        assert judgement.acts.listed() == ()
        judgement.of_complaints("isp", "complaints/act", "4 of 1000", Action.SUSPEND_SITE, 3600.0, "isp")
        assert judgement.alerts == {("isp", "complaints/warn"): 1, ("isp", "complaints/act"): 1}
        first.send(route_to(peer.port, site="isp", policy="isp"))
        first.send(route_to(peer.port, site="other", policy="other"))
        await first.attempted(1)
        assert [attempt.site for attempt in first.attempts] == ["other"]
    async with delivering(policies=[policy(action="Retry")], kept=first.kept) as second:
        state = second.dispatcher.explain_site("isp")
        assert state is not None
        assert state.hold.limit is Limit.SUSPENDED
        assert [(act.rule, act.reply) for act in state.acts] == [("complaints/act", "4 of 1000")]


@pytest.mark.parametrize("over_a_restart", [True, False])
async def test_what_was_stopped_by_a_clock_that_was_a_day_ahead_is_stopped_no_longer_than_it_was_to(
    over_a_restart: bool,
) -> None:
    peer = refusing()
    async with running(peer), delivering(policies=[policy(action="SuspendSite", **{"for": "1h"})]) as first:
        first.send(route_to(peer.port, site="isp", policy="isp"))
        await first.attempted(1)
        (act,) = first.dispatcher.judgement.acts.listed()
    ahead = msgspec.structs.replace(act, since=act.since + 86_400, until=act.until + 86_400)
    kept = msgspec.json.encode([ahead]).decode() if over_a_restart else ""
    async with delivering(policies=[policy(action="SuspendSite")], kept=kept) as second:
        judgement = second.dispatcher.judgement
        if not over_a_restart:
            judgement.acts.place(ahead)
            judgement.expire()
        (found,) = judgement.acts.listed()
        assert act.until <= found.until <= act.until + 60
        (remembered,) = msgspec.json.decode(second.kept)
        assert remembered["until"] == found.until
