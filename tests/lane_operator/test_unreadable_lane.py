"""A lane whose spec the operator cannot read: it holds up nobody, and loses nothing."""

import copy
from typing import Any

import pytest

from lane_api.names import RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES
from lane_operator.reconcile import World, reconcile_lane
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_lane_pass import CLAIM, LANE, LANES, POOLS, SERVICE, WORKLOAD, conditions, pod_put
from tests.lane_operator.test_lane_pass import rig as rig

SECRETS = "/api/v1/namespaces/mail/secrets/"
BUDGET = "/apis/policy/v1/namespaces/mail/poddisruptionbudgets/otp-0"
KEPT = {"otp-users", "otp-audit", "otp-dkim-notify.example.com"}
RELEASED = {RELEASE_ANNOTATION: RELEASE_KEEP_VOLUMES}


def broken(api: SmallApi, here: World, **metadata: Any) -> None:
    """The lane as an API server with another definition may hold it."""
    body = copy.deepcopy(api.objects[LANES])
    body["spec"]["replicas"] = "many"
    body["metadata"] |= {"generation": 4, **metadata}
    here.cache.put("SendingLane", api.put(LANES, body))


def secrets(api: SmallApi) -> set[str]:
    return {path.removeprefix(SECRETS) for path in api.objects if path.startswith(SECRETS)}


async def test_one_that_is_deleted_says_its_way_out_and_loses_nothing(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    before = {path for path in api.objects if "/events/" not in path}
    broken(api, here, deletionTimestamp="2026-11-23T07:00:00Z")

    await reconcile_lane(here, LANE)

    assert {path for path in api.objects if "/events/" not in path} == before
    said = conditions(api)["Stalled"]
    assert said["reason"] == "InvalidSpec"
    assert "replicas" in said["message"]
    assert f"{RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}" in said["message"]


async def test_one_that_is_released_goes_and_leaves_its_volume_and_its_keys(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    assert secrets(api) > KEPT
    broken(api, here, deletionTimestamp="2026-11-23T07:00:00Z", annotations=RELEASED)

    assert await reconcile_lane(here, LANE) is None

    assert LANES not in api.objects
    assert SERVICE not in api.objects
    assert WORKLOAD not in api.objects
    assert secrets(api) == KEPT
    assert api.objects[CLAIM]["metadata"]["finalizers"] == ["lanewright.dev/queue"]
    assert POOLS in api.objects


async def test_the_word_counts_once_the_lane_is_deleted_and_no_sooner(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    broken(api, here, annotations=RELEASED)

    await reconcile_lane(here, LANE)

    assert {LANES, SERVICE, WORKLOAD, CLAIM} <= api.objects.keys()


async def test_one_that_is_released_lets_its_namespace_go_with_its_volume_kept(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    metadata = {"name": "mail", "deletionTimestamp": "2026-11-23T07:00:00Z"}
    api.put("/api/v1/namespaces/mail", {"kind": "Namespace", "metadata": metadata})
    claim = copy.deepcopy(api.objects[CLAIM])
    claim["spec"]["volumeName"] = "pv-1"
    here.cache.put("PersistentVolumeClaim", api.put(CLAIM, claim))
    holder = {"namespace": "mail", "name": "queue-otp-0", "uid": claim["metadata"]["uid"]}
    spec = {"claimRef": holder, "persistentVolumeReclaimPolicy": "Delete"}
    path = "/api/v1/persistentvolumes/pv-1"
    api.put(path, {"kind": "PersistentVolume", "metadata": {"name": "pv-1"}, "spec": spec})
    broken(api, here, deletionTimestamp="2026-11-23T07:00:00Z", annotations=RELEASED)

    for _ in range(3):
        if LANES in api.objects:
            await reconcile_lane(here, LANE)

    assert api.objects[path]["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert api.objects[path]["metadata"]["labels"]["lanewright.dev/class"] == "Transactional"
    assert not api.objects[CLAIM]["metadata"]["finalizers"]
    assert LANES not in api.objects


@pytest.mark.parametrize("is_cordoned", [False, True])
async def test_its_slot_may_leave_a_node_that_is_to_be_emptied(rig: tuple[SmallApi, World], is_cordoned: bool) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    pod_put(here, ready=True)
    pod = copy.deepcopy(here.cache.get("Pod", "mail", "otp-0-0"))
    assert pod is not None
    pod["spec"]["nodeName"] = "node-a"
    pod["metadata"]["resourceVersion"] = "51"
    here.cache.put("Pod", pod)
    node = {"metadata": {"name": "node-a", "resourceVersion": "60"}, "spec": {"unschedulable": is_cordoned}}
    here.cache.put("Node", {"kind": "Node", **node})
    broken(api, here)

    again = await reconcile_lane(here, LANE)

    assert api.objects[BUDGET]["spec"]["maxUnavailable"] == int(is_cordoned)
    assert (again is not None) == is_cordoned
    api.writes.clear()
    await reconcile_lane(here, LANE)
    assert api.writes == [], "said once, and lifted once"
