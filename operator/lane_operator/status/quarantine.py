"""AddressQuarantined: whose addresses are refused, by whom and why, and which standby slots send instead; pure."""

from lane_api.conditions import ConditionType, Reason
from lane_operator.inputs import Claim
from lane_operator.status.book import Book
from lane_operator.status.slots import quarantine_text
from lane_operator.status.view import View

__all__ = ["put_quarantined"]

_NO_STANDBY = "no standby slot can take it over: set standbyReplicas, with addresses of role: Standby in the pool"


def put_quarantined(book: Book, view: View) -> None:
    """The verdict; True while it lasts, for each quarantined address with what an ISP said."""
    held = view.quarantined
    if not held:
        return
    serving = [claim for claim in held if claim in view.kept]
    message = "; ".join(_said(claim) for claim in held)
    if not serving:
        message = f"{message}; the lane's mail leaves from its other addresses"
        book.put(ConditionType.ADDRESS_QUARANTINED, True, Reason.STANDBY_REFUSED, message)
    elif not all(_stand_in(claim) for claim in serving):
        standby = view.lane.spec.standby_replicas
        why = _NO_STANDBY if not standby else "no standby slot can send it: see the messages of its standby slots"
        book.put(ConditionType.ADDRESS_QUARANTINED, True, Reason.NO_STANDBY, f"{message}; {why}")
    else:
        book.put(ConditionType.ADDRESS_QUARANTINED, True, Reason.STANDBY_PROMOTED, message)


def _stand_in(claim: Claim) -> str:
    return claim.quarantine.stood_in_by if claim.quarantine is not None else ""


def _said(claim: Claim) -> str:
    text = quarantine_text(claim.quarantine) if claim.quarantine is not None else ""
    return f"{claim.slot_name} ({claim.address.ip if claim.address else 'shared'}) {text}"
