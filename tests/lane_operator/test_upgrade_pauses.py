"""A lane of which no slot may restart now, since another is away, waits without a place among the lanes upgraded."""

from lane_api.lane_status import RestartStatus
from tests.lane_operator.test_upgrade import OLD, Rig, workload


def test_a_lane_whose_sibling_is_away_for_long_pauses_without_a_place_and_without_a_word() -> None:
    rig = Rig()
    rig.passes()
    rig.sees("otp-1", pod_ready=False, reachable=False)
    told = []
    for _ in range(3 * 60):
        rig.workloads["otp-0"] = workload(OLD)  # its template waits for the sibling
        plan = rig.passes(1)
        told.append(plan.status)
        assert rig.said == ("Waiting", ""), "it needs no place"
        assert not plan.waits
    assert len(set(map(repr, told))) == 1, "status is written once"
    assert plan.images["otp-0"] == OLD

    rig.sees("otp-1", pod_ready=True, reachable=True)
    assert (rig.passes().waits, rig.said) == (False, ("Rolling", "otp-0"))
    assert rig.status is not None
    assert (rig.status.previous, rig.status.before.attempts) == (OLD, 1020), "as it was when it began"


def test_a_slot_that_has_handed_over_and_does_not_get_its_images_gives_the_place_back_after_a_minute() -> None:
    for restart in (RestartStatus(slot="otp-0", handed_over=True), RestartStatus(slot="otp-0"), None):
        rig = Rig()
        rig.passes()
        rig.restart, rig.workloads["otp-0"] = restart, workload(OLD)
        rig.passes(0.9)
        assert rig.said == ("Rolling", "otp-0")
        rig.workloads["otp-0"] = workload(OLD)
        rig.passes(0.2)
        assert (rig.said, rig.have) == (("Waiting", "otp-0"), ["relay:1", "relay:1"])
        assert not rig.passes(4.9).waits
        assert rig.said == ("Waiting", "otp-0")
        rig.passes(0.2)
        assert (rig.said, rig.have) == (("Rolling", "otp-0"), ["relay:2", "relay:1"]), "it is tried again"


def test_a_lane_that_may_begin_waits_for_its_place_and_one_that_may_not_does_not() -> None:
    rig = Rig()
    rig.may_begin = False
    assert rig.passes().waits
    rig.sees("otp-1", pod_ready=False, reachable=False)
    assert not rig.passes().waits


def test_a_lane_pauses_too_where_the_next_slot_may_not_follow() -> None:
    rig = Rig(3)
    rig.passes(), rig.passes(0.1)
    for name in ("otp-1", "otp-2"):
        rig.sees(name, proof_state="ProofStale")
    rig.passes(1)
    assert (rig.said, rig.have) == (("Waiting", ""), ["relay:2", "relay:1", "relay:1"])
    rig.sees("otp-1", proof_state="Proved")
    rig.passes(1)
    assert rig.said == ("Rolling", "otp-1")


def test_what_nobody_judges_gives_its_place_back_where_it_does_not_come_up() -> None:
    rig = Rig(upgrade="unjudged")
    rig.passes()
    rig.sees("otp-0", pod_ready=False, reachable=False)
    rig.passes(7.9)
    assert rig.said == ("Rolling", "otp-0")
    rig.passes(0.2)
    assert (rig.said, rig.have) == (("Waiting", ""), ["relay:2", "relay:1"])
