"""Slots that do not serve as asked yet: what each waits for, since when, and when that becomes a person's matter; pure.

A lane of many slots restarts one at a time, so the clock is the slot's own (`waitingSince` in its status), and it
stands still while the slot waits for its turn. A new generation of the lane starts it anew.
"""

from dataclasses import dataclass

from lane_api.conditions import Reason
from lane_operator.inputs import Claim, Refusal, SlotObservation
from lane_operator.status.book import stamp
from lane_operator.status.patience import RESTART, over
from lane_operator.status.slots import egress_reason, is_proved, slot_trouble
from lane_operator.status.view import View

__all__ = ["SlotWaits", "slot_waits", "waiting_since"]

_STEPS = {
    Reason.SLOT_NOT_READY: "see `kubectl describe pod {slot}-0`",
    Reason.SLOT_UNREACHABLE: "see its log, and whether a NetworkPolicy keeps the operator from it",
    Reason.REFUSED: "correct the spec",
    Reason.SLOT_BEHIND: "see its log and the operator's",
}
"""What a person does about it; an egress that is not proved says so itself."""


@dataclass(frozen=True, slots=True)
class SlotWaits:
    """The slots of one lane that do not serve as asked."""

    waiting: tuple[str, ...]
    """Active ones, by name, that wait for something else than their turn to restart: they make the lane less ready."""
    moving: tuple[str, ...]
    """All of them, and standby slots likewise."""
    reason: Reason
    """Of Reconciling, while there is hope."""
    stuck: tuple[Refusal, ...]
    """Those for which there is none."""


def slot_waits(view: View) -> SlotWaits:
    """What the lane's slots wait for."""
    found = [(claim, _cause(view, view.observation.slot(claim.slot_name))) for claim in _judged(view)]
    waiting = [(claim, cause) for claim, cause in found if cause is not None]
    later = [claim.slot_name for claim, cause in found if cause is None and _rolls(view, claim)]
    stuck = []
    for claim, cause in waiting:
        since = waiting_since(view, claim)
        if view.lane.deleting_since is None and since is not None and over(since, RESTART, view.now):
            stuck.append(Refusal(cause, _message(view, claim, cause, since)))
    proof = bool(waiting) and all(cause in _OF_PROOF for _, cause in waiting)
    return SlotWaits(
        waiting=tuple(claim.slot_name for claim, _ in waiting if claim in view.active),
        moving=tuple(sorted([*(claim.slot_name for claim, _ in waiting), *later])),
        reason=Reason.WAITING_FOR_PROOF if proof else Reason.WAITING_FOR_SLOTS,
        stuck=tuple(stuck),
    )


def waiting_since(view: View, claim: Claim) -> str | None:
    """Since when the slot does not serve as asked; None where it does, waits for its turn, or is to go."""
    if claim not in _judged(view) or view.lane.deleting_since is not None:
        return None
    if _cause(view, view.observation.slot(claim.slot_name)) is None:
        return None
    status = view.lane.status
    known = {one.name: one.waiting_since for one in status.slots}
    same = status.observed_generation == view.lane.generation
    return (known.get(claim.slot_name) if same else None) or stamp(view.now)


def _judged(view: View) -> tuple[Claim, ...]:
    """Slots that are to serve, or to be ready to."""
    active = view.active
    return (*active, *(one for one in view.standby if one not in active and one.quarantine is None))


_OF_PROOF = {Reason.PROBE_FAILED, Reason.MISMATCH, Reason.PORT_BLOCKED}


def _cause(view: View, seen: SlotObservation | None) -> Reason | None:
    """Why the slot does not serve as asked, as Stalled will say it; None where it does, or waits for its turn."""
    if seen is None or not seen.pod_ready or (seen.rolling and not seen.rolls_later):
        return Reason.SLOT_NOT_READY
    if not seen.reachable:
        return Reason.SLOT_UNREACHABLE
    if seen.config_refused:
        return Reason.REFUSED
    if not is_proved(seen):
        return egress_reason([seen])[1]
    return Reason.SLOT_BEHIND if seen.config_generation < view.lane.generation else None


def _rolls(view: View, claim: Claim) -> bool:
    seen = view.observation.slot(claim.slot_name)
    return seen is not None and seen.rolling


def _message(view: View, claim: Claim, cause: Reason, since: str) -> str:
    text = slot_trouble(view.lane, claim, view.observation.slot(claim.slot_name))
    if not text:
        text = (
            "does not restart" if cause is Reason.SLOT_NOT_READY else f"has not taken generation {view.lane.generation}"
        )
    step = _STEPS.get(cause, "").format(slot=claim.slot_name)
    return f"{claim.slot_name} {text}, and so it has been since {since}" + (f": {step}" if step else "")
