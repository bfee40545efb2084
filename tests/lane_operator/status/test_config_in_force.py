"""Whether a lane's configuration is in its slots: by the serial that each reports, else by its generation."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import LaneStatus, SlotImages, UpgradePhase, UpgradeStatus
from lane_api.names import NEEDS_RESTART_TEXT, UNKNOWN_FIELD_TEXT
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict


def numbered(*serials: int | None, **changes: Any) -> LaneStatus:
    """A settled lane of slots that are to have serial 70, and report these."""
    slots = (made.seen(index, config_serial=serial, **changes) for index, serial in enumerate(serials))
    return status(settled(), made.observation(*slots), config_serials=dict.fromkeys(("otp-0", "otp-1"), 70))


def test_a_changed_policy_is_on_its_way_until_each_slot_reports_its_serial() -> None:
    change = "a change of a policy, pool or Secret"
    said = numbered(70, 69)

    assert verdict(said, "ConfigInForce") == ("False", "Pushing")
    assert message(said, "ConfigInForce") == f"{change} is on its way to otp-1"
    assert verdict(said, "Reconciling") is None
    assert verdict(said, "Ready") == ("True", "AllSlotsVerified"), (
        "a policy of many lanes makes none of them less ready"
    )

    arrived = numbered(70, 70)
    assert message(arrived, "ConfigInForce") == "generation 3 is in every slot"
    assert verdict(arrived, "Ready") == ("True", "AllSlotsVerified")


def test_a_generation_on_its_way_is_named_though_a_slot_lacks_only_a_policy() -> None:
    seen = made.observation(made.seen(0, config_serial=69), made.seen(1, config_serial=60, config_generation=2))
    said = status(settled(), seen, config_serials={"otp-0": 70, "otp-1": 70})

    assert message(said, "ConfigInForce") == "generation 3 is on its way to otp-0, otp-1"
    assert message(said, "Ready") == "2 of 2 slots serve; generation 3 is being put in force"


def test_a_slot_with_the_serial_has_the_generation_too_and_one_ahead_is_not_there_yet() -> None:
    assert verdict(numbered(70, 70, config_generation=9), "ConfigInForce") == ("True", "InForce")
    assert verdict(numbered(70, 71), "ConfigInForce") == ("False", "Pushing")


@pytest.mark.parametrize(("generation", "expected"), [(3, ("True", "InForce")), (2, ("False", "Pushing"))])
def test_a_relay_of_an_older_image_is_judged_by_its_generation(generation: int, expected: tuple[str, str]) -> None:
    assert verdict(numbered(None, None, config_generation=generation), "ConfigInForce") == expected


def test_a_refused_change_is_said_at_once_and_the_slots_may_still_roll_to_an_image_that_takes_it() -> None:
    said = numbered(69, 69, config_refused="domains: twice")

    assert verdict(said, "ConfigInForce") == ("False", "Refused")
    assert verdict(said, "Reconciling") == ("True", "WaitingForSlots")


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (UpgradePhase.WAITING, "(relay:1 may not know what comes with relay:2, which the slot gets yet)"),
        (UpgradePhase.ROLLED_BACK, "(the lane has relay:1 again, which may not know what came with relay:2)"),
        (UpgradePhase.DONE, ""),
    ],
)
def test_a_field_that_an_old_image_does_not_know_is_said_to_wait_for_the_new_one(
    phase: UpgradePhase, words: str
) -> None:
    upgrade = UpgradeStatus(phase=phase, images=SlotImages(relay="relay:2"), previous=SlotImages(relay="relay:1"))
    for refused, expected in ((f"egress.second: {UNKNOWN_FIELD_TEXT}: take it out", words), ("domains: twice", "")):
        seen = made.observation(made.seen(0, config_refused=refused), made.seen(1))
        said = message(status(settled(), seen, upgrade=upgrade), "ConfigInForce")
        assert said.endswith(f"otp-0: {refused} {expected}".rstrip())


RESTART = f"intake.http.host: {NEEDS_RESTART_TEXT}: restart it with the new file"


@pytest.mark.parametrize("roll", [{}, {"rolling": True}, {"rolling": True, "rolls_later": True}])
def test_what_only_a_restart_can_change_is_no_refusal_while_the_operator_restarts_the_slot(
    roll: dict[str, Any],
) -> None:
    said = numbered(69, 69, config_refused=RESTART, **roll)

    assert verdict(said, "ConfigInForce") == ("False", "Pushing")
    assert not any("restart it" in one.message for one in said.conditions), "nobody is told to do it"
    assert all(one.reason != "Refused" for one in said.conditions)
    assert verdict(said, "Stalled") is None


def test_a_slot_that_is_never_restarted_says_in_the_end_what_it_waits_for() -> None:
    of = made.lane(status=LaneStatus(observed_generation=3))
    seen = made.observation(made.seen(0, config_refused=RESTART, config_generation=2), made.seen(1))
    first = status(of, seen=seen)
    said = status(replace(of, status=first), seen=seen, now=made.NOW + dt.timedelta(minutes=11))

    assert verdict(said, "Stalled") == ("True", "SlotBehind")
    assert "otp-0 has not taken generation 3 (intake.http.host: cannot change" in message(said, "Stalled")
