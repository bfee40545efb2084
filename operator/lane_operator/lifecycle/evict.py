"""Which slot leaves its node now, since that is to be emptied: one of a lane at a time; pure.

Its siblings get its mail first (it takes mail in meanwhile, and passes it on), then its PodDisruptionBudget lets it go.
Invariants: a slot that moves takes its volume along, so that what it did not get rid of is late and never lost; all
slots of a lane are never restarted at once, or nobody would take its mail; no node is held up for ever: not by a slot
that does not come back, be it since its own node is lost, or is this very one, nor by one that nobody evicts.
Before it: `observe`. After it: `desired_state`, which renders the slot's delivery and its budget, and `status`, which
keeps since when it is whose turn.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lane_api.queue import DrainPolicy
from lane_operator.inputs import Claim, Lane, NodeFacts, Observation, SlotObservation
from lane_operator.status.book import stamp
from lane_operator.status.patience import RESTART, over

__all__ = ["Evacuation", "evacuated", "leaving_nodes"]

FEW: Final = 100
"""Messages: what a busy slot has at any instant on the way to its siblings; it travels with the volume."""
_SETTLES: Final = dt.timedelta(seconds=10)
"""A slot that is visited every 5 s has spoken since it was told to hand over."""
_PATIENCE: Final = dt.timedelta(minutes=5)
"""Mail that nobody takes in so long moves with its volume."""
_TURN: Final = dt.timedelta(minutes=15)
"""A slot that nobody has evicted by then is on a node that was cordoned and is not emptied: another's turn comes."""


@dataclass(frozen=True, slots=True)
class Evacuation:
    """What is done in one lane about nodes that are to be emptied."""

    moving: str = ""
    """The slot that hands its mail to its siblings; empty: none."""
    lifted: frozenset[str] = frozenset()
    """Slots that may be evicted."""
    since: Mapping[str, str] = field(default_factory=dict)
    """Slots on nodes that are to be emptied, and when the turn of each began; who is missing has had none yet."""


def evacuated(
    lane: Lane,
    claims: Iterable[Claim],
    observation: Observation,
    nodes: Mapping[str, NodeFacts] | None,
    now: dt.datetime,
) -> Evacuation:
    """The first slot on a cordoned node, while every other active slot is ready, or will not be; else none.

    `nodes` None: we have no right to see which node is to be emptied, so that none may be held up for ever.
    """
    claims = tuple(claims)
    if nodes is None:
        return Evacuation(lifted=frozenset(claim.slot_name for claim in claims))
    around = _Around(lane, claims, observation, nodes, now)
    known = {one.name: one.leaving_since for one in lane.status.slots if one.leaving_since}
    leaving = [claim for claim in claims if around.is_leaving(claim)]
    since = {claim.slot_name: known[claim.slot_name] for claim in leaving if claim.slot_name in known}
    may = [claim for claim in leaving if around.may_leave(claim)]
    passed = frozenset(one.slot_name for one in may if over(since.get(one.slot_name, stamp(now)), _TURN, now))
    turn = next((claim for claim in may if claim.slot_name not in passed), may[0] if may else None)
    if turn is None:
        return Evacuation(since=since)
    name, began = turn.slot_name, since.get(turn.slot_name)
    since[name] = began or stamp(now)
    if not around.hands_over(turn):
        return Evacuation(lifted=passed | {name}, since=since)
    return Evacuation(name, passed | {name} if around.has_handed_over(name, began) else passed, since)


class _Around:
    """The lane's slots, and their nodes."""

    def __init__(
        self,
        lane: Lane,
        claims: tuple[Claim, ...],
        observation: Observation,
        nodes: Mapping[str, NodeFacts],
        now: dt.datetime,
    ) -> None:
        self._lane, self._claims, self._observation, self._nodes, self._now = lane, claims, observation, nodes, now
        self._waiting = {one.name: one.waiting_since for one in lane.status.slots if one.waiting_since}

    def is_leaving(self, claim: Claim) -> bool:
        """Whether its node is to be emptied."""
        return self._is_emptied(self._seen(claim).node)

    def may_leave(self, claim: Claim) -> bool:
        """Whether the others serve, but those who will not whatever this one does."""
        return all(self._seen(one).pod_ready or self._is_given_up(one) for one in self._others(claim))

    def hands_over(self, claim: Claim) -> bool:
        """Whether others get its mail first; who does not serve has nothing that it could hand over."""
        seen, takers = self._seen(claim), [one for one in self._others(claim) if self._seen(one).pod_ready]
        transfers = self._lane.spec.drain.policy is DrainPolicy.TRANSFER
        return bool(takers) and transfers and seen.pod_ready and seen.reachable

    def has_handed_over(self, name: str, began: str | None) -> bool:
        """Whether it has next to nothing any more, or has tried for long enough; it was told to when its turn began."""
        if began is None:
            return False
        lasts, seen = self._now - dt.datetime.fromisoformat(began), self._observation.slot(name)
        patience = dt.timedelta(seconds=min(self._lane.spec.drain.deadline, _PATIENCE.total_seconds()))
        few = seen is not None and seen.is_fresh and seen.queued <= FEW
        return lasts >= patience or (lasts >= _SETTLES and few)

    def _others(self, claim: Claim) -> list[Claim]:
        return [one for one in self._claims if one.takes_mail and one.slot_name != claim.slot_name]

    def _is_given_up(self, claim: Claim) -> bool:
        """Whether it has been away for so long that nobody waits, or comes back only with a node that is emptied."""
        seen, home = self._seen(claim), claim.address.node if claim.address is not None else None
        if home and self._is_emptied(home) and not seen.node:
            return True
        since = seen.unready_since or self._waiting.get(claim.slot_name, "")  # without a pod, where a quota forbids it
        return bool(since) and over(since, RESTART, self._now)

    def _is_emptied(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.unschedulable

    def _seen(self, claim: Claim) -> SlotObservation:
        return self._observation.slot(claim.slot_name) or SlotObservation(claim.slot_name)


def leaving_nodes(claims: Iterable[Claim], evacuation: Evacuation) -> tuple[Claim, ...]:
    """The claims, that of the slot which hands its mail over marked as such."""
    return tuple(replace(one, moves=True) if one.slot_name == evacuation.moving else one for one in claims)
