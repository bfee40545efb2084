"""A node that is to be emptied: one slot of a lane at a time gives its mail to the others, then it may go."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lane_api.conditions import Condition, ConditionType, Reason
from lane_api.lane_status import LaneStatus, SlotRole
from lane_operator.inputs import Claim, Lane, NodeFacts, Observation
from lane_operator.lifecycle import Evacuation, evacuated, leaving_nodes
from tests.lane_operator.made import NOW, claim, lane, observation, seen

CORDONED = NodeFacts("192.0.2.10", unschedulable=True)
OPEN = NodeFacts("192.0.2.11")
CLAIMS = (claim(0), claim(1))
ONE_GOES = {"node-a": CORDONED, "node-b": OPEN}
FULL = observation(seen(0, queued=5000), seen(1))


def found(
    nodes: Mapping[str, NodeFacts] | None,
    at: Observation | None = None,
    claims: tuple[Claim, ...] = CLAIMS,
    of: Lane | None = None,
) -> Evacuation:
    return evacuated(of or lane(), claims, at or observation(), nodes, NOW)


def handing_over_since(minutes: float, **changes: Any) -> Lane:
    """A lane whose status says that a slot has been handing its mail over for so long."""
    began = (NOW - dt.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = Condition(type=ConditionType.DRAINING, status="True", reason=Reason.NODE_DRAIN, last_transition_time=began)
    return lane(status=LaneStatus(conditions=(said,)), **changes)


def test_nobody_is_evicted_while_no_node_is_cordoned() -> None:
    assert found({"node-a": OPEN, "node-b": OPEN}) == Evacuation()


def test_the_slot_on_a_cordoned_node_gives_its_mail_away_before_it_may_go() -> None:
    empty, begun = observation(seen(0, queued=3), seen(1)), handing_over_since(1)
    assert found(ONE_GOES, FULL) == Evacuation("otp-0")
    assert found(ONE_GOES, empty) == Evacuation("otp-0"), "what it says is older than the order to hand over"
    assert found(ONE_GOES, FULL, of=begun) == Evacuation("otp-0")
    assert found(ONE_GOES, empty, of=begun) == Evacuation("otp-0", frozenset({"otp-0"}))


def test_words_that_are_old_do_not_let_it_go() -> None:
    begun = handing_over_since(1)
    assert found(ONE_GOES, observation(seen(0, is_fresh=False), seen(1)), of=begun) == Evacuation("otp-0")


def test_what_the_others_do_not_take_holds_a_node_up_for_minutes_only() -> None:
    assert found(ONE_GOES, FULL, of=handing_over_since(4)).lifted == frozenset()
    assert found(ONE_GOES, FULL, of=handing_over_since(5)).lifted == {"otp-0"}
    hasty = handing_over_since(2, drain={"deadline": "1m"})
    assert found(ONE_GOES, FULL, of=hasty).lifted == {"otp-0"}


def test_a_slot_that_keeps_its_mail_goes_with_it_at_once() -> None:
    for policy in ("Wait", "Hold"):
        assert found(ONE_GOES, FULL, of=lane(drain={"policy": policy})) == Evacuation(lifted=frozenset({"otp-0"}))


def test_a_slot_that_does_not_serve_has_nothing_to_wait_for() -> None:
    for broken in (seen(0, pod_ready=False), seen(0, reachable=False)):
        assert found(ONE_GOES, observation(broken, seen(1))).lifted == {"otp-0"}


def test_of_two_slots_on_cordoned_nodes_one_goes_first() -> None:
    both = {"node-a": CORDONED, "node-b": CORDONED}
    assert found(both, of=handing_over_since(1)) == Evacuation("otp-0", frozenset({"otp-0"}))


def test_a_slot_stays_while_another_takes_no_mail() -> None:
    moving = observation(seen(0), replace(seen(1), pod_ready=False))
    assert found(ONE_GOES, moving) == Evacuation()


def test_the_only_slot_of_a_lane_goes_with_its_mail_or_its_node_could_never_be_emptied() -> None:
    alone = observation(seen(0, queued=5000))
    assert found({"node-a": CORDONED}, alone, (claim(0),)) == Evacuation(lifted=frozenset({"otp-0"}))


def test_slots_that_go_anyway_hold_nobody_up() -> None:
    going = (claim(0), claim(1, role=SlotRole.DRAINING))
    without = observation(seen(0), replace(seen(1), pod_ready=False))
    assert found({"node-a": CORDONED}, without, going).lifted == {"otp-0"}


def test_without_the_right_to_see_nodes_nobody_is_held_up() -> None:
    assert found(None).lifted == {claim.slot_name for claim in CLAIMS}


def test_only_the_slot_whose_turn_it_is_leaves_its_node() -> None:
    first, second = leaving_nodes(CLAIMS, Evacuation("otp-1"))
    assert (first.moves, second.moves) == (False, True)
    assert leaving_nodes(CLAIMS, Evacuation()) == CLAIMS
