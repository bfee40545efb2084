"""A node that is to be emptied: one slot of a lane at a time gives its mail to the others, then it may go."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lane_api.conditions import Condition
from lane_api.lane_status import LaneStatus, SlotRole, SlotStatus
from lane_operator.inputs import Claim, Desired, Lane, NodeFacts, Observation
from lane_operator.lifecycle import Evacuation, evacuated, leaving_nodes
from lane_operator.observe import pod_observation
from lane_operator.status import lane_status
from lane_operator.status.book import stamp
from tests.lane_operator.made import NOW, assignment, claim, lane, observation, pool, references, seen

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


def ago(minutes: float) -> str:
    return stamp(NOW - dt.timedelta(minutes=minutes))


def handing_over_since(minutes: float, *others: SlotStatus, **changes: Any) -> Lane:
    """A lane whose status says that it has been otp-0's turn for so long."""
    first = SlotStatus(name="otp-0", leaving_since=ago(minutes))
    return lane(status=LaneStatus(slots=(first, *others)), **changes)


def lifted(found: Evacuation) -> set[str]:
    return set(found.lifted)


def test_nobody_is_evicted_while_no_node_is_cordoned() -> None:
    assert found({"node-a": OPEN, "node-b": OPEN}) == Evacuation()


def test_the_slot_on_a_cordoned_node_gives_its_mail_away_before_it_may_go() -> None:
    empty, begun = observation(seen(0, queued=3), seen(1)), handing_over_since(1)
    at_first = Evacuation("otp-0", since={"otp-0": stamp(NOW)})
    assert found(ONE_GOES, FULL) == at_first
    assert found(ONE_GOES, empty) == at_first, "what it says is older than the order to hand over"
    assert found(ONE_GOES, FULL, of=begun) == Evacuation("otp-0", since={"otp-0": ago(1)})
    assert found(ONE_GOES, empty, of=begun) == Evacuation("otp-0", frozenset({"otp-0"}), {"otp-0": ago(1)})


def test_words_that_are_old_do_not_let_it_go() -> None:
    begun = handing_over_since(1)
    assert lifted(found(ONE_GOES, observation(seen(0, is_fresh=False), seen(1)), of=begun)) == set()


def test_what_the_others_do_not_take_holds_a_node_up_for_minutes_only() -> None:
    assert found(ONE_GOES, FULL, of=handing_over_since(4)).lifted == frozenset()
    assert found(ONE_GOES, FULL, of=handing_over_since(5)).lifted == {"otp-0"}
    hasty = handing_over_since(2, drain={"deadline": "1m"})
    assert found(ONE_GOES, FULL, of=hasty).lifted == {"otp-0"}


def test_a_slot_that_keeps_its_mail_goes_with_it_at_once() -> None:
    for policy in ("Wait", "Hold"):
        gone = found(ONE_GOES, FULL, of=lane(drain={"policy": policy}))
        assert (gone.moving, lifted(gone)) == ("", {"otp-0"})


def test_a_slot_that_does_not_serve_has_nothing_to_wait_for() -> None:
    for broken in (seen(0, pod_ready=False), seen(0, reachable=False)):
        assert found(ONE_GOES, observation(broken, seen(1))).lifted == {"otp-0"}


def test_of_two_slots_on_cordoned_nodes_one_goes_first() -> None:
    both = {"node-a": CORDONED, "node-b": CORDONED}
    assert found(both, of=handing_over_since(1)) == Evacuation("otp-0", frozenset({"otp-0"}), {"otp-0": ago(1)})


def test_a_slot_stays_while_another_takes_no_mail() -> None:
    moving = observation(seen(0), replace(seen(1), pod_ready=False))
    assert found(ONE_GOES, moving) == Evacuation()


def test_a_node_is_not_held_up_for_ever_by_a_slot_that_does_not_come_back() -> None:
    """Its node is lost, or it waits for the very node that is emptied, as with a local volume."""
    for node in ("", "lost"):
        for minutes, goes in ((9.9, set()), (10, {"otp-0"})):
            away = observation(
                seen(0), seen(1, pod_ready=False, reachable=False, node=node, unready_since=ago(minutes))
            )
            gone = found(ONE_GOES, away)
            assert (gone.moving, lifted(gone)) == ("", goes), "nobody is left who could take its mail"
    unknown = observation(seen(0), seen(1, pod_ready=False, node=""))
    assert found(ONE_GOES, unknown) == Evacuation(), "it has no pod at this moment"
    for minutes, goes in ((9, set()), (10, {"otp-0"})):
        told = SlotStatus(name="otp-1", waiting_since=ago(minutes))
        assert lifted(found(ONE_GOES, unknown, of=lane(status=LaneStatus(slots=(told,))))) == goes, "nor gets one"


def test_of_two_slots_whose_addresses_are_on_the_node_the_second_does_not_wait_for_the_first() -> None:
    both = (claim(0, "HostNetwork"), claim(1, "HostNetwork"))
    pending = seen(0, pod_ready=False, reachable=False, node="", unready_since=ago(0.1))
    assert lifted(found(ONE_GOES, observation(pending, seen(1, node="node-a")), both)) == {"otp-1"}
    elsewhere = {"node-a": OPEN, "node-b": CORDONED}
    assert lifted(found(elsewhere, observation(pending, seen(1)), both)) == set()


def test_a_scale_in_beside_it_does_not_stop_the_clock() -> None:
    said = Condition(type="Draining", status="True", reason="ScaleIn", last_transition_time=ago(500))
    begun = handing_over_since(5)
    begun = replace(begun, status=begun.status.model_copy(update={"conditions": (said,)}))
    going = (*CLAIMS, claim(2, role=SlotRole.DRAINING))
    assert lifted(found(ONE_GOES, FULL, going, begun)) == {"otp-0"}


def test_a_node_that_is_only_cordoned_holds_up_no_other_one_for_ever() -> None:
    both = {"node-a": CORDONED, "node-b": CORDONED}
    gone = found(both, of=handing_over_since(14.9))
    assert (gone.moving, lifted(gone)) == ("otp-0", {"otp-0"})
    gone = found(both, of=handing_over_since(15))
    assert (gone.moving, lifted(gone)) == ("otp-1", {"otp-0"})
    assert gone.since == {"otp-0": ago(15), "otp-1": stamp(NOW)}
    second = SlotStatus(name="otp-1", leaving_since=ago(1))
    assert lifted(found(both, of=handing_over_since(16, second))) == {"otp-0", "otp-1"}
    late = SlotStatus(name="otp-1", leaving_since=ago(15))
    assert found(both, of=handing_over_since(30, late)).moving == "otp-0", "somebody hands over, or none would go"
    assert found(ONE_GOES, of=handing_over_since(999)).moving == "otp-0"


def test_who_was_not_evicted_in_his_turn_may_not_be_while_another_restarts() -> None:
    away = observation(seen(0), seen(1, pod_ready=False, unready_since=ago(1)))
    assert lifted(found(ONE_GOES, away, of=handing_over_since(60))) == set()


def test_a_turn_ends_with_the_cordon() -> None:
    assert found({"node-a": OPEN, "node-b": OPEN}, of=handing_over_since(3)) == Evacuation()


@given(
    st.lists(
        st.tuples(st.sampled_from(["node-a", "node-b", "lost", ""]), st.booleans(), st.integers(0, 40)),
        min_size=1,
        max_size=4,
    ),
    st.sets(st.sampled_from(["node-a", "node-b"])),
    st.sampled_from(["Transfer", "Wait", "Hold"]),
)
def test_whatever_is_away_each_slot_may_leave_its_node_within_the_hours(
    slots: list[tuple[str, bool, int]], cordoned: set[str], policy: str
) -> None:
    """Nobody is evicted, nobody comes back, and queues stay full."""
    claims = tuple(claim(index) for index in range(len(slots)))
    nodes = {name: CORDONED if name in cordoned else OPEN for name in ("node-a", "node-b")}
    at = observation(
        *(
            seen(
                index,
                pod_ready=ready,
                reachable=ready,
                node=node,
                queued=9999,
                unready_since="" if ready else ago(away),
            )
            for index, (node, ready, away) in enumerate(slots)
        )
    )
    of, gone = lane(drain={"policy": policy}), Evacuation()
    for minute in range(0, 120, 5):
        gone = evacuated(of, claims, at, nodes, NOW + dt.timedelta(minutes=minute))
        assert lifted(gone) <= gone.since.keys(), "only who is to leave"
        told = tuple(SlotStatus(name=name, leaving_since=since) for name, since in gone.since.items())
        of = replace(of, status=LaneStatus(slots=told))
    leaving = {f"otp-{index}" for index, (node, _, _) in enumerate(slots) if node in cordoned}
    assert lifted(gone) == leaving


def test_the_only_slot_of_a_lane_goes_with_its_mail_or_its_node_could_never_be_emptied() -> None:
    alone = observation(seen(0, queued=5000))
    gone = found({"node-a": CORDONED}, alone, (claim(0),))
    assert (gone.moving, lifted(gone)) == ("", {"otp-0"})


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


def test_the_lane_says_whose_turn_it_is_and_since_when() -> None:
    of = lane()
    desired = Desired(leaving={"otp-0": ago(3)})
    told = lane_status(of, references(of, pool()), assignment(), desired, observation(), NOW)
    assert [one.leaving_since for one in told.slots] == [ago(3), None]


def test_a_pod_says_since_when_it_is_not_ready_or_when_it_was_made() -> None:
    made = {"name": "otp-0-0", "uid": "p1", "creationTimestamp": ago(9)}
    pod: dict[str, Any] = {"metadata": made, "spec": {}, "status": {}}
    assert pod_observation("otp-0", pod, None, "").unready_since == ago(9)
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": ago(4)}]
    assert pod_observation("otp-0", pod, None, "").unready_since == ago(4)
    pod["status"]["conditions"][0]["status"] = "True"
    assert pod_observation("otp-0", pod, None, "").unready_since == ""
    assert pod_observation("otp-0", None, seen(0, unready_since=ago(4)), "").unready_since == ""
