"""Queue volumes beyond their claims: which claim each was under stays known, so that no copy passes for it."""

from typing import Any

from lane_api.names import CLAIM_BEFORE_ANNOTATION, NAMESPACE_LABEL
from lane_operator.desired.stamp import child
from lane_operator.desired.volume_claim import volume_claim
from lane_operator.inputs import Manifest
from lane_operator.reconcile import World
from lane_operator.reconcile.volumes import adopted, retain, settle_adopted
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi

PV = "/api/v1/persistentvolumes/pv-1"
LANE = made.lane()


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


async def test_a_claim_that_adopts_nothing_says_nothing_of_another(rig: tuple[SmallApi, World]) -> None:
    _, here = rig
    assert await adopted(here, LANE, (manifest(),)) == (manifest(),)


async def test_a_claim_asks_for_no_more_than_the_volume_that_it_adopts_has(rig: tuple[SmallApi, World]) -> None:
    _, here = rig
    labels = {
        "lanewright.dev/lane": "otp",
        "lanewright.dev/slot": "otp-0",
        NAMESPACE_LABEL: "mail",
        "app.kubernetes.io/managed-by": "lanewright",
    }
    for version, has, asks in (("5", "8Gi", "8Gi"), ("6", "20Gi", "10Gi")):
        metadata = {"name": "pv-1", "uid": "v", "resourceVersion": version, "labels": labels}
        here.cache.put("PersistentVolume", {"metadata": metadata, "spec": {"capacity": {"storage": has}}})
        (claim,) = await adopted(here, LANE, (manifest(),))
        assert claim["spec"]["resources"]["requests"]["storage"] == asks
        assert claim["spec"]["volumeName"] == "pv-1"
