"""A lane whose pool or engine is gone: its slots are still configured, closed, drained and told, else left as is."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lane_api.lane_status import LaneStatus, SlotRole, SlotStatus
from lane_api.names import ADDRESS_ANNOTATION, LANE_LABEL, POOL_ANNOTATION, QUEUE_FINALIZER, SLOT_LABEL
from lane_api.packing import packed, unpacked
from lane_operator.cache import Cache
from lane_operator.desired import desired_state
from lane_operator.inputs import Assignment, Claim, Desired, Lane, Manifest, Observation, References
from lane_operator.lifecycle import DRAINED_ANNOTATION, LetGo, ReleaseVolume, ScaleToZero, next_steps, slot_facts
from lane_operator.lifecycle.drain import Drained
from lane_operator.pools import claims_of_existing
from lane_operator.reconcile.steps import run_steps
from lane_operator.status.slots import slot_status
from tests.lane_operator import made
from tests.lane_operator.small_api import small_api
from tests.lane_operator.test_broken_objects import world

GONE = {"deleting_since": "2026-11-23T08:00:00Z"}
WORKLOAD = "/apis/apps/v1/namespaces/mail/statefulsets/otp-0"


def rendered(engine: str = "Multus", **spec: Any) -> Desired:
    """The slot as it was made while its pool was there."""
    of = made.lane(replicas=1, **spec)
    return desired_state(
        of, made.references(of, made.pool(engine)), made.assignment(made.claim(0, engine)), made.SETTINGS
    )


def part(found: Desired, kind: str, name: str) -> Manifest | None:
    return next((one for one in found.manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)), None)


def known(found: Desired, kind: str, name: str) -> Manifest:
    manifest = part(found, kind, name)
    assert manifest is not None
    return manifest


def without_pool(of: Lane, before: Desired) -> tuple[References, tuple[Claim, ...]]:
    configs = {"otp-0": known(before, "Secret", "otp-0-config")}
    claims = claims_of_existing(of, [known(before, "StatefulSet", "otp-0")], {"otp-0": "out0.example.com"})
    return replace(made.references(of, None), configs=configs), claims


def relay_yaml(found: Desired) -> dict[str, Any]:
    secret = known(found, "Secret", "otp-0-config")
    config: dict[str, Any] = yaml.safe_load(unpacked(base64.b64decode(secret["data"]["relay.yaml.gz"])))
    return config


def test_claims_are_read_back_from_what_there_is() -> None:
    (claim,) = without_pool(made.lane(replicas=1), rendered("HostNetwork"))[1]

    assert claim.address is not None
    assert (claim.slot_index, claim.role, claim.pool, claim.found) == (0, SlotRole.ACTIVE, made.POOL, True)
    assert (claim.address.ip, claim.address.hostname, claim.port_block) == ("203.0.113.10", "out0.example.com", 20000)


@pytest.mark.parametrize(
    ("of", "role"),
    [
        (made.lane(replicas=0), SlotRole.DRAINING),
        (made.lane(replicas=2, **GONE), SlotRole.DRAINING),
        (made.lane(replicas=0, drain={"policy": "Hold"}), SlotRole.HELD),
    ],
)
def test_a_slot_that_is_to_go_is_read_back_as_going(of: Lane, role: SlotRole) -> None:
    assert [claim.role for claim in without_pool(of, rendered())[1]] == [role]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (("otp-0", "203.0.113.10", "2001:db8::10"), ("203.0.113.10", "2001:db8::10")),
        (("otp-0", "203.0.113.99", "2001:db8::99"), ("", "")),
        (("otp-1", "203.0.113.10", ""), ("", "")),
    ],
)
def test_of_a_slot_that_is_read_back_the_status_names_no_address_that_it_did_not_name_before(
    before: tuple[str, str, str], said: tuple[str, str]
) -> None:
    name, ip, second = before
    of = made.lane(replicas=1, status=LaneStatus(slots=(SlotStatus(name=name, ip=ip, second=second),)))
    (claim,) = without_pool(of, rendered())[1]
    found = slot_status(of, claim, Observation(), None)
    assert (found.ip, found.second) == said


def test_a_claim_that_was_assigned_stays_as_it_is() -> None:
    workload = known(rendered(), "StatefulSet", "otp-0")

    assert claims_of_existing(made.lane(), [workload], {}, [made.claim(0), made.claim(1)]) == (
        made.claim(0),
        made.claim(1),
    )


@pytest.mark.parametrize("engine", ["ClusterDefault", "HostNetwork", "Multus", "Socks5", "Cilium", "External"])
def test_without_a_pool_the_configuration_follows_the_spec_and_the_egress_stays(engine: str) -> None:
    before = rendered(engine)
    of = made.lane(replicas=1, suspend=True, generation=4)
    references, claims = without_pool(of, before)

    found = desired_state(of, references, Assignment(claims), made.SETTINGS)

    was, config = relay_yaml(before), relay_yaml(found)
    assert (config["generation"], config["delivery"]["state"]) == (4, "Suspended")
    for kept in ("egress", "slot", "health", "admin"):
        assert config.get(kept) == was.get(kept)
    assert (config["intake"], config["delivery"]["resolvers"]) == (was["intake"], was["delivery"]["resolvers"])
    assert known(found, "Secret", "otp-0-config")["data"].get("unbound.conf") == known(
        before, "Secret", "otp-0-config"
    )["data"].get("unbound.conf")
    assert part(found, "StatefulSet", "otp-0") is None
    assert (found.left, found.complete) == (frozenset({"otp-0"}), False)
    assert found.config_digests


def test_where_the_engine_refuses_the_slot_is_left_and_still_closed() -> None:
    of = made.lane(replicas=1, **GONE)
    references = replace(without_pool(of, rendered())[0], pool=made.pool(), kinds=made.KINDS)

    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    found = desired_state(of, replace(references, multus_network=None), claims, made.SETTINGS)

    assert relay_yaml(found)["intake"]["state"] == "Closed"
    assert part(found, "StatefulSet", "otp-0") is None
    assert found.left == {"otp-0"}
    assert "NetworkAttachmentDefinition mail/public does not exist" in found.refusals[0].message


WORDS = ["loops: [", "- a list", "generation: 2026-99-99", "[" * 900, "slot: {name: otp-0}"]


@pytest.mark.parametrize("content", [*map(packed, WORDS), b"loops: [", packed("lane: {}\n")[:-3], packed("#" * 2**23)])
def test_a_slot_whose_configuration_a_hand_has_broken_is_left_alone(content: bytes) -> None:
    of = made.lane(replicas=1)
    references, claims = without_pool(of, rendered())
    broken = replace(references, configs={"otp-0": {"data": {"relay.yaml.gz": base64.b64encode(content).decode()}}})

    found = desired_state(of, broken, Assignment(claims), made.SETTINGS)

    assert part(found, "Secret", "otp-0-config") is None
    assert found.left == {"otp-0"}


def live(replicas: int, **annotations: str) -> Manifest:
    noted = {POOL_ANNOTATION: "/".join(made.POOL), ADDRESS_ANNOTATION: "203.0.113.10", **annotations}
    labels = {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    metadata = {"namespace": "mail", "name": "otp-0", "uid": "w1", "labels": labels, "annotations": noted}
    spec = {"replicas": replicas, "template": {"spec": {"containers": []}}}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


def holding(workload: Manifest | None, finalizers: list[str], *, pod: bool = False) -> Cache:
    cache, labels = Cache(), {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    volume = {"namespace": "mail", "name": "queue-otp-0", "uid": "v1", "labels": labels, "finalizers": finalizers}
    cache.put("PersistentVolumeClaim", {"kind": "PersistentVolumeClaim", "metadata": volume, "spec": {}})
    if workload is not None:
        cache.put("StatefulSet", workload)
    if pod:
        metadata = {"namespace": "mail", "name": "otp-0-0", "uid": "p1", "labels": labels}
        cache.put("Pod", {"kind": "Pod", "metadata": metadata, "spec": {}})
    return cache


def test_a_deleting_lane_without_a_pool_goes_step_by_step() -> None:
    of = made.lane(replicas=1, **GONE)
    empty = made.seen(0, intake="Closed", intake_ordered="Closed", spool_id="s1", pvc_uid="v1")
    proof = Drained("s1", "v1", 3, 0)

    def steps(cache: Cache, workload: Manifest) -> tuple[Any, ...]:
        claims = claims_of_existing(of, [workload], {})
        facts = slot_facts(cache, of, claims, made.observation(empty))
        return next_steps(of, facts, terminating=False, may_retain=True)

    running, stopped = live(1), live(0, **{DRAINED_ANNOTATION: proof.text()})
    assert steps(holding(running, [QUEUE_FINALIZER], pod=True), running) == (ScaleToZero("otp-0", proof),)
    assert steps(holding(stopped, [QUEUE_FINALIZER], pod=True), stopped) == ()
    assert steps(holding(stopped, [QUEUE_FINALIZER]), stopped) == (ReleaseVolume("otp-0", "v1", delete=False),)
    assert steps(holding(stopped, []), stopped) == (LetGo(),)


@pytest.mark.parametrize("left", [frozenset({"otp-0"}), frozenset[str]()])
async def test_a_workload_that_nobody_renders_is_stopped_with_its_proof(left: frozenset[str]) -> None:
    proof = Drained("s1", "v1", 3, 0)
    async with small_api() as (api, kube):
        here = world(kube)
        here.cache.put("StatefulSet", api.put(WORKLOAD, live(1)))

        await run_steps(here, made.lane(**GONE), {}, (ScaleToZero("otp-0", proof),), left)

        found = api.objects[WORKLOAD]
        assert found["spec"]["replicas"] == (0 if left else 1)
        assert found["metadata"]["annotations"].get(DRAINED_ANNOTATION) == (proof.text() if left else None)
        assert found["metadata"]["annotations"][ADDRESS_ANNOTATION] == "203.0.113.10"
        assert here.cache.get("StatefulSet", "mail", "otp-0") == found
