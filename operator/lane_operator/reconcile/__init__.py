"""One pass over one object: references -> desired -> apply -> observe -> status; `lane.py` has them on one screen."""

from lane_operator.reconcile.lane import reconcile_lane
from lane_operator.reconcile.passes import run_pass
from lane_operator.reconcile.policy import reconcile_policy
from lane_operator.reconcile.pool import reconcile_pool
from lane_operator.reconcile.wake import everything, woken_by
from lane_operator.reconcile.world import NeverWentBack, QueueKey, World

__all__ = [
    "NeverWentBack",
    "QueueKey",
    "World",
    "everything",
    "reconcile_lane",
    "reconcile_policy",
    "reconcile_pool",
    "run_pass",
    "woken_by",
]
