"""Mail that must not leave from here while no sibling can take it: it waits, and ends in its time.

Invariants: an entry is here, or with whoever chooses again, or its sender is being told of it; what is over is handed
back, so that it ends as all mail does. Before it: `choose`, through the exchange. After it: the exchange again.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

import structlog

from lane_relay.errors import SpoolError
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.records import Message, QueueEntry, message_id_text

__all__ = ["Home", "Stranded"]

_PORTION: Final = 500
"""Entries between two looks at everything else."""
_WHY: Final = "it must not leave from here, and no other slot can take it"

_log = structlog.get_logger("handover")


class Home(Protocol):
    """What it needs of its own slot."""

    def take_back(self, entry: QueueEntry) -> None:
        """The entry's way is chosen again."""

    def is_over(self, entry: QueueEntry) -> bool:
        """Its lifetime has passed."""

    def is_late(self, entry: QueueEntry) -> bool:
        """Its sender may want to hear that it is late, and nobody has looked yet."""

    def tell_late(self, entry: QueueEntry, message: Message, why: str) -> None:
        """See Settler.on_late."""

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool.load."""


class Stranded:
    """Of one slot; all on the event loop."""

    def __init__(self, home: Home, pauses: Pauses = USUAL) -> None:
        self._pauses = pauses
        self._home = home
        self._entries: deque[QueueEntry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[QueueEntry, ...]:
        """Every one of them."""
        return tuple(self._entries)

    def add(self, entry: QueueEntry) -> None:
        """One that has no way now."""
        self._entries.append(entry)

    async def choose_again(self) -> None:
        """A sibling may have come back, or the configuration may say something else; a portion a turn of the loop."""
        for number in range(1, len(self._entries) + 1):
            if not self._entries:
                return
            self._home.take_back(self._entries.popleft())
            if number % _PORTION == 0:
                await asyncio.sleep(0)

    async def watch(self) -> None:
        """Looks through them now and then, for ever."""
        while True:
            await asyncio.sleep(self._pauses.look_at_stranded)
            await self.look()

    async def look(self) -> None:
        """What is over goes back to be ended, of what is late the sender hears; a portion a turn of the loop."""
        for number in range(1, len(self._entries) + 1):
            if not self._entries:
                return
            entry = self._entries.popleft()
            if self._home.is_over(entry):
                self._home.take_back(entry)
            else:
                if self._home.is_late(entry):
                    await self._tell(entry)
                self._entries.append(entry)
            if number % _PORTION == 0:
                await asyncio.sleep(0)

    async def _tell(self, entry: QueueEntry) -> None:
        try:
            self._home.tell_late(entry, await self._home.load(entry), _WHY)
        except SpoolError as error:
            _log.warning("a late message cannot be read", id=message_id_text(entry.id), reason=str(error))
