"""A template that changes restarts one slot of a lane at a time; a slot that does not come back halts the rest."""

from typing import Any

from lane_operator.compare import prepared
from lane_operator.inputs import Manifest
from lane_operator.lifecycle import rolled, staggered
from tests.lane_operator.made import claim, observation

CLAIMS = (claim(0), claim(1))


def workload(index: int, image: str, replicas: int = 1) -> Manifest:
    template = {"spec": {"containers": [{"name": "relay", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": f"otp-{index}", "namespace": "mail"},
        "spec": {"replicas": replicas, "template": template},
    }


def running(index: int, image: str = "old", **status: Any) -> Manifest:
    """As the API server has it."""
    live = prepared(workload(index, image))
    live["metadata"]["generation"] = 4
    live["status"] = {
        "observedGeneration": 4,
        "updateRevision": "a",
        "currentRevision": "a",
        "readyReplicas": 1,
    } | status
    return live


def applied(*live: Manifest, wanted: str = "new") -> list[str]:
    known = {one["metadata"]["name"]: one for one in live}
    found = staggered((workload(0, wanted), workload(1, wanted)), CLAIMS, known.get)
    return [one["metadata"]["name"] for one in found.taken]


def test_the_first_of_two_slots_is_restarted_first() -> None:
    assert applied(running(0), running(1)) == ["otp-0"]


def test_the_second_waits_until_the_first_is_ready_with_the_new_template() -> None:
    seen_by_nobody_yet = running(0, "new", observedGeneration=3)
    rolling = running(0, "new", updateRevision="b")
    unready = running(0, "new", readyReplicas=0)

    for first in (seen_by_nobody_yet, rolling, unready):
        assert applied(first, running(1)) == ["otp-0"], first["status"]
    assert applied(running(0, "new"), running(1)) == ["otp-0", "otp-1"]


def test_slots_that_are_not_ready_are_changed_at_once_or_a_fix_would_never_reach_them() -> None:
    assert applied(running(0, readyReplicas=0), running(1, readyReplicas=0)) == ["otp-0", "otp-1"]


def test_new_slots_are_made_at_once() -> None:
    assert applied() == ["otp-0", "otp-1"]


def test_a_template_edited_by_hand_is_repaired_one_slot_at_a_time_too() -> None:
    edited = [running(0), running(1)]
    for one in edited:
        one["spec"]["template"]["spec"]["containers"][0]["image"] = "edited"

    assert applied(*edited, wanted="old") == ["otp-0"]


def test_slots_as_they_are_to_be_wait_for_nobody() -> None:
    assert applied(running(0), running(1, readyReplicas=0), wanted="old") == ["otp-0", "otp-1"]


def test_slots_are_seen_to_roll_until_their_pods_have_the_newest_template_and_some_wait_for_their_turn() -> None:
    wanted = (workload(0, "new"), workload(1, "new"))

    def seen(*live: Manifest) -> list[tuple[bool, bool]]:
        known = {one["metadata"]["name"]: one for one in live}
        found = rolled(observation(), wanted, staggered(wanted, CLAIMS, known.get).taken, known.get)
        return [(slot.rolling, slot.rolls_later) for slot in found.slots]

    assert seen(running(0, "new", observedGeneration=3), running(1)) == [(True, False), (True, True)]
    assert seen(running(0, "new", updateRevision="b"), running(1)) == [(True, False), (True, True)]
    assert seen(running(0, "new"), running(1, "new")) == [(False, False), (False, False)]
    assert seen() == [(False, False), (False, False)], "not made yet: its pod is not ready either"
