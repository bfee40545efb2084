"""What a lane says whose automation is Observe."""

from lane_operator.status.book import MESSAGE_LIMIT
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, status, verdict

KIND = "ActsObserved"
ACT = "QuarantineIP of gmail until 2026-11-23T08:20:00Z by rule gmail/listed (550 5.7.1 listed; see our page)"


def test_what_would_have_been_done_is_said_of_each_slot_with_its_evidence_and_the_lane_is_no_less_ready() -> None:
    found = status(seen=made.observation(made.seen(0, observed=(ACT,)), made.seen(1, observed=("a", "b"))))

    assert verdict(found, KIND) == ("True", "AutomationObserves")
    assert message(found, KIND) == f"otp-0: {ACT.replace('; ', ', ')}; otp-1: a; otp-1: b"
    assert verdict(found, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(status(), KIND) is None


def test_a_slot_that_does_not_answer_says_nothing_of_it_any_more() -> None:
    silent = made.seen(0, observed=(ACT,), reachable=False)
    assert verdict(status(seen=made.observation(silent, made.seen(1))), KIND) is None


def test_a_message_of_many_slots_is_not_cut_within_an_act() -> None:
    slots = [made.seen(number, observed=("x" * 340,) * 5) for number in range(64)]
    text = message(status(seen=made.observation(*slots)), KIND)
    assert len(text) < MESSAGE_LIMIT
    assert text.endswith("x" * 340)
