"""Orders from being given to being over: what they do, and what outlives a restart."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from lane_relay.account.settle import Outcome
from lane_relay.deliver.prepared import GONE, Held
from lane_relay.orders.book import MOST, OrderError
from lane_relay.orders.order import By, Order, Selector, Verb
from tests.lane_relay.account.attempts import NOW
from tests.lane_relay.orders.keeping import ROUTE, Rig
from tests.lane_relay.spool.making import until

BY: dict[str, dict[str, Any]] = {
    "queue": {"queue": "Example.COM"},
    "site": {"site": "mx.example.com"},
    "policy": {"policy": "example-isp"},
    "campaign": {"campaign": "spring"},
    "sender": {"sender": "x.test"},
    "all": {"all": True},
}


@pytest.mark.parametrize("by", BY)
async def test_suspended_mail_is_held_on_its_way_and_goes_on_when_it_is_resumed(by: str) -> None:
    async with Rig() as rig:
        rig.deliver(entry := await rig.stored("spring"))
        await rig.order(action="suspend", **BY[by])
        rig.deliver(late := await rig.stored("spring"))
        assert rig.delivery == []
        assert [one["entries"] for one in rig.keeper.standing()] == [2]

        ended = await rig.order(action="resume", **BY[by])
        assert (ended["state"], ended["entries"]) == ("ended", 2)
        assert rig.delivery == [entry, late]
        assert rig.keeper.standing() == []


async def test_what_goes_to_a_sibling_meets_orders_about_its_very_sender() -> None:
    async with Rig() as rig:
        await rig.order(action="drop", sender="bob@x.test")
        entry = await rig.stored("spring")
        assert rig.keeper.is_idle  # others learn it from the message
        assert not rig.keeper.takes(entry, None)
        assert not rig.keeper.takes_with_sender(entry, "ann@x.test")
    async with Rig() as rig:
        entry = await rig.stored("spring")
        await rig.order(action="hold", sender="bob@x.test")
        assert rig.keeper.takes_with_sender(entry, "bob@x.test")
        assert [one["entries"] for one in rig.keeper.standing()] == [1]


async def test_mail_that_is_not_chosen_goes_on() -> None:
    async with Rig() as rig:
        await rig.order(action="suspend", queue="other.example")
        await rig.order(action="hold", campaign="summer")
        await rig.order(action="hold", sender="bob@x.test")
        rig.deliver(entry := await rig.stored("spring"))
        assert rig.delivery == [entry]


async def test_a_hold_outlasts_the_lifetime_and_a_suspension_does_not() -> None:
    async with Rig() as rig:
        for action in ("hold", "suspend"):
            order = await rig.order(action=action, campaign=action)
            rig.deliver(await rig.stored(action))
            (held,) = rig.held.waiting_for(f"order {order['id']}")
            assert held.why.lasting is (action == "hold")
            assert "why not" in held.why.reason


async def test_a_bounce_ends_what_waits_and_what_is_in_delivery_and_reports_it() -> None:
    async with Rig() as rig:
        await rig.later("spring")
        kept = await rig.later("summer")
        rig.deliver(await rig.stored("spring"))
        order = await rig.order(action="bounce", campaign="spring")
        await rig.done()

        assert rig.delivery == []
        assert list(rig.schedule) == [kept]
        assert rig.counters.finished[Outcome.BOUNCED] == 2
        assert rig.counters.accepted == 3 + 2  # two reports
        (standing,) = rig.keeper.standing()
        assert (standing["id"], standing["entries"], standing["state"]) == (order["id"], 2, "standing")
        assert rig.counters.unaccounted(rig.spool.state.live_recipients) == 0


async def test_a_drop_reports_nothing_and_leaves_later_mail_of_the_campaign_alone() -> None:
    async with Rig() as rig:
        await rig.later("spring")
        await rig.order(action="drop", campaign="spring")
        await rig.done()
        rig.deliver(later := await rig.stored("spring"))
        assert rig.delivery == [later]
        assert rig.counters.finished[Outcome.DROPPED] == 1
        assert rig.counters.accepted == 2


async def test_mail_that_comes_after_a_drop_is_left_alone_though_the_clock_was_set_back_in_between() -> None:
    async with Rig() as rig:
        await rig.later("spring")
        await rig.order(action="drop", campaign="spring")
        await rig.done()
        rig.now -= 86_400
        rig.deliver(entry := await rig.stored("spring"))
        assert rig.delivery == [entry]


async def test_a_drop_given_after_the_clock_was_set_back_reaches_what_came_before() -> None:
    async with Rig() as rig:
        await rig.later("spring")
        rig.now -= 86_400
        await rig.order(action="drop", campaign="spring")
        await rig.done()
        assert rig.counters.finished[Outcome.DROPPED] == 1


async def test_a_bounce_reaches_what_is_held() -> None:
    async with Rig() as rig:
        await rig.order(action="hold", all=True)
        rig.deliver(await rig.stored("spring"))
        rig.deliver(await rig.stored("summer"))
        await rig.order(action="bounce", campaign="spring")
        await rig.done()
        assert [one["entries"] for one in rig.keeper.standing()] == [1, 1]


async def test_an_order_about_an_address_is_compared_with_the_message() -> None:
    async with Rig() as rig:
        mine = await rig.later(sender="Ann@X.test")
        other = await rig.later(sender="bob@x.test")
        await rig.order(action="drop", sender="Ann@x.test")
        await rig.done()
        assert list(rig.schedule) == [other]
        assert other.due == NOW + 3000
        assert mine.id not in {one.id for one in rig.spool.recover()}


async def test_before_an_attempt_orders_about_an_address_are_asked_again() -> None:
    async with Rig() as rig:
        entry = await rig.stored(sender="ann@x.test")
        message = await rig.spool.load(entry)
        assert rig.screener.admit(entry, message) is None
        hold = await rig.order(action="hold", sender="ann@x.test")
        held = rig.screener.admit(entry, message)
        assert isinstance(held, Held)
        assert held.order == hold["id"]
        await rig.order(action="bounce", sender="ann@x.test")
        assert rig.screener.admit(entry, message) is GONE
        await rig.spool.flush()
        assert rig.counters.finished[Outcome.BOUNCED] == 1


@pytest.mark.parametrize("action", ["take-back", "forget"])
async def test_a_slot_without_siblings_has_nothing_to_order_about_one(action: str) -> None:
    async with Rig() as rig:
        with pytest.raises(OrderError, match="no siblings"):
            await rig.order(action=action, sibling="t-1")


async def test_requeued_mail_is_due_now() -> None:
    async with Rig() as rig:
        entry, other = await rig.later("spring"), await rig.later("summer")
        await rig.order(action="requeue", campaign="spring")
        await rig.done()
        assert rig.schedule.pop_due(NOW, 10) == [entry]
        assert other.due > NOW
        (standing,) = rig.keeper.standing()
        assert (standing["state"], standing["entries"]) == ("done", 1)


async def test_orders_outlive_a_restart_and_are_carried_out_to_the_end() -> None:
    first = Rig()  # never runs: killed before the sweep
    await first.later("spring")
    kept = await first.later("summer")
    await first.order(action="drop", campaign="spring")
    await first.order(action="suspend", queue="example.com")
    async with Rig(first.spool.volume) as rig:
        await rig.done()
        assert [one.id for one in rig.schedule] == [kept.id]
        rig.deliver(await rig.stored())
        assert rig.delivery == []


async def test_an_order_ends_by_itself() -> None:
    async with Rig() as rig:
        await rig.order(action="suspend", all=True, expiresIn="1h")
        rig.deliver(entry := await rig.stored())
        rig.now += 3601
        await until(lambda: not rig.keeper.standing())
        assert rig.delivery == [entry]
        assert [said.split()[0] for said in rig.actions()] == ["suspend", "revoke"]


@pytest.mark.parametrize("over_a_restart", [True, False])
async def test_an_order_that_was_given_by_a_clock_that_was_ahead_stands_no_longer_than_it_was_to(
    over_a_restart: bool,
) -> None:
    async with Rig() as first:
        await first.order(action="suspend", all=True, expiresIn="1h")
        if not over_a_restart:
            first.now -= 86_400
            await until(lambda: first.book.orders[0].expires == first.now + 3600)
    if over_a_restart:
        async with Rig(first.spool.volume) as second:
            second.now -= 86_400
            await until(lambda: second.book.orders[0].expires == second.now + 3600)
            second.now += 3601
            await until(lambda: not second.keeper.standing())


async def test_who_gave_and_revoked_an_order_and_why_is_on_record() -> None:
    async with Rig() as rig:
        order = await rig.order(action="hold", campaign="spring", owner="jane", reason="wrong price")
        ended = await rig.keeper.revoke(order["id"], "joe", "right after all")
        assert ended == {**order, "state": "ended", "note": ""}
        records = [json.loads(line) for line in rig.spool.volume.records]
        assert [(one["user"], one["meta"]["reason"]) for one in records] == [
            ("jane", "wrong price"),
            ("joe", "right after all"),
        ]
        assert "campaign spring" in records[0]["meta"]["action"]


async def test_a_revoked_bounce_spares_what_was_not_reached() -> None:
    rig = Rig()
    entry = await rig.stored("spring")
    rig.deliver(entry)
    order = await rig.order(action="bounce", campaign="spring")
    await rig.keeper.revoke(order["id"], "joe", "no")
    async with rig:
        await rig.done()
        assert any(one.id == entry.id for one in rig.schedule)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no selector": ({"action": "hold"}, "exactly one"),
    "two selectors": ({"action": "hold", "all": True, "queue": "a.test"}, "exactly one"),
    "no owner": ({"action": "hold", "all": True, "owner": ""}, "owner"),
    "no reason": ({"action": "hold", "all": True, "reason": ""}, "reason"),
    "no domain": ({"action": "hold", "queue": "not a domain"}, "no domain"),
    "no id": ({"action": "hold", "message": "17"}, "24 hexadecimal"),
    "too long": ({"action": "hold", "all": True, "expiresIn": "1000h"}, "expiresIn"),
    "unknown action": ({"action": "explode", "all": True}, "suspend"),
    "unknown field": ({"action": "hold", "all": True, "force": 1}, "force"),
    "take-back without a sibling": ({"action": "take-back", "all": True}, "take-back and forget choose by sibling"),
    "forget without a sibling": ({"action": "forget", "all": True}, "take-back and forget choose by sibling"),
    "hold by sibling": ({"action": "hold", "sibling": "t-1"}, "take-back and forget choose by sibling"),
    "requeue of a site": ({"action": "requeue", "site": "x"}, "requeue chooses by"),
    "requeue of an address": ({"action": "requeue", "sender": "a@x.test"}, "by their domain"),
}


@pytest.mark.parametrize("which", BAD)
async def test_a_bad_order_is_refused_with_the_fix(which: str) -> None:
    said, fix = BAD[which]
    rig = Rig()
    with pytest.raises(ValidationError, match=fix):
        await rig.order(**said)
    assert rig.keeper.standing() == []


async def test_what_does_not_stand_cannot_be_ended() -> None:
    rig = Rig()
    with pytest.raises(OrderError, match="no suspend stands: see GET /v1/actions"):
        await rig.order(action="resume", queue="a.test")
    with pytest.raises(OrderError, match="GET /v1/actions"):
        await rig.keeper.revoke("nope", "joe", "x")


async def test_orders_are_bounded_in_number() -> None:
    rig = Rig()
    for number in range(MOST):
        await rig.order(action="suspend", campaign=f"c{number}")
    with pytest.raises(OrderError, match="revoke some"):
        await rig.order(action="suspend", all=True)


async def test_an_order_that_nothing_falls_under_or_that_stands_already_says_so() -> None:
    async with Rig() as rig:
        assert "no site is named so now" in (await rig.order(action="suspend", site="nosuchsite"))["note"]
        assert "no ISPPolicy of this name" in (await rig.order(action="hold", policy="nosuchpolicy"))["note"]
        first = await rig.order(action="suspend", site=ROUTE.site)
        assert first["note"] == ""
        again = await rig.order(action="suspend", site=ROUTE.site)
        assert f"order {first['id']} of jane says the same until 20" in again["note"]
        rig.keeper.stand(  # as a restored volume has it
            Order(
                id="feed",
                verb=Verb.HOLD,
                selector=Selector(By.ALL),
                owner="restored",
                reason="a copy",
                created=rig.now,
                expires=0.0,
            )
        )
        again = await rig.order(action="hold", all=True)
        assert again["note"] == "order feed of restored says the same without an end"
        assert all(one["note"] == "" for one in rig.keeper.standing()), "only the answer to the order has it"


ABSENT: dict[str, dict[str, str]] = {
    "queue": {"queue": "gmial.test"},
    "campaign": {"campaign": "sprnig"},
    "sender": {"sender": "@nobody.test"},
    "address": {"sender": "ann@nobody.test"},
    "message": {"message": "0" * 24},
}
PRESENT: dict[str, dict[str, str]] = {
    "queue": {"queue": "example.com"},
    "campaign": {"campaign": "spring"},
    "sender": {"sender": "@x.test"},
    "address": {"sender": "a@x.test"},
}


@pytest.mark.parametrize("which", ABSENT)
@pytest.mark.parametrize("action", ["suspend", "hold", "bounce", "drop", "requeue"])
async def test_an_order_about_what_nothing_waits_of_says_so(which: str, action: str) -> None:
    async with Rig() as rig:
        await rig.later("spring")
        if (action, which) == ("requeue", "address"):
            return  # refused: requeue chooses senders by their domain
        note = (await rig.order(action=action, **ABSENT[which]))["note"]
        assert note.startswith("nothing that waits here ")
        assert ("for later mail" in note) == (action in {"suspend", "hold"} and which != "message"), note


@pytest.mark.parametrize("which", PRESENT)
@pytest.mark.parametrize("action", ["suspend", "hold", "bounce", "drop"])
async def test_an_order_that_mail_falls_under_has_no_note(which: str, action: str) -> None:
    async with Rig() as rig:
        await rig.later("spring")
        assert (await rig.order(action=action, **PRESENT[which]))["note"] == ""


async def test_an_order_about_a_message_that_waits_has_no_note() -> None:
    async with Rig() as rig:
        entry = await rig.later()
        assert (await rig.order(action="bounce", message=f"{entry.id:024x}"))["note"] == ""


async def test_reports_which_have_no_sender_are_chosen_as_such() -> None:
    async with Rig() as rig:
        report, mail = await rig.later(sender=""), await rig.later()
        answer = await rig.order(action="drop", sender="<>")
        assert (answer["sender"], answer["note"]) == ("<>", "")
        await rig.done()
        assert [one.id for portion in rig.schedule.portions() for one in portion] == [mail.id]
        held = await rig.order(action="hold", sender="<>")
        rig.deliver(report)
        rig.deliver(mail)
        assert rig.delivery == [mail]
        assert held["sender"] == "<>"


@pytest.mark.parametrize(("action", "end"), [("suspend", "resume"), ("hold", "release")])
async def test_an_end_for_all_ends_orders_about_all_and_names_what_others_gave(action: str, end: str) -> None:
    async with Rig() as rig:
        site = await rig.order(action=action, site="mx.example.com", owner="bob", reason="they ask")
        everything = await rig.order(action=action, all=True)
        under_all = await rig.order(action=action, queue="a.test", owner="bob", reason="they ask")
        assert f"order {everything['id']} of jane says so of all mail until 20" in under_all["note"]

        ended = await rig.order(action=end, all=True)

        assert (ended["id"], ended["state"]) == (everything["id"], "ended")
        assert f"still stands: {site['id']}, {action} site mx.example.com of bob (they ask), " in ended["note"]
        assert [one["owner"] for one in rig.keeper.standing()] == ["bob", "bob"]
        with pytest.raises(OrderError, match=f"no {action} with this selector stands, but {site['id']}, {action} site"):
            await rig.order(action=end, all=True)


async def test_an_end_that_finds_many_other_orders_names_a_few() -> None:
    async with Rig() as rig:
        for number in range(7):
            await rig.order(action="hold", queue=f"{number}.test")
        with pytest.raises(OrderError, match=r"and 2 more \(GET /v1/actions\): say what one of them says"):
            await rig.order(action="release", queue="other.test")
