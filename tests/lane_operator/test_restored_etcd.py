"""An etcd that was restored from an older snapshot: whoever remembers what is no more ends, and begins anew."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lane_operator.errors import WentBackError
from lane_operator.kube import Kube
from lane_operator.leadership import Leadership
from tests.lane_operator.made import NOW
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_replica_process import LEASE, WITHIN_S, _holder, _started
from tests.lane_operator.test_replica_process import cluster as cluster

pytestmark = pytest.mark.timeout(300)

PATH = "/apis/coordination.k8s.io/v1/namespaces/lw/leases/lanewright"


class Replica(Leadership):
    """On a clock that stands still."""

    def __init__(self, kube: Kube, identity: str) -> None:
        super().__init__(kube, ("lw", "lanewright"), identity, lambda: 100.0, lambda: NOW)


@pytest.fixture
async def server() -> AsyncIterator[tuple[SmallApi, Kube]]:
    async with small_api() as (api, kube):
        yield api, kube


async def test_who_leads_ends_once_its_lease_is_an_older_one(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one = Replica(kube, "a")
    await one.turn()
    snapshot = copy.deepcopy(api.objects[PATH])
    await one.turn()
    api.objects[PATH] = snapshot

    await one.turn()  # what it knew is not what is there
    with pytest.raises(WentBackError, match="older"):
        await one.turn()
    assert not one.holds()


async def test_who_waits_ends_too_before_it_takes_what_it_remembers_for_true(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    snapshot = copy.deepcopy(api.objects[PATH])
    await one.turn()
    await other.turn()
    api.objects[PATH] = snapshot

    with pytest.raises(WentBackError):
        await other.turn()
    assert api.objects[PATH] == snapshot, "nothing was written"


async def test_a_lease_that_was_deleted_and_made_again_is_a_newer_one(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    await other.turn()
    del api.objects[PATH]
    await one.turn()
    await one.turn()

    await other.turn()

    assert (one.holds(), other.holds()) == (True, False)


async def test_the_process_ends_so_that_the_next_one_reads_everything(cluster: tuple[SmallApi, dict[str, Any]]) -> None:
    api, environment = cluster
    process = await _started(environment)
    assert await asyncio.wait_for(_holder(api), WITHIN_S) == "a"
    snapshot = copy.deepcopy(api.objects[LEASE])
    async with asyncio.timeout(WITHIN_S):
        while api.objects[LEASE]["metadata"]["resourceVersion"] == snapshot["metadata"]["resourceVersion"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    api.objects[LEASE] = snapshot

    said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)

    assert process.returncode == 1
    assert b"went back" in said
