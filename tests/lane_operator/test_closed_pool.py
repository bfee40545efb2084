"""A lane that names a pool which is closed to it: what it makes up for itself gets it nothing of what is the pool's."""

import base64
from typing import Any

import pytest

from lane_api.names import DRAIN_FINALIZER, LANE_LABEL, MANAGED_BY, SLOT_LABEL
from lane_operator.reconcile import World, reconcile_lane
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi

LANE = ("mail", "otp")
LANES = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes/otp"
POOLS = "/apis/lanewright.dev/v1alpha1/namespaces/mail-pools/ippools/trans-pool"
ORIGIN = "/api/v1/namespaces/mail-pools/secrets/reflector"
COPY = "/api/v1/namespaces/mail/secrets/otp-proof"
WORKLOAD = "/apis/apps/v1/namespaces/mail/statefulsets/otp-0"
HELD = {
    "ip": "203.0.113.10",
    "lane": "mail/otp",
    "laneClass": "Transactional",
    "slot": "otp-0",
    "hostname": "o.example.com",
}


def filled(api: SmallApi, here: World, key: bytes, *held: dict[str, Any]) -> None:
    """The lane, and the pool that is open to nobody but who has an address of it."""
    here.served = frozenset({"mail", "mail-pools"})
    asked = made.lane(replicas=1, domains=[{"name": "notify.example.com", "dkim": {"mode": "Off"}}]).spec
    offered = made.pool(
        "External", allowedNamespaces={}, addresses=[{"ip": HELD["ip"], "hostname": HELD["hostname"]}]
    ).spec
    for kind, path, where, name, spec, more in (
        ("SendingLane", LANES, "mail", "otp", asked, {"metadata": {"finalizers": [DRAIN_FINALIZER]}}),
        ("IPPool", POOLS, "mail-pools", "trans-pool", offered, {"status": {"addresses": list(held)}}),
    ):
        metadata = {"namespace": where, "name": name, "generation": 1, "uid": f"{kind}-1", **more.pop("metadata", {})}
        body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, **more}
        body["spec"] = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        here.cache.put(kind, api.put(path, body))
    metadata = {"name": "reflector", "namespace": "mail-pools"}
    api.put(ORIGIN, {"kind": "Secret", "metadata": metadata, "data": {"key": base64.b64encode(key).decode()}})


def forged(api: SmallApi, here: World) -> None:
    """A StatefulSet as whoever may make one in the namespace can: labelled as a slot's, running nothing."""
    labels = {**MANAGED_BY, LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    metadata = {"namespace": "mail", "name": "otp-0", "uid": "w1", "labels": labels}
    spec = {"replicas": 0, "template": {"spec": {"containers": [{"name": "relay", "image": "busybox"}]}}}
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
    here.cache.put("StatefulSet", api.put(WORKLOAD, body))


def reason(api: SmallApi, said: str = "Reconciling") -> str:
    (found,) = (one["reason"] for one in api.objects[LANES]["status"]["conditions"] if one["type"] == said)
    return str(found)


@pytest.mark.parametrize("copied", [b"", b"as it was"])
async def test_a_slot_that_the_pool_did_not_give_an_address_does_not_get_the_reflectors_key(
    rig: tuple[SmallApi, World], copied: bytes
) -> None:
    api, here = rig
    filled(api, here, b"the platform's")
    forged(api, here)
    data = {"key": base64.b64encode(copied).decode()}
    if copied:
        metadata = {"name": "otp-proof", "namespace": "mail", "labels": {**MANAGED_BY, LANE_LABEL: "otp"}}
        here.cache.put("Secret", api.put(COPY, {"kind": "Secret", "metadata": metadata, "data": data}))
    await reconcile_lane(here, LANE)
    assert reason(api) == "PoolClosed"
    assert api.objects.get(COPY, {}).get("data") == (data if copied else None)
    assert ORIGIN not in api.reads


async def test_a_slot_that_keeps_its_address_when_the_pool_is_closed_follows_the_reflectors_key(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    forged(api, here)
    for key in (b"before", b"after"):
        filled(api, here, key, HELD)
        await reconcile_lane(here, LANE)
        assert base64.b64decode(api.objects[COPY]["data"]["key"]) == key
