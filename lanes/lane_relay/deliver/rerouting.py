"""Entries that ask for their route anew, a portion in each turn of the loop, however many there are.

Before it: the dispatcher, which took them out of where they waited. After it: the router, and the dispatcher again.
Invariant: whoever hands entries over keeps none of them; what came together goes in its order, places take turns.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from lane_relay.records import QueueEntry

__all__ = ["Rerouting"]

_PORTION: Final = 500
"""Entries in one turn of the loop: a millisecond or two."""


_AT_A_TIME: Final = 100
"""Entries of one place before another one's: what is few in number does not wait for a million."""


class Rerouting:
    """Of one slot."""

    def __init__(self, reroute: Callable[[QueueEntry], None]) -> None:
        self._reroute = reroute
        self._waiting: deque[Iterator[QueueEntry]] = deque()
        self._called = False

    def add(self, entries: Iterable[QueueEntry]) -> None:
        """Takes entries over; what it is given may be made as it goes. `go_on` begins."""
        self._waiting.append(iter(entries))

    def go_on(self) -> None:
        """A portion now, the others in the turns to come."""
        left = _PORTION
        while self._waiting and left > 0:
            source = self._waiting.popleft()
            portion = list(islice(source, _AT_A_TIME))
            if len(portion) == _AT_A_TIME:
                self._waiting.append(source)
            left -= _AT_A_TIME
            for entry in portion:
                self._reroute(entry)
        if self._waiting and not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._called = False
        self.go_on()
