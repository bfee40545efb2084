"""NoRedundancy: what the lane loses with one slot or one node, and what helps where it stands; pure."""

from lane_api.conditions import ConditionType, Reason
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["put_redundancy"]


def put_redundancy(book: Book, view: View) -> None:
    """The verdict on NoRedundancy, which only tells."""
    spec = view.lane.spec
    nodes = [seen.node for claim in view.active if (seen := view.observation.slot(claim.slot_name)) and seen.node]
    if spec.replicas == 1 and spec.traffic_class == "Transactional":
        message = "one slot: while it restarts no mail is taken. Set replicas to 2 or more"
        book.put(ConditionType.NO_REDUNDANCY, True, Reason.SINGLE_SLOT, message)
    elif len(nodes) > 1 and len(set(nodes)) == 1:
        message = f"all slots run on node {nodes[0]} and fail with it: {_way_out(view, nodes[0])}"
        book.put(ConditionType.NO_REDUNDANCY, True, Reason.SINGLE_NODE, message)


def _way_out(view: View, node: str) -> str:
    """What a person does to have the slots apart."""
    last = view.active[-1]
    if last.address is not None and last.address.node:
        return "each address of the pool names its node; give the pool an address on another one"
    known = view.references.nodes
    if not known:
        return f"give the cluster another node, or delete pod {last.slot_name}-0 where it has one"
    others = [name for name, one in known.items() if name != node and one.ready and not one.unschedulable]
    if not others:
        return "give the cluster another node"
    several = "" if len(others) == 1 else f" and {len(others) - 1} more"
    return (
        f"node {min(others)}{several} is Ready; where spec.pod and taints let the lane run there, delete pod "
        f"{last.slot_name}-0 and it is placed anew; if it comes back here, its volume is local to the node "
        "(docs/addresses.md, Where slots run)"
    )
