"""Room on a suppression list that is full: which words go, so that a new one can come.

First what counts no more: run out, then taken back. Then hard bounces, the first to run out first: whom one is about
is told again by the next bounce, at the cost of that one message. Complaints, unsubscribes and what a person said
never go: nobody would say them again. Before it: `suppression_list`, before it adds. After it: `SuppressionTable`.
Invariant: no step holds the loop for more than some milliseconds, and a look that found nothing is not repeated at
once.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

import structlog

from lane_relay.clock import Clock
from lane_relay.feedback.suppressions import SHARDS, Reason, SuppressionTable

__all__ = ["Room", "worth"]

_ROW: Final = struct.Struct(">12sBIIB")
_LIFTED: Final = 0x80
_MAY_GO: Final = tuple(tuple(Reason).index(one) for one in (Reason.HARD_BOUNCE, Reason.HELD_BACK))
_NEVER: Final = 2**32
_GRAIN: Final = 12
"""Bits: words that run out within 68 minutes of one another are equals."""
_SHARE: Final = 100
"""One word in so many goes beyond what is asked for: looking through a million takes 0.6 s (measured)."""
_AGAIN_S: Final = 60.0
_SHARDS_AT_ONCE: Final = 4

_log = structlog.get_logger("feedback")


class Room:
    """Makes room in one table; on the event loop."""

    def __init__(self, table: SuppressionTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._not_before = 0.0
        self.displaced = 0
        """Words that went although they still counted."""

    async def make(self, wanted: int, most: int) -> None:
        """Sees to it that so many more words fit into `most`, as far as others may go."""
        if self._table.rows + wanted <= most:
            return
        async with self._one_at_a_time:
            over = self._table.rows + wanted - most
            if over > 0 and self._clock.monotonic() >= self._not_before:
                await self._drop(over + most // _SHARE)

    async def _drop(self, wanted: int) -> None:
        now = int(self._clock.now())
        found: Counter[int] = Counter()
        for number in range(SHARDS):
            found.update(value >> _GRAIN for _, value in _worths(self._table.shard(number), now) if value is not None)
            if number % _SHARDS_AT_ONCE == 0:
                await asyncio.sleep(0)
        may_go: Counter[int] = Counter()
        for grain in sorted(found):
            may_go[grain] = min(found[grain], wanted - may_go.total())
        dropped = 0
        for number in range(SHARDS):
            dropped += self._drop_of(number, may_go, now)
            if number % _SHARDS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if not dropped:
            self._not_before = self._clock.monotonic() + _AGAIN_S
        _log.warning("the suppression list is full", words=self._table.rows, dropped=dropped)

    def _drop_of(self, number: int, may_go: Counter[int], now: int) -> int:
        kept, dropped = [], 0
        for row, value in _worths(self._table.shard(number), now):
            if value is not None and may_go[value >> _GRAIN] > 0:
                may_go[value >> _GRAIN] -= 1
                dropped += 1
                self.displaced += value > 1
            else:
                kept.append(row)
        if dropped:
            self._table.replace_shard(number, b"".join(kept))
        return dropped


def worth(row: bytes, now: int) -> int | None:
    """What a word is worth, the least goes first; None: it stays."""
    _, kind, _created, expires, flags = _ROW.unpack(row)
    if expires and expires <= now:
        return 0
    if flags & _LIFTED:
        return 1
    return (expires or _NEVER) if kind >> 2 in _MAY_GO else None


def _worths(shard: bytes, now: int) -> Iterator[tuple[bytes, int | None]]:
    for at in range(0, len(shard), _ROW.size):
        row = shard[at : at + _ROW.size]
        yield row, worth(row, now)
