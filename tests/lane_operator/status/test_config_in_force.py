"""Whether a lane's configuration is in its slots: by the serial that each reports, else by its generation."""

from typing import Any

import pytest

from lane_api.lane_status import LaneStatus
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
