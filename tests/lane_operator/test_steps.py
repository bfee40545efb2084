"""What goes with a lane, and what stays behind it."""

from typing import Any

import pytest

from lane_api.names import DRAIN_FINALIZER, QUEUE_FINALIZER
from lane_operator.desired.heads import kept_heads
from lane_operator.desired.stamp import child
from lane_operator.errors import ConflictError
from lane_operator.kube import CERTIFICATE, DNS_ENDPOINT
from lane_operator.lifecycle import DeleteWorkload, LetGo, ReleaseVolume
from lane_operator.reconcile.steps import run_steps
from tests.lane_operator import made
from tests.lane_operator.small_api import small_api
from tests.lane_operator.test_broken_objects import world

LANES = "/apis/lanewright.dev/v1alpha1/namespaces/mail/sendinglanes/otp"
MAPS = "/api/v1/namespaces/mail/configmaps/"
HEAD = '{"head": {"journal": "J1", "number": 1}}'


async def test_heads_that_were_kept_outlive_their_lane_and_other_children_go() -> None:
    of = made.lane()
    heads = kept_heads("otp-0", None, HEAD, 0)
    assert heads is not None
    dashboard = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "otp-dashboard"}, "data": {}}
    body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "SendingLane", "spec": {}}
    async with small_api() as (api, kube):
        here = world(kube)
        for one in (child(of, heads, slot="otp-0", owned=False), child(of, dashboard)):
            here.cache.put("ConfigMap", api.put(MAPS + one["metadata"]["name"], one))
        metadata = {"namespace": "mail", "name": "otp", "uid": "l1", "finalizers": [DRAIN_FINALIZER]}
        live = api.put(LANES, {**body, "metadata": metadata})
        here.cache.put("SendingLane", live)
        await run_steps(here, of, live, (LetGo(),))
        assert [path for path in api.objects if path.startswith(MAPS)] == [MAPS + "otp-0-heads"]
        await here.observer.close()


async def test_published_records_outlive_their_lane_and_a_certificate_goes_with_it() -> None:
    of = made.lane()
    body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": "SendingLane", "spec": {}}
    endpoint = {"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint", "metadata": {"name": "otp"}}
    certificate = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "otp"}}
    paths = {kind.kind: kind.path("mail", "otp") for kind in (DNS_ENDPOINT, CERTIFICATE)}
    async with small_api() as (api, kube):
        here = world(kube)
        for one in (child(of, endpoint, owned=False), child(of, certificate)):
            here.cache.put(one["kind"], api.put(paths[one["kind"]], one))
        metadata = {"namespace": "mail", "name": "otp", "uid": "l1", "finalizers": [DRAIN_FINALIZER]}
        live = api.put(LANES, {**body, "metadata": metadata})
        here.cache.put("SendingLane", live)
        await run_steps(here, of, live, (LetGo(),))
        assert paths["DNSEndpoint"] in api.objects
        assert paths["Certificate"] not in api.objects
        await here.observer.close()


SET = "/apis/apps/v1/namespaces/mail/statefulsets/otp-0"
CLAIM = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-0"


async def test_a_slot_that_another_replica_has_let_start_again_is_not_deleted_by_a_request_that_comes_late() -> None:
    of = made.lane()
    async with small_api() as (api, kube):
        here = world(kube)
        metadata = {"namespace": "mail", "name": "otp-0", "uid": "w1"}
        stopped = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 0}}
        here.cache.put("StatefulSet", api.put(SET, stopped))
        started = api.put(SET, stopped | {"spec": {"replicas": 1}})
        with pytest.raises(ConflictError):
            await run_steps(here, of, {}, (DeleteWorkload("otp-0", "w1"),))
        assert api.objects[SET] == started
        here.cache.put("StatefulSet", started)
        await run_steps(here, of, {}, (DeleteWorkload("otp-0", "another"),))
        assert SET in api.objects
        await run_steps(here, of, {}, (DeleteWorkload("otp-0", "w1"),))
        assert SET not in api.objects
        await here.observer.close()


async def test_a_claim_that_is_guarded_again_is_not_deleted_by_a_request_that_comes_late() -> None:
    of = made.lane()
    async with small_api() as (api, kube):
        here = world(kube)
        metadata = {"namespace": "mail", "name": "queue-otp-0", "uid": "v1", "finalizers": [QUEUE_FINALIZER]}
        guarded = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {}}
        here.cache.put("PersistentVolumeClaim", api.put(CLAIM, guarded))
        released, patch = (ReleaseVolume("otp-0", "v1", delete=True),), kube.patch_json

        async def overtaken(*given: Any, **more: Any) -> Any:
            left = await patch(*given, **more)
            api.put(CLAIM, guarded)  # by who leads by now
            return left

        here.kube.patch_json = overtaken  # type: ignore[method-assign]
        with pytest.raises(ConflictError):
            await run_steps(here, of, {}, released)
        assert api.objects[CLAIM]["metadata"]["finalizers"] == [QUEUE_FINALIZER]

        here.kube.patch_json = patch  # type: ignore[method-assign]
        here.cache.put("PersistentVolumeClaim", api.objects[CLAIM])
        await run_steps(here, of, {}, released)
        assert CLAIM not in api.objects
        await here.observer.close()
