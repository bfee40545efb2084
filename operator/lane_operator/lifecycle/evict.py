"""Which slot leaves its node now, since that is to be emptied: one of a lane at a time; pure.

Its siblings get its mail first (it takes mail in meanwhile, and passes it on), then its PodDisruptionBudget lets it go.
Invariants: a slot that moves takes its volume along, so that what it did not get rid of is late and never lost; all
slots of a lane are never restarted at once, or nobody would take its mail; no node is held up for ever.
Before it: `observe`. After it: `desired_state`, which renders the slot's delivery and its budget.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lane_api.conditions import ConditionType, Reason
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Claim, Lane, NodeFacts, Observation, SlotObservation

__all__ = ["Evacuation", "evacuated", "leaving_nodes"]

FEW: Final = 100
"""Messages: what a busy slot has at any instant on the way to its siblings; it travels with the volume."""
_SETTLES: Final = dt.timedelta(seconds=10)
"""A slot that is visited every 5 s has spoken since it was told to hand over."""
_PATIENCE: Final = dt.timedelta(minutes=5)
"""Mail that nobody takes in so long moves with its volume."""


@dataclass(frozen=True, slots=True)
class Evacuation:
    """What is done in one lane about nodes that are to be emptied."""

    moving: str = ""
    """The slot that hands its mail to its siblings; empty: none."""
    lifted: frozenset[str] = frozenset()
    """Slots that may be evicted."""


def evacuated(
    lane: Lane,
    claims: Iterable[Claim],
    observation: Observation,
    nodes: Mapping[str, NodeFacts] | None,
    now: dt.datetime,
) -> Evacuation:
    """The first slot on a cordoned node, while every other active slot is ready; else none.

    `nodes` None: we have no right to see which node is to be emptied, so that none may be held up for ever.
    """
    claims = tuple(claims)
    if nodes is None:
        return Evacuation(lifted=frozenset(claim.slot_name for claim in claims))
    for claim in claims:
        seen = observation.slot(claim.slot_name)
        node = nodes.get(seen.node) if seen is not None else None
        if seen is None or node is None or not node.unschedulable:
            continue
        others = [one for one in claims if one.takes_mail and one != claim]
        if not all((slot := observation.slot(one.slot_name)) and slot.pod_ready for one in others):
            return Evacuation()
        hands_over = bool(others) and lane.spec.drain.policy is DrainPolicy.TRANSFER and seen.pod_ready
        if not hands_over or not seen.reachable:
            return Evacuation(lifted=frozenset({claim.slot_name}))
        return Evacuation(claim.slot_name, frozenset({claim.slot_name} if _may_go(lane, seen, now) else ()))
    return Evacuation()


def leaving_nodes(claims: Iterable[Claim], evacuation: Evacuation) -> tuple[Claim, ...]:
    """The claims, that of the slot which hands its mail over marked as such."""
    return tuple(replace(one, moves=True) if one.slot_name == evacuation.moving else one for one in claims)


def _may_go(lane: Lane, seen: SlotObservation, now: dt.datetime) -> bool:
    """Whether it has next to nothing any more, or has tried for long enough."""
    began = _began(lane)
    if began is None:
        return False
    lasts = now - began
    patience = dt.timedelta(seconds=min(lane.spec.drain.deadline, _PATIENCE.total_seconds()))
    return lasts >= patience or (lasts >= _SETTLES and seen.is_fresh and seen.queued <= FEW)


def _began(lane: Lane) -> dt.datetime | None:
    """Since when a slot of the lane hands its mail over for its node's sake; None: it was not told to yet."""
    said = next((one for one in lane.status.conditions if one.type == ConditionType.DRAINING), None)
    if said is None or said.reason != Reason.NODE_DRAIN or not said.last_transition_time:
        return None
    return dt.datetime.fromisoformat(said.last_transition_time)
