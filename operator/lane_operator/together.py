"""Several requests at once, where none waits for another's answer: a lane's first pass makes some twenty.

Invariant: when it returns or raises, all of them are over; what one began is never left to itself.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(asked: Iterable[Awaitable[T]], at_once: int = 8) -> tuple[T, ...]:
    """What each came to, in order, of `at_once` at the same time; raises the first exception in that order."""
    room = asyncio.Semaphore(at_once)

    async def one(wanted: Awaitable[T]) -> T:
        async with room:
            return await wanted

    found = await asyncio.gather(*(one(wanted) for wanted in asked), return_exceptions=True)
    failed = next((result for result in found if isinstance(result, BaseException)), None)
    if failed is not None:
        raise failed
    return tuple(result for result in found if not isinstance(result, BaseException))
