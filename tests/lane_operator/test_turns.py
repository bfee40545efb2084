"""So many lanes are upgraded at a time; whoever ends lets the next one in."""

import pytest

from lane_api.lane_status import LaneStatus, UpgradePhase, UpgradeStatus
from lane_operator.reconcile import World
from lane_operator.reconcile.changes import wanted_now
from lane_operator.reconcile.turns import Turns
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi

A, B, C = (("mail", name) for name in "abc")


def test_no_more_lanes_are_under_way_than_there_are_places() -> None:
    turns = Turns()

    assert [turns.take(lane, 2) for lane in (A, B, C)] == [True, True, False]
    assert turns.take(A, 2), "it has its place already"
    assert turns.give_back(B) == C
    assert turns.take(C, 2)
    assert turns.give_back(C) is None


def test_no_limit_lets_everybody_begin() -> None:
    turns = Turns()
    assert all(turns.take(lane, 0) for lane in (A, B, C))


def test_a_lane_that_a_restarted_operator_finds_under_way_keeps_its_place() -> None:
    turns = Turns()
    turns.keep(A)
    assert not turns.take(B, 1)


def test_a_lane_that_goes_while_it_waits_wakes_the_next_and_a_stranger_wakes_nobody() -> None:
    turns = Turns()
    turns.take(A, 1), turns.take(B, 1), turns.take(C, 1)
    assert turns.give_back(("mail", "stranger")) is None
    assert turns.give_back(B) == C


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_lane_that_is_deleted_gives_its_place_back_for_it_may_drain_for_days(
    rig: tuple[SmallApi, World], deleted: bool
) -> None:
    _, here = rig
    rolling = UpgradeStatus(phase=UpgradePhase.ROLLING, slot="otp-0", since="2026-11-23T07:59:00Z")
    rolling = rolling.model_copy(update={"images": here.lanes.newest})
    of = made.lane(status=LaneStatus(upgrade=rolling), deleting_since="2026-11-23T07:59:30Z" if deleted else None)
    here.turns.keep(of.key)

    wanted_now(here, of, made.references(of, made.pool()), made.assignment(), made.observation())
    assert here.turns.take(A, 1) == deleted
