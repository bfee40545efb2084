"""How often slots are visited."""

import pytest

from lane_api.conditions import Condition
from lane_api.lane_status import LaneStatus
from lane_operator.reconcile.sight import is_settled
from tests.lane_operator import made


@pytest.mark.parametrize(
    ("reason", "settled"), [("Held", True), ("ScaleIn", False), ("Delete", False)], ids=["held", "scale-in", "delete"]
)
def test_a_slot_that_only_holds_its_mail_keeps_nobody_busy(reason: str, settled: bool) -> None:
    ready = Condition(type="Ready", status="True", reason="AllSlotsVerified")
    draining = Condition(type="Draining", status="True", reason=reason)
    of = made.lane(status=LaneStatus(observed_generation=3, conditions=(ready, draining)))

    assert is_settled(of) is settled
