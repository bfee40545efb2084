"""Whoever copies a claim, workload or pod copies its labels: only what is called as the slot's own is its part."""

from typing import Any

import pytest

from lane_api.lane_status import SlotRole
from lane_api.names import ADDRESS_ANNOTATION, LANE_LABEL, MANAGED_BY, POOL_ANNOTATION, QUEUE_FINALIZER, SLOT_LABEL
from lane_operator.cache import Cache
from lane_operator.demands import demand_of, demands_of, holdings_of
from lane_operator.inputs import Assignment, Manifest, Observation
from lane_operator.lifecycle import DRAINED_ANNOTATION, Drained, next_steps, slot_facts
from lane_operator.reconcile.sight import observation_of
from lane_operator.references import copies_of, volumes_of, workloads_of
from tests.lane_operator import made
from tests.lane_operator.small_api import small_api
from tests.lane_operator.test_broken_objects import world

LABELS = {**MANAGED_BY, LANE_LABEL: "otp", SLOT_LABEL: "otp-1"}
PROOF = Drained("s1", "real", 3, 0, elsewhere=True)


def part(kind: str, name: str, uid: str, version: int, **spec: Any) -> Manifest:
    noted = {POOL_ANNOTATION: "/".join(made.POOL), ADDRESS_ANNOTATION: "203.0.113.11"}
    if kind == "StatefulSet":
        noted[DRAINED_ANNOTATION] = PROOF.text()
    metadata = {"name": name, "namespace": "mail", "uid": uid, "labels": LABELS, "annotations": noted}
    metadata |= {"resourceVersion": str(version), "finalizers": [QUEUE_FINALIZER]}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def copied(*, first: bool = False) -> Cache:
    """Everything that otp-1 is made of, and copies, which came first or last."""
    cache, old, new = Cache(), 5, 5 + (-2 if first else 2)
    both = [
        (part("PersistentVolumeClaim", "queue-otp-1", "real", old), part("PersistentVolumeClaim", "a", "copy", new)),
        (part("StatefulSet", "otp-1", "real", old, replicas=0), part("StatefulSet", "b", "copy", new, replicas=1)),
    ]
    for own, copy in both:
        for body in (copy, own) if first else (own, copy):
            cache.put(body["kind"], body)
    return cache


@pytest.mark.parametrize("first", [True, False])
def test_a_copy_takes_no_slot_over(first: bool) -> None:
    cache, of = copied(first=first), made.lane(replicas=1)
    assert {slot: one["metadata"]["uid"] for slot, one in volumes_of(cache, of).items()} == {"otp-1": "real"}
    assert {slot: one["metadata"]["uid"] for slot, one in workloads_of(cache, of).items()} == {"otp-1": "real"}
    claims = (made.claim(0), made.claim(1, role=SlotRole.DRAINING))
    found = slot_facts(cache, of, claims, Observation())[1]
    assert (found.workload_uid, found.volume_uid, found.drained) == ("real", "real", PROOF)
    (step,) = next_steps(of, (found,), terminating=False, may_retain=True)
    assert step.uid == "real"  # type: ignore[union-attr]  # it releases the volume


def test_a_copy_alone_makes_no_slot_and_keeps_no_address() -> None:
    cache, of = Cache(), made.lane(replicas=1)
    cache.put("PersistentVolumeClaim", part("PersistentVolumeClaim", "queue-otp-1-copy", "copy", 5))
    cache.put("StatefulSet", part("StatefulSet", "otp-1-copy", "copy", 6, replicas=1))
    assert demand_of(cache, of).retained == frozenset()
    assert demands_of(cache, made.POOL) == ()
    assert holdings_of(cache, ["203.0.113.11"]) == ()
    assert [one.name for one in slot_facts(cache, of, (made.claim(0),), Observation())] == ["otp-0"]


def test_a_copied_pod_is_not_the_slots_and_keeps_its_volume_from_being_let_go() -> None:
    cache, of = copied(), made.lane(replicas=1)
    cache.put("Pod", part("Pod", "otp-1-0-debug", "copy", 9))
    found = slot_facts(cache, of, (made.claim(1, role=SlotRole.DRAINING),), Observation())[0]
    assert found.pod
    assert next_steps(of, (found,), terminating=False, may_retain=True) == ()


async def test_what_is_seen_of_a_slot_is_its_own_pod_and_claim() -> None:
    async with small_api() as (_, kube):
        here = world(kube)
        here.cache = copied()
        for name, node in (("otp-1-0-debug", "node-a"), ("otp-1-0", "node-b"), ("zz", "node-c")):
            here.cache.put("Pod", part("Pod", name, name, 9, nodeName=node, containers=[]))
        (seen,) = observation_of(here, made.lane(), Assignment((made.claim(1),))).slots
        assert (seen.node, seen.pvc_uid) == ("node-b", "real")
        await here.observer.close()


def test_copies_are_told_with_what_to_do() -> None:
    of = made.lane()
    text = copies_of(copied(), of)
    assert text.startswith("PersistentVolumeClaim a (of otp-1), StatefulSet b (of otp-1): labelled as a part of a slot")
    assert "take the label lanewright.dev/lane off, and of a claim the finalizer lanewright.dev/queue" in text
    many = copied()
    for number in range(9):
        many.put("Pod", part("Pod", f"debug-{number}", str(number), 9))
    assert " and 6 more: labelled" in copies_of(many, of)
    assert copies_of(Cache(), of) == ""
