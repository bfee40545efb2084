"""Ends entries by order, one after another: the message has to come from disk for its record and its report.

Invariants: an entry that is handed over is settled, or given back because its order does not stand or is not about it;
one whose message cannot be read holds up no other: what is damaged is counted and stays on the disk, what cannot be
read for now is given back and comes again; at most one body is in memory; the loop is free between two of them.
Before: `keeper` took entries out of where they waited, or stopped them on their way. After: `account`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import structlog

from lane_relay.account.settler import Settler
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.orders.book import OrderBook
from lane_relay.orders.order import Order
from lane_relay.orders.screener import ending_of
from lane_relay.records import Message, QueueEntry, message_id_text
from lane_relay.spool.base import Spool

__all__ = ["Finisher"]

_log = structlog.get_logger("orders")

_PATIENCE_S: Final = 30.0
"""So long a read may take: the spool itself tries again where descriptors or memory are wanting."""
_AGAIN_S: Final = 60.0
"""After so long what could not be read in that time is due, and meets the order again."""


class Finisher:
    """Entries by the order that ends them; costs a list slot an entry."""

    def __init__(
        self,
        spool: Spool,
        book: OrderBook,
        settler: Settler,
        clock: Clock,
        go_on: Callable[[QueueEntry], None],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """`go_on(entry)` gives an entry back to where it waits."""
        self._spool = spool
        self._book = book
        self._settler = settler
        self._clock = clock
        self._go_on = go_on
        self._patience_s = patience_s
        self._by_order: dict[str, deque[QueueEntry]] = {}
        self.unreadable: Counter[str] = Counter()
        """By order: entries whose message is damaged; they stay on the disk, for a restart to find."""

    @property
    def is_empty(self) -> bool:
        """Nothing waits to be ended."""
        return not self._by_order

    def add(self, order: Order, entry: QueueEntry) -> None:
        """Takes an entry over that falls under this order, or may: an address is compared with the message."""
        self._by_order.setdefault(order.id, deque()).append(entry)

    async def finish(self) -> None:
        """Ends all that is there and comes meanwhile."""
        while self._by_order:
            order_id, entries = next(iter(self._by_order.items()))
            while entries:
                await self._finish(order_id, entries.popleft())
                await asyncio.sleep(0)
            if self._by_order.get(order_id) is entries:
                del self._by_order[order_id]

    async def _finish(self, order_id: str, entry: QueueEntry) -> None:
        if self._book.get(order_id) is None:
            self._go_on(entry)
            return
        message = self._spool.cached(entry) or await self._read(order_id, entry)
        if message is None:
            return
        order = self._book.get(order_id)  # it may have been revoked meanwhile
        if order is None or not _is_about(order, message):
            self._go_on(entry)
            return
        order.entries += 1
        self._settler.end(entry, message, (ending_of(order, entry),))

    async def _read(self, order_id: str, entry: QueueEntry) -> Message | None:
        """The message from disk; None: it is not to be had, and what becomes of the entry is settled here."""
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._spool.load(entry)
        except SpoolError as failed:
            self.unreadable[order_id] += 1
            _log.error("message cannot be read", order=order_id, id=message_id_text(entry.id), reason=str(failed))
        except TimeoutError:
            _log.warning("message cannot be read for now", order=order_id, id=message_id_text(entry.id))
            entry.due = max(entry.due, self._clock.now() + _AGAIN_S)
            self._go_on(entry)
        return None


def _is_about(order: Order, message: Message) -> bool:
    """Of a sender's address the entry knows the domain alone; all else was compared before."""
    local, _, domain = order.selector.value.rpartition("@")
    if order.selector.by != "sender" or not local:
        return True
    given, _, given_domain = message.envelope.sender.rpartition("@")
    return given == local and given_domain.lower() == domain
