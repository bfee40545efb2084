"""An operator that dies between the images and the status that says so leaves its slots judged by their workloads."""

import pytest

from lane_api.lane_status import SlotImages
from tests.lane_operator.made import claim
from tests.lane_operator.test_upgrade import BAD, FINE, MINUTE, NEW, OLD, Rig, workload


@pytest.mark.parametrize("count", [1, 2])
def test_an_operator_that_dies_before_it_says_which_slot_has_new_images_leaves_that_slot_judged(count: int) -> None:
    rig = Rig(count)
    rig.passes(dies=True)
    assert (rig.status, rig.have[0]) == (None, "relay:2")

    rig.passes(0.5)
    assert rig.said == ("Watched", "otp-0")
    assert rig.status is not None
    assert (rig.status.previous, rig.status.before.attempts) == (OLD, 510 * count)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5)
    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1"] * count)


def test_a_slot_that_never_comes_up_is_turned_back_though_nobody_said_that_it_is_under_way() -> None:
    rig = Rig()
    rig.passes(dies=True)
    rig.sees("otp-0", pod_ready=False, reachable=False, pod_reason="relay: ImagePullBackOff")
    rig.passes(2.1)
    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])


def test_the_slot_that_follows_is_judged_too_though_the_status_names_the_one_before() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.passes(1, dies=True)
    assert (rig.said, rig.have) == (("Watched", "otp-0"), ["relay:2", "relay:2"])

    rig.passes(0.1)
    assert rig.said == ("Watched", "otp-1")
    rig.sees("otp-1", recent=BAD)
    rig.passes(0.5)
    assert rig.said == ("RolledBack", "otp-1")


def test_images_that_were_turned_back_are_not_tried_again_though_nobody_said_why() -> None:
    rig = Rig()
    rig.passes(), rig.passes(0.1)
    rig.sees("otp-0", recent=BAD)
    rig.passes(0.5, dies=True)
    assert (rig.said, rig.have) == (("Watched", "otp-0"), ["relay:1", "relay:1"])

    rig.sees("otp-0", recent=FINE)
    rig.passes(600)
    assert (rig.said, rig.have) == (("RolledBack", "otp-0"), ["relay:1", "relay:1"])
    assert rig.status is not None
    assert rig.status.message.startswith("otp-0 40% of its 500 attempts failed")


def test_a_record_is_written_with_images_alone_and_one_that_a_hand_has_damaged_says_nothing() -> None:
    rig = Rig()
    rig.passes()
    first = list(rig.records)
    assert (bool(first[0]), first[1]) == (True, "")
    rig.passes(0.1), rig.passes(0.1), rig.passes(0.1)
    assert rig.records == first

    for record in ("", "{", '{"phase": "Rolling"', "[]", '{"phase": "Rolling", "since": "soon", "slot": "otp-0"}'):
        rig = Rig()
        rig.workloads["otp-0"] = workload(NEW, record)
        rig.passes(0.1)
        assert rig.said == ("Rolling", "otp-1"), "as if there were none"


def test_a_record_of_long_ago_or_of_other_images_judges_nobody() -> None:
    rig = Rig(1)
    rig.passes(dies=True)
    (record,) = rig.records
    rig.sees("otp-0", pod_ready=False, reachable=False, pod_reason="no pod")
    rig.passes(61)
    assert (rig.status, rig.have, rig.records) == (None, ["relay:2"], [record]), "a restored lane, for instance"

    rig = Rig(1)
    rig.passes(dies=True)
    rig.wanted = SlotImages(relay="relay:3", resolver="unbound:2")
    rig.passes(0.1)
    assert rig.status is not None
    assert (rig.said, rig.status.previous) == (("Rolling", "otp-0"), NEW)


def test_what_is_said_of_a_slot_goes_on_whatever_its_record_says_and_a_clock_that_is_behind_changes_nothing() -> None:
    rig = Rig()
    rig.passes()
    rig.now -= 0.1 * MINUTE
    rig.passes()
    said = rig.status
    assert rig.said == ("Watched", "otp-0")
    rig.passes()
    assert rig.status == said


def test_an_operator_that_has_heard_of_no_slot_yet_changes_no_image_and_judges_nobody() -> None:
    """It would begin without what was before, and call a slot silent that it has not asked."""
    rig = Rig()
    rig.is_heard = False
    rig.claims = (*rig.claims, claim(2))
    plan = rig.passes()
    assert (plan.status, rig.have, plan.images["otp-2"]) == (None, ["relay:1", "relay:1"], OLD)

    rig.claims, rig.is_heard = rig.claims[:2], True
    rig.passes()
    rig.is_heard = False
    rig.sees("otp-0", reachable=False)
    rig.passes(30)
    assert (rig.said, rig.have) == (("Rolling", "otp-0"), ["relay:2", "relay:1"])
    rig.is_heard = True
    rig.sees("otp-0", reachable=True)
    rig.passes(0.1)
    assert rig.said == ("Watched", "otp-0")
