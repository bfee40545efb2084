"""A pass that wants an address after the store went back: it waits for nodes and slots, and goes on by itself."""

import datetime as dt
from typing import Any

from lane_api.conditions import Reason
from lane_api.names import ADDRESS_ANNOTATION, LANE_LABEL, SLOT_LABEL
from lane_operator.inputs import SlotObservation
from lane_operator.pools.held_back import ENDED_AFTER
from lane_operator.reconcile import World
from lane_operator.reconcile.pool import assign
from lane_operator.reconcile.unseen import LOOKED_EVERY_S
from lane_operator.references import pool_of
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_pool_pass import PATH, a_lane, a_pool

SLOT = {LANE_LABEL: "old", SLOT_LABEL: "old-0"}


class Restored:
    """The store went back at this time."""

    def __init__(self, at: dt.datetime) -> None:
        self.went_back_at: dt.datetime | None = at
        self.unknown_since: dt.datetime | None = None

    def dealt_with(self) -> None:
        self.went_back_at = None


class Clock:
    """Of the wall and the monotonic one; it goes on by itself only where a test says so."""

    def __init__(self, here: World) -> None:
        self.now, self.seconds = here.wall(), 1000.0
        here.wall, here.monotonic = lambda: self.now, lambda: self.seconds

    def goes_on(self, by: dt.timedelta) -> None:
        self.now += by
        self.seconds += by.total_seconds()


def a_node(here: World, ready: bool, version: int, **spec: Any) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
    metadata = {"name": "n1", "uid": "n1", "resourceVersion": str(version)}
    here.cache.put("Node", {"kind": "Node", "metadata": metadata, "spec": spec, "status": status})


def a_running_pod(here: World) -> None:
    metadata = {"namespace": "mail", "name": "old-0-0", "uid": "p", "resourceVersion": "60", "labels": SLOT}
    status = {"phase": "Running", "podIP": "192.0.2.50"}
    here.cache.put("Pod", {"kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
    workload = {"namespace": "mail", "name": "old-0", "uid": "w", "resourceVersion": "61", "labels": SLOT}
    workload["annotations"] = {ADDRESS_ANNOTATION: "203.0.113.20"}  # of another pool
    here.cache.put("StatefulSet", {"kind": "StatefulSet", "metadata": workload, "spec": {}})


async def refused(here: World, api: SmallApi) -> str:
    """What the lane is told; empty once it has its address."""
    assignment = await assign(here, a_lane(here), pool_of(api.objects[PATH]))
    if assignment.claims:
        return ""
    assert assignment.refusal is not None
    assert assignment.refusal.reason is Reason.STORE_WENT_BACK
    return assignment.refusal.message


async def test_it_waits_for_the_time_that_nodes_need_and_then_for_the_node_that_does_not_answer(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    clock = Clock(here)
    here.went_back = Restored(clock.now)
    a_pool(api, here)
    a_node(here, ready=True, version=10)

    assert "nodes end slots" in await refused(here, api)
    a_node(here, ready=False, version=11)
    clock.goes_on(ENDED_AFTER)
    assert "node n1 does not answer" in await refused(here, api)
    clock.goes_on(10 * ENDED_AFTER)
    assert "node n1 does not answer" in await refused(here, api)
    a_node(here, ready=True, version=12)
    clock.goes_on(dt.timedelta(seconds=LOOKED_EVERY_S))
    assert await refused(here, api) == ""
    assert here.went_back.went_back_at is None, "the next leader does not wait again"


async def test_a_node_that_a_person_has_put_out_of_service_is_not_waited_for(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    clock = Clock(here)
    here.went_back = Restored(clock.now - ENDED_AFTER)
    a_pool(api, here)
    a_node(here, ready=False, version=10, taints=[{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}])

    assert await refused(here, api) == ""


async def test_slots_that_run_are_asked_and_what_they_send_from_is_not_given(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    clock = Clock(here)
    here.went_back = Restored(clock.now - ENDED_AFTER)
    a_pool(api, here)
    a_lane(here, "old", replicas=0)
    a_running_pod(here)
    said: dict[str, SlotObservation] = {}
    here.observer.seen = lambda lane, slot: said.get(slot)  # type: ignore[method-assign]

    assert "slot mail/old-0 has not been asked" in await refused(here, api)
    proves = {"reachable": True, "proof_state": "Proved"}
    said["old-0"] = SlotObservation("old-0", proof_address="203.0.113.10", **proves)  # type: ignore[arg-type]
    clock.goes_on(dt.timedelta(seconds=LOOKED_EVERY_S))
    assert "slot mail/old-0 sends from 203.0.113.10" in await refused(here, api)
    said["old-0"] = SlotObservation("old-0", proof_address="203.0.113.20", **proves)  # type: ignore[arg-type]
    clock.goes_on(dt.timedelta(seconds=LOOKED_EVERY_S))
    assert await refused(here, api) == ""


async def test_a_slot_of_a_lane_that_cannot_be_asked_is_not_waited_for(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    here.went_back = Restored(Clock(here).now - ENDED_AFTER)
    a_pool(api, here)
    a_running_pod(here)  # its lane is gone

    assert await refused(here, api) == ""
