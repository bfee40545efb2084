"""From hope to a person's matter: Reconciling until the reason's patience is over, then Stalled; pure."""

import datetime as dt
from collections.abc import Iterable

from lane_api.conditions import Condition, ConditionType, Reason
from lane_operator.status.book import Book, find
from lane_operator.status.patience import over, patience

__all__ = ["next_end", "put_waiting", "waited"]


def waited(book: Book, reason: Reason, waiting: Reason, now: dt.datetime) -> bool:
    """Whether there was hope for long enough; once there was, it stays so until it is mended, or another spec comes."""
    lasts = patience(waiting)
    if lasts is None:
        return False
    return book.was_stalled(reason) or over(book.since(ConditionType.RECONCILING, waiting), lasts, now)


def put_waiting(book: Book, reason: Reason, message: str, now: dt.datetime) -> None:
    """The verdict on a spec that another object stands against: that one may change in the same sync."""
    if waited(book, reason, reason, now):
        book.put(ConditionType.STALLED, True, reason, message)
    else:
        since = book.since(ConditionType.RECONCILING, reason)
        book.put(ConditionType.RECONCILING, True, reason, message, since=since)


def next_end(conditions: Iterable[Condition], now: dt.datetime) -> float | None:
    """Seconds until the patience with what Reconciling says is over; None: never, or over already."""
    reconciling = find(conditions, ConditionType.RECONCILING)
    lasts = patience(Reason(reconciling.reason)) if reconciling is not None else None
    if reconciling is None or lasts is None:
        return None
    left = (dt.datetime.fromisoformat(reconciling.last_transition_time) + lasts - now).total_seconds()
    return left if left > 0 else None
