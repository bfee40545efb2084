"""How a slot goes: each step only on proof, and no volume that may hold mail is ever let go."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import SlotRole
from lane_api.names import LANE_LABEL, SLOT_LABEL
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.cache import Cache
from lane_operator.inputs import Lane, Observation, SlotObservation
from lane_operator.lifecycle import (
    DRAINED_ANNOTATION,
    DeleteWorkload,
    LetGo,
    ReleaseVolume,
    RetainVolume,
    ScaleToZero,
    SlotFacts,
    as_stopped,
    next_steps,
    outlived,
    shaped,
    slot_facts,
)
from lane_operator.lifecycle.drain import Drained

SPEC: dict[str, Any] = {
    "trafficClass": "Transactional",
    "poolRef": {"name": "pool"},
    "submission": {"senders": ["@example.com"]},
    "domains": [{"name": "example.com"}],
}


def lane(
    *,
    policy: str = "Wait",
    reclaim: str = "Retain",
    deleting: bool = True,
    released: bool = False,
    archive: bool = False,
    feedback: bool = False,
) -> Lane:
    audit = {"archive": {"pvc": {"claimName": "evidence"}}} if archive else {}
    spec = SendingLaneSpec.model_validate(
        {**SPEC, "drain": {"policy": policy}, "queue": {"reclaimPolicy": reclaim}, "audit": audit}
        | ({"feedback": {}} if feedback else {})
    )
    return Lane(
        namespace="mail",
        name="otp",
        uid="lane-uid",
        generation=7,
        spec=spec,
        annotations={"lanewright.dev/release": "keep-volumes"} if released else {},
        deleting_since="2026-11-23T10:00:00Z" if deleting else None,
    )


EMPTY = SlotObservation(
    "otp-0",
    pod_ready=True,
    reachable=True,
    config_generation=7,
    intake="Closed",
    intake_ordered="Closed",
    spool_id="s1",
    pvc_uid="v1",
)
RUNNING = SlotFacts(
    "otp-0",
    SlotRole.DRAINING,
    workload_uid="w1",
    pod=True,
    volume_uid="v1",
    volume_guarded=True,
    volume_name="pv-1",
    observation=EMPTY,
)
PROOF = Drained("s1", "v1", 7, 0)
STOPPED = replace(RUNNING, drained=PROOF, pod=False, observation=None)

WORKLOAD = {"kind": "StatefulSet", "metadata": {"name": "otp-0"}, "spec": {"replicas": 1}}


def steps(lane: Lane, *slots: SlotFacts, terminating: bool = False, may_retain: bool = True) -> tuple[Any, ...]:
    return next_steps(lane, slots, terminating=terminating, may_retain=may_retain)


def test_a_slot_that_says_it_is_empty_is_stopped_with_its_proof() -> None:
    assert steps(lane(), RUNNING) == (ScaleToZero("otp-0", PROOF),)


@pytest.mark.parametrize(
    "said",
    [
        {"reachable": False},
        {"is_fresh": False},
        {"intake": "Open"},
        {"intake_ordered": "Open"},
        {"config_generation": 6},
        {"sessions": 1},
        {"in_flight": 1},
        {"queued": 1},
        {"untold": 1},
        {"owed": {"otp-1": "otp-1 about 1 transfers"}},
        {"spool_id": ""},
        {"pvc_uid": "another"},
    ],
)
def test_a_slot_that_is_not_provably_empty_goes_on(said: dict[str, Any]) -> None:
    assert steps(lane(), replace(RUNNING, observation=replace(EMPTY, **said))) == ()


def test_no_answer_is_not_empty() -> None:
    assert steps(lane(), replace(RUNNING, observation=None)) == ()


def test_hold_stops_a_slot_with_mail_and_keeps_its_volume() -> None:
    holding = replace(RUNNING, role=SlotRole.HELD, observation=replace(EMPTY, queued=12))
    proof = replace(PROOF, live=12)
    assert steps(lane(policy="Hold"), holding) == (ScaleToZero("otp-0", proof),)

    stopped = replace(holding, drained=proof, pod=False)

    assert steps(lane(policy="Hold"), stopped) == (LetGo(),)


def test_hold_lets_a_slot_go_that_its_webhook_does_not_hear() -> None:
    deaf = replace(RUNNING, role=SlotRole.HELD, observation=replace(EMPTY, untold=3))

    assert steps(lane(policy="Hold"), deaf) == (ScaleToZero("otp-0", PROOF),)


OWING = replace(EMPTY, queued=12, owed={"otp-1": "otp-1 about 1 transfers"})


def test_hold_waits_as_well_until_no_other_slot_may_ask_what_became_of_its_mail() -> None:
    holding = replace(RUNNING, role=SlotRole.HELD, observation=OWING)

    assert steps(lane(policy="Hold"), holding) == ()


def test_a_slot_that_was_stopped_with_mail_may_ask_and_one_that_was_stopped_empty_may_not() -> None:
    owing = replace(RUNNING, observation=replace(OWING, queued=0))
    giver = replace(STOPPED, name="otp-1", volume_uid="v2", volume_guarded=False)

    assert steps(lane(), owing, replace(giver, drained=replace(PROOF, live=3))) == ()
    assert steps(lane(), owing, replace(giver, drained=PROOF)) == (ScaleToZero("otp-0", PROOF),)


def test_hold_waits_for_attempts_in_flight() -> None:
    holding = replace(RUNNING, role=SlotRole.HELD, observation=replace(EMPTY, queued=12, in_flight=1))

    assert steps(lane(policy="Hold"), holding) == ()


def test_the_volume_is_not_touched_while_the_pod_is_there() -> None:
    assert steps(lane(), replace(STOPPED, pod=True)) == ()


def test_a_proof_of_another_volume_releases_nothing() -> None:
    assert ReleaseVolume("otp-0", "v2", delete=False) not in steps(lane(), replace(STOPPED, volume_uid="v2"))


def test_the_empty_volume_is_released_by_uid_and_deleted_only_where_the_lane_says_so() -> None:
    assert steps(lane(), STOPPED) == (ReleaseVolume("otp-0", "v1", delete=False),)
    elsewhere = replace(STOPPED, drained=replace(PROOF, elsewhere=True))
    assert steps(lane(reclaim="Delete", archive=True), elsewhere) == (ReleaseVolume("otp-0", "v1", delete=True),)


def test_a_volume_with_the_only_copy_of_its_records_stays() -> None:
    elsewhere = replace(STOPPED, drained=replace(PROOF, elsewhere=True))
    for stopped in (STOPPED, elsewhere):
        assert steps(lane(reclaim="Delete"), stopped) == (ReleaseVolume("otp-0", "v1", delete=False),)
    assert steps(lane(reclaim="Delete", archive=True), STOPPED) == (ReleaseVolume("otp-0", "v1", delete=False),)


@pytest.mark.parametrize("unarchived", [None, 3])
@pytest.mark.parametrize("policy", ["Wait", "Transfer"])
def test_a_slot_is_not_done_before_its_records_are_in_the_archive(policy: str, unarchived: int | None) -> None:
    waits = replace(RUNNING, observation=replace(EMPTY, unarchived=unarchived))
    done = replace(RUNNING, observation=replace(EMPTY, unarchived=0))

    assert steps(lane(policy=policy, archive=True), waits) == ()
    proof = replace(PROOF, elsewhere=True)
    assert steps(lane(policy=policy, archive=True), done) == (ScaleToZero("otp-0", proof),)


def test_the_lane_goes_when_every_slot_is_settled() -> None:
    settled = replace(STOPPED, volume_guarded=False)

    assert steps(lane(), settled, replace(settled, name="otp-1")) == (LetGo(),)


def test_the_lane_stays_while_one_slot_is_not_settled() -> None:
    settled = replace(STOPPED, volume_guarded=False)
    busy = replace(RUNNING, name="otp-1", observation=replace(EMPTY, queued=3))

    assert steps(lane(), settled, busy) == ()


def test_after_a_scale_in_the_workload_goes_and_with_it_the_claim() -> None:
    settled = replace(STOPPED, volume_guarded=False)

    assert steps(lane(deleting=False), settled) == (DeleteWorkload("otp-0", "w1"),)


def test_a_held_slot_with_mail_keeps_its_workload_after_a_scale_in() -> None:
    held = replace(STOPPED, role=SlotRole.HELD, drained=replace(PROOF, live=5))

    assert steps(lane(policy="Hold", deleting=False), held) == ()


def test_active_slots_of_a_living_lane_are_left_alone() -> None:
    assert steps(lane(deleting=False), replace(RUNNING, role=SlotRole.ACTIVE)) == ()


def test_a_released_lane_goes_at_once_and_its_volumes_stay() -> None:
    full = replace(RUNNING, observation=replace(EMPTY, queued=50_000))

    assert steps(lane(released=True), full) == (LetGo(),)


def test_the_annotation_does_nothing_to_a_lane_that_is_not_being_deleted() -> None:
    full = replace(RUNNING, observation=replace(EMPTY, queued=50_000))

    assert steps(lane(released=True, deleting=False), full) == ()


def test_a_volume_whose_slot_never_spoke_keeps_the_lane() -> None:
    lost = SlotFacts("otp-0", SlotRole.DRAINING, volume_uid="v1", volume_guarded=True)

    assert steps(lane(), lost) == ()


def test_in_a_dying_namespace_a_lane_waits_for_a_person() -> None:
    orphan = replace(RUNNING, workload_uid=None, pod=False, observation=None)

    assert steps(lane(), orphan, terminating=True) == ()


def test_in_a_dying_namespace_a_released_lane_has_its_volume_retained_before_its_claim_goes() -> None:
    orphan = replace(RUNNING, workload_uid=None, pod=False, observation=None)
    released = lane(released=True)

    assert steps(released, orphan, terminating=True) == (RetainVolume("otp-0", "v1", "pv-1"),)
    kept = replace(orphan, volume_retained=True)
    assert steps(released, kept, terminating=True) == (ReleaseVolume("otp-0", "v1", delete=False),)
    gone = replace(kept, volume_guarded=False)
    assert steps(released, gone, terminating=True) == (LetGo(),)


def test_without_rights_to_volumes_a_dying_namespace_is_held_back() -> None:
    orphan = replace(RUNNING, workload_uid=None, pod=False, observation=None)

    assert steps(lane(released=True), orphan, terminating=True, may_retain=False) == ()


def test_a_stopped_slot_stays_at_zero_with_its_proof_and_its_volume_is_left_alone() -> None:
    manifests = (
        {"kind": "StatefulSet", "metadata": {"name": "otp-0"}, "spec": {"replicas": 1}},
        {"kind": "StatefulSet", "metadata": {"name": "otp-1"}, "spec": {"replicas": 1}},
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "q", "labels": {"lanewright.dev/slot": "otp-0"}}},
    )

    result = shaped(manifests, (STOPPED,), (), deleting=True)

    assert [manifest["metadata"]["name"] for manifest in result] == ["otp-0", "otp-1"]
    assert [manifest["spec"]["replicas"] for manifest in result] == [0, 1]
    assert Drained.parse(result[0]["metadata"]["annotations"][DRAINED_ANNOTATION]) == PROOF


def test_a_slot_that_is_active_again_starts_again() -> None:
    manifest = {"kind": "StatefulSet", "metadata": {"name": "otp-0"}, "spec": {"replicas": 1}}

    result = shaped((manifest,), (replace(STOPPED, role=SlotRole.ACTIVE),), (), deleting=False)

    assert result == (manifest,)


def facts(policy: str, live: int) -> SlotFacts:
    """What the cache says of a slot at 0 replicas, stopped with so many messages."""
    cache = Cache()
    metadata = {"name": "otp-0", "namespace": "mail", "uid": "w1", "labels": {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}}
    metadata["annotations"] = {DRAINED_ANNOTATION: replace(PROOF, live=live).text()}
    cache.put("StatefulSet", {"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 0}})
    (found,) = slot_facts(cache, lane(policy=policy, deleting=False), (), Observation())
    return found


def test_a_slot_that_holds_mail_starts_again_when_the_policy_is_hold_no_more() -> None:
    assert facts("Hold", 12).drained == replace(PROOF, live=12)
    assert facts("Wait", 12).drained is None
    assert facts("Wait", 0).drained == PROOF


def test_a_stopped_slot_holds_what_its_proof_says_and_not_what_it_said_while_it_ran() -> None:
    seen = Observation((replace(EMPTY, queued=99),))
    stopped = replace(STOPPED, drained=replace(PROOF, live=12))

    (said,) = as_stopped(seen, (stopped,), deleting=False).slots
    assert (said.stopped, said.queued) == (True, 12)
    assert as_stopped(seen, (replace(stopped, role=SlotRole.ACTIVE),), deleting=False) == seen
    assert as_stopped(seen, (replace(stopped, role=SlotRole.ACTIVE),), deleting=True) != seen


def stopped_with(proof: Drained, *, guarded: bool = True, went_back_at: dt.datetime | None = None) -> SlotFacts:
    """What the cache says of a slot at 0 replicas with this proof, after the store went back at that time."""
    cache, labels = Cache(), {LANE_LABEL: "otp", SLOT_LABEL: "otp-0"}
    metadata = {"name": "otp-0", "namespace": "mail", "uid": "w1", "labels": labels}
    metadata["annotations"] = {DRAINED_ANNOTATION: proof.text()}
    cache.put("StatefulSet", {"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 0}})
    volume = {"name": "queue-otp-0", "namespace": "mail", "uid": "v1", "labels": labels}
    volume["finalizers"] = ["lanewright.dev/queue"] if guarded else []
    cache.put("PersistentVolumeClaim", {"kind": "PersistentVolumeClaim", "metadata": volume, "spec": {}})
    (found,) = slot_facts(cache, lane(policy="Hold"), (), Observation(), went_back_at)
    return found


def test_a_proof_from_before_the_store_was_put_back_lets_no_volume_go() -> None:
    went_back = dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)
    before, after = replace(PROOF, at="2026-11-23T07:59:00Z"), replace(PROOF, at="2026-11-23T08:01:00Z")
    release = (ReleaseVolume("otp-0", "v1", delete=False),)

    for old in (PROOF, before):
        assert steps(lane(), stopped_with(old)) == release
        assert stopped_with(old, went_back_at=went_back).drained is None
        assert steps(lane(), stopped_with(old, went_back_at=went_back)) == ()
    assert steps(lane(), stopped_with(after, went_back_at=went_back)) == release
    for kept in (stopped_with(replace(PROOF, live=3), went_back_at=went_back), stopped_with(PROOF, guarded=False)):
        assert kept.drained is not None, "nothing is let go by it"


def test_a_proof_says_when_it_was_believed() -> None:
    found = next_steps(lane(), [RUNNING], terminating=False, may_retain=True, at="2026-11-23T08:00:00Z")
    assert found == (ScaleToZero("otp-0", replace(PROOF, at="2026-11-23T08:00:00Z")),)
    older = json.loads(PROOF.text())
    del older["at"]
    assert Drained.parse(json.dumps(older)) == PROOF


def test_a_proof_is_taken_off_whoever_runs_or_is_to_run() -> None:
    def workload(replicas: int, **annotations: str) -> dict[str, Any]:
        metadata = {"name": "otp-0", "annotations": annotations}
        return {"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": replicas}}

    proved = {DRAINED_ANNOTATION: PROOF.text()}
    stopped, running = workload(0, **proved), workload(1, **proved)
    assert outlived({"otp-0": stopped}, [WORKLOAD]) == outlived({"otp-0": running}, []) == ("otp-0",)
    assert outlived({"otp-0": running}, [workload(0, **proved)]) == ("otp-0",), "another one is put on"
    assert outlived({"otp-0": stopped}, [workload(0, **proved)]) == outlived({"otp-0": stopped}, []) == ()
    assert outlived({"otp-0": workload(1)}, [WORKLOAD]) == ()


def test_an_unreadable_proof_proves_nothing() -> None:
    assert Drained.parse("{}") is None
    assert Drained.parse("not json") is None
    assert Drained.parse("[" * 100_000) is None
    for part, said in (("live", "0"), ("live", None), ("live", False), ("live", -1), ("volume_uid", 7), ("at", [])):
        assert Drained.parse(json.dumps(json.loads(PROOF.text()) | {part: said})) is None
    assert Drained.parse(None) is None


@pytest.mark.parametrize("role", [SlotRole.ACTIVE, SlotRole.STANDBY, SlotRole.PROMOTED, SlotRole.QUARANTINED])
def test_a_slot_that_is_to_stay_is_not_stopped_however_empty_and_closed_it_is(role: SlotRole) -> None:
    assert steps(lane(deleting=False), replace(RUNNING, role=role)) == ()
    assert shaped([WORKLOAD], [replace(STOPPED, role=role)], (), deleting=False) == (WORKLOAD,)
