"""Looks at each of several things when it is due; what is looked at, and when again, is its owner's to say.

Before: `reverse` and `published`, whose looks put the next times into what they hand in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TypeVar

__all__ = ["keep_looking"]

K = TypeVar("K", bound=Hashable)


async def keep_looking(
    times: Callable[[], Mapping[K, float]],
    changed: asyncio.Event,
    now: Callable[[], float],
    look: Callable[[K], Awaitable[object]],
    idle_s: float,
) -> None:
    """Looks for ever, at what is due first; ends by cancellation.

    `times` gives what is due when, by the clock `now`, in seconds; `changed` is set by whoever changes them;
    `idle_s` is waited where there are none.
    """
    while True:
        changed.clear()
        at, due = now(), times()
        first = min(due, key=due.__getitem__, default=None)
        if first is not None and due[first] <= at:
            await look(first)
            continue
        try:
            async with asyncio.timeout(idle_s if first is None else due[first] - at):
                await changed.wait()
        except TimeoutError:
            continue
