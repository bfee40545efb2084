"""Counts as status shows them, rounded, so that a busy queue does not mean a write a second; pure."""

from collections.abc import Iterable

from lane_api.lane_status import HourFigures
from lane_operator.inputs import SlotObservation

__all__ = ["last_hour", "oldest", "rounded"]


def rounded(count: int) -> int:
    """The count to two significant digits."""
    digits = len(str(count)) - 2
    return count if digits <= 0 else round(count, -digits)


def oldest(times: Iterable[str | None]) -> str | None:
    """The earliest of some RFC 3339 UTC times, which sort as text."""
    return min((time for time in times if time), default=None)


def last_hour(slots: Iterable[SlotObservation]) -> HourFigures | None:
    """The slots' last hour together; None where none says."""
    said = [seen.last_hour for seen in slots if seen.last_hour is not None]
    if not said:
        return None
    return HourFigures(
        delivered=rounded(sum(one.delivered for one in said)),
        deferred=rounded(sum(one.deferred for one in said)),
        bounced=rounded(sum(one.bounced for one in said)),
    )
