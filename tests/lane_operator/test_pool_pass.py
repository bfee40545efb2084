"""Passes over pools, and assignments, with an API server on which pools go and change in between."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lane_operator.errors import ConflictError
from lane_operator.inputs import Key, Lane
from lane_operator.reconcile import World
from lane_operator.reconcile.pool import assign
from lane_operator.references import lane_of, pool_of
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world

POOL: Key = ("mail", "pool")
PATH = "/apis/lanewright.dev/v1alpha1/namespaces/mail/ippools/pool"
ADDRESS = {"ip": "203.0.113.10", "hostname": "out0.example.com"}


@pytest.fixture
async def rig() -> AsyncIterator[tuple[SmallApi, World]]:
    async with small_api() as (api, kube):
        here = world(kube)
        yield api, here
        await here.observer.close()


def body(kind: str, name: str, spec: Any, **more: Any) -> dict[str, Any]:
    given = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {"namespace": "mail", "name": name, "generation": 1, "uid": name, **more}
    return {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": given}


def a_pool(api: SmallApi, here: World, **more: Any) -> dict[str, Any]:
    stored = api.put(PATH, body("IPPool", "pool", made.pool(addresses=[ADDRESS]).spec, **more))
    here.cache.put("IPPool", stored)
    return stored


def a_lane(here: World, name: str = "otp", **more: Any) -> Lane:
    spec = made.lane(poolRef={"name": "pool"}, replicas=1).spec
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
