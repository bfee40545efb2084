"""A node that is to be emptied: one slot of a lane at a time may go, while the others take mail."""

from dataclasses import replace

from lane_api.lane_status import SlotRole
from lane_operator.inputs import NodeFacts
from lane_operator.lifecycle import evictable
from tests.lane_operator.made import claim, observation, seen

CORDONED = NodeFacts("192.0.2.10", unschedulable=True)
OPEN = NodeFacts("192.0.2.11")
CLAIMS = (claim(0), claim(1))


def test_nobody_is_evicted_while_no_node_is_cordoned() -> None:
    assert evictable(CLAIMS, observation(), {"node-a": OPEN, "node-b": OPEN}) == frozenset()


def test_the_slot_on_a_cordoned_node_may_go() -> None:
    assert evictable(CLAIMS, observation(), {"node-a": CORDONED, "node-b": OPEN}) == {"otp-0"}


def test_of_two_slots_on_cordoned_nodes_one_goes_first() -> None:
    assert evictable(CLAIMS, observation(), {"node-a": CORDONED, "node-b": CORDONED}) == {"otp-0"}


def test_a_slot_stays_while_another_takes_no_mail() -> None:
    moving = observation(seen(0), replace(seen(1), pod_ready=False))
    assert evictable(CLAIMS, moving, {"node-a": CORDONED, "node-b": OPEN}) == frozenset()


def test_the_only_slot_of_a_lane_may_go_or_its_node_could_never_be_emptied() -> None:
    assert evictable((claim(0),), observation(seen(0)), {"node-a": CORDONED}) == {"otp-0"}


def test_slots_that_go_anyway_hold_nobody_up() -> None:
    going = (claim(0), claim(1, role=SlotRole.DRAINING))
    without = observation(seen(0), replace(seen(1), pod_ready=False))
    assert evictable(going, without, {"node-a": CORDONED}) == {"otp-0"}


def test_without_the_right_to_see_nodes_nobody_is_held_up() -> None:
    assert evictable(CLAIMS, observation(), None) == {claim.slot_name for claim in CLAIMS}
