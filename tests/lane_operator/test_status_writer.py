"""When a status is written, and what is worth an Event."""

import dataclasses
from itertools import pairwise
from typing import Any

import pytest

from lane_api.lane_status import LaneStatus
from lane_operator.reconcile import World
from lane_operator.reconcile.events import announced, is_alarming, post_transitions, transitions
from lane_operator.reconcile.status_writer import only_figures_differ, write_lane_status
from tests.lane_operator.small_api import SmallApi


def status(queued: int = 0, ready: str = "True", reason: str = "AllSlotsVerified", **more: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": ""}
    return {"queued": queued, "slots": [{"name": "otp-0", "queued": queued}], "conditions": [condition], **more}


def test_counts_and_ages_alone_are_figures() -> None:
    assert only_figures_differ(status(1), status(2, oldestSince="2026-11-23T10:00:00Z"))


def test_what_left_in_the_last_hour_is_a_figure() -> None:
    assert only_figures_differ(status(), status(lastHour={"delivered": 9, "deferred": 0, "bounced": 0}))


def test_a_step_of_a_warm_up_is_a_figure() -> None:
    after = status()
    after["slots"][0]["warmup"] = {"step": 3, "isp": "gmail"}

    assert only_figures_differ(status(), after)


def test_a_condition_is_no_figure() -> None:
    assert not only_figures_differ(status(1), status(2, ready="False"))
    assert not only_figures_differ(status(), status(observedGeneration=2))


def test_a_slots_readiness_is_no_figure() -> None:
    after = status()
    after["slots"][0]["ready"] = False

    assert not only_figures_differ(status(), after)


def test_a_changed_status_or_reason_is_an_event_and_a_changed_message_is_none() -> None:
    before, after = status(), status()
    after["conditions"][0]["message"] = "2 of 2 slots serve"

    assert transitions(before, after) == ()
    assert len(transitions(before, status(ready="False"))) == 1
    assert len(transitions(before, status(reason="Suspended"))) == 1


def test_each_act_that_is_only_observed_is_an_event_when_it_comes_up_and_none_when_it_ends() -> None:
    def observing(*acts: str) -> dict[str, Any]:
        one = {"type": "ActsObserved", "status": "True", "reason": "AutomationObserves", "message": "; ".join(acts)}
        return {"conditions": [one]}

    assert [one["message"] for one in transitions(observing("a", "b"), observing("c", "b", "d"))] == ["c; d"]
    assert transitions(observing("a", "b"), observing("b")) == ()
    assert [one["message"] for one in transitions({}, observing("a"))] == ["a"]
    assert transitions(observing("a"), {"conditions": []}) == ()


def in_force(*parts: str, reason: str = "MailStopped") -> dict[str, Any]:
    one = {"type": "ActsInForce", "status": "True", "reason": reason, "message": "; ".join((*parts, "each ends"))}
    return {"conditions": [one]}


GMAIL = "SuspendSite of gmail by rule gmail/r in otp-0 since s until u (550 no)"
LATER = "SuspendSite of gmail by rule gmail/other in otp-0, otp-1 since s until v (550 another)"
YAHOO = "Backoff of yahoo by rule yahoo/r in otp-1 since s"


def told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(one["reason"], one["message"], is_alarming(one)) for one in transitions(before, after)]


def test_each_act_in_force_is_an_event_when_it_begins_and_when_it_is_over() -> None:
    over = "no slot that answers has any more: SuspendSite of gmail by rule gmail/r in otp-0 since s until u"

    assert told({}, in_force(GMAIL)) == [("MailStopped", GMAIL, True)]
    assert told(in_force(GMAIL), in_force(GMAIL, YAHOO)) == [("MailStopped", YAHOO, True)]
    assert told(in_force(GMAIL, YAHOO), in_force(YAHOO, reason="MailSlowed")) == [("ActsOver", over, False)]
    assert told(in_force(GMAIL), {"conditions": []}) == [("ActsOver", over, False)]
    assert [one[0] for one in told(in_force(GMAIL), in_force(YAHOO))] == ["MailStopped", "ActsOver"]


def test_an_act_that_is_put_off_or_is_another_slots_too_is_no_event() -> None:
    assert transitions(in_force(GMAIL), in_force(LATER)) == ()
    assert only_figures_differ(in_force(GMAIL), in_force(LATER)), "written once in half a minute at most"


def test_an_act_that_others_leave_no_room_for_is_not_said_to_be_over() -> None:
    full = in_force(YAHOO, "and more: GET /v1/slot of each slot has all")
    assert [one[0] for one in told(in_force(GMAIL), full)] == ["MailStopped"]


def draining(*slots: str, reason: str = "ScaleIn", **stay: str) -> dict[str, Any]:
    """A lane of which these drain; keywords are the roles of those that only stand there (`otp_1="Draining"`)."""
    said = [{"type": "Draining", "status": "True", "reason": reason, "message": f"{', '.join(slots)} goes"}]
    rows = [{"name": name, "role": "Draining", "queued": 9} for name in slots]
    rows += [{"name": name.replace("_", "-"), "role": role, "queued": 0} for name, role in stay.items()]
    return {"conditions": said if slots else [], "slots": rows, **({"drain": {"slots": [*slots]}} if slots else {})}


def test_each_slot_that_begins_to_drain_or_is_done_with_it_is_an_event() -> None:
    three, two = draining("otp-1", "otp-2", "otp-3"), draining("otp-1", "otp-2", otp_3="Draining")

    assert told({}, three) == [("ScaleIn", "otp-1, otp-2, otp-3 goes", False)]
    assert told(three, two) == [
        ("SlotDrained", "otp-3 is empty and has stopped; otp-1, otp-2 still drains", False),
    ]
    assert told(two, draining("otp-1", "otp-2")) == []
    assert told(draining("otp-1"), draining(otp_1="Draining")) == [
        ("SlotDrained", "otp-1 is empty and has stopped; nothing drains any more", False),
    ]
    assert told(draining("otp-2"), draining("otp-1", "otp-2")) == [
        ("ScaleIn", "otp-1 too: otp-1, otp-2 goes", False),
    ]


def test_a_slot_that_keeps_its_mail_or_stays_is_told_as_such() -> None:
    held = draining(otp_1="Held")
    held["slots"][0]["queued"] = 40

    assert told(draining("otp-1"), held) == [
        ("SlotHeld", "otp-1 has stopped and keeps about 40 messages on its volume; nothing drains any more", False),
    ]
    assert told(draining("otp-1", reason="NodeDrain"), draining(otp_1="Active")) == [
        ("HandOverEnded", "otp-1 hands nothing over any more and stays in the lane; nothing drains any more", False),
    ]
    assert told(draining("otp-1"), draining()) == [("SlotDrained", "otp-1 has gone; nothing drains any more", False)]


def test_how_far_a_drain_is_is_a_figure_and_which_slots_drain_is_none() -> None:
    before, after = draining("otp-1"), draining("otp-1")
    after["drain"] |= {"queued": 3, "perHour": 100, "endsAt": "2026-11-23T10:00:00Z", "measured": 5, "measuredAt": "x"}

    assert only_figures_differ(before, after)
    assert not only_figures_differ(before, draining("otp-1", "otp-2"))


GIVEN_UP = "the volume of otp-1 (claim A) is given up as asked, by its last words with about 1200 messages"
ANOTHER = "the volume of otp-0 (claim B) is given up as asked, by its last words with about 7 messages"


def forgotten(message: str) -> dict[str, Any]:
    one = {"type": "VolumeForgotten", "status": "True", "reason": "GivenUp", "message": message}
    return {"conditions": [one]}


async def test_each_volume_that_is_given_up_is_an_event_of_its_own(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    metadata = {"name": "otp", "namespace": "mail", "uid": "u"}
    body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "SendingLane", "metadata": metadata}

    states = [{}, forgotten(GIVEN_UP), forgotten(f"{GIVEN_UP}; take it away"), forgotten(ANOTHER), forgotten(ANOTHER)]
    for before, after in pairwise(states):
        await post_transitions(here, {**body, "status": before}, after)

    assert [one["note"] for one in api.objects.values() if one.get("kind") == "Event"] == [GIVEN_UP, ANOTHER]


async def test_each_slot_that_an_upgrade_comes_to_has_its_events(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    metadata = {"name": "otp", "namespace": "mail", "uid": "u"}
    body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "SendingLane", "metadata": metadata}
    phases = [(reason, slot) for slot in ("otp-0", "otp-1") for reason in ("SlotDrains", "SlotRestarts", "SlotWatched")]
    since = {"lastTransitionTime": "2026-11-23T08:00:00Z"}
    said = [{"type": "Upgrading", "status": "True", "reason": one, "message": slot, **since} for one, slot in phases]

    states: list[dict[str, Any]] = [{}, *({"conditions": [one]} for one in said)]
    for before, after in pairwise(states):
        await post_transitions(here, {**body, "status": before}, after)
        await post_transitions(here, {**body, "status": before}, after)

    events = [one for one in api.objects.values() if one.get("kind") == "Event"]
    assert [(one["reason"], one["note"]) for one in events] == phases


def test_that_another_volume_is_given_up_is_written_at_once() -> None:
    assert not only_figures_differ(forgotten(GIVEN_UP), forgotten(ANOTHER))


@pytest.mark.parametrize(
    ("kind", "status_", "reason", "alarming"),
    [
        ("Ready", "False", "Degraded", True),
        ("Ready", "False", "NewGeneration", False),
        ("Ready", "False", "Draining", False),
        ("ConfigInForce", "False", "Pushing", False),
        ("ConfigInForce", "False", "Refused", True),
        ("EgressVerified", "False", "Mismatch", True),
        ("ActsObserved", "True", "AutomationObserves", True),
        ("Ready", "True", "AllSlotsVerified", False),
    ],
)
def test_what_every_change_goes_through_is_no_warning(kind: str, status_: str, reason: str, alarming: bool) -> None:
    assert is_alarming({"type": kind, "status": status_, "reason": reason}) is alarming


def test_a_new_condition_is_an_event() -> None:
    assert len(transitions({}, status())) == 1


def test_a_first_status_is_one_event_and_one_for_each_warning() -> None:
    def first(*conditions: tuple[str, str, str]) -> dict[str, Any]:
        names = ("type", "status", "reason")
        return {"conditions": [dict(zip(names, one, strict=True)) | {"message": "why"} for one in conditions]}

    usual = (("Ready", "False", "NewGeneration"), ("Reconciling", "True", "Pushing"), ("Valid", "True", "Valid"))
    said = announced({}, first(*usual, ("EgressVerified", "False", "Mismatch")))

    assert [(one["type"], one["message"]) for one in said] == [
        ("FirstStatus", "Ready is False (NewGeneration); Reconciling is True (Pushing); Valid is True (Valid)"),
        ("EgressVerified", "why"),
    ]
    assert not is_alarming(said[0])
    assert len(announced(first(*usual), first(*((kind, "Unknown", reason) for kind, _, reason in usual)))) == 3


def test_a_message_that_counts_down_under_the_same_reason_is_a_figure() -> None:
    def draining(left: int) -> dict[str, Any]:
        reason = "DrainDeadlineExceeded"
        stalled = {"type": "Stalled", "status": "True", "reason": reason, "message": f"about {left} messages left"}
        return {"conditions": [stalled]}

    assert only_figures_differ(draining(48_000), draining(47_000))


async def test_counts_wait_for_as_long_as_the_settings_say(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    path = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes/otp"
    body = {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "SendingLane",
        "metadata": {"namespace": "mail"},
        "spec": {},
    }
    body["metadata"] |= {"name": "otp"}  # type: ignore[operator]  # a dict of two kinds of value
    here.cache.put("SendingLane", api.put(path, body))
    key, now = ("mail", "otp"), 1000.0
    here = dataclasses.replace(
        here, monotonic=lambda: now, settings=dataclasses.replace(here.settings, figures_every_s=4.0)
    )

    assert await write_lane_status(here, key, LaneStatus(queued=1)) is None
    now = 1003.0
    assert await write_lane_status(here, key, LaneStatus(queued=2)) == 1.0
    assert api.objects[path]["status"]["queued"] == 1
    now = 1004.0
    assert await write_lane_status(here, key, LaneStatus(queued=2)) is None
    assert api.objects[path]["status"]["queued"] == 2
