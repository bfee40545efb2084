"""NodeLost: slots whose node does not answer, or is gone, and what a person does where it will not come back; pure.

Only tells: the slot says by itself that it does not serve, and the others do. Such a slot is nobody's to move but a
person's, for a node that only its network has left may send on: the same address would be in two places.
"""

from lane_api.conditions import ConditionType, Reason
from lane_operator.inputs import SlotObservation
from lane_operator.status.book import Book
from lane_operator.status.figures import rounded
from lane_operator.status.view import View

__all__ = ["put_node_loss"]


def put_node_loss(book: Book, view: View) -> None:
    """The verdict on NodeLost."""
    nodes = view.references.nodes
    if not nodes:  # no right to see them
        return
    slots = [seen for seen in view.observation.slots if seen.node and not seen.pod_ready and not seen.stopped]
    silent = [seen for seen in slots if (node := nodes.get(seen.node)) is not None and not node.ready]
    gone = [seen for seen in slots if seen.node not in nodes]
    if silent:
        pods = " ".join(f"{seen.name}-0" for seen in silent)
        message = (
            f"{_of(silent)}; the other slots serve, and mail on its volume waits for it. It goes on by itself when the "
            "node is back. Nothing moves it before a person says that the node runs nothing any more: taint it "
            "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, or delete the Node, or `kubectl delete pod "
            f"{pods} -n {view.lane.namespace} --force` (docs/addresses.md)"
        )
        book.put(ConditionType.NODE_LOST, True, Reason.NODE_NOT_READY, message)
    elif gone:
        message = f"{_of(gone)}; its pod is placed anew where its volume and its address let it"
        book.put(ConditionType.NODE_LOST, True, Reason.NODE_GONE, message)


def _of(slots: list[SlotObservation]) -> str:
    """Which slots, where, and with how much mail by their last words."""
    return ", ".join(f"{one.name} is on node {one.node} with about {rounded(one.queued)} messages" for one in slots)
