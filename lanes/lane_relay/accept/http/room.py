"""The memory that requests take beside their bodies while they are parsed and composed, and who has it.

The bodies count in the listener's one bound of what comes in. What is made of them (parsed values, encoded attachments,
the message) is several times as much and does not come in from outside, so it has a bound of its own: with it in the
first one, each large request would have SMTP clients refused meanwhile. It is half of the first. A request that needs
more than three quarters of that is taken for so much: no second one of its kind is in work beside it.
Invariants: whoever has a share gives it back; nobody waits without an end. Before it: `injection`. After it: nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

__all__ = ["Room", "cost_of"]

_SMALL: Final = 2**16
"""Bytes of a body that need no share: of all requests that may be in work such bodies come to 4 MiB."""
_TIMES: Final = 5
"""What is made of a body at its worst, in its own size; measured 4.0 where it is one attachment with line breaks."""
_TIMES_WIDE: Final = 9
"""Where it is not ASCII: one character of a text beyond U+FFFF makes each of its characters take four bytes; 6.8."""
_WAIT_S: Final = 20.0


def cost_of(body: bytes) -> int:
    """Bytes that parsing and composing take beside the body, at most."""
    if len(body) <= _SMALL:
        return 0
    return len(body) * (_TIMES if body.isascii() else _TIMES_WIDE)


class Room:
    """Shares for the requests in work; for the event loop."""

    def __init__(self, size: Callable[[], int], *, wait_s: float = _WAIT_S) -> None:
        """`size`: bytes that there are now."""
        self._size = size
        self._wait_s = wait_s
        self.taken = 0
        """Bytes."""
        self._line: dict[asyncio.Future[None], int] = {}
        """Who waits for how much, in the order of coming."""

    @asynccontextmanager
    async def share(self, cost: int) -> AsyncIterator[bool]:
        """So many bytes meanwhile; False if others did not leave them for too long."""
        # A quarter is left to those who need little, whatever the largest one needs: it may take minutes to send.
        share = min(cost, self._size() * 3 // 4)
        if not await self._get(share):
            yield False
            return
        try:
            yield True
        finally:
            self._give_back(share)

    async def _get(self, share: int) -> bool:
        if not share or self._fits(share):
            self.taken += share
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[turn] = share
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await asyncio.shield(turn)
        except asyncio.CancelledError:
            if turn.done():  # it had just come
                self._give_back(share)
            raise
        finally:
            self._line.pop(turn, None)
        return turn.done()

    def _fits(self, share: int) -> bool:
        return self.taken + share <= self._size()

    def _give_back(self, share: int) -> None:
        """To the first ones in line for whom there is enough now."""
        self.taken -= share
        for turn, wanted in tuple(self._line.items()):
            if self._fits(wanted):
                self.taken += wanted
                del self._line[turn]
                turn.set_result(None)
