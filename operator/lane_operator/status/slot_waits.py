"""Slots that do not serve as asked yet: what each waits for, since when, and when that becomes a person's matter; pure.

A lane of many slots restarts one at a time, so the clock is the slot's own (`waitingSince` in its status), and it
stands still while the slot waits for its turn. A new generation of the lane starts it anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lane_api.conditions import Reason
from lane_operator.inputs import Claim, Refusal, SlotObservation
from lane_operator.status.book import stamp
from lane_operator.status.patience import RESTART, over
from lane_operator.status.slots import egress_reason, is_proved, is_to_restart, slot_trouble
from lane_operator.status.view import View

__all__ = ["SlotWaits", "slot_waits"]

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
    since: Mapping[str, str]
    """By slot: since when it does not serve as asked; none for a slot that waits for its turn."""
    wrong: Reason | None = None
    """What no wait mends: a configuration that is refused, an address that is not what is seen, a closed port."""


_NOTHING = SlotWaits((), (), Reason.WAITING_FOR_SLOTS, (), {})


def slot_waits(view: View) -> SlotWaits:
    """What the lane's slots wait for."""
    active = view.active
    taking = frozenset(claim.slot_name for claim in active)
    standby = [one for one in view.standby if one.slot_name not in taking and one.quarantine is None]
    waiting, later = [], []
    for claim in (*active, *standby):
        seen = view.observation.slot(claim.slot_name)
        takes = claim.slot_name in taking
        cause = None if claim.hands_over else _cause(view, seen, takes=takes)
        if cause is not None:
            waiting.append((claim, cause))
        elif claim.hands_over or (seen is not None and seen.rolling and takes):
            later.append(claim.slot_name)
    if not waiting and not later:
        return _NOTHING
    since = _since(view, (claim.slot_name for claim, _ in waiting))
    proof = bool(waiting) and all(cause in _OF_PROOF for _, cause in waiting)
    return SlotWaits(
        waiting=tuple(claim.slot_name for claim, _ in waiting if claim.slot_name in taking),
        moving=tuple(sorted([*(claim.slot_name for claim, _ in waiting), *later])),
        reason=Reason.WAITING_FOR_PROOF if proof else Reason.WAITING_FOR_SLOTS,
        stuck=tuple(
            Refusal(cause, _message(view, claim, cause, since[claim.slot_name]))
            for claim, cause in waiting
            if claim.slot_name in since and over(since[claim.slot_name], RESTART, view.now)
        ),
        since=since,
        wrong=next((cause for _, cause in waiting if cause in _WRONG), None),
    )


def _since(view: View, names: Iterable[str]) -> dict[str, str]:
    """Since when each of these does not serve as asked; a lane that is being deleted has no such clocks."""
    if view.lane.deleting_since is not None:
        return {}
    status = view.lane.status
    known = {one.name: one.waiting_since for one in status.slots}
    if status.observed_generation != view.lane.generation:
        known = {}
    return {name: known.get(name) or stamp(view.now) for name in names}


_WRONG = {Reason.REFUSED, Reason.MISMATCH, Reason.PORT_BLOCKED}
_OF_PROOF = {Reason.PROBE_FAILED, Reason.NOT_PROBED, Reason.MISMATCH, Reason.PORT_BLOCKED}


def _cause(view: View, seen: SlotObservation | None, *, takes: bool) -> Reason | None:
    """Why the slot does not serve as asked, as Stalled will say it; None where it does, or waits for its turn.

    The pod of a slot that takes no mail is never ready, so its StatefulSet never says that it has restarted either.
    """
    if seen is None or (takes and (not seen.pod_ready or (seen.rolling and not seen.rolls_later))):
        return Reason.SLOT_NOT_READY
    if not seen.reachable and not seen.is_asked and view.desired.refusals:
        return None  # what is missing says so itself
    if not seen.reachable:
        return Reason.SLOT_UNREACHABLE
    if is_to_restart(seen):
        return None if seen.rolls_later else Reason.SLOT_BEHIND
    if seen.config_refused:
        return Reason.REFUSED
    if not is_proved(seen):
        return egress_reason([seen])[1]
    return Reason.SLOT_BEHIND if seen.config_generation < view.lane.generation else None


def _message(view: View, claim: Claim, cause: Reason, since: str) -> str:
    seen = view.observation.slot(claim.slot_name)
    text = slot_trouble(view.lane, claim, seen)
    if not text:
        why = f" ({seen.config_refused})" if seen is not None and seen.config_refused else ""
        behind = f"has not taken generation {view.lane.generation}{why}"
        text = "does not restart" if cause is Reason.SLOT_NOT_READY else behind
    step = _STEPS.get(cause, "").format(slot=claim.slot_name)
    return f"{claim.slot_name} {text}, and so it has been since {since}" + (f": {step}" if step else "")
