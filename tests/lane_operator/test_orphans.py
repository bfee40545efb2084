"""A lane that went without our finalizer: what it has left outside of its namespace goes as well, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.names import LANE_LABEL, MANAGED_BY, NAMESPACE_LABEL, SLOT_LABEL
from lane_operator.errors import UnavailableError
from lane_operator.inputs import Manifest
from lane_operator.reconcile import World, reconcile_lane
from lane_operator.reconcile.wake import everything
from lane_operator.reconcile.world import QueueKey
from tests.lane_operator.small_api import SmallApi

GATEWAYS = "/apis/cilium.io/v2/ciliumegressgatewaypolicies"
LANES = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes"
LANE = ("mail", "otp")


def gateway(api: SmallApi, here: World, slot: str, **labels: str) -> str:
    """A policy as the operator makes it; its path."""
    name = f"mail.{slot}"
    ours = {**MANAGED_BY, LANE_LABEL: "otp", SLOT_LABEL: slot, NAMESPACE_LABEL: "mail", **labels}
    body = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumEgressGatewayPolicy",
        "metadata": {"name": name, "labels": ours},
    }
    here.cache.put(body["kind"], api.put(f"{GATEWAYS}/{name}", {**body, "spec": {}}))  # type: ignore[arg-type]  # a text
    return f"{GATEWAYS}/{name}"


def part(here: World, kind: str, name: str, slot: str) -> Manifest:
    metadata = {"namespace": "mail", "name": name, "uid": name, "resourceVersion": "50"}
    body = {"kind": kind, "metadata": {**metadata, "labels": {LANE_LABEL: "otp", SLOT_LABEL: slot}}, "spec": {}}
    here.cache.put(kind, body)
    return body


async def test_the_gateway_policies_of_a_lane_that_is_gone_go_once_its_pods_have(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    first, second = gateway(api, here, "otp-0"), gateway(api, here, "otp-1")
    other = gateway(api, here, "bulk-0", **{LANE_LABEL: "bulk"})
    by_hand = gateway(api, here, "otp-2", **{"app.kubernetes.io/managed-by": "somebody"})
    pod = part(here, "Pod", "otp-1-0", "otp-1")

    await reconcile_lane(here, LANE)
    assert api.objects.keys() == {second, other, by_hand}, "a pod that may send still leaves from its address"
    here.cache.drop("Pod", pod)
    here.cache.drop("CiliumEgressGatewayPolicy", {"metadata": {"name": "mail.otp-0", "resourceVersion": "900"}})
    await reconcile_lane(here, LANE)
    assert api.objects.keys() == {other, by_hand}
    assert first not in api.objects


@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
async def test_what_a_slot_may_still_send_by_stays(rig: tuple[SmallApi, World], kind: str) -> None:
    api, here = rig
    path = gateway(api, here, "otp-0")
    part(here, kind, "otp-0", "otp-0")
    await reconcile_lane(here, LANE)
    assert path in api.objects


async def test_a_lane_that_only_the_cache_does_not_know_keeps_its_own(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    path = gateway(api, here, "otp-0")
    api.put(f"{LANES}/otp", {"metadata": {"name": "otp", "namespace": "mail"}})
    await reconcile_lane(here, LANE)
    assert path in api.objects

    api.fails["GET", LANES] = (503, {"message": "later"})
    with pytest.raises(UnavailableError):
        await reconcile_lane(here, LANE)
    assert path in api.objects
    api.fails["GET", LANES] = (404, {"reason": "NotFound"})  # the definition is gone, and every lane with it
    await reconcile_lane(here, LANE)
    assert path not in api.objects


async def test_an_installation_for_other_namespaces_leaves_it_to_whose_it_is(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    path = gateway(api, here, "otp-0")
    here.settings = replace(here.settings, watch_namespaces=("shop",))
    await reconcile_lane(here, LANE)
    assert path in api.objects
    assert not api.reads


async def test_a_complete_look_comes_to_lanes_that_are_gone_and_have_left_something(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    known: dict[str, Any] = {"namespace": "mail", "name": "bulk", "uid": "l", "generation": 1, "resourceVersion": "50"}
    here.cache.put("SendingLane", {"kind": "SendingLane", "metadata": known, "spec": {}})
    gateway(api, here, "otp-0")
    gateway(api, here, "otp-1")
    gateway(api, here, "bulk-0", **{LANE_LABEL: "bulk"})
    assert list(everything(here.cache)) == [
        QueueKey("SendingLane", "mail", "bulk"),
        QueueKey("SendingLane", "mail", "otp"),
    ]
