"""The few threads in which requests are parsed and messages composed, and whose turn it is in them.

Users take turns, one piece of work each: one that hands in a campaign, or templates that take their time, makes another
one's code wait for a piece or two and not for all that it sent before.
Invariants: no more pieces run than there are threads; a piece that was begun is finished, also for a request that is
gone. Before it: `injection`. After it: what computes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lane_relay.turns import Turns

__all__ = ["Composers"]

_T = TypeVar("_T")


class Composers:
    """Threads, and the line before them; for the event loop."""

    def __init__(self, threads: int) -> None:
        """So many pieces of work run at a time."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compose")
        self._free = threads
        self._line: Turns[asyncio.Future[None]] = Turns()

    async def run(self, whose: str, work: Callable[..., _T], *arguments: object) -> _T:
        """What `work` gives or raises; `whose` takes turns with others."""
        await self._turn(whose)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._next()

    async def _turn(self, whose: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(whose, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had just come
                self._next()
            raise

    def _next(self) -> None:
        """A thread is free: for the next who still waits."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Nothing more is begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
