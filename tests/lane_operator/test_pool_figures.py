"""What slots say of their addresses in the pool's status: dated once, written at most as often as figures may be."""

import asyncio
import dataclasses
from typing import Any

from lane_api.names import DRAIN_FINALIZER
from lane_operator.cache import Change
from lane_operator.inputs import Key, SlotObservation
from lane_operator.kube import IP_POOL
from lane_operator.observe import Observer
from lane_operator.reconcile import World, reconcile_lane
from lane_operator.reconcile.pool import assign, note_sightings, reconcile_pool
from lane_operator.reconcile.wake import woken_by
from lane_operator.reconcile.world import QueueKey
from lane_operator.references import pool_of
from lane_operator.seen import WarmUpSeen
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_lane_pass import LANES
from tests.lane_operator.test_pool_pass import PATH, POOL, a_lane, a_pool, body

PROVED: dict[str, Any] = {"proof_at": "2026-11-23T08:00:00Z", "proof_address": "203.0.113.10"}


class Watching(Observer):
    """What the slot says is what the test lets it say."""

    said: SlotObservation | None = None

    def seen(self, lane: Key, slot: str) -> SlotObservation | None:
        return self.said if (lane, slot) == (("mail", "otp"), "otp-0") else None


class Rig:
    """A pool with one lane, and a clock."""

    def __init__(self, api: SmallApi, here: World) -> None:
        self.api, self.now, self.keys = api, 1000.0, list[QueueKey]()
        self.slot = Watching(lambda _lane: None)
        self.here = dataclasses.replace(here, monotonic=lambda: self.now, observer=self.slot, enqueue=self.keys.append)
        self.stored, self.lane = a_pool(api, self.here), a_lane(self.here)

    def row(self) -> dict[str, Any]:
        (found,) = self.api.objects[PATH]["status"]["addresses"]
        return dict(found)

    def says(self, **changes: Any) -> None:
        self.slot.said = made.seen(0, **{**PROVED, **changes})
        note_sightings(self.here, self.lane)


async def served(api: SmallApi, here: World) -> Rig:
    it = Rig(api, here)
    await assign(it.here, it.lane, pool_of(it.stored))
    assert "verifiedAt" not in it.row()
    api.writes.clear()
    return it


async def test_a_proof_wakes_the_pool_once_and_stands_there_within_half_a_minute(rig: tuple[SmallApi, World]) -> None:
    it = await served(*rig)
    it.says()
    it.says()
    assert it.keys == [QueueKey("IPPool", *POOL)]
    assert await reconcile_pool(it.here, POOL) == 30.0
    assert it.api.writes == [], "the claim was written just now"
    it.says()
    assert len(it.keys) == 1, "the pool is to be looked at anyway"
    it.now += 30
    assert await reconcile_pool(it.here, POOL) is None
    assert it.row()["verifiedAt"] == "2026-11-23T08:00:00Z"
    assert len(it.api.writes) == 1


async def test_what_is_settled_is_neither_looked_at_nor_written(rig: tuple[SmallApi, World]) -> None:
    it = await served(*rig)
    it.now += 60
    it.says(warmup=WarmUpSeen(3, "gmail", "2026-11-23T00:00:00Z"))
    await reconcile_pool(it.here, POOL)
    assert it.row()["warmup"] == {"step": 3, "isp": "gmail", "since": "2026-11-23T00:00:00Z"}
    it.keys.clear()
    it.api.writes.clear()
    it.now += 3600
    it.says(proof_at="2026-11-23T09:00:00Z", warmup=WarmUpSeen(3, "gmail", "2026-11-24T00:00:00Z"))
    assert await reconcile_pool(it.here, POOL) is None
    assert (it.keys, it.api.writes) == ([], [])


async def test_ten_changes_in_half_a_minute_are_one_write(rig: tuple[SmallApi, World]) -> None:
    it = await served(*rig)
    it.now += 60
    for step in range(11):
        it.says(warmup=WarmUpSeen(step, "gmail"))
        await reconcile_pool(it.here, POOL)
        it.now += 3
    assert len(it.api.writes) == 2, "at 0 s and at 30 s"
    assert it.row()["warmup"]["step"] == 10


async def test_the_record_of_who_holds_what_waits_for_no_figure_and_takes_them_along(
    rig: tuple[SmallApi, World],
) -> None:
    it = await served(*rig)
    it.says()
    changed = it.api.objects[PATH]
    address = {**changed["spec"]["addresses"][0], "quarantined": True}
    stored = it.api.put(PATH, changed | {"spec": changed["spec"] | {"addresses": [address]}})
    it.here.cache.put("IPPool", stored)
    await reconcile_pool(it.here, POOL)
    assert it.row()["quarantine"]["by"] == "spec"
    assert it.row()["verifiedAt"] == "2026-11-23T08:00:00Z"


async def test_figures_wake_no_lane_and_the_record_still_serves_without_going_through_the_pool(
    rig: tuple[SmallApi, World],
) -> None:
    it = await served(*rig)
    it.now += 60
    before = it.here.cache.get("IPPool", *POOL)
    it.says(warmup=WarmUpSeen(3, "gmail"))
    await reconcile_pool(it.here, POOL)
    after = it.here.cache.get("IPPool", *POOL)
    assert before != after
    change = Change(IP_POOL.kind, before, after)
    assert woken_by(it.here.cache, change, "lanewright-system") == {QueueKey("IPPool", *POOL)}
    it.api.writes.clear()
    async with it.here.allocating:  # going through the pool would wait for it
        assignment = await asyncio.wait_for(assign(it.here, it.lane, pool_of(after or {})), 5)
    assert [claim.slot_name for claim in assignment.claims] == ["otp-0"]
    assert it.api.writes == []
    assert it.row()["warmup"]["step"] == 3


async def test_an_address_that_is_given_up_keeps_nothing_of_its_slot(rig: tuple[SmallApi, World]) -> None:
    it = await served(*rig)
    it.now += 60
    it.says(warmup=WarmUpSeen(3, "gmail"))
    await reconcile_pool(it.here, POOL)
    assert "verifiedAt" in it.row()
    it.here.cache.drop("SendingLane", it.here.cache.get("SendingLane", "mail", "otp") or {})
    await reconcile_pool(it.here, POOL)
    assert it.row()["releasedAt"]
    assert {"verifiedAt", "warmup"}.isdisjoint(it.row())


async def test_a_pass_over_the_lane_has_its_pool_looked_at(rig: tuple[SmallApi, World]) -> None:
    it = await served(*rig)
    metadata = {"finalizers": [DRAIN_FINALIZER], "resourceVersion": "50"}
    spec = made.lane(poolRef={"name": "pool"}, replicas=1).spec
    stored = it.api.put(LANES, body("SendingLane", "otp", spec, **metadata))
    it.here.cache.put("SendingLane", stored)
    it.here.served = frozenset({"mail"})
    it.slot.said = made.seen(0, **PROVED)
    await reconcile_lane(it.here, ("mail", "otp"))
    assert QueueKey("IPPool", *POOL) in it.keys
