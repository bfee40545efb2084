"""What a lane says of what reply rules stop and slow down now, and when status has something else to say of it."""

import datetime as dt
from dataclasses import replace
from typing import Any

from lane_api.conditions import Condition
from lane_api.lane_status import LaneStatus
from lane_operator.seen import ActSeen
from lane_operator.slot_answers import slot_answer
from lane_operator.status.book import MESSAGE_LIMIT
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import found, message, status, verdict

KIND = "ActsInForce"
SITE = ActSeen(
    "SuspendSite", "gmail", "", "gmail/blocked", "2026-11-23T07:50:00Z", "2026-11-23T08:50:00Z", "550 listed; <URL>"
)
DOMAIN = replace(SITE, action="SuspendDomain", domain="brand.example", rule="gmail/mood", sample="")
SLOW = replace(SITE, action="Backoff", rule="gmail/rate", until="", sample="421 <N> too fast")
SINCE = f"since {SITE.since}"
ENDS = "each ends by itself, or by DELETE /v1/acts of each slot that has it (docs/replies.md)"
REPORT: dict[str, Any] = {
    "generation": 3,
    "queue": {"live": 0, "inFlight": 0},
    "intake": {"state": "Open", "sessions": 0},
    "spoolId": "a",
}


def said(*slots: tuple[ActSeen, ...], **changes: Any) -> LaneStatus:
    return status(seen=made.observation(*(made.seen(at, acts=acts, **changes) for at, acts in enumerate(slots))))


def answered(*acts: dict[str, str], slowed: tuple[dict[str, str], ...] = ()) -> tuple[ActSeen, ...]:
    return slot_answer("otp-0", {**REPORT, "delivery": {"acts": list(acts), "slowed": list(slowed)}}).acts


def raw(until: str = "2026-11-23T08:50:00Z", **more: str) -> dict[str, str]:
    act = {"action": "SuspendSite", "site": "gmail", "rule": "gmail/blocked", "since": SITE.since, "until": until}
    return {**act, "reply": "550 listed 17", "sample": "550 listed <N>", **more}


def test_what_is_in_force_is_said_with_rule_times_slots_and_reply_and_the_lane_is_no_less_ready() -> None:
    later = replace(SITE, since="2026-11-23T07:55:00Z", until="2026-11-23T08:55:00Z")
    lane = said((SLOW, SITE, DOMAIN), (later,))

    assert verdict(lane, KIND) == ("True", "MailStopped")
    assert message(lane, KIND).split("; ") == [
        f"SuspendSite of gmail by rule gmail/blocked in otp-0, otp-1 {SINCE} until {later.until} (550 listed, <URL>)",
        f"SuspendDomain of mail from brand.example to gmail by rule gmail/mood in otp-0 {SINCE} until {SITE.until}",
        f"Backoff of gmail by rule gmail/rate in otp-0 {SINCE} (421 <N> too fast)",
        ENDS,
    ]
    assert verdict(lane, "Ready") == ("True", "AllSlotsVerified")
    assert [one for one in ("Stalled", "Reconciling") if found(lane, one)] == []


def test_a_lane_that_is_only_slowed_down_says_so_and_one_with_nothing_in_force_says_nothing() -> None:
    assert verdict(said((SLOW,), ()), KIND) == ("True", "MailSlowed")
    assert verdict(said((), ()), KIND) is None


def test_a_slot_that_does_not_answer_is_held_to_what_it_said_until_its_end() -> None:
    assert verdict(said((SITE,), (), reachable=False), KIND) == ("True", "MailStopped")
    over = replace(SITE, until="2026-11-23T07:59:59Z")
    assert verdict(said((over,), (), reachable=False), KIND) is None
    assert verdict(said((over,), ()), KIND) is not None, "whose clock is right, the slot knows better than we"


def test_a_message_of_many_slots_and_acts_is_bounded_and_says_that_there_are_more() -> None:
    wide = replace(SITE, rule="p" * 63 + "/" + "r" * 63, sample="x" * 200)
    acts = tuple(replace(wide, site="s" * 500, domain=f"{at:03}" + "d" * 250) for at in range(26))
    lane = status(seen=made.observation(*(made.seen(at, acts=acts) for at in range(64))))

    parts = message(lane, KIND).split("; ")
    assert len(message(lane, KIND)) < MESSAGE_LIMIT
    assert (len(parts), parts[-2:]) == (27, ["and more: GET /v1/slot of each slot has all", ENDS])
    assert " in otp-0, otp-1, otp-10, otp-11 and 60 more since " in parts[0]


def test_an_answer_is_read_the_widest_first_and_one_of_an_older_image_too() -> None:
    slow = raw(action="Backoff", until="2026-11-23T07:51:00Z")
    (every, site, domain, climbs) = answered(
        raw(action="SuspendDomain", domain="brand.example"), raw(), raw(site="*", since="2026-11-23T07:40:00Z"),
        slowed=(slow,),
    )  # fmt: skip
    assert [one.about for one in (every, site, domain)] == ["every ISP", "gmail", "mail from brand.example to gmail"]
    assert (climbs.action, climbs.until, climbs.sample) == ("Backoff", "", "550 listed <N>")
    assert len(answered(*(raw(site=f"isp{at}") for at in range(90)))) == 26

    old = {key: value for key, value in raw().items() if key != "sample"}
    (act,) = slot_answer("otp-0", {**REPORT, "delivery": {"acts": [old]}}).acts
    assert act == replace(SITE, sample="")


def test_an_end_that_each_reply_puts_off_is_another_a_few_times_an_hour_and_never_too_early() -> None:
    began = dt.datetime.fromisoformat(SITE.since)
    ends = [began + dt.timedelta(hours=1, seconds=10 * reply) for reply in range(6 * 60 * 23)]
    told = [answered(raw(until=end.strftime("%Y-%m-%dT%H:%M:%SZ")))[0].until for end in ends]

    assert told[0] == SITE.until, "what nothing puts off is told to the second"
    assert all(end <= dt.datetime.fromisoformat(one) for end, one in zip(ends, told, strict=True))
    assert len(set(told)) < 40, "in a day"
    lasting = [(dt.datetime.fromisoformat(one) - began) / (end - began) for end, one in zip(ends, told, strict=True)]
    assert max(lasting) <= 1.25


def test_a_short_act_ends_when_it_does() -> None:
    assert answered(raw(until="2026-11-23T07:50:07Z"))[0].until == "2026-11-23T07:50:07Z"
    assert answered(raw(until="2026-11-23T07:49:00Z"))[0].until == "2026-11-23T07:49:00Z"


def test_a_condition_that_goes_on_began_when_it_did() -> None:
    before = Condition(type=KIND, status="True", reason="MailSlowed", last_transition_time="2026-11-23T07:00:00Z")
    of = made.lane(status=LaneStatus(conditions=(before,)))
    one = found(status(of, made.observation(made.seen(0, acts=(SITE,)))), KIND)
    assert one is not None
    assert one.last_transition_time == before.last_transition_time
