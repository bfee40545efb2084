"""What intake tells others: its counters and the record of a refusal."""

from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.records import Reply

__all__ = ["IntakeCounters", "Rejection"]


class Rejection(Struct, frozen=True, gc=False):
    """Mail that was refused, for the accounting record."""

    stage: Stage
    reply: Reply
    sender: str | None
    recipients: tuple[str, ...]
    client: str
    user: str
    helo: str


@dataclass(slots=True)
class IntakeCounters:
    """Plain integers since the process began; metrics read them, only the listener's loop writes them."""

    accepted: int = 0
    """Messages on disk."""
    refused: Counter[str] = field(default_factory=Counter)
    """By code and enhanced code, such as `550 5.7.1`; all of them our own, so the set is bounded."""
