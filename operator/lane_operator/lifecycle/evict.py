"""Which slot may be evicted now, since its node is to be emptied: one of a lane at a time; pure.

Otherwise a slot's PodDisruptionBudget forbids it. A slot that moves takes its volume along and loses nothing; what must
not happen is that all slots of a lane restart at once, and nobody takes its mail.
"""

from collections.abc import Iterable, Mapping

from lane_operator.inputs import Claim, NodeFacts, Observation

__all__ = ["evictable"]


def evictable(
    claims: Iterable[Claim], observation: Observation, nodes: Mapping[str, NodeFacts] | None
) -> frozenset[str]:
    """The first slot on a cordoned node, while every other active slot is ready; else none.

    `nodes` None: we have no right to see which node is to be emptied, so that none may be held up for ever.
    """
    claims = tuple(claims)
    if nodes is None:
        return frozenset(claim.slot_name for claim in claims)
    for claim in claims:
        seen = observation.slot(claim.slot_name)
        node = nodes.get(seen.node) if seen is not None else None
        if node is None or not node.unschedulable:
            continue
        others = [one for one in claims if one.takes_mail and one != claim]
        if all((slot := observation.slot(one.slot_name)) and slot.pod_ready for one in others):
            return frozenset({claim.slot_name})
        return frozenset()
    return frozenset()
