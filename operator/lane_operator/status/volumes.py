"""What slots keep on their volumes and a person must see to: mail of an older copy, records that are not safe.

Conditions that only tell, present while they are true; none makes a lane less ready. Pure. Before it: `lane`. After it:
the book.
"""

from lane_api.conditions import ConditionType, Reason
from lane_operator.inputs import SlotObservation
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["put_records_at_risk", "put_restored"]


def put_restored(book: Book, view: View) -> None:
    """A volume that was put back from a snapshot: what it brought is held until somebody decides."""
    held = [f"{seen.name}: {seen.restored}" for seen in view.heard() if seen.restored]
    if held:
        message = (
            f"new mail is sent, but what was on the volume may have been sent already and is held; {'; '.join(held)}. "
            "Look at GET /v1/messages of the slot, then POST /v1/actions with all: true and action release (perhaps "
            "sent twice) or drop"
        )
        book.put(ConditionType.MAIL_HELD, True, Reason.VOLUME_RESTORED, message)


def put_records_at_risk(book: Book, view: View) -> None:
    """Records that exist on one volume only although they should be archived, or that nothing seals."""
    sealing = [f"{seen.name}: {seen.sealing_failure}" for seen in view.heard() if seen.sealing_failure]
    failing = [f"{seen.name}: {seen.archive_failure}" for seen in view.heard() if seen.archive_failure]
    missing = [seen.name for seen in view.heard() if _lacks_archive(view, seen)]
    kind = ConditionType.RECORDS_AT_RISK
    if sealing:
        message = (
            f"records are kept but not sealed, so nothing proves them; {'; '.join(sealing)}. See to the "
            "volume and to the Secret with the audit key"
        )
        book.put(kind, True, Reason.SEALING_FAILING, message)
    elif failing:
        message = (
            f"records wait on their volumes, which keep them as long as spec.audit allows; {'; '.join(failing)}. See "
            "to spec.audit.archive: the bucket or volume, its Secret, and the way to it"
        )
        book.put(kind, True, Reason.ARCHIVE_FAILING, message)
    elif missing:
        message = (
            f"{', '.join(missing)}: archives nothing although spec.audit.archive asks for it. Let the slot roll to "
            "this operator's image"
        )
        book.put(kind, True, Reason.ARCHIVE_MISSING, message)


def _lacks_archive(view: View, seen: SlotObservation) -> bool:
    """It answers, has the newest configuration, and says nothing of an archive."""
    asked = view.lane.spec.audit.archive is not None
    return asked and seen.reachable and seen.unarchived is None and not view.lacks_config(seen)
