"""New images come to one slot of a lane after the other; one that does worse turns them all back."""

import datetime as dt
from dataclasses import replace
from typing import Any

from lane_api.lane_status import LaneStatus, RestartStatus, SlotImages, SlotRole, UpgradePhase, UpgradeStatus
from lane_api.names import IMAGES_ANNOTATION
from lane_operator.inputs import Claim, Manifest, Observation, SlotObservation
from lane_operator.lifecycle import UpgradePlan, planned
from lane_operator.seen import Recent
from tests.lane_operator.made import NOW, claim, lane, observation, seen

OLD, NEW = SlotImages(relay="relay:1", resolver="unbound:1"), SlotImages(relay="relay:2", resolver="unbound:2")
MINUTE = dt.timedelta(minutes=1)
FINE, BAD = Recent(60, 500, 10, 0.5), Recent(60, 300, 200, 0.5)


def workload(images: SlotImages, record: str = "", **status: Any) -> Manifest:
    return {
        "metadata": {"generation": 4, "annotations": {IMAGES_ANNOTATION: record} if record else {}},
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "relay", "image": images.relay}],
                    "initContainers": [{"name": "resolver", "image": images.resolver}] if images.resolver else [],
                }
            }
        },
        "status": {"observedGeneration": 4, "updateRevision": "a", "currentRevision": "a", "readyReplicas": 1} | status,
    }


class Rig:
    """One lane whose images are applied as they are planned, and whose status comes back."""

    def __init__(self, count: int = 2, **annotations: str) -> None:
        self.now, self.may_begin, self.wanted, self.watch_s = NOW, True, NEW, 60.0
        self.claims: tuple[Claim, ...] = tuple(map(claim, range(count)))
        self.slots = {f"otp-{index}": seen(index, recent=FINE, process=f"uid-{index}/0") for index in range(count)}
        self.workloads = {name: workload(OLD) for name in self.slots}
        self.annotations = {f"lanewright.dev/{name}": value for name, value in annotations.items()}
        self.status: UpgradeStatus | None = None
        self.is_heard = True
        self.restart: RestartStatus | None = None

    def sees(self, name: str, **changes: Any) -> None:
        self.slots[name] = replace(self.slots[name], **changes)

    def passes(self, minutes: float = 0.0, *, dies: bool = False, **fields: Any) -> UpgradePlan:
        """`dies`: the operator ends when the workloads are applied, and before it has written the status."""
        self.now += minutes * MINUTE
        of = lane(status=LaneStatus(upgrade=self.status, restart=self.restart), annotations=self.annotations, **fields)
        seen_now: Observation = observation(*self.slots.values())
        plan = planned(
            of,
            self.claims,
            seen_now,
            self.workloads,
            self.wanted,
            self.now,
            watch_s=self.watch_s,
            may_begin=lambda: self.may_begin,
            is_heard=self.is_heard,
        )
        self.status = self.status if dies else plan.status
        for name in self.workloads:
            self.workloads[name] = workload(plan.images.get(name, self.wanted), plan.records.get(name, ""))
        return plan

    @property
    def said(self) -> tuple[str, str]:
        assert self.status is not None
        return self.status.phase.value, self.status.slot

    @property
    def records(self) -> list[str]:
        return [one["metadata"]["annotations"].get(IMAGES_ANNOTATION, "") for one in self.workloads.values()]

    @property
    def have(self) -> list[str]:
        return [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in self.workloads.values()]


def test_slots_that_have_their_images_are_no_upgrade() -> None:
    rig = Rig()
    rig.wanted = OLD
    assert rig.passes() == UpgradePlan(None)


def test_one_slot_after_the_other_is_restarted_and_watched() -> None:
    rig = Rig()

    told = []
    for minutes in (0, 0.1, 1, 0.1, 1, 0.1):
        rig.passes(minutes)
        told.append((*rig.said, *rig.have))
    assert told == [
        ("Rolling", "otp-0", "relay:2", "relay:1"),
        ("Watched", "otp-0", "relay:2", "relay:1"),
        ("Rolling", "otp-1", "relay:2", "relay:2"),
        ("Watched", "otp-1", "relay:2", "relay:2"),
        ("Done", "", "relay:2", "relay:2"),
        ("Done", "", "relay:2", "relay:2"),
    ]
    assert rig.status is not None
    assert (rig.status.previous, rig.status.before.attempts) == (OLD, 1020)


def test_a_lane_whose_turn_has_not_come_keeps_what_it_has() -> None:
    rig = Rig()
    rig.may_begin = False
    rig.passes()
    assert (rig.said, rig.have) == (("Waiting", ""), ["relay:1", "relay:1"])

    rig.may_begin = True
    rig.passes(30)
    assert (rig.said, rig.have) == (("Rolling", "otp-0"), ["relay:2", "relay:1"])


def test_a_slot_that_does_worse_than_its_sibling_and_than_before_turns_all_back() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)

    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])
    assert rig.status is not None
    assert rig.status.message.startswith("otp-0 40% of its 500 attempts failed, and 2% of 510")
    rig.passes(600)
    assert rig.said == ("RolledBack", "otp-0"), "until another image is named"


def test_the_last_slot_is_compared_with_what_was_before() -> None:
    rig = Rig(1)
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)
    assert rig.said == ("RolledBack", "otp-0")


def test_an_isp_that_refuses_everybody_turns_nothing_back() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    for name in rig.slots:
        rig.sees(name, recent=BAD)
    rig.passes(1)
    assert rig.said == ("Rolling", "otp-1")


def test_an_image_that_cannot_be_pulled_turns_back_after_two_minutes_and_a_slow_start_after_eight() -> None:
    for reason, patience in (("relay: ImagePullBackOff no such image", 2), ("containers with unready status", 8)):
        rig = Rig()
        rig.passes()
        rig.sees("otp-0", pod_ready=False, reachable=False, pod_reason=reason)
        rig.passes(patience - 0.1)
        assert rig.said == ("Rolling", "otp-0"), reason
        rig.passes(0.2)
        assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])
        assert rig.status is not None
        assert reason in rig.status.message


def test_a_process_that_ends_again_and_again_turns_back_and_that_of_the_old_pod_does_not() -> None:
    rig = Rig()
    rig.sees("otp-0", process="uid-0/7", reachable=False, pod_ready=False)
    rig.passes(), rig.passes(0.1)
    assert rig.said[0] != "RolledBack"

    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", process="new/2")
    rig.passes(0.1)
    assert rig.said == ("RolledBack", "otp-0")


def test_a_slot_that_is_not_proved_again_is_waited_for_and_no_other_restarts() -> None:
    rig = Rig()
    rig.passes()
    rig.sees("otp-0", proof_state="Unproved", proof_message="no answer")
    rig.passes(5)
    assert (rig.said, rig.have) == (("Rolling", "otp-0"), ["relay:2", "relay:1"])


def test_nothing_restarts_while_no_reflector_would_prove_it_again_or_a_sibling_is_not_ready() -> None:
    for index, broken in (("otp-0", {"proof_state": "ProofStale"}), ("otp-1", {"proof_state": "ProofStale"})):
        rig = Rig()
        rig.sees(index, **broken)
        rig.passes()
        other = "otp-1" if index == "otp-0" else "otp-0"
        assert rig.said == ("Rolling", other)
    rig = Rig()
    for name in rig.slots:
        rig.sees(name, proof_state="ProofStale")
    rig.passes()
    assert rig.have == ["relay:1", "relay:1"]


def test_slots_that_are_broken_anyway_get_the_new_images_at_once() -> None:
    rig = Rig()
    rig.may_begin = False
    rig.sees("otp-1", pod_ready=False, pod_reason="relay: ImagePullBackOff")
    rig.passes()
    assert (rig.said, rig.have) == (("Waiting", ""), ["relay:1", "relay:2"])


def test_another_image_begins_anew_and_the_previous_one_ends_it() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)
    third = SlotImages(relay="relay:3", resolver="unbound:2")
    rig.wanted = third
    rig.sees("otp-0", recent=FINE)
    rig.passes(1)
    assert rig.said == ("Rolling", "otp-0")
    assert rig.status is not None
    assert rig.status.images == third

    rig.wanted = OLD
    rig.passes(0.1), rig.passes(0.1)
    assert rig.have == ["relay:1", "relay:1"]


THIRD = SlotImages(relay="relay:3", resolver="unbound:2")


def test_images_that_are_changed_again_before_any_served_are_turned_back_to_those_that_did() -> None:
    rig = Rig()
    rig.passes()
    rig.sees("otp-0", pod_ready=False, reachable=False, pod_reason="relay: CrashLoopBackOff")
    rig.passes(1)
    rig.wanted = THIRD
    rig.passes()
    assert rig.status is not None
    assert rig.status.previous == OLD

    rig.sees("otp-0", pod_ready=True, reachable=True)
    rig.passes(0.1)
    assert (rig.said, rig.have) == (("Rolling", "otp-1"), ["relay:3", "relay:3"])
    rig.sees("otp-1", pod_ready=False, reachable=False, pod_reason="relay: CrashLoopBackOff")
    rig.passes(2.1)
    assert (rig.said, rig.have) == (("RolledBack", "otp-1"), ["relay:1", "relay:1"])


def test_after_images_that_were_turned_back_others_go_back_no_further() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)
    assert rig.said == ("RolledBack", "otp-0")
    rig.workloads["otp-0"] = workload(NEW)  # the way back is not applied yet
    rig.wanted = THIRD
    rig.passes()
    assert rig.status is not None
    assert rig.status.previous == OLD


def test_of_slots_with_various_images_the_one_that_serves_is_gone_back_to() -> None:
    rig = Rig()
    rig.wanted, rig.workloads["otp-0"] = THIRD, workload(NEW)
    rig.sees("otp-0", pod_ready=False, reachable=False)
    rig.passes()
    assert rig.status is not None
    assert rig.status.previous == OLD


def test_an_upgrade_that_is_taken_back_by_its_images_goes_back_to_what_it_had_not_to_itself() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.wanted = OLD
    rig.passes(0.1)
    assert rig.status is not None
    assert (rig.said, rig.status.previous) == (("Rolling", "otp-0"), NEW)


def test_a_person_has_an_image_in_spite_of_what_it_does() -> None:
    rig = Rig(upgrade="unjudged")
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(1)
    assert rig.said == ("Rolling", "otp-1")


def test_without_a_watch_slots_follow_one_another_as_soon_as_each_serves() -> None:
    rig = Rig()
    rig.watch_s = 0.0
    rig.sees("otp-0", recent=BAD)
    for _ in range(5):
        rig.passes(0.1)
    assert rig.said == ("Done", "")


def test_a_new_slot_begins_with_what_the_others_have() -> None:
    rig = Rig()
    rig.may_begin = False
    rig.claims = (*rig.claims, claim(2))
    assert rig.passes().images["otp-2"] == OLD


def test_a_slot_without_resolver_is_judged_by_its_relay() -> None:
    rig = Rig()
    rig.workloads = {name: workload(SlotImages(relay="relay:2")) for name in rig.workloads}
    assert rig.passes() == UpgradePlan(None)


def test_a_slot_that_is_closed_before_it_restarts_is_not_broken_and_no_other_begins() -> None:
    """It hands over for another template meanwhile: new images come to it in its own turn, judged."""
    rig = Rig(3)
    rig.may_begin = False
    rig.claims = (rig.claims[0], replace(rig.claims[1], hands_over=True), rig.claims[2])
    rig.sees("otp-1", pod_ready=False, intake="Closed")
    rig.passes()
    assert (rig.said, rig.have) == (("Waiting", ""), ["relay:1"] * 3)
    rig.may_begin = True
    rig.passes()
    assert rig.have == ["relay:1"] * 3, "while one is closed"

    rig.sees("otp-1", reachable=False)
    rig.passes()
    assert rig.have == ["relay:1", "relay:2", "relay:1"], "it is broken after all"


def test_the_time_of_a_slot_begins_when_it_has_handed_over_and_has_its_images() -> None:
    rig = Rig()
    rig.passes()
    assert rig.status is not None
    since, rig.workloads["otp-0"] = rig.status.since, workload(OLD)
    rig.claims = (replace(rig.claims[0], hands_over=True), rig.claims[1])
    rig.sees("otp-0", pod_ready=False, intake="Closed")
    for _ in range(4):
        rig.passes(0.5)
        rig.workloads["otp-0"] = workload(OLD)
        assert (rig.said, rig.status.since) == (("Rolling", "otp-0"), since), "status is not written for it"

    rig.claims, rig.restart = (claim(0), claim(1)), RestartStatus(slot="otp-0", since=since)
    rig.passes(0.5)
    rig.restart = RestartStatus(slot="otp-0", handed_over=True)
    rig.sees("otp-0", reachable=False, pod_reason="relay: ImagePullBackOff no such image")
    rig.passes(1.9)
    assert rig.said == ("Rolling", "otp-0")
    rig.passes(0.2)
    assert rig.said == ("RolledBack", "otp-0")


GOES: dict[str, Any] = {"deleting_since": "2026-11-23T07:00:00Z"}


def going(rig: Rig, *indices: int) -> Rig:
    """These slots are to go: they take no mail, so that their pods are not ready."""
    rig.claims = tuple(
        claim(index, role=SlotRole.DRAINING) if index in indices else claim(index) for index in range(len(rig.slots))
    )
    for index in indices:
        rig.sees(f"otp-{index}", pod_ready=False)
    return rig


def test_slots_of_a_lane_that_is_deleted_keep_the_images_that_they_answer_with() -> None:
    rig = going(Rig(), 0, 1)
    assert (rig.passes(**GOES).status, rig.have) == (None, ["relay:1", "relay:1"])
    rig.is_heard = False
    rig.passes(**GOES)
    assert rig.have == ["relay:1", "relay:1"]


def test_a_slot_of_a_deleted_lane_that_does_not_answer_gets_new_images_but_not_those_that_were_turned_back() -> None:
    rig = going(Rig(), 0, 1)
    rig.sees("otp-1", reachable=False)
    rig.passes(**GOES)
    assert rig.have == ["relay:1", "relay:2"]

    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)
    going(rig, 0, 1).sees("otp-1", reachable=False)
    rig.passes(1, **GOES)
    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])


def test_a_slot_whose_new_image_never_answers_is_turned_back_though_its_lane_was_deleted_meanwhile() -> None:
    for dies in (False, True):
        rig = Rig()
        rig.passes(dies=dies)
        going(rig, 0, 1).sees("otp-0", reachable=False, pod_reason="relay: ImagePullBackOff no such image")
        rig.passes(1, **GOES)
        assert rig.have == ["relay:2", "relay:1"]
        rig.passes(1.1, **GOES)
        assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])


def test_a_slot_of_a_deleted_lane_that_ends_again_and_again_is_turned_back_and_no_other_follows() -> None:
    rig = Rig()
    rig.passes()
    going(rig, 0, 1)
    for _ in range(4):
        rig.passes(5, **GOES)
    assert (rig.said, rig.have) == (("Rolling", "otp-0"), ["relay:2", "relay:1"])
    rig.sees("otp-0", process="new/2")
    rig.passes(0.1, **GOES)
    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])


def test_a_slot_that_is_scaled_away_keeps_the_images_that_it_answers_with() -> None:
    rig = going(Rig(3), 2)
    for _ in range(6):
        rig.passes(1)
    assert (rig.said, rig.have) == (("Done", ""), ["relay:2", "relay:2", "relay:1"])
    rig.is_heard = False
    rig.passes()
    assert rig.have[2] == "relay:1"

    rig.is_heard = True
    rig.workloads["otp-2"]["spec"]["replicas"] = 0
    rig.sees("otp-2", reachable=False)
    assert rig.passes().images["otp-2"] == OLD, "stopped on purpose"
    assert rig.passes().images["otp-2"] == NEW, "broken"


def test_a_slot_that_is_scaled_away_hands_its_turn_on() -> None:
    rig = Rig(3)
    rig.passes()
    del rig.workloads["otp-0"]
    rig.claims = rig.claims[1:]
    rig.passes(0.1)
    assert rig.said == ("Rolling", "otp-1")


def test_phases_are_spelled_for_people() -> None:
    assert [phase.value for phase in UpgradePhase] == ["Waiting", "Rolling", "Watched", "Done", "RolledBack"]
    assert SlotObservation("otp-0").recent is None
