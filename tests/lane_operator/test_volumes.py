"""Queue volumes beyond their claims: which claim each was under stays known, so that no copy passes for it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.lane_status import LaneStatus, SlotStatus
from lane_api.names import (
    ADDRESS_ANNOTATION,
    CLAIM_BEFORE_ANNOTATION,
    NAMESPACE_LABEL,
    POOL_ANNOTATION,
    QUEUE_FINALIZER,
)
from lane_operator.desired.stamp import child
from lane_operator.desired.volume_claim import volume_claim
from lane_operator.errors import ConflictError
from lane_operator.inputs import Manifest
from lane_operator.lifecycle import RetainVolume
from lane_operator.reconcile import World
from lane_operator.reconcile.steps import run_steps
from lane_operator.reconcile.volumes import adopted, retain, settle_adopted
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world

PV = "/api/v1/persistentvolumes/pv-1"
CLAIM = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-0"
LANE = made.lane()
KEPT_LABELS = {
    "lanewright.dev/lane": "otp",
    "lanewright.dev/slot": "otp-0",
    NAMESPACE_LABEL: "mail",
    "app.kubernetes.io/managed-by": "lanewright",
}


def manifest() -> Manifest:
    return child(LANE, volume_claim(LANE, made.claim(0), None), slot="otp-0", owned=False)


def bound(given: Manifest, uid: str, version: str) -> Manifest:
    """The claim as the API server has it."""
    metadata = {**given["metadata"], "uid": uid, "resourceVersion": version}
    return {
        **given,
        "metadata": metadata,
        "spec": {**given["spec"], "volumeName": "pv-1"},
        "status": {"phase": "Bound"},
    }


def noted(body: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = body["metadata"].get("annotations") or {}
    return found


async def test_a_volume_that_is_kept_and_adopted_says_which_claim_it_was_under(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    spec = {"claimRef": {"namespace": "mail", "name": "queue-otp-0", "uid": "first"}}
    api.put(PV, {"kind": "PersistentVolume", "metadata": {"name": "pv-1", "uid": "v"}, "spec": spec})
    here.cache.put("PersistentVolumeClaim", first := bound(manifest(), "first", "7"))
    await retain(here, LANE, "otp-0", "pv-1")
    assert noted(api.objects[PV])[CLAIM_BEFORE_ANNOTATION] == "first"
    here.cache.drop("PersistentVolumeClaim", first)

    for _ in range(2):  # also where the claim could not be made the first time
        (again,) = await adopted(here, LANE, (manifest(),))
        assert noted(again)[CLAIM_BEFORE_ANNOTATION] == "first"
    here.cache.put("PersistentVolumeClaim", bound(again, "second", "8"))
    (later,) = await adopted(here, LANE, (manifest(),))
    assert noted(later)[CLAIM_BEFORE_ANNOTATION] == "first"

    await settle_adopted(here, LANE)
    assert CLAIM_BEFORE_ANNOTATION not in noted(api.objects[PV])


def kept(holder: dict[str, str] | None, phase: str = "Released") -> Manifest:
    """A volume that says that it was kept for the slot."""
    spec = {"capacity": {"storage": "10Gi"}} | ({} if holder is None else {"claimRef": holder})
    metadata = {"name": "pv-1", "uid": "v", "labels": KEPT_LABELS}
    return {"kind": "PersistentVolume", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


OF_OTHERS = (
    {"namespace": "bank", "name": "data-postgres-0", "uid": "theirs"},
    {"namespace": "bank", "name": "queue-otp-0", "uid": "first"},
    {"namespace": "mail", "name": "data", "uid": "first"},
    {"namespace": "mail", "name": "queue-otp-0", "uid": "of-a-claim-before"},
    None,
)


@pytest.mark.parametrize("holder", OF_OTHERS)
async def test_a_claim_that_names_anothers_volume_does_not_get_it_kept_and_is_let_go(
    rig: tuple[SmallApi, World], holder: dict[str, str] | None
) -> None:
    api, here = rig
    spec: dict[str, Any] = {"persistentVolumeReclaimPolicy": "Delete"} | (
        {} if holder is None else {"claimRef": holder}
    )
    before = api.put(PV, {"kind": "PersistentVolume", "metadata": {"name": "pv-1", "uid": "v"}, "spec": spec})
    claim = bound(manifest(), "first", "7")  # spec.volumeName is its writer's to choose
    claim["metadata"]["finalizers"] = [QUEUE_FINALIZER]
    here.cache.put("PersistentVolumeClaim", api.put(CLAIM, claim))
    going = replace(LANE, deleting_since="2026-11-23T08:00:00Z")
    await run_steps(here, going, {}, (RetainVolume("otp-0", "first", "pv-1"),))
    assert api.objects[PV] == before
    assert api.objects[CLAIM]["metadata"]["finalizers"] == []


@settings(deadline=None)
@given(namespace=st.sampled_from(["mail", "bank"]), name=st.sampled_from(["queue-otp-0", "data"]), uid=st.booleans())
async def test_a_volume_of_another_claim_is_handed_to_nobody(namespace: str, name: str, *, uid: bool) -> None:
    async with small_api() as (api, kube):
        here = world(kube)
        holder = {"namespace": namespace, "name": name} | ({"uid": "before"} if uid else {})
        here.cache.put("PersistentVolume", before := api.put(PV, kept(holder)))
        (claim,) = await adopted(here, LANE, (manifest(),))
        own = (namespace, name) == ("mail", "queue-otp-0")
        assert ("volumeName" in claim["spec"]) == own
        assert (api.objects[PV] == before) == (not own or not uid)
        await here.observer.close()


async def test_a_volume_that_no_claim_holds_goes_to_the_slot_that_it_is_labelled_for(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    here.cache.put("PersistentVolume", api.put(PV, kept(None, "Available")))
    (claim,) = await adopted(here, LANE, (manifest(),))
    assert claim["spec"]["volumeName"] == "pv-1"


async def test_a_volume_still_bound_to_the_claim_before_is_waited_for(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    holder = {"namespace": "mail", "name": "queue-otp-0", "uid": "first"}
    here.cache.put("PersistentVolume", before := api.put(PV, kept(holder, "Bound")))
    with pytest.raises(ConflictError, match="pv-1 is still bound"):
        await adopted(here, LANE, (manifest(),))
    assert api.objects[PV] == before


async def test_the_reclaim_policy_of_anothers_volume_is_not_put_back(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    holder = {"namespace": "mail", "name": "queue-otp-0", "uid": "another"}
    here.cache.put("PersistentVolume", before := api.put(PV, kept(holder, "Bound")))
    here.cache.put("PersistentVolumeClaim", bound(manifest(), "first", "7"))
    await settle_adopted(here, LANE)
    assert api.objects[PV] == before


@pytest.mark.parametrize("said", ["203.0.113.10", "203.0.113.99", ""])
async def test_a_kept_volume_names_an_address_only_where_the_lanes_status_does(
    rig: tuple[SmallApi, World], said: str
) -> None:
    api, here = rig
    spec = {"claimRef": {"namespace": "mail", "name": "queue-otp-0", "uid": "first"}}
    api.put(PV, {"kind": "PersistentVolume", "metadata": {"name": "pv-1", "uid": "v"}, "spec": spec})
    here.cache.put("PersistentVolumeClaim", bound(manifest(), "first", "7"))
    slots = (SlotStatus(name="otp-0", ip=said), SlotStatus(name="otp-1", ip="203.0.113.10"))
    await retain(here, replace(LANE, status=LaneStatus(slots=slots)), "otp-0", "pv-1")
    assert noted(api.objects[PV])[POOL_ANNOTATION] == "mail-pools/trans-pool"
    assert noted(api.objects[PV]).get(ADDRESS_ANNOTATION) == (said if said == "203.0.113.10" else None)


async def test_a_claim_that_adopts_nothing_says_nothing_of_another(rig: tuple[SmallApi, World]) -> None:
    _, here = rig
    assert await adopted(here, LANE, (manifest(),)) == (manifest(),)


async def test_a_claim_asks_for_no_more_than_the_volume_that_it_adopts_has(rig: tuple[SmallApi, World]) -> None:
    _, here = rig
    for version, has, asks in (("5", "8Gi", "8Gi"), ("6", "20Gi", "10Gi")):
        metadata = {"name": "pv-1", "uid": "v", "resourceVersion": version, "labels": KEPT_LABELS}
        here.cache.put("PersistentVolume", {"metadata": metadata, "spec": {"capacity": {"storage": has}}})
        (claim,) = await adopted(here, LANE, (manifest(),))
        assert claim["spec"]["resources"]["requests"]["storage"] == asks
        assert claim["spec"]["volumeName"] == "pv-1"
