"""VolumeForgotten: what became of a person's word that a volume is lost for good; pure.

Stands as long as the annotation does. Invariants: a word about a volume from which its slot has served since is refused
for as long as it stands, or it would lose that mail at the slot's next restart, months later; no volume is given up
before it was said for a while that it will be.
Before it: what was seen. After it: `lifecycle/forget`, which gives up what was said for long enough.
"""

import datetime as dt
from typing import Final

from lane_api.conditions import Condition, ConditionType, Reason
from lane_api.moment import moment
from lane_api.names import RELEASE_ANNOTATION, RELEASE_FORGET_SLOT
from lane_operator.inputs import Lane
from lane_operator.status.book import Book, find, stamp
from lane_operator.status.figures import rounded
from lane_operator.status.view import View

__all__ = ["SERVES_NOT_FOR", "asked_uid", "is_given_up", "put_forgotten"]

SERVES_NOT_FOR: Final = dt.timedelta(minutes=5)
"""For a slot that only restarts, or whose node is away for a moment, while somebody takes its volume for lost."""
_ENOUGH = f"; take the annotation {RELEASE_ANNOTATION} away"
_KIND = ConditionType.VOLUME_FORGOTTEN


def asked_uid(lane: Lane) -> str:
    """The uid of the claim that a person gives up; empty: nobody asks."""
    asked = lane.annotations.get(RELEASE_ANNOTATION, "")
    return asked.removeprefix(RELEASE_FORGET_SLOT) if asked.startswith(RELEASE_FORGET_SLOT) else ""


def is_given_up(lane: Lane, now: dt.datetime) -> bool:
    """Whether the lane has said for long enough that the volume it is asked about will be given up."""
    uid, said = asked_uid(lane), find(lane.status.conditions, _KIND)
    if not uid or said is None or not _speaks_of(said.message, uid):
        return False
    if said.reason == Reason.SLOT_AWAITED:
        began = moment(said.last_transition_time)  # a hand may have written what is none: it is said anew, as of now
        return began is not None and now - began >= SERVES_NOT_FOR
    return said.reason == Reason.GIVEN_UP


def put_forgotten(book: Book, view: View) -> None:
    """The verdict on it."""
    if not view.lane.annotations.get(RELEASE_ANNOTATION, "").startswith(RELEASE_FORGET_SLOT):
        return
    uid, before = asked_uid(view.lane), book.before(_KIND)
    seen = next((one for one in view.observation.slots if uid and one.pvc_uid == uid), None)
    is_about_it = before is not None and _speaks_of(before.message, uid)
    if seen is None:
        if before is not None and is_about_it and before.reason == Reason.GIVEN_UP:
            book.put(_KIND, True, Reason.GIVEN_UP, f"{before.message.removesuffix(_ENOUGH)}{_ENOUGH}")
        else:
            message = f"no slot of the lane has a claim of uid {uid}; see `kubectl get pvc -o yaml`"
            book.put(_KIND, True, Reason.NO_SUCH_VOLUME, message)
    elif seen.is_alive or (before is not None and _is_refused(before, uid)):
        message = (
            f"{seen.name} has served from that volume (claim {uid}) since it was asked to give it up, so that it is "
            f"not lost: nothing is done, now or later. Take the annotation {RELEASE_ANNOTATION} away; where the volume "
            "is lost after all, set it again once this condition is gone"
        )
        book.put(_KIND, True, Reason.SLOT_SERVES, message)
    elif is_given_up(view.lane, view.now):
        since = f", the oldest since {seen.oldest_since}" if seen.oldest_since else ""
        message = (
            f"the volume of {seen.name} (claim {uid}) is given up as asked, by its last words with about "
            f"{rounded(seen.queued)} messages{since}. `lane-relay audit unsettled ARCHIVE --slot {seen.name}` lists "
            "what was accepted and not settled, as far as records of it were archived"
        )
        book.put(_KIND, True, Reason.GIVEN_UP, message)
    else:
        since = book.since(_KIND, Reason.SLOT_AWAITED) if is_about_it else stamp(view.now)
        ends = stamp(dt.datetime.fromisoformat(since) + SERVES_NOT_FOR)
        message = (
            f"{seen.name} does not serve: its volume (claim {uid}) is given up at {ends}, with the mail in it, unless "
            f"the slot serves by then, or the annotation {RELEASE_ANNOTATION} is taken away"
        )
        book.put(_KIND, True, Reason.SLOT_AWAITED, message, since=since)


def _is_refused(before: Condition, uid: str) -> bool:
    """Whether its slot has served since it was asked; an older operator did not say from which claim."""
    return before.reason == Reason.SLOT_SERVES and (_speaks_of(before.message, uid) or "(claim " not in before.message)


def _speaks_of(message: str, uid: str) -> bool:
    """Whether it is this claim that was spoken of; the word may name another one by now."""
    return f"claim {uid})" in message or f"claim {uid} is given up" in message  # the latter: of an older operator
