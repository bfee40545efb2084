"""A whole pass over a lane whose queue was given more room, where the API server gives it and where it does not."""

from typing import Any

from lane_operator.kube import SENDING_LANE
from lane_operator.reconcile import World, reconcile_lane
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_lane_pass import LANE, LANES, conditions, rig

__all__ = ["rig"]

CLAIM = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-0"
MONITOR = "/api/v1/namespaces/mail/configmaps/otp-old"
REFUSED = "only dynamically provisioned pvc can be resized and the storageclass ... must support resize"


def grown(api: SmallApi, here: World, size: str) -> None:
    """Another size is asked for."""
    body = api.objects[LANES]
    body["spec"]["queue"] = {"size": size}
    body["metadata"]["generation"] += 1
    here.cache.put(SENDING_LANE.kind, api.put(LANES, body))


def bound(api: SmallApi, here: World, has: str) -> None:
    """The claim has its volume."""
    body = api.objects[CLAIM]
    body["status"] = {"phase": "Bound", "capacity": {"storage": has}}
    here.cache.put("PersistentVolumeClaim", api.put(CLAIM, body))


def stray(api: SmallApi, here: World) -> None:
    """A child of the lane that nobody asks for any more."""
    of = api.objects["/api/v1/namespaces/mail/services/otp"]
    metadata = {**of["metadata"], "name": "otp-old", "uid": "m1"}
    here.cache.put("ConfigMap", api.put(MONITOR, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))


def slot(api: SmallApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects[LANES]["status"]["slots"][0]
    return found


async def test_a_larger_queue_is_asked_of_the_claim_and_shown_until_it_is_there(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    bound(api, here, "10Gi")
    grown(api, here, "20Gi")

    await reconcile_lane(here, LANE)
    assert api.objects[CLAIM]["spec"]["resources"]["requests"]["storage"] == "20Gi"
    await reconcile_lane(here, LANE)
    assert "queue-otp-0 has 10Gi of 20Gi" in conditions(api)["Reconciling"]["message"]
    assert slot(api)["volume"] == "10Gi"

    bound(api, here, "20Gi")
    await reconcile_lane(here, LANE)
    assert "queue-otp-0" not in conditions(api).get("Reconciling", {}).get("message", "")
    assert slot(api)["volume"] == "20Gi"


async def test_a_class_that_cannot_grow_volumes_is_said_and_stops_nothing_else(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    await reconcile_lane(here, LANE)
    bound(api, here, "10Gi")
    grown(api, here, "20Gi")
    stray(api, here)
    api.fails["PATCH", CLAIM] = 403, {"message": REFUSED}

    await reconcile_lane(here, LANE)

    said = conditions(api)["Reconciling"]
    assert said["reason"] == "VolumeCannotGrow"
    assert "queue-otp-0 stays at 10Gi" in said["message"]
    assert "allowVolumeExpansion: true" in said["message"]
    assert MONITOR not in api.objects, "what is to go goes"
