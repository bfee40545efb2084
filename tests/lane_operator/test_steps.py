"""What goes with a lane, and what stays behind it."""

from lane_api.names import DRAIN_FINALIZER
from lane_operator.desired.heads import kept_heads
from lane_operator.desired.stamp import child
from lane_operator.kube import CERTIFICATE, DNS_ENDPOINT
from lane_operator.lifecycle import LetGo
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
