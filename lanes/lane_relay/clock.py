"""Where time comes from: two functions, given to whoever needs them, so that tests hand in their own; its spelling."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["SYSTEM_CLOCK", "Clock", "rfc3339"]


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` is Unix time and `monotonic` never goes back; both in seconds."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


SYSTEM_CLOCK = Clock(now=time.time, monotonic=time.monotonic)


def rfc3339(unix: float) -> str:
    """A Unix time as `/v1` and Kubernetes write it: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
