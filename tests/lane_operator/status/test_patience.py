"""From waiting to a person's matter: how long, by whose clock, and never both at once."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.conditions import Reason
from lane_api.lane_status import LaneStatus, SlotRole
from lane_operator.inputs import Observation, Refusal
from lane_operator.status import next_look
from lane_operator.status.patience import patience
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

MINUTE = dt.timedelta(minutes=1)
MISFIT = Refusal(Reason.POOL_CLOSED, "add it to the pool's allowedNamespaces.names", waiting=Reason.POOL_CLOSED)


def after(minutes: float, first: LaneStatus, seen: Observation | None = None, **desired: Any) -> LaneStatus:
    return status(made.lane(status=first), seen=seen, now=made.NOW + minutes * MINUTE, **desired)


def test_what_another_object_says_no_to_may_change_in_the_same_sync() -> None:
    first = status(refusals=(MISFIT,))
    late = after(0.5, first, refusals=(MISFIT,))

    assert verdict(first, "Reconciling") == ("True", "PoolClosed")
    assert next_look(made.lane(), first, made.NOW) == 30
    assert verdict(late, "Stalled") == ("True", "PoolClosed")
    assert verdict(late, "Reconciling") is None


def test_a_new_generation_is_hoped_for_anew() -> None:
    stalled = after(1, status(refusals=(MISFIT,)), refusals=(MISFIT,))
    of = made.lane(status=stalled, generation=4)
    again = status(of, refusals=(MISFIT,), now=made.NOW + 2 * MINUTE)

    assert verdict(again, "Stalled") is None
    assert verdict(again, "Reconciling") == ("True", "PoolClosed")


@pytest.mark.parametrize(
    ("broken", "waits", "stalls", "says"),
    [
        ({"pod_ready": False, "pod_reason": "relay: ImagePullBackOff"}, "WaitingForSlots", "SlotNotReady", "describe"),
        ({"reachable": False}, "WaitingForSlots", "SlotUnreachable", "NetworkPolicy"),
        ({"config_refused": "domains: twice"}, "WaitingForSlots", "Refused", "domains: twice"),
        ({"config_generation": 2}, "WaitingForSlots", "SlotBehind", "has not taken generation 3"),
        ({"rolling": True}, "WaitingForSlots", "SlotNotReady", "does not restart"),
        ({"proof_state": "Mismatch", "proof_message": "from 192.0.2.1"}, "WaitingForProof", "Mismatch", "192.0.2.1"),
        ({"proof_state": "PortBlocked"}, "WaitingForProof", "PortBlocked", "sends nothing"),
        ({"proof_state": ""}, "WaitingForProof", "NotProbed", "not proved yet"),
    ],
)  # fmt: skip
def test_a_slot_has_ten_minutes(broken: dict[str, Any], waits: str, stalls: str, says: str) -> None:
    seen = made.observation(made.seen(0), made.seen(1, **broken))
    first = status(settled(), seen)
    almost, late = after(9.9, first, seen), after(10, first, seen)

    assert verdict(almost, "Reconciling") == ("True", waits)
    assert verdict(late, "Stalled") == ("True", stalls)
    assert verdict(late, "Reconciling") is None
    assert says in message(late, "Stalled")
    assert [one.waiting_since for one in late.slots] == [None, "2026-11-23T08:00:00Z"]
    assert next_look(made.lane(), first, made.NOW) == 600
    assert after(99, late, seen) == late, "nothing is said anew while nothing changes"


def test_slots_that_restart_in_turn_have_ten_minutes_each_and_those_that_wait_for_theirs_have_all_the_time() -> None:
    later = made.seen(1, rolling=True, rolls_later=True)
    first = status(settled(), made.observation(made.seen(0, pod_ready=False, rolling=True), later))
    turned = after(9, first, made.observation(made.seen(0), made.seen(1, pod_ready=False, rolling=True)))
    still = after(18, turned, made.observation(made.seen(0), made.seen(1, pod_ready=False, rolling=True)))

    assert first.slots[1].waiting_since is None
    assert verdict(first, "Reconciling") == verdict(still, "Reconciling") == ("True", "WaitingForSlots")
    assert still.slots[1].waiting_since == "2026-11-23T08:09:00Z"


def test_slots_that_wait_for_their_turn_make_the_lane_no_less_ready() -> None:
    said = status(settled(), made.observation(made.seen(0), made.seen(1, rolling=True, rolls_later=True)))

    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(said, "Reconciling") == ("True", "WaitingForSlots")


def test_a_scale_in_is_not_over_before_the_slot_is_gone() -> None:
    of = settled(replicas=1, trafficClass="Bulk")
    claims = made.assignment(made.claim(0), made.claim(1, role=SlotRole.DRAINING))
    said = status(of, claims=claims)

    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(said, "Reconciling") == ("True", "ScaleIn")


def test_a_record_that_nobody_publishes_for_an_hour_needs_a_person_and_intake_goes_on() -> None:
    absent = {"notify.example.com": False}
    seen = made.observation(made.seen(0, domains_published=absent), made.seen(1, domains_published=absent))
    first = status(settled(), seen)
    late = after(60, first, seen)

    assert verdict(first, "Reconciling") == ("True", "WaitingForDNS")
    assert next_look(made.lane(), first, made.NOW) == 3600
    assert verdict(late, "Stalled") == ("True", "NotPublished")
    assert message(late, "Stalled") == message(late, "DNSPublished")
    assert verdict(late, "Ready") == ("True", "WaitingForDNS")


def test_a_slot_that_restarts_does_not_start_the_hour_anew() -> None:
    absent = {"notify.example.com": False}
    both = [made.seen(at, domains_published=absent) for at in (0, 1)]
    first = status(settled(), made.observation(*both))
    restarts = after(50, first, made.observation(both[0], replace(both[1], pod_ready=False)))
    back = after(61, restarts, made.observation(*both))

    assert verdict(back, "Stalled") == ("True", "NotPublished")


def test_a_suspended_lane_waits_for_no_record() -> None:
    absent = {"notify.example.com": False}
    seen = made.observation(*(made.seen(at, domains_published=absent) for at in (0, 1)))

    assert verdict(status(settled(suspend=True), seen), "Reconciling") is None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_patience_or_a_clock_of_its_own(reason: Reason) -> None:
    of_their_own = {"ProgressingWithRetry", "NewGeneration", "ScaleIn", "WaitingForSlots", "WaitingForProof"}

    assert (patience(reason) is None) is (reason.value in {*of_their_own, "WaitingForDNS"})


SLOT = st.fixed_dictionaries(
    {
        "pod_ready": st.booleans(),
        "reachable": st.booleans(),
        "rolling": st.booleans(),
        "rolls_later": st.booleans(),
        "stopped": st.booleans(),
        "queued": st.integers(0, 9),
        "config_generation": st.integers(2, 4),
        "config_refused": st.sampled_from(["", "domains: twice"]),
        "proof_state": st.sampled_from(["", "Unproved", "Mismatch", "PortBlocked", "ProofStale", "Proved"]),
        "domains_published": st.sampled_from([{}, {"notify.example.com": False}, {"notify.example.com": True}]),
    }
)
REFUSED = st.sampled_from([(), (MISFIT,), (Refusal(Reason.VOLUME_DELETED, "gone"),)])
MOMENT = st.tuples(st.lists(SLOT, max_size=3), REFUSED, st.integers(0, 20), st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENT, min_size=1, max_size=4))
def test_a_lane_is_ready_or_says_what_it_waits_for_or_that_it_needs_a_person(moments: list[Any]) -> None:
    said, now = LaneStatus(), made.NOW
    for slots, refusals, minutes, replicas in moments:
        now += minutes * MINUTE
        seen = Observation(tuple(made.seen(index, **slot) for index, slot in enumerate(slots)))
        claims = made.assignment(
            *(made.claim(at, role=SlotRole.ACTIVE if at < replicas else SlotRole.DRAINING) for at in range(3))
        )
        said = status(
            made.lane(status=said, replicas=replicas, trafficClass="Bulk"), seen, claims, now, refusals=refusals
        )
        kinds = {one.type for one in said.conditions if one.status == "True"}

        assert not {"Reconciling", "Stalled"} <= kinds
        assert kinds & {"Ready", "Reconciling", "Stalled"}
        again = status(
            made.lane(status=said, replicas=replicas, trafficClass="Bulk"), seen, claims, now, refusals=refusals
        )
        third = status(
            made.lane(status=again, replicas=replicas, trafficClass="Bulk"), seen, claims, now, refusals=refusals
        )
        assert third == again, "what is said settles"
