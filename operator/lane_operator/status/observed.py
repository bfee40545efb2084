"""ActsObserved: what reply rules and complaint rates would have stopped in a lane whose automation is Observe; pure.

Each of its parts is an event when it comes up: `reconcile.events` tells them apart by `SEPARATOR`.
"""

from lane_api.conditions import ConditionType, Reason
from lane_operator.status.book import Book
from lane_operator.status.view import View

__all__ = ["SEPARATOR", "put_observed"]

SEPARATOR = "; "
_MOST = 90  # so that a message is not cut within one


def put_observed(book: Book, view: View) -> None:
    """The verdict; True while any of it would last, with the evidence of each; it says nothing against the lane."""
    said = [
        f"{seen.name}: {text.replace(SEPARATOR, ', ')}"
        for seen in view.heard()
        if seen.reachable  # what was said last is not taken back while nobody answers
        for text in seen.observed
    ]
    if said:
        book.put(ConditionType.ACTS_OBSERVED, True, Reason.AUTOMATION_OBSERVES, SEPARATOR.join(said[:_MOST]))
