"""The PodDisruptionBudget of one slot: nobody evicts it before its turn.

It forbids eviction until the operator lifts it, slot by slot, once a node is to be emptied: a slot that restarts loses
nothing, but a lane whose slots all restart at once takes no mail.
"""

from lane_api.names import LANE_LABEL, SLOT_LABEL
from lane_operator.inputs import Lane, Manifest

__all__ = ["disruption_budget"]


def disruption_budget(lane: Lane, slot: str, *, lifted: bool) -> Manifest:
    """The budget; a slot that is broken anyway may always be evicted, or it would block the node."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": slot},
        "spec": {
            "maxUnavailable": 1 if lifted else 0,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {LANE_LABEL: lane.name, SLOT_LABEL: slot}},
        },
    }
