"""Applying takes nothing over that is another's; pruning leaves a slot all it needs, since it may hold mail."""

from typing import Any

import pytest

from lane_api.names import LANE_LABEL, MANAGED_BY, NAMESPACE_LABEL, SLOT_LABEL
from lane_operator.apply import apply_children, prune
from lane_operator.cache import Cache
from lane_operator.compare import APPLIED_ANNOTATION
from lane_operator.errors import ConflictError, InvalidError
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


def manifest(kind: str, name: str, slot: str = "") -> dict[str, Any]:
    """As it is rendered, and not yet there."""
    body = child(kind, name, slot)
    del body["metadata"]["uid"], body["metadata"]["resourceVersion"]
    return body


async def pruned(*children: dict[str, Any], outlived: frozenset[tuple[str, str]] = KEPT) -> list[str]:
    cache = Cache()
    for one in children:
        cache.put(one["kind"], one)
    async with small_api() as (api, kube):
        for one in children:
            for path in ("/api/v1", "/apis/apps/v1", "/apis/policy/v1"):
                plural = f"{one['kind'].lower()}s"
                api.fails["DELETE", f"{path}/namespaces/mail/{plural}/{one['metadata']['name']}"] = (200, {})
        await prune(kube, cache, lane(), (), KEPT, outlived)
        return [path.rpartition("/")[2] for _, path in api.writes]


async def test_what_is_wanted_no_more_goes() -> None:
    assert await pruned(child("ConfigMap", "otp-dashboard")) == ["otp-dashboard"]


async def test_a_slot_without_a_claim_is_never_pruned_but_drained() -> None:
    parts = (child("StatefulSet", "otp-0", "otp-0"), child("Secret", "otp-0-config", "otp-0"))
    assert await pruned(*parts) == []


async def test_what_a_slot_has_outlived_goes_and_no_more_of_it() -> None:
    parts = (child("StatefulSet", "otp-0", "otp-0"), child("Secret", "old", "otp-0"), child("Secret", "new", "otp-0"))
    assert await pruned(*parts, outlived=frozenset({("Secret", "old")})) == ["old"]


async def test_what_a_slot_leaves_behind_goes_once_its_workload_is_gone() -> None:
    assert await pruned(child("Secret", "otp-0-config", "otp-0")) == ["otp-0-config"]


GATEWAYS = "/apis/cilium.io/v2/ciliumegressgatewaypolicies"


def gateway(lane_name: str = "otp", namespace: str = "mail", **metadata: Any) -> dict[str, Any]:
    labels = {**MANAGED_BY, LANE_LABEL: lane_name, SLOT_LABEL: f"{lane_name}-0", NAMESPACE_LABEL: namespace}
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumEgressGatewayPolicy",
        "metadata": {"name": f"{namespace}.{lane_name}-0", "labels": labels, **metadata},
    }


async def test_what_is_in_no_namespace_is_applied_and_goes_with_its_slot_though_nobody_owns_it() -> None:
    cache = Cache()
    others = gateway("news", uid="u9", resourceVersion="9")
    cache.put("CiliumEgressGatewayPolicy", others)
    async with small_api() as (api, kube):
        applied = await apply_children(kube, cache, [gateway()])
        again = await apply_children(kube, cache, [gateway()])
        gone = await prune(kube, cache, lane(), (), KEPT)

        assert (applied.written, again.written, gone.written) == (1, 0, 1)
        assert api.writes == [("PATCH", f"{GATEWAYS}/mail.otp-0"), ("DELETE", f"{GATEWAYS}/mail.otp-0")]


ACCOUNT = "/api/v1/namespaces/mail/serviceaccounts/otp-relay"


def account(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "otp-relay", "namespace": "mail"} | metadata,
    }


async def applied(there: dict[str, Any] | None, cached: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """Why the lane's account was not applied where one is there already, and what was written."""
    wanted = child("ServiceAccount", "otp-relay")
    del wanted["metadata"]["uid"], wanted["metadata"]["resourceVersion"]
    async with small_api() as (api, kube):
        cache = Cache()
        if there is not None:
            body = api.put(ACCOUNT, there)
            if cached:
                cache.put("ServiceAccount", body)
        result = await apply_children(kube, cache, (wanted,))
        assert all(isinstance(one.error, InvalidError) and one.name == "otp-relay" for one in result.failures)
        again = await apply_children(kube, cache, (wanted,)) if not result.failures else result
        assert again.written == 0
        return [str(one.error) for one in result.failures], api.writes


async def test_what_is_not_there_is_made_once() -> None:
    assert await applied(None) == ([], [("PATCH", ACCOUNT)])


async def test_what_is_not_there_is_made_without_a_look_before() -> None:
    async with small_api() as (api, kube):
        await apply_children(kube, Cache(), (manifest("ServiceAccount", "otp-relay"),))
        assert (api.reads, api.writes) == ([], [("PATCH", ACCOUNT)])


async def test_what_comes_up_between_our_look_and_our_write_is_not_merged_into() -> None:
    async with small_api() as (api, kube):
        api.meanwhile = lambda: api.objects.update(
            {ACCOUNT: account(labels={"whose": "a hand's"}, resourceVersion="9")}
        )
        result = await apply_children(kube, Cache(), (manifest("ServiceAccount", "otp-relay"),))

        assert ["not the lane's" in str(one.error) for one in result.failures] == [True]
        assert api.objects[ACCOUNT]["metadata"]["labels"] == {"whose": "a hand's"}


async def test_what_was_refused_as_being_there_and_is_gone_by_now_is_made() -> None:
    async with small_api() as (api, kube):
        api.put(ACCOUNT, account())
        made = kube.apply_new

        async def refused(manifest: dict[str, Any]) -> dict[str, Any]:
            try:
                return await made(manifest)
            finally:
                api.objects.clear()

        kube.apply_new = refused  # type: ignore[method-assign]
        result = await apply_children(kube, Cache(), (manifest("ServiceAccount", "otp-relay"),))

        assert (result.written, result.failures) == (1, ())


async def test_an_object_that_was_never_the_lanes_is_not_taken_over_though_no_field_of_it_conflicts() -> None:
    refused, writes = await applied(account())

    assert writes == []
    assert "not the lane's" in refused[0]


async def test_an_object_of_a_sibling_lane_is_not_taken_over() -> None:
    labels = {**MANAGED_BY, LANE_LABEL: "otp-relay"}
    owners = [{"uid": "uid-2", "controller": True}]
    refused, writes = await applied(account(labels=labels, ownerReferences=owners), cached=True)

    assert writes == []
    assert "not the lane's" in refused[0]


@pytest.mark.parametrize(
    "marks",
    [{"annotations": {APPLIED_ANNOTATION: "digest"}}, {"labels": {**MANAGED_BY, LANE_LABEL: "otp"}}],
)
async def test_an_object_that_carries_our_marks_is_adopted(marks: dict[str, Any]) -> None:
    assert await applied(account(**marks)) == ([], [("PATCH", ACCOUNT)])


SETS = "/apis/apps/v1/namespaces/mail/statefulsets/otp-1"


@pytest.mark.parametrize("another", [False, True])
async def test_what_is_gone_or_another_by_now_is_not_made_again_by_who_has_not_heard_of_it(another: bool) -> None:
    cache, wanted = Cache(), {**manifest("StatefulSet", "otp-1", "otp-1"), "spec": {"replicas": 1}}
    cache.put("StatefulSet", {**wanted, "metadata": {**wanted["metadata"], "uid": "gone", "resourceVersion": "5"}})
    async with small_api() as (api, kube):
        if another:
            api.put(SETS, {**wanted, "metadata": {**wanted["metadata"], "uid": "new"}, "spec": {"replicas": 3}})
        before = dict(api.objects)
        applied = await apply_children(kube, cache, [wanted])
        assert api.objects == before
        (failure,) = applied.failures
        assert isinstance(failure.error, ConflictError)
        assert failure.may_pass


async def test_what_the_api_server_finds_invalid_stays_so_where_it_is_the_one_that_was_looked_at() -> None:
    cache, wanted = Cache(), {**manifest("StatefulSet", "otp-1", "otp-1"), "spec": {"replicas": 1}}
    async with small_api() as (api, kube):
        cache.put("StatefulSet", api.put(SETS, wanted))
        api.fails["PATCH", SETS] = (422, {"reason": "Invalid", "message": "spec: Forbidden"})
        applied = await apply_children(kube, cache, [{**wanted, "spec": {"replicas": 2}}])
        assert [type(one.error) for one in applied.failures] == [InvalidError]
