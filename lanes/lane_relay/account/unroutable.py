"""Mail that has no way to go: its recipients get the local reply as an attempt that never came to a peer.

The body may have to come from disk for the report, so that it happens one message after another.
Invariants: however much has no way at once, as when the domain of most of the queue is gone, the loop has its turn
after a few of them; one message that cannot be read holds up no other.
Before: `resolve` found no way. After: `settler`.
"""

import asyncio
from typing import Final

import structlog

from lane_api.isppolicy import Action, Scope, Stage
from lane_relay.account.settler import Settler
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.records import (
    Attempt,
    Message,
    QueueEntry,
    RecipientResult,
    Unroutable,
    Verdict,
    message_id_text,
)
from lane_relay.spool.base import Spool
from lane_relay.turns import Turns

__all__ = ["UnroutableMail"]

_PORTION: Final = 16
"""Settled in one turn of the loop: with a report each, some 3 ms."""

_log = structlog.get_logger("account")


class UnroutableMail:
    """Of one slot; campaigns take turns."""

    def __init__(self, spool: Spool, settler: Settler, clock: Clock) -> None:
        self._spool = spool
        self._settler = settler
        self._clock = clock
        self._waiting: Turns[tuple[QueueEntry, Unroutable]] = Turns()
        self._came = asyncio.Event()
        self.unreadable = 0
        """Entries whose message the spool could not read; they stay on its disk, for a restart to find."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: QueueEntry, why: Unroutable) -> None:
        """Takes the entry over."""
        self._waiting.append(entry.campaign, (entry, why))
        self._came.set()

    async def run(self) -> None:
        """Settles what is there and what comes, for ever."""
        while True:
            await self._came.wait()
            self._came.clear()
            done = 0
            while self._waiting:
                entry, why = self._waiting.popleft()
                await self._settle(entry, why)
                done += 1
                if done % _PORTION == 0:
                    await asyncio.sleep(0)

    async def _settle(self, entry: QueueEntry, why: Unroutable) -> None:
        try:
            message = self._spool.cached(entry) or await self._spool.load(entry)
        except SpoolError as failed:
            self.unreadable += 1
            _log.error("message cannot be read", id=message_id_text(entry.id), reason=str(failed))
            return
        self._settler.on_attempt(_attempt(entry, message, why, self._clock.now()))


def _attempt(entry: QueueEntry, message: Message, why: Unroutable, now: float) -> Attempt:
    """The local reply for every recipient of the entry."""
    action = Action.BOUNCE if why.reply.is_permanent else Action.RETRY
    verdict = Verdict(why.category, action, Scope.MESSAGE)
    results = tuple(
        [RecipientResult(index, Stage.CONNECT, why.reply, verdict, own_words=True) for index in entry.recipients]
    )
    return Attempt(entry, message, "", now, now, results)
