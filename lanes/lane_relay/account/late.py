"""Mail that waits for its time though nobody was asked: its sender hears that it is late once it is, not with the next
attempt.

Before: `path`, where an entry waits for a warm-up. After: `settler`, then the schedule again.
Invariant: an entry is here, or in the schedule; however many become late at once, the loop has its turn between them.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from lane_relay.account.settler import Settler
from lane_relay.errors import SpoolError
from lane_relay.records import QueueEntry, message_id_text
from lane_relay.spool.base import Spool

__all__ = ["LateMail"]

_log = structlog.get_logger("account")


class LateMail:
    """Of one slot."""

    def __init__(self, spool: Spool, settler: Settler, go_on: Callable[[QueueEntry], None]) -> None:
        """`go_on(entry)`: back to where it waits until its `due`."""
        self._spool = spool
        self._settler = settler
        self._go_on = go_on
        self._entries: deque[tuple[QueueEntry, str, float]] = deque()
        self._came = asyncio.Event()

    def add(self, entry: QueueEntry, why: str, until: float) -> None:
        """Takes the entry over until its sender was told; then it waits until this Unix time. A restart looks anew."""
        self._entries.append((entry, why, until))
        self._came.set()

    async def run(self) -> None:
        """Tells of what is there and what comes, for ever."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._entries:
                await self._tell(*self._entries.popleft())
                await asyncio.sleep(0)

    async def _tell(self, entry: QueueEntry, why: str, until: float) -> None:
        try:
            self._settler.on_late(entry, self._spool.cached(entry) or await self._spool.load(entry), why)
        except SpoolError as error:  # whoever attempts it finds that out as well
            entry.notified = True
            _log.warning("a late message cannot be read", id=message_id_text(entry.id), reason=str(error))
        entry.due = until
        self._go_on(entry)
