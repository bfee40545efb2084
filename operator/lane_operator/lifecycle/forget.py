"""A slot whose volume is lost for good: given up by a person, who names the very claim; pure.

The one act here that loses mail. Invariants: nobody but a person asks for it; it is about one claim, by its uid, so
that the same word never hits the volume that comes after it; a slot that serves or answers has not lost its volume, nor
has one that did since it was asked; the lane has said for minutes that it will be done.
Before it: `slots`, and what `status/forgotten` has said. After it: `reconcile`, which deletes workload and claim; the
next passes make both anew, or let the slot go that was to go.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from lane_operator.inputs import Lane, Manifest
from lane_operator.lifecycle.drain import SlotFacts, Step, next_steps
from lane_operator.marks import slot_of
from lane_operator.status.book import stamp
from lane_operator.status.forgotten import asked_uid, is_given_up

__all__ = ["Act", "ForgetVolume", "acts", "forgotten", "without_forgotten"]

_GIVEN_UP = ("StatefulSet", "PersistentVolumeClaim")


@dataclass(frozen=True, slots=True)
class ForgetVolume:
    """Delete the slot's StatefulSet, and its claim of this uid with whatever the volume holds."""

    slot: str
    uid: str
    workload_uid: str | None


Act = Step | ForgetVolume
"""What may be decided about a slot."""


def acts(
    lane: Lane, slots: Iterable[SlotFacts], now: dt.datetime, *, terminating: bool, may_retain: bool
) -> tuple[Act, ...]:
    """What a person asks for, and the next steps of slots that go; see `drain.next_steps`."""
    slots = tuple(slots)
    steps = next_steps(lane, slots, terminating=terminating, may_retain=may_retain, at=stamp(now))
    return (*forgotten(lane, slots, now), *steps)


def forgotten(lane: Lane, slots: Iterable[SlotFacts], now: dt.datetime) -> tuple[ForgetVolume, ...]:
    """The slot whose volume is to be given up now; none where nobody asks, it serves, or it was not said so yet."""
    uid = asked_uid(lane)
    if not is_given_up(lane, now):
        return ()
    return tuple(
        ForgetVolume(slot.name, uid, slot.workload_uid)
        for slot in slots
        if slot.volume_uid == uid and not _serves(slot)
    )


def without_forgotten(manifests: Iterable[Manifest], done: Iterable[Act]) -> tuple[Manifest, ...]:
    """The manifests without workload and claim of slots that are given up in this pass."""
    slots = {one.slot for one in done if isinstance(one, ForgetVolume)}
    return tuple(one for one in manifests if one["kind"] not in _GIVEN_UP or slot_of(one) not in slots)


def _serves(slot: SlotFacts) -> bool:
    return slot.observation is not None and slot.observation.is_alive
