"""How far slots are that give their mail away or send it before they go: what is left, how fast, and until when; pure.

The only past that it knows is the count that it wrote itself, some minutes ago at most: rates are from there to now.
Nothing here changes where no mail leaves, so that a drain that stands still is not written again and again.
"""

import datetime as dt

from lane_api.lane_status import DrainStatus
from lane_operator.status.book import stamp
from lane_operator.status.figures import oldest, rounded
from lane_operator.status.view import View

__all__ = ["drain_status"]

SHORTEST = dt.timedelta(seconds=30)
"""A rate is of so long at least."""
LONGEST = dt.timedelta(minutes=5)
"""What happened before tells nothing of now."""
FARTHEST = dt.timedelta(days=30)
"""An end beyond is none: what waits as long expires."""


def drain_status(view: View) -> DrainStatus | None:
    """The figures of all slots that drain, together; None where none does."""
    claims = view.draining
    if not claims:
        return None
    seen = [one for claim in claims if (one := view.observation.slot(claim.slot_name)) is not None]
    left = sum(one.queued for one in seen)
    slots = tuple(claim.slot_name for claim in claims)
    measured, measured_at, per_hour = _measured(view.lane.status.drain, slots, left, view.now)
    ends = _end(left, per_hour, view.now)
    return DrainStatus(
        slots=slots,
        queued=rounded(left),
        oldest_since=oldest(one.oldest_since for one in seen),
        per_hour=per_hour,
        ends_at=stamp(ends) if ends is not None else None,
        measured=measured,
        measured_at=measured_at,
    )


def _measured(before: DrainStatus | None, slots: tuple[str, ...], left: int, now: dt.datetime) -> tuple[int, str, int]:
    """From which count and time the next rate is taken, and the rate now: messages an hour."""
    if before is None or not set(slots) <= set(before.slots) or left > before.measured:
        return left, stamp(now), 0
    past = now - dt.datetime.fromisoformat(before.measured_at)
    gone = before.measured - left
    if past < SHORTEST:
        return before.measured, before.measured_at, before.per_hour
    per_hour = rounded(round(gone / (past / dt.timedelta(hours=1))))
    if past < LONGEST or not gone:
        return before.measured, before.measured_at, per_hour
    return left, stamp(now), per_hour


def _end(left: int, per_hour: int, now: dt.datetime) -> dt.datetime | None:
    """When nothing is left if it goes on so, to the minute after; None where nothing leaves."""
    if not left or not per_hour:
        return None
    rest = dt.timedelta(hours=left / per_hour)
    return (now + rest + dt.timedelta(minutes=1)).replace(second=0, microsecond=0) if rest <= FARTHEST else None
