"""Which slot hands its mail over before it restarts with another template: one of a lane at a time; pure.

    its turn     `roll` has found it; status says so (`restart`)
    handing over it takes nothing (421, out of the Service), and the lane's other slots get what it has
    handed over  it has nothing left, or has tried for long enough: its template is applied, and it opens again

A restart keeps the queue on its volume, so that nothing here is about loss: what waits in the slot is delivered
meanwhile, also where its new image never comes up. So it is bounded in time, and left out where nobody could deliver:
no other slot serves, the lane is suspended, or its policy is to keep mail where it is.
Invariants: a slot is closed only while every other one serves; the configuration that it restarts with is open again,
and no order to close is kept in its spool, so that it comes back to serve also where the operator has ended meanwhile.
Before it: `observe`, `evict`. After it: `desired_state`, which closes the slot; `roll`, which applies its template.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from lane_api.lane_status import RestartStatus
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Claim, Lane, Manifest, Observation, SlotObservation
from lane_operator.lifecycle.roll import Turn, is_behind, is_settled
from lane_operator.status.book import stamp

__all__ = ["Around", "handing_over", "restart_status"]


_PROVED_WITHIN_S: Final = 60.0
"""How long a slot that has just become ready is waited for: until it has answered and proved its address."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the lane's slots are, and how long one may take to hand its mail over."""

    lane: Lane
    claims: tuple[Claim, ...]
    observation: Observation
    live: Callable[[str], Manifest | None]
    """A slot's StatefulSet, by its name."""
    within_s: float
    """Seconds; 0: no slot hands anything over."""
    is_heard: bool
    """False: this process has not asked every slot yet; all stays as it is, whatever they would say."""

    def can_hand_over(self, name: str) -> bool:
        """Whether the slot's mail would be delivered by others meanwhile."""
        return self._may_hand_over(name) and any(map(self._takes_over, self._others(name)))

    def waits_for_sibling(self, name: str, now: dt.datetime) -> bool:
        """Whether another slot has just come back, and may take the mail over once it has been asked and is proved."""
        others = self._others(name)
        if not self._may_hand_over(name) or any(map(self._takes_over, others)):
            return False
        return any(self._has_just_come(one, now) for one in others)

    def _may_hand_over(self, name: str) -> bool:
        lane, seen = self.lane, self.observation.slot(name)
        if self.within_s <= 0 or lane.spec.drain.policy is not DrainPolicy.TRANSFER or lane.spec.suspend:
            return False
        if seen is None or not seen.reachable or not any(one.slot_name == name for one in self.claims):
            return False
        return all(map(self._serves, self._others(name)))

    def _others(self, name: str) -> list[Claim]:
        return [one for one in self.claims if one.takes_mail and one.slot_name != name]

    def _serves(self, other: Claim) -> bool:
        seen = self.observation.slot(other.slot_name)
        return seen is not None and seen.pod_ready and is_settled(self.live(other.slot_name))

    def _takes_over(self, other: Claim) -> bool:
        seen = self.observation.slot(other.slot_name)
        return seen is not None and seen.reachable and seen.may_send and not other.moves

    def _has_just_come(self, other: Claim, now: dt.datetime) -> bool:
        seen = self.observation.slot(other.slot_name)
        if seen is None or not seen.ready_since or other.moves:
            return False
        return (now - dt.datetime.fromisoformat(seen.ready_since)).total_seconds() < _PROVED_WITHIN_S

    def is_over(self, said: RestartStatus, now: dt.datetime) -> bool:
        """Whether it has nothing any more, or has tried for long enough."""
        lasts = now - dt.datetime.fromisoformat(said.since) if said.since else dt.timedelta()
        patience = min(self.lane.spec.drain.deadline, self.within_s)
        seen = self.observation.slot(said.slot)
        return lasts.total_seconds() >= patience or (seen is not None and _has_nothing(seen))


def handing_over(around: Around, now: dt.datetime) -> tuple[Claim, ...]:
    """The claims, that of the slot which hands its mail over now marked as such."""
    lane, said = around.lane, around.lane.status.restart
    if said is None or lane.deleting_since is not None or said.handed_over or is_behind(around.live(said.slot)):
        return around.claims
    goes_on = around.can_hand_over(said.slot) and not around.is_over(said, now)
    if not (goes_on if around.is_heard else said.since):
        return around.claims
    return tuple(replace(one, hands_over=True) if one.slot_name == said.slot else one for one in around.claims)


def restart_status(said: RestartStatus | None, turn: Turn, now: dt.datetime) -> RestartStatus | None:
    """What status says next; None: no slot waits to be restarted, or none would hand anything over."""
    if not turn.slot:
        return None
    if said is None or said.slot != turn.slot:
        return RestartStatus(slot=turn.slot, since=stamp(now))
    if turn.is_taken:
        return said.model_copy(update={"handed_over": True, "since": None})
    since = (said.since or stamp(now)) if turn.hands_over else None
    return said.model_copy(update={"since": since})


def _has_nothing(seen: SlotObservation) -> bool:
    """By its own word, which it gave with its intake closed, so that nothing comes any more."""
    under_way = seen.sessions or seen.in_flight or seen.queued
    return seen.is_fresh and seen.intake == "Closed" and not under_way
