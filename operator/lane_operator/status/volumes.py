"""What slots keep on their volumes and a person must see to: mail of an older copy, mail that a slot neither sends nor
gives away, records that are not safe.

Conditions that only tell, present while they are true; none makes a lane less ready. Pure. Before it: `lane`. After it:
the book.
"""

from lane_api.conditions import ConditionType, Reason
from lane_operator.inputs import SlotObservation
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["ORDERS_TOLD", "put_mail_held", "put_records_at_risk"]

ORDERS_TOLD = 5
"""Of one slot are told; two hundred may stand."""


def put_mail_held(book: Book, view: View) -> None:
    """Mail that waits until somebody decides or helps: it may have left already, has no way out, or is to wait."""
    looked = (_restored(view), _in_doubt(view), _stranded(view), _ordered(view))
    found = [one for one in looked if one is not None]
    if found:
        book.put(ConditionType.MAIL_HELD, True, found[0][0], "; ".join(message for _, message in found))


def _restored(view: View) -> tuple[Reason, str] | None:
    """A volume that was put back from a snapshot: what it brought is held until somebody decides."""
    held = [f"{seen.name}: {seen.restored}" for seen in view.heard() if seen.restored]
    if held:
        return Reason.VOLUME_RESTORED, (
            f"new mail is sent, but what was on the volume may have been sent already and is held; {'; '.join(held)}. "
            "Look at GET /v1/messages of the slot, then POST /v1/actions with all: true and action release (perhaps "
            "sent twice) or drop"
        )
    return None


def _in_doubt(view: View) -> tuple[Reason, str] | None:
    """A slot does not answer whether it has what another one offered it: neither sends it until it does."""
    doubts = [f"{seen.name}: {', '.join(seen.doubts)}" for seen in view.heard() if seen.doubts]
    if doubts:
        return Reason.IN_DOUBT, (
            f"nobody sends what another slot may have; {'; '.join(doubts)}. Bring that slot back; if it is gone for "
            "good, POST /v1/actions of the slot that says so with action take-back and sibling: perhaps sent twice"
        )
    return None


def _stranded(view: View) -> tuple[Reason, str] | None:
    """Addresses for some ISPs alone, and none that may send the rest."""
    slots = [seen.name for seen in view.heard() if seen.stranded]
    if slots:
        return Reason.NO_WAY_OUT, (
            f"{', '.join(slots)} has mail that its address must not send (isps of the address in the pool), and no "
            "other slot of the lane that may can be reached: give the lane another slot, on an address without isps, "
            "or see to those it has"
        )
    return None


def _ordered(view: View) -> tuple[Reason, str] | None:
    """Somebody has ordered that mail is to wait; who wonders why it does is to find out here."""
    held = [
        f"{seen.name}: {', '.join(seen.orders[:ORDERS_TOLD])}"
        + (f" and {more} more" if (more := len(seen.orders) - ORDERS_TOLD) > 0 else "")
        for seen in view.heard()
        if seen.orders
    ]
    if held:
        return Reason.BY_ORDER, (
            f"mail waits as ordered; {'; '.join(held)}. GET /v1/actions of the slot says until when and how to end it "
            "(docs/admin.md)"
        )
    return None


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
