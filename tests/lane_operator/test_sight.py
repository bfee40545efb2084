"""How often slots are visited."""

import pytest

from lane_api.conditions import Condition
from lane_api.lane_status import LaneStatus
from lane_operator.reconcile.sight import is_settled, visited_every
from lane_operator.settings import Settings
from tests.lane_operator import made


@pytest.mark.parametrize(("standby", "often"), [(0, False), (1, True)])
def test_a_lane_with_standby_slots_is_looked_at_often_for_what_isps_refuse(standby: int, often: bool) -> None:
    ready = Condition(type="Ready", status="True", reason="AllSlotsVerified")
    of = made.lane(standbyReplicas=standby, status=LaneStatus(observed_generation=3, conditions=(ready,)))
    settings = Settings("relay", "resolver")

    assert visited_every(of, settings) == (settings.observe_standby_s if often else settings.observe_settled_s)


def test_a_refused_address_has_its_stand_in_within_five_seconds_for_nineteen_of_twenty_refusals() -> None:
    """A refusal comes at any instant between two visits; the pass that promotes, and the push, take their time too."""
    settings = Settings("relay", "resolver")
    pass_and_push_s = 2.0

    assert 0.95 * visited_every(made.lane(standbyReplicas=1), settings) + pass_and_push_s < 5.0


@pytest.mark.parametrize(
    ("reason", "settled"), [("Held", True), ("ScaleIn", False), ("Delete", False)], ids=["held", "scale-in", "delete"]
)
def test_a_slot_that_only_holds_its_mail_keeps_nobody_busy(reason: str, settled: bool) -> None:
    ready = Condition(type="Ready", status="True", reason="AllSlotsVerified")
    draining = Condition(type="Draining", status="True", reason=reason)
    of = made.lane(status=LaneStatus(observed_generation=3, conditions=(ready, draining)))

    assert is_settled(of) is settled


def test_a_record_that_nobody_has_published_yet_keeps_nobody_busy_either() -> None:
    ready = Condition(type="Ready", status="True", reason="WaitingForDNS")
    waits = Condition(type="Reconciling", status="True", reason="WaitingForDNS")
    of = made.lane(status=LaneStatus(observed_generation=3, conditions=(ready, waits)))

    assert is_settled(of)
    slots = waits.model_copy(update={"reason": "WaitingForSlots"})
    assert not is_settled(made.lane(status=LaneStatus(observed_generation=3, conditions=(ready, slots))))
