"""Passes over pools, and assignments, with an API server on which pools go and change in between."""

import dataclasses
import datetime as dt
from typing import Any

import pytest

from lane_api.names import (
    ADDRESS_ANNOTATION,
    LANE_LABEL,
    POOL_ANNOTATION,
    POOL_FINALIZER,
    QUEUE_FINALIZER,
    SLOT_LABEL,
)
from lane_operator.errors import ConflictError
from lane_operator.inputs import Key, Lane
from lane_operator.reconcile import World
from lane_operator.reconcile.pool import assign, reconcile_pool
from lane_operator.references import lane_of, pool_of
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi

POOL: Key = ("mail", "pool")
PATH = "/apis/lanewright.dev/v1alpha1/namespaces/mail/ippools/pool"
ADDRESS = {"ip": "203.0.113.10", "hostname": "out0.example.com"}


def body(kind: str, name: str, spec: Any, **more: Any) -> dict[str, Any]:
    given = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {"namespace": "mail", "name": name, "generation": 1, "uid": name, **more}
    return {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": given}


def a_pool(api: SmallApi, here: World, **more: Any) -> dict[str, Any]:
    stored = api.put(PATH, body("IPPool", "pool", made.pool(addresses=[ADDRESS]).spec, **more))
    here.cache.put("IPPool", stored)
    return stored


def a_lane(here: World, name: str = "otp", replicas: int = 1, **more: Any) -> Lane:
    spec = made.lane(poolRef={"name": "pool"}, replicas=replicas).spec
    stored = body("SendingLane", name, spec, resourceVersion="50", **more)
    here.cache.put("SendingLane", stored)
    return lane_of(stored)


async def test_a_claim_is_handed_out_once_it_stands_in_the_pool(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    stored, lane = a_pool(api, here), a_lane(here)

    assignment = await assign(here, lane, pool_of(stored))

    assert [claim.slot_name for claim in assignment.claims] == ["otp-0"]
    assert api.objects[PATH]["status"]["addresses"][0]["slot"] == "otp-0"


async def test_a_pool_that_is_gone_at_the_commit_gives_no_claims(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    stored, lane = a_pool(api, here), a_lane(here)
    del api.objects[PATH]

    with pytest.raises(ConflictError):
        await assign(here, lane, pool_of(stored))

    assert here.cache.get("IPPool", *POOL) is None


async def test_a_pool_that_went_while_another_allocation_was_under_way_gives_no_claims(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    stored, lane = a_pool(api, here), a_lane(here)
    here.cache.drop("IPPool", stored)

    with pytest.raises(ConflictError):
        await assign(here, lane, pool_of(stored))

    assert api.writes == []


DELETED = "2026-11-23T08:00:00Z"


async def committed(api: SmallApi, here: World) -> dict[str, Any]:
    """The pool after a lane has got its address, as it is deleted."""
    stored, lane = a_pool(api, here), a_lane(here)
    await assign(here, lane, pool_of(stored))
    going = api.objects[PATH]
    assert going["metadata"]["finalizers"] == [POOL_FINALIZER]
    going = api.put(PATH, going | {"metadata": going["metadata"] | {"deletionTimestamp": DELETED}})
    here.cache.put("IPPool", going)
    return going


async def test_a_pool_gets_its_finalizer_with_the_first_address_that_it_gives(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    a_pool(api, here, finalizers=["somebody.example/else"])
    await reconcile_pool(here, POOL)
    assert api.objects[PATH]["metadata"]["finalizers"] == ["somebody.example/else"]

    lane = a_lane(here)
    await assign(here, lane, pool_of(api.objects[PATH]))

    assert api.objects[PATH]["metadata"]["finalizers"] == ["somebody.example/else", POOL_FINALIZER]
    api.writes.clear()
    await reconcile_pool(here, POOL)
    assert api.writes == []


async def test_without_the_right_to_guard_it_a_pool_still_gives_addresses(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    stored, lane = a_pool(api, here), a_lane(here)
    api.fails["PATCH", PATH] = (403, {"message": "no rights"})

    assert len((await assign(here, lane, pool_of(stored))).claims) == 1


async def test_a_deleted_pool_stays_while_a_lane_holds_an_address_and_gives_nothing_new(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    going = await committed(api, here)

    await reconcile_pool(here, POOL)

    assert api.objects[PATH]["metadata"]["finalizers"] == [POOL_FINALIZER]
    assert api.objects[PATH]["status"]["addresses"][0]["slot"] == "otp-0"
    (ready,) = (one for one in api.objects[PATH]["status"]["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Draining")
    kept = await assign(here, a_lane(here), pool_of(here.cache.get("IPPool", *POOL) or going))
    late = await assign(here, a_lane(here, "late"), pool_of(here.cache.get("IPPool", *POOL) or going))
    assert (len(kept.claims), kept.refusal) == (1, None)
    assert late.claims == ()
    assert late.refusal is not None
    assert late.refusal.waiting == "WaitingForPool"


async def test_a_deleted_pool_whose_lanes_are_gone_goes_at_once_though_their_volumes_are_kept(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await committed(api, here)
    labels = {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    noted = {POOL_ANNOTATION: "mail/pool", ADDRESS_ANNOTATION: ADDRESS["ip"]}
    kept = {"namespace": "mail", "name": "queue-otp-0", "labels": labels, "annotations": noted}
    kept["finalizers"] = [QUEUE_FINALIZER]
    here.cache.put("PersistentVolumeClaim", {"kind": "PersistentVolumeClaim", "metadata": kept})
    lane = here.cache.get("SendingLane", "mail", "otp")
    assert lane is not None
    here.cache.drop("SendingLane", lane)

    await reconcile_pool(here, POOL)

    assert PATH not in api.objects
    assert here.cache.get("IPPool", *POOL) is None


async def test_a_deleted_pool_that_cannot_be_read_goes_too(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    going = await committed(api, here)
    here.cache.put("IPPool", api.put(PATH, going | {"spec": {"engine": "Carrier pigeon"}}))
    lane = here.cache.get("SendingLane", "mail", "otp")
    assert lane is not None

    await reconcile_pool(here, POOL)
    assert api.objects[PATH]["metadata"]["finalizers"] == [POOL_FINALIZER]
    here.cache.drop("SendingLane", lane)
    await reconcile_pool(here, POOL)

    assert PATH not in api.objects
    assert here.cache.get("IPPool", *POOL) is None


async def test_an_address_of_another_pools_is_looked_at_again_when_there_is_no_hope_left(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    a_pool(api, here)
    here.cache.put("IPPool", body("IPPool", "a-pool", made.pool(addresses=[ADDRESS]).spec, resourceVersion="9"))

    assert await reconcile_pool(here, POOL) == 30
    assert _abnormal(api) == {"Reconciling": "AddressConflict"}

    late = dataclasses.replace(here, wall=lambda: made.NOW + dt.timedelta(seconds=30))
    assert await reconcile_pool(late, POOL) is None
    assert _abnormal(api) == {"Stalled": "AddressConflict"}


def _abnormal(api: SmallApi) -> dict[str, str]:
    said = api.objects[PATH]["status"]["conditions"]
    return {one["type"]: one["reason"] for one in said if one["type"] in {"Reconciling", "Stalled"}}
