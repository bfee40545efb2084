"""So many lanes are upgraded at a time; whoever ends lets the next one in."""

import pytest

from lane_api.lane_status import LaneStatus, UpgradePhase, UpgradeStatus
from lane_api.names import LANE_LABEL, SLOT_LABEL
from lane_operator.inputs import Manifest
from lane_operator.reconcile import World, reconcile_lane
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


def _with_old_images(slot: str) -> Manifest:
    labels = {LANE_LABEL: "otp", SLOT_LABEL: slot}
    pod = {"containers": [{"name": "relay", "image": "an older one"}]}
    metadata = {"namespace": "mail", "name": slot, "uid": slot, "labels": labels}
    status = {"updateRevision": "a", "currentRevision": "a", "readyReplicas": 1}
    return {"kind": "StatefulSet", "metadata": metadata, "spec": {"template": {"spec": pod}}, "status": status}


async def test_a_lane_of_which_no_slot_may_restart_leaves_its_place_to_the_next(rig: tuple[SmallApi, World]) -> None:
    _, here = rig
    rolling = UpgradeStatus(phase=UpgradePhase.ROLLING, slot="otp-0", since="2026-11-23T07:00:00Z")
    rolling = rolling.model_copy(update={"images": here.lanes.newest})
    of, claims = made.lane(status=LaneStatus(upgrade=rolling)), made.assignment()
    away = made.observation(made.seen(0), made.seen(1, pod_ready=False, reachable=False))
    for slot in ("otp-0", "otp-1"):
        here.cache.put("StatefulSet", _with_old_images(slot))
    here.observer.aim(of.key, (), frozenset())
    here.turns.keep(of.key)

    _, desired = wanted_now(here, of, made.references(of, made.pool()), claims, away)
    assert desired.upgrade is not None
    assert desired.upgrade.phase is UpgradePhase.WAITING
    assert here.turns.take(A, 1)


async def test_a_lane_that_cannot_be_read_keeps_no_place(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    metadata = {"namespace": "mail", "name": "otp", "uid": "l1", "generation": 1}
    broken = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "SendingLane", "metadata": metadata, "spec": {}}
    path = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes/otp"
    here.cache.put("SendingLane", api.put(path, broken))
    here.turns.keep(("mail", "otp"))
    await reconcile_lane(here, ("mail", "otp"))
    assert here.turns.take(A, 1)
