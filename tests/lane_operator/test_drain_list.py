"""How a slot goes that has words of the suppression list: never the only ones that there are."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import SlotRole
from lane_operator.inputs import Lane
from lane_operator.lifecycle import ReleaseVolume, ScaleToZero, SlotFacts
from lane_operator.lifecycle.drain import Drained
from tests.lane_operator.test_drain import EMPTY, PROOF, RUNNING, STOPPED, lane, steps

STAYS = SlotFacts("otp-1", SlotRole.ACTIVE, workload_uid="w2", pod=True, volume_uid="v2", volume_guarded=True)
GOES = replace(STAYS, name="otp-2", role=SlotRole.DRAINING)


def goes(of: Lane, *others: SlotFacts, **said: Any) -> tuple[Any, ...]:
    """The steps for a slot that is empty and says this."""
    return steps(of, replace(RUNNING, observation=replace(EMPTY, **{"suppressed": 5, **said})), *others)


@pytest.mark.parametrize("policy", ["Wait", "Transfer"])
def test_a_slot_that_is_scaled_away_waits_until_one_that_stays_has_its_list(policy: str) -> None:
    of = lane(policy=policy, deleting=False, feedback=True)

    assert goes(of, STAYS) == ()
    assert goes(of, STAYS, GOES, list_read_by=("otp-2",)) == ()
    assert goes(of, STAYS, suppressed=None) == ()
    assert goes(of, STAYS, list_archived=True) == ()
    assert goes(of, STAYS, list_read_by=("otp-1",)) == (ScaleToZero("otp-0", PROOF),)
    assert goes(of, STAYS, suppressed=0) == (ScaleToZero("otp-0", PROOF),)


def test_a_lane_without_a_list_waits_for_none() -> None:
    assert goes(lane(deleting=False), STAYS, suppressed=None) == (ScaleToZero("otp-0", PROOF),)


def test_a_list_that_stays_on_its_volume_is_waited_for_by_nobody_where_no_slot_stays() -> None:
    for of in (lane(feedback=True), lane(deleting=False, feedback=True), lane(feedback=True, reclaim="Delete")):
        assert goes(of) == (ScaleToZero("otp-0", PROOF),)


def test_a_volume_that_is_deleted_waits_until_the_archive_has_its_list() -> None:
    of, records = lane(feedback=True, reclaim="Delete", archive=True), {"unarchived": 0}

    assert goes(of, **records) == ()
    assert goes(of, STAYS, list_read_by=("otp-1",), **records) == ()  # it goes as well
    assert goes(of, suppressed=None, **records) == ()
    assert goes(of, list_archived=True, **records) == (ScaleToZero("otp-0", replace(PROOF, elsewhere=True)),)


def test_hold_stops_a_slot_whatever_becomes_of_its_list_and_its_volume_stays() -> None:
    of = lane(policy="Hold", reclaim="Delete", archive=True, feedback=True)

    assert goes(of, unarchived=0) == (ScaleToZero("otp-0", PROOF),)
    assert steps(of, STOPPED) == (ReleaseVolume("otp-0", "v1", delete=False),)


def test_a_proof_of_an_older_operator_deletes_no_volume() -> None:
    older = Drained.parse('{"spool_id": "s1", "volume_uid": "v1", "generation": 7, "live": 0}')

    assert older == PROOF
    assert steps(lane(reclaim="Delete", archive=True), replace(STOPPED, drained=older)) == (
        ReleaseVolume("otp-0", "v1", delete=False),
    )
