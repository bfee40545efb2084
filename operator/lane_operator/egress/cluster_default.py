"""ClusterDefault: the slot's traffic leaves from whatever address the cluster gives it; for trying out."""

from lane_operator.egress.claims import EngineClaim, Limits, SlotClaim
from lane_operator.inputs import Refusal

__all__ = ["LIMITS", "claim"]

LIMITS = Limits(
    source_check="",
    leaks_at_start=False,
    texts=("the source address is shared with the rest of the cluster, so ISPs see one sender for all lanes",),
)


def claim(_slot: SlotClaim) -> EngineClaim | Refusal:
    """Nothing to do, and nothing to prove."""
    return EngineClaim()
