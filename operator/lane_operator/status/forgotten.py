"""VolumeForgotten: what became of a person's word that a volume is lost for good; pure.

Stands as long as the annotation does.
"""

from lane_api.conditions import ConditionType, Reason
from lane_api.names import RELEASE_ANNOTATION, RELEASE_FORGET_SLOT
from lane_operator.status.book import Book
from lane_operator.status.figures import rounded
from lane_operator.status.view import View

__all__ = ["put_forgotten"]

_ENOUGH = f"; take the annotation {RELEASE_ANNOTATION} away"


def put_forgotten(book: Book, view: View) -> None:
    """The verdict on it."""
    asked = view.lane.annotations.get(RELEASE_ANNOTATION, "")
    if not asked.startswith(RELEASE_FORGET_SLOT):
        return
    uid, kind = asked.removeprefix(RELEASE_FORGET_SLOT), ConditionType.VOLUME_FORGOTTEN
    seen = next((one for one in view.observation.slots if uid and one.pvc_uid == uid), None)
    if seen is None:
        before = book.before(kind)
        if before is not None and before.reason == Reason.GIVEN_UP and _speaks_of(before.message, uid):
            book.put(kind, True, Reason.GIVEN_UP, f"{before.message.removesuffix(_ENOUGH)}{_ENOUGH}")
        else:
            message = f"no slot of the lane has a claim of uid {uid}; see `kubectl get pvc -o yaml`"
            book.put(kind, True, Reason.NO_SUCH_VOLUME, message)
    elif seen.is_alive:
        message = (
            f"{seen.name} serves from that volume, so that it is not lost: nothing is done. Take the annotation "
            f"{RELEASE_ANNOTATION} away"
        )
        book.put(kind, True, Reason.SLOT_SERVES, message)
    else:
        since = f", the oldest since {seen.oldest_since}" if seen.oldest_since else ""
        message = (
            f"the volume of {seen.name} (claim {uid}) is given up as asked, by its last words with about "
            f"{rounded(seen.queued)} messages{since}. `lane-relay audit unsettled ARCHIVE --slot {seen.name}` lists "
            "what was accepted and not settled, as far as records of it were archived"
        )
        book.put(kind, True, Reason.GIVEN_UP, message)


def _speaks_of(message: str, uid: str) -> bool:
    """Whether it is this claim that was given up; the word may name another one by now."""
    return f"claim {uid})" in message or f"claim {uid} is given up" in message  # the latter: of an older operator
