"""A whole pass over a lane, with an API server that refuses at the wrong moment."""

import asyncio
import base64
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import yaml

from lane_api.names import DRAIN_FINALIZER, LANE_LABEL, SLOT_LABEL
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.errors import ConflictError, UnavailableError
from lane_operator.inputs import Key
from lane_operator.kube import Kube
from lane_operator.lifecycle import DRAINED_ANNOTATION, Drained
from lane_operator.observe import Observer
from lane_operator.reconcile import World, reconcile_lane
from tests.lane_operator.made import NOW, lane, policy, pool
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world

LANE: Key = ("mail", "otp")
LANES = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes/otp"
POOLS = "/apis/lanewright.dev/v1alpha1/namespaces/mail/ippools/shared"
SERVICE = "/api/v1/namespaces/mail/services/otp"
WORKLOAD = "/apis/apps/v1/namespaces/mail/statefulsets/otp-0"
CLAIM = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-0"
UNAVAILABLE = (503, {"message": "the server is overloaded"})


@pytest.fixture
async def rig() -> AsyncIterator[tuple[SmallApi, World]]:
    async with small_api() as (api, kube):
        here = _world(kube)
        yield api, _filled(api, here)
        await here.observer.close()


def _world(kube: Kube) -> World:
    here = world(kube)
    here.served = frozenset({"mail"})
    return here


def _filled(api: SmallApi, here: World) -> World:
    """A lane and its pool, which gives it no addresses of its own."""
    spec = lane(poolRef={"name": "shared"}, replicas=1).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    of_pool = pool("ClusterDefault").spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    for kind, path, given, more in (
        ("SendingLane", LANES, spec, {"name": "otp", "finalizers": [DRAIN_FINALIZER]}),
        ("IPPool", POOLS, of_pool, {"name": "shared"}),
    ):
        metadata = {"namespace": "mail", "generation": 3, "uid": f"{kind}-1", **more}
        body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": given}
        here.cache.put(kind, api.put(path, body))
    return here


def at(here: World, hours: int) -> World:
    """The same world some hours later."""
    return dataclasses.replace(here, wall=lambda: NOW + dt.timedelta(hours=hours))


def pod_put(here: World, *, ready: bool = False) -> None:
    """The slot's pod, in which nobody listens."""
    labels = {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    containers = [{"name": "relay", "ports": [{"name": "admin", "containerPort": 1}]}]
    metadata = {"namespace": "mail", "name": "otp-0-0", "uid": "p1", "labels": labels, "resourceVersion": "50"}
    pod = {"kind": "Pod", "metadata": metadata, "spec": {"containers": containers}, "status": {"podIP": "127.0.0.1"}}
    pod["status"] |= {"conditions": [{"type": "Ready", "status": str(ready)}]}  # type: ignore[operator]  # a dict
    here.cache.put("Pod", pod)


def as_made_put(api: SmallApi, here: World, version: int, **metadata: Any) -> None:
    """The slot's pod, as its workload's template makes it now."""
    template = api.objects[WORKLOAD]["spec"]["template"]
    own = {"namespace": "mail", "name": "otp-0-0", "uid": f"p{version}", "resourceVersion": str(version), **metadata}
    here.cache.put("Pod", {**template, "kind": "Pod", "metadata": {**template["metadata"], **own}, "status": {}})


def lane_put(api: SmallApi, here: World, **spec: Any) -> None:
    """The lane with another spec."""
    body = api.objects[LANES]
    metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
    here.cache.put("SendingLane", api.put(LANES, {**body, "metadata": metadata, "spec": body["spec"] | spec}))


def policy_put(api: SmallApi, here: World) -> None:
    """A policy that the lane heeds: another configuration under the same generation."""
    spec = policy(connectionsPerIP=1).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {"namespace": "mail", "name": "gmail", "uid": "i1", "generation": 1}
    body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "ISPPolicy", "metadata": metadata, "spec": spec}
    here.cache.put("ISPPolicy", api.put("/apis/lanewright.dev/v1alpha1/namespaces/mail/isppolicies/gmail", body))


def conditions(api: SmallApi) -> dict[str, Any]:
    return {one["type"]: one for one in api.objects[LANES]["status"]["conditions"]}


def config(api: SmallApi) -> dict[str, Any]:
    secret = api.objects["/api/v1/namespaces/mail/secrets/otp-0-config"]
    found = RelayConfig.model_validate(yaml.safe_load(unpacked(base64.b64decode(secret["data"]["relay.yaml.gz"]))))
    return found.model_dump(mode="json", by_alias=True)


async def test_a_child_that_could_not_be_applied_is_said_and_tried_again(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    api.fails["PATCH", SERVICE] = UNAVAILABLE

    with pytest.raises(UnavailableError, match="overloaded"):
        await reconcile_lane(here, LANE)

    said = conditions(api)
    assert said["Reconciling"]["reason"] == "ProgressingWithRetry"
    assert "Service otp: the server is overloaded" in said["Reconciling"]["message"]
    assert said["Ready"]["status"] == "False"

    api.fails.clear()
    await reconcile_lane(here, LANE)

    assert SERVICE in api.objects
    assert conditions(api)["Reconciling"]["reason"] != "ProgressingWithRetry"


async def test_a_lane_in_which_nothing_happens_is_written_and_its_children_are_read_no_more(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    assert api.reads == [], "what is made is not looked for before"
    await reconcile_lane(here, LANE)
    api.reads.clear()
    api.writes.clear()

    await reconcile_lane(here, LANE)

    assert (api.writes, api.reads) == ([], [])


async def test_a_process_that_has_just_begun_says_nothing_of_slots_that_it_has_not_asked_yet(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    pod_put(here)
    await reconcile_lane(here, LANE)
    ready = {"type": "Ready", "status": "True", "reason": "AllSlotsVerified", "message": "1 of 1 slots serve"}
    told = {"observedGeneration": 3, "conditions": [ready | {"lastTransitionTime": "2026-11-23T00:00:00Z"}]}
    here.cache.put("SendingLane", api.put(LANES, {**api.objects[LANES], "status": told}))
    heard = asyncio.Event()
    begun = dataclasses.replace(here, observer=Observer(lambda _: heard.set()))

    await reconcile_lane(begun, LANE)
    assert api.objects[LANES]["status"] == told

    async with asyncio.timeout(60):
        await heard.wait()
    await reconcile_lane(begun, LANE)
    assert conditions(api)["Ready"]["status"] == "False", "nobody answers there"
    await begun.observer.close()


async def test_a_slot_whose_images_were_given_and_not_told_of_is_under_way_for_the_next_process(
    rig: tuple[SmallApi, World],
) -> None:
    """Its workload says which it got, when and instead of which: it is watched, and taken back, all the same."""
    api, here = rig
    pod_put(here, ready=True)
    await reconcile_lane(here, LANE)
    settled = {"observedGeneration": 9, "updateRevision": "a", "currentRevision": "a", "readyReplicas": 1}
    here.cache.put("StatefulSet", api.put(WORKLOAD, {**api.objects[WORKLOAD], "status": settled}))
    ready = {"type": "Ready", "status": "True", "reason": "AllSlotsVerified", "message": "1 of 1 slots serve"}
    told = {"observedGeneration": 3, "conditions": [ready | {"lastTransitionTime": "2026-11-23T00:00:00Z"}]}
    here.cache.put("SendingLane", api.put(LANES, {**api.objects[LANES], "status": told}))
    newer = dataclasses.replace(here.lanes, relay_image="lanewright/relay:2")
    api.fails["PATCH", f"{LANES}/status"] = UNAVAILABLE
    with suppress(UnavailableError):
        await _passes_once_heard(dataclasses.replace(here, lanes=newer))
    assert api.objects[LANES]["status"] == told, "it dies before it can say so"
    assert image(api) == "lanewright/relay:2"

    del api.fails["PATCH", f"{LANES}/status"]
    await _passes_once_heard(dataclasses.replace(here, lanes=newer))

    said = api.objects[LANES]["status"]["upgrade"]
    assert (said["phase"], said["slot"], said["previous"]["relay"]) == ("Rolling", "otp-0", "lanewright/relay:1")


async def _passes_once_heard(here: World) -> None:
    """What a process does that begins: nobody has answered it, then somebody has, or nobody does."""
    heard = asyncio.Event()
    begun = dataclasses.replace(here, observer=Observer(lambda _: heard.set()))
    try:
        await reconcile_lane(begun, LANE)
        async with asyncio.timeout(30):
            await heard.wait()
        await reconcile_lane(begun, LANE)
    finally:
        await begun.observer.close()


def image(api: SmallApi) -> str:
    """Of the slot's relay, as its workload is applied."""
    template = api.objects[WORKLOAD]["spec"]["template"]["spec"]
    return str(next(one["image"] for one in template["containers"] if one["name"] == "relay"))


async def test_a_process_that_has_just_begun_gives_no_slot_new_images(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    pod_put(here)
    await reconcile_lane(here, LANE)
    newer = dataclasses.replace(here.lanes, relay_image="lanewright/relay:2")
    begun = dataclasses.replace(here, observer=Observer(lambda _: None), lanes=newer)

    await reconcile_lane(begun, LANE)

    assert image(api) == "lanewright/relay:1"
    await begun.observer.close()


async def test_a_slot_is_told_of_what_its_pod_has_and_of_all_else_at_once(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    lane_put(api, here, resolver={"mode": "Cluster"})
    await reconcile_lane(here, LANE)
    as_made_put(api, here, 501)

    lane_put(api, here, resolver={"mode": "Sidecar"}, suspend=True)
    await reconcile_lane(here, LANE)
    await reconcile_lane(here, LANE)
    assert "initContainers" in api.objects[WORKLOAD]["spec"]["template"]["spec"], "the next pod has one"
    assert (config(api)["delivery"]["resolvers"], config(api)["delivery"]["state"]) == ([], "Suspended")

    as_made_put(api, here, 502, uid="p501", deletionTimestamp="2026-11-23T08:00:00Z")
    await reconcile_lane(here, LANE)
    assert config(api)["delivery"]["resolvers"] == ["127.0.0.1:5353"], "the next pod begins with it"


async def test_a_configuration_keeps_its_serial_while_time_passes_and_gets_a_higher_one_with_a_policy(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    await reconcile_lane(here, LANE)  # now it names its volume claim
    first = config(api)["serial"]
    await reconcile_lane(here, LANE)
    api.writes.clear()

    later = at(here, 1)
    await reconcile_lane(later, LANE)
    written = [path for _, path in api.writes if not path.endswith(("/status", "/events"))]
    assert (written, config(api)["serial"]) == ([], first)

    policy_put(api, here)
    await reconcile_lane(later, LANE)
    assert (config(api)["generation"], config(api)["serial"]) == (3, int(later.wall().timestamp()))


async def test_a_configuration_that_cannot_be_written_is_handed_out_under_one_serial(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    pod_put(here)
    here.observer = Observer(lambda _: None)
    await reconcile_lane(here, LANE)
    policy_put(api, here)
    api.fails["PATCH", "/api/v1/namespaces/mail/secrets/otp-0-config"] = UNAVAILABLE
    handed = []
    for hours in (1, 2):
        with pytest.raises(UnavailableError):
            await reconcile_lane(at(here, hours), LANE)
        handed.append(here.observer.handed(LANE, "otp-0").serial)

    assert handed == [int(at(here, 1).wall().timestamp())] * 2
    api.fails.clear()
    await reconcile_lane(at(here, 3), LANE)
    assert config(api)["serial"] == handed[0]


async def test_what_only_a_person_can_change_is_said_and_not_tried_in_a_hurry(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    api.fails["PATCH", SERVICE] = (403, {"message": "no rights"})

    await reconcile_lane(here, LANE)

    assert conditions(api)["Reconciling"]["reason"] == "Forbidden", "the right may come in the same sync"
    await reconcile_lane(at(here, 1), LANE)
    assert conditions(api)["Stalled"]["reason"] == "Forbidden"


async def test_a_lane_does_not_go_while_a_child_of_it_could_not_be_deleted(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    going = api.objects[LANES]
    going["metadata"] |= {"deletionTimestamp": "2026-11-23T08:00:00Z"}
    going["metadata"]["annotations"] = {"lanewright.dev/release": "keep-volumes"}
    here.cache.put("SendingLane", api.put(LANES, going))
    api.fails["DELETE", SERVICE] = UNAVAILABLE

    with pytest.raises(UnavailableError, match="overloaded"):
        await reconcile_lane(here, LANE)

    assert api.objects[LANES]["metadata"]["finalizers"] == [DRAIN_FINALIZER]


async def test_a_lane_that_was_let_go_is_not_raised_from_the_dead_before_the_watch_says_so(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    going = api.objects[LANES]
    going["metadata"] |= {"deletionTimestamp": "2026-11-23T08:00:00Z"}
    going["metadata"]["annotations"] = {"lanewright.dev/release": "keep-volumes"}
    here.cache.put("SendingLane", api.put(LANES, going))
    await reconcile_lane(here, LANE)
    assert LANES not in api.objects
    api.writes.clear()

    await reconcile_lane(here, LANE)  # woken by the end of its children

    assert api.writes == []


async def test_a_lane_whose_pool_went_is_told_slot_by_slot_and_still_does_what_its_spec_says(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    workload = api.objects["/apis/apps/v1/namespaces/mail/statefulsets/otp-0"]
    before = config(api)
    here.cache.drop("IPPool", api.objects.pop(POOLS))
    changed = api.objects[LANES]
    changed["metadata"]["generation"] = 4
    changed["spec"]["suspend"] = True
    here.cache.put("SendingLane", api.put(LANES, changed))

    await reconcile_lane(here, LANE)

    assert (before["delivery"]["state"], config(api)["delivery"]["state"]) == ("Running", "Suspended")
    assert [slot["name"] for slot in api.objects[LANES]["status"]["slots"]] == ["otp-0"]
    assert conditions(api)["Reconciling"]["reason"] == "WaitingForPool"
    assert api.objects["/apis/apps/v1/namespaces/mail/statefulsets/otp-0"] == workload
    api.writes.clear()

    await reconcile_lane(here, LANE)

    assert api.writes == []


async def test_a_slot_that_went_while_its_lane_was_looked_at_is_not_made_again(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    workload = api.objects.pop(WORKLOAD)
    workload["spec"]["replicas"] = 0
    proof = Drained("s1", "v1", 4, 0, elsewhere=True)
    workload["metadata"]["annotations"] = {**workload["metadata"]["annotations"], DRAINED_ANNOTATION: proof.text()}
    here.cache.put("StatefulSet", api.put(WORKLOAD, workload))
    here.cache.drop("PersistentVolumeClaim", api.objects.pop(CLAIM))
    scaled = api.objects[LANES]
    scaled["metadata"]["generation"] = 4
    scaled["spec"]["replicas"] = 0
    scaled["spec"]["submission"]["auth"] = {"secretName": "accounts"}  # a user's: asked for in each pass
    here.cache.put("SendingLane", api.put(LANES, scaled))
    gone = api.objects.pop(WORKLOAD)
    api.writes.clear()

    api.meanwhile = lambda: here.cache.drop("StatefulSet", gone) and None  # the watch says so now
    with suppress(ConflictError):
        await reconcile_lane(here, LANE)

    assert WORKLOAD not in api.objects, api.writes
    await reconcile_lane(here, LANE)
    assert api.objects[LANES]["status"]["slots"] == []
    assert WORKLOAD not in api.objects


async def test_a_slot_that_starts_again_has_lost_its_proof_before(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    workload = api.objects[WORKLOAD]
    workload["spec"]["replicas"] = 0
    noted = {**workload["metadata"]["annotations"], DRAINED_ANNOTATION: Drained("s1", "v1", 3, 0).text()}
    workload["metadata"]["annotations"] = noted  # patched in, as while its pool was away
    here.cache.put("StatefulSet", api.put(WORKLOAD, workload))
    api.writes.clear()

    api.fails["PATCH", WORKLOAD] = UNAVAILABLE
    with suppress(UnavailableError):
        await reconcile_lane(here, LANE)
    assert api.objects[WORKLOAD]["spec"]["replicas"] == 0, "it does not start with it"
    del api.fails["PATCH", WORKLOAD]
    await reconcile_lane(here, LANE)

    assert api.objects[WORKLOAD]["spec"]["replicas"] == 1
    assert DRAINED_ANNOTATION not in api.objects[WORKLOAD]["metadata"]["annotations"]
    api.writes.clear()
    await reconcile_lane(here, LANE)
    assert api.writes == []


async def test_a_slot_of_a_deleted_lane_whose_pool_went_is_visited(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    here.cache.drop("IPPool", api.objects.pop(POOLS))
    going = api.objects[LANES]
    going["metadata"] |= {"deletionTimestamp": "2026-11-23T08:00:00Z"}
    here.cache.put("SendingLane", api.put(LANES, going))
    pod_put(here)
    visited = asyncio.Event()
    here.observer = Observer(lambda _: visited.set())

    await reconcile_lane(here, LANE)

    async with asyncio.timeout(60):
        await visited.wait()
    seen = here.observer.seen(LANE, "otp-0")
    assert seen is not None
    assert not seen.reachable
    assert config(api)["intake"]["state"] == "Closed"
    assert api.objects[LANES]["metadata"]["finalizers"] == [DRAIN_FINALIZER]
