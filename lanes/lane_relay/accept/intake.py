"""What intake tells others: its counters, its limits and the record of a refusal."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.records import Reply

__all__ = ["DEFAULT_LIMITS", "IntakeCounters", "IntakeLimits", "Rejection"]


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


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Sessions at a time; connections beyond them get 421."""

    sessions: int = 1000
    sessions_per_client: int = 500
    """Behind a NodePort all clients may show one address; this only stops a single one from taking everything."""


DEFAULT_LIMITS: Final = IntakeLimits()
