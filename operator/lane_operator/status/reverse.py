"""PTRMatches: whether DNS names each slot's address as the slot names itself, and which record mends it; pure."""

from typing import Final

from lane_api.conditions import ConditionType, Reason
from lane_api.reverse import PtrFinding
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["put_reverse_names"]

_WRONG: Final = {
    PtrFinding.NO_PTR: Reason.NO_PTR,
    PtrFinding.HELO_MISMATCH: Reason.HELO_MISMATCH,
    PtrFinding.NO_WAY_BACK: Reason.NO_WAY_BACK,
}
"""Worst first."""


def put_reverse_names(book: Book, view: View) -> None:
    """Nothing before a slot has looked, with engine ClusterDefault, or where the pool says Off.

    What a slot that does not answer said last counts, as a DNS that does not answer takes nothing back.
    """
    pool = view.references.pool
    mode = pool.spec.verification.ptr if pool is not None else "Off"
    said = {
        claim.slot_name: (seen.ptr_finding, seen.ptr_message)
        for claim in view.running
        if claim.address is not None
        and (seen := view.observation.slot(claim.slot_name)) is not None
        and seen.ptr_finding not in ("", PtrFinding.UNCHECKED)
    }
    if mode == "Off" or not said:
        return
    found = {finding for finding, _ in said.values()}
    wrong = [finding for finding in _WRONG if finding in found]
    if wrong:
        follows = "Nothing leaves from there until then" if mode == "Require" else "ISPs refuse mail from there"
        told = "; ".join(f"{slot}: {text}" for slot, (finding, text) in said.items() if finding in _WRONG)
        book.put(ConditionType.PTR_MATCHES, False, _WRONG[wrong[0]], f"{told}. {follows}")
    elif found != {PtrFinding.CONFIRMED}:
        silent = "; ".join(f"{slot}: {text}" for slot, (finding, text) in said.items() if finding != "ForwardConfirmed")
        message = f"{silent}. Let the slots reach the root servers on port 53, or name a resolver in spec.resolver"
        book.put(ConditionType.PTR_MATCHES, None, Reason.DNS_UNREACHABLE, message)
    else:
        message = f"the address of {', '.join(said)} has a PTR record that names the slot, and its name leads back"
        book.put(ConditionType.PTR_MATCHES, True, Reason.FORWARD_CONFIRMED, message)
