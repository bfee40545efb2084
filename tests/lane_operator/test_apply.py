"""Pruning: what a lane wants no more goes; a slot that lost its claim keeps all it needs, since it may hold mail."""

from typing import Any

from lane_api.names import LANE_LABEL, MANAGED_BY, SLOT_LABEL
from lane_operator.apply import prune
from lane_operator.cache import Cache
from tests.lane_operator.made import lane
from tests.lane_operator.small_api import small_api

KEPT: frozenset[tuple[str, str]] = frozenset()


def child(kind: str, name: str, slot: str = "") -> dict[str, Any]:
    api_version = {"StatefulSet": "apps/v1", "PodDisruptionBudget": "policy/v1"}.get(kind, "v1")
    metadata = {
        "name": name,
        "namespace": "mail",
        "uid": name,
        "resourceVersion": "5",
        "labels": {**MANAGED_BY, LANE_LABEL: "otp"} | ({SLOT_LABEL: slot} if slot else {}),
        "ownerReferences": [{"uid": "uid-1", "controller": True}],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


async def pruned(*children: dict[str, Any]) -> list[str]:
    cache = Cache()
    for one in children:
        cache.put(one["kind"], one)
    async with small_api() as (api, kube):
        for one in children:
            for path in ("/api/v1", "/apis/apps/v1", "/apis/policy/v1"):
                plural = f"{one['kind'].lower()}s"
                api.fails["DELETE", f"{path}/namespaces/mail/{plural}/{one['metadata']['name']}"] = (200, {})
        await prune(kube, cache, lane(), (), KEPT)
        return [path.rpartition("/")[2] for _, path in api.writes]


async def test_what_is_wanted_no_more_goes() -> None:
    assert await pruned(child("ConfigMap", "otp-dashboard")) == ["otp-dashboard"]


async def test_a_slot_without_a_claim_is_never_pruned_but_drained() -> None:
    parts = (child("StatefulSet", "otp-0", "otp-0"), child("Secret", "otp-0-config", "otp-0"))
    assert await pruned(*parts) == []


async def test_what_a_slot_leaves_behind_goes_once_its_workload_is_gone() -> None:
    assert await pruned(child("Secret", "otp-0-config", "otp-0")) == ["otp-0-config"]
