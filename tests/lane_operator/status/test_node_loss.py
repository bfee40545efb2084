"""A slot on a node that is lost is named with what a person may do, and moves by nobody else's will."""

from typing import Any

from lane_operator.inputs import NodeFacts
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status, verdict

UP = NodeFacts("192.0.2.11")
SILENT = {"nodes": {"node-a": NodeFacts("192.0.2.10", ready=False), "node-b": UP}}
LOST = made.observation(made.seen(0, pod_ready=False, reachable=False, queued=1234), made.seen(1))


def said(references: dict[str, Any], *, ready: bool = False) -> Any:
    return status(settled(), made.observation() if ready else LOST, references=references)


def test_a_slot_on_a_node_that_does_not_answer_is_told_with_the_three_ways_on() -> None:
    found = said(SILENT)
    assert verdict(found, "NodeLost") == ("True", "NodeNotReady")
    text = message(found, "NodeLost")
    assert text.startswith("otp-0 is on node node-a with about 1200 messages; the other slots serve")
    for way in ("out-of-service=nodeshutdown:NoExecute", "delete the Node", "delete pod otp-0-0 -n mail --force"):
        assert way in text


def test_a_node_that_was_deleted_is_told_until_the_slot_is_elsewhere() -> None:
    found = said({"nodes": {"node-b": UP}})
    assert verdict(found, "NodeLost") == ("True", "NodeGone")
    assert "placed anew where its volume and its address let it" in message(found, "NodeLost")


def test_nothing_is_said_of_nodes_that_are_well_nor_of_slots_that_serve_nor_without_the_right_to_look() -> None:
    both = {"nodes": {"node-a": UP, "node-b": UP}}
    assert verdict(said(both), "NodeLost") is None
    assert verdict(said(SILENT, ready=True), "NodeLost") is None
    assert verdict(said({"nodes": {}}), "NodeLost") is None
