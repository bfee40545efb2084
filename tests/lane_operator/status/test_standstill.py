"""What is said of a lane that sends nothing, or goes nowhere, until a person does something."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import QUARANTINED_BY_OWNER, Quarantine
from lane_api.lane_status import LaneStatus, SlotRole
from lane_operator.desired import unknown_isps
from lane_operator.inputs import Assignment, Claim, Observation
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

WAY_OUT = "spec.suspend is true, so nothing but the end of queue.lifetime empties it: set suspend to false"
SINCE = "2026-11-23T07:50:00Z"
OWNERS = Quarantine(by=QUARANTINED_BY_OWNER, since=SINCE)
REFUSED = Quarantine(by="default/listed", since=SINCE, until="2026-11-23T09:00:00Z")


def draining(*others: Claim, now: dt.datetime = made.NOW, before: LaneStatus | None = None, **spec: Any) -> LaneStatus:
    """Of a suspended lane, with one slot that is to go."""
    of = settled(**{"suspend": True, "replicas": len(others), **spec})
    if before is not None:
        of = replace(of, status=before)
    going = made.claim(0, role=SlotRole.DRAINING)
    waits = made.seen(0, intake="Closed", queued=3)
    return status(of, made.observation(waits, made.seen(1)), made.assignment(going, *others), now=now)


def test_a_suspended_lane_that_is_scaled_to_nothing_is_not_ready_and_says_why_it_stays() -> None:
    said = draining()

    assert verdict(said, "Ready") == ("False", "ScaleIn")
    assert "takes mail and" not in message(said, "Ready")
    assert "no slot takes mail" in message(said, "Ready")
    assert WAY_OUT in message(said, "Draining")
    assert verdict(said, "Suspended") == ("True", "SpecSuspend")
    late = draining(now=made.NOW + dt.timedelta(days=1), before=said)
    assert verdict(late, "Ready") == ("False", "DrainDeadlineExceeded")
    assert "or wait" not in message(late, "Stalled")
    assert "Set suspend to false, or replicas back" in message(late, "Stalled")


def test_what_is_deleted_while_suspended_says_it_too() -> None:
    said = draining(made.claim(1), deleting_since="2026-11-23T07:59:00Z")

    assert WAY_OUT in message(said, "Draining")
    assert "it goes when" not in message(said, "Draining")


def test_a_suspended_slot_that_hands_its_mail_over_or_holds_it_is_let_go() -> None:
    assert WAY_OUT not in message(draining(made.claim(1)), "Draining")
    assert verdict(draining(made.claim(1)), "Ready") == ("True", "Suspended")
    assert WAY_OUT in message(draining(made.claim(1), drain={"policy": "Wait"}), "Draining")
    assert WAY_OUT not in message(draining(drain={"policy": "Hold"}), "Draining")
    assert WAY_OUT not in message(draining(suspend=False), "Draining")


def test_a_suspended_lane_without_a_slot_is_not_said_to_take_mail() -> None:
    said = status(settled(suspend=True, replicas=0), Observation(), Assignment())

    assert verdict(said, "Ready") == ("True", "NoSlots")
    assert "takes mail and" not in message(said, "Ready")


def test_an_entry_of_isps_that_names_no_policy_leaves_the_lane_ready() -> None:
    of = settled(isps=[{"name": "gmial"}])
    unknown = unknown_isps(of.spec, (made.policy(),))
    first = status(of, refusals=unknown)
    late = status(
        made.lane(status=first, isps=[{"name": "gmial"}]), refusals=unknown, now=made.NOW + dt.timedelta(minutes=5)
    )

    assert verdict(first, "Ready") == verdict(late, "Ready") == ("True", "AllSlotsVerified")
    assert "isps names gmial" in message(first, "Ready")
    assert verdict(first, "Reconciling") == ("True", "WaitingForPolicy")
    assert verdict(late, "Stalled") == ("True", "PolicyNotFound")
    paused = status(settled(isps=[{"name": "gmial"}], suspend=True), refusals=unknown)
    assert verdict(paused, "Ready") == ("True", "Suspended")
    assert "isps names gmial" in message(paused, "Ready")


@pytest.mark.parametrize("quarantine", [OWNERS, REFUSED])
def test_a_lane_of_which_no_address_may_send_says_so_in_its_reason(quarantine: Quarantine) -> None:
    both = [replace(made.claim(index), quarantine=quarantine) for index in (0, 1)]

    none = status(settled(), claims=made.assignment(*both))
    assert verdict(none, "Ready") == ("True", "AddressesQuarantined"), "it takes mail"
    assert "nothing leaves, since every address is quarantined, see AddressQuarantined" in message(none, "Ready")
    one = status(settled(), claims=made.assignment(both[0], made.claim(1)))
    assert verdict(one, "Ready") == ("True", "AllSlotsVerified")
    suspended = status(settled(suspend=True), claims=made.assignment(*both))
    assert verdict(suspended, "Ready") == ("True", "Suspended")


@pytest.mark.parametrize("change", [{"isps": ("gmail",)}, {"stood_in_by": "otp-s0"}])
def test_a_lane_that_sends_some_of_its_mail_is_not_said_to_send_none(change: dict[str, Any]) -> None:
    some = replace(made.claim(1), quarantine=REFUSED.model_copy(update=change))
    said = status(settled(), claims=made.assignment(replace(made.claim(0), quarantine=REFUSED), some))

    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")
