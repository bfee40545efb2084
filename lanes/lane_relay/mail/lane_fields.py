"""What a sender tells its lane in header fields: how long it is worth sending, when it was triggered, its campaign.

Invariant: a value that is not of its form is said to be wrong, and so is an X-Lane- field that there is not: mail sent
in the belief that it expires must not be taken as if it did not. All X-Lane- fields are taken out before mail leaves.
Before it: `mail.headers`, which finds the fields. After it: `accept`, which knows the time.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from msgspec import Struct

from lane_api.quantities import parse_duration

__all__ = ["NO_LANE_FIELDS", "PREFIX", "LaneFields", "campaign_in", "read_lane_fields"]

PREFIX: Final = b"x-lane-"
MAX_CAMPAIGN: Final = 100
"""Characters of a campaign's name; it is held in memory for every message that waits."""
MAX_EXPIRY_S: Final = 30 * 86400.0
_EXPIRES_IN: Final = b"x-lane-expires-in"
_TRIGGERED_AT: Final = b"x-lane-triggered-at"
_FEEDBACK_ID: Final = "feedback-id"
_IGNORED: Final = frozenset({b"x-lane-priority"})
"""Nothing overtakes inside a lane: mail that must not wait behind other mail has a lane of its own."""
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?")
_UNIX_TIME = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class LaneFields(Struct, frozen=True, gc=False):
    """What was asked for; nothing where nothing was."""

    expires_in: float = 0.0
    """Seconds from acceptance after which it is never attempted; 0: not asked for."""
    triggered_at: float = 0.0
    """Unix time; 0: not given."""
    campaign: str = ""
    problem: str = ""
    """What is wrong with a field, and its form."""


NO_LANE_FIELDS: Final = LaneFields()


def read_lane_fields(fields: Iterable[tuple[bytes, str]], campaign_field: str) -> LaneFields:
    """The meaning of these fields (lower-case name, unfolded value): those of the lane, and the campaign's."""
    known = {_EXPIRES_IN, _TRIGGERED_AT, campaign_field.lower().encode()}
    expires_in, triggered_at, campaign = 0.0, 0.0, ""
    seen: set[bytes] = set()
    for name, value in fields:
        if name in _IGNORED:
            continue
        if name not in known:
            return LaneFields(problem=_unknown(name, campaign_field))
        if name in seen:
            return LaneFields(problem=f"the message has {_spelled(name)} more than once: keep one")
        seen.add(name)
        if name == _EXPIRES_IN:
            expires_in = _seconds(value)
            if not 0 < expires_in <= MAX_EXPIRY_S:
                form = "seconds or a duration, such as 300, 90s, 15m or 4h, of at most 720h"
                return LaneFields(problem=f"X-Lane-Expires-In is {form}, not {value[:40]!r}")
        elif name == _TRIGGERED_AT:
            triggered_at = _time(value)
            if triggered_at <= 0:
                form = "a time such as 2026-11-28T13:00:00Z, or Unix seconds"
                return LaneFields(problem=f"X-Lane-Triggered-At is {form}, not {value[:40]!r}")
        else:
            campaign = value.partition(":")[0].strip() if campaign_field.lower() == _FEEDBACK_ID else value
            if len(campaign) > MAX_CAMPAIGN:
                return LaneFields(problem=f"{campaign_field} names a campaign in at most {MAX_CAMPAIGN} characters")
    return LaneFields(expires_in, triggered_at, campaign)


def campaign_in(sender: str, after: str, before: str) -> str:
    """The campaign that a VERP sender names in its local part between these two; empty where it names none."""
    local = sender.rpartition("@")[0]
    if after:
        local = local.partition(after)[2]
    if before:
        local, found, _ = local.partition(before)
        if not found:
            return ""
    return local if len(local) <= MAX_CAMPAIGN else ""


def _unknown(name: bytes, campaign_field: str) -> str:
    known = ", ".join(dict.fromkeys((campaign_field, "X-Lane-Expires-In", "X-Lane-Triggered-At")))
    return f"there is no field {_spelled(name)[:40]}: a lane reads {known}"


def _spelled(name: bytes) -> str:
    return name.decode("ascii", "replace").title()


def _seconds(value: str) -> float:
    """The duration, or 0 if it is none."""
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return parse_duration(value) if len(value) <= 24 else 0.0
    except ValueError:
        return 0.0


def _time(value: str) -> float:
    """Unix time, or 0 if it is no time."""
    if _UNIX_TIME.fullmatch(value):
        return float(value)
    if not _RFC3339.fullmatch(value):
        return 0.0
    try:
        return datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        return 0.0
