"""QueueHealthy: whether mail waits as its class and the lane's promise have it, and there is room for more; pure.

Only tells: mail is sent, and taken in as long as there is room, whatever it says. Alerts say the same of figures.
"""

import datetime as dt

from lane_api.conditions import ConditionType, Reason
from lane_api.effective import effective
from lane_api.quantities import format_duration
from lane_operator.inputs import Lane
from lane_operator.status.book import Book
from lane_operator.status.figures import oldest
from lane_operator.status.view import View

__all__ = ["put_queue_health", "turns_old"]

LOW, ENOUGH = 90, 80
"""Percent of a slot's room that are used: low from the one on, and until the other, so that it does not flap."""
OLD_PART = 0.5
"""Of the lifetime, as the alert LaneOldestMessageOld has it."""


def turns_old(lane: Lane, oldest_since: str | None) -> dt.datetime | None:
    """When the oldest message is old; None where there is none."""
    if oldest_since is None:
        return None
    return dt.datetime.fromisoformat(oldest_since) + dt.timedelta(seconds=OLD_PART * effective(lane.spec).lifetime_s)


def put_queue_health(book: Book, view: View) -> None:
    """The verdict; none while no slot has said anything."""
    before = book.before(ConditionType.QUEUE_HEALTHY)
    if any(seen.reachable for seen in view.heard()):
        reason, message = _verdict(view, was_low=before is not None and before.reason == Reason.DISK_LOW)
        book.put(ConditionType.QUEUE_HEALTHY, reason is Reason.WITHIN_SLO, reason, message)
    elif before is not None and before.status != "Unknown" and view.running:
        book.put(ConditionType.QUEUE_HEALTHY, before.status == "True", Reason(before.reason), before.message)


def _verdict(view: View, *, was_low: bool) -> tuple[Reason, str]:
    """What presses most, and its fix."""
    heard, values = tuple(view.heard()), effective(view.lane.spec)
    full = [one.name for one in heard if (one.disk_used or 0) >= (ENOUGH if was_low else LOW)]
    if full:
        return Reason.DISK_LOW, (
            f"{', '.join(full)} has little room left for mail, and refuses it for now (452 4.3.1) where it is full: "
            "raise queue.size, add slots, or see at GET /v1/sites for whom it waits"
        )
    behind = [one.name for one in heard if one.is_behind]
    if behind:
        promise = "" if values.slo_latency_s is None else f" ({format_duration(values.slo_latency_s)})"
        return Reason.GROWING, (
            f"{', '.join(behind)} takes more mail than it sends: some waits longer for its first attempt than "
            f"slo.latency{promise}: add slots, or see at GET /v1/sites what holds it up"
        )
    since = oldest(one.oldest_since for one in heard)
    old = turns_old(view.lane, since)
    if old is not None and old <= view.now:
        return Reason.OLD, (
            f"a message waits since {since}, more than half of its lifetime (queue.lifetime "
            f"{format_duration(values.lifetime_s)}), at whose end it bounces: GET /v1/explain of its slot says why"
        )
    return Reason.WITHIN_SLO, "no message is old, each gets its first attempt in time, and there is room for more"
