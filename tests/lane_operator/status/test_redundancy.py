"""NoRedundancy names what helps where the lane stands: another node, the one that is there, or another address."""

from dataclasses import replace

import pytest

from lane_operator.inputs import Claim, NodeFacts
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, status

HERE = NodeFacts("192.0.2.10")


def said(nodes: dict[str, NodeFacts], *claims: Claim) -> str:
    seen = made.observation(made.seen(0, node="node-a"), made.seen(1, node="node-a"))
    given = made.assignment(*claims) if claims else None
    return message(status(seen=seen, claims=given, references={"nodes": nodes}), "NoRedundancy")


def test_where_another_node_is_ready_the_slot_is_placed_anew() -> None:
    text = said({"node-a": HERE, "node-b": NodeFacts("192.0.2.11")})

    assert "all slots run on node node-a and fail with it: node node-b is Ready" in text
    assert "delete pod otp-1-0 and it is placed anew" in text
    assert "another node" not in text


@pytest.mark.parametrize("other", [NodeFacts("192.0.2.11", ready=False), NodeFacts("192.0.2.11", unschedulable=True)])
def test_a_node_that_takes_no_pod_is_no_way_out(other: NodeFacts) -> None:
    assert said({"node-a": HERE, "node-b": other}).endswith("give the cluster another node")


def test_nobody_who_may_not_read_nodes_is_told_that_there_is_no_other() -> None:
    assert said({}).endswith("give the cluster another node, or delete pod otp-1-0 where it has one")


def test_addresses_that_are_their_nodes_need_another_address() -> None:
    there = [made.claim(index, "HostNetwork") for index in (0, 1)]
    bound = [replace(one, address=one.address.model_copy(update={"node": "node-a"})) for one in there if one.address]

    text = said({"node-a": HERE, "node-b": NodeFacts("192.0.2.11")}, *bound)
    assert text.endswith("give the pool an address on another one")
