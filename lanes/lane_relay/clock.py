"""Where time comes from: two functions, given to whoever needs them, so that tests hand in their own."""

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SYSTEM_CLOCK", "Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` is Unix time and `monotonic` never goes back; both in seconds."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


SYSTEM_CLOCK = Clock(now=time.time, monotonic=time.monotonic)
