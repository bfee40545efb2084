"""Entries that must not leave yet, by what they wait for: a signing domain, or the end of an order.

Before it: `prepared`, which found out, or an order. After it: the ready queue again, when what they wait for has come.
"""

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from lane_relay.deliver.prepared import Held
from lane_relay.deliver.ready_queue import Hold, Limit
from lane_relay.records import QueueEntry, Route, age_key

__all__ = ["HeldEntries", "HeldEntry"]


class HeldEntry(Struct, frozen=True, gc=False):
    """One entry, where it would have gone, and what it waits for."""

    entry: QueueEntry
    route: Route
    why: Held

    @property
    def hold(self) -> Hold:
        """The same as a limit."""
        return Hold(Limit.ORDER if self.why.order else Limit.SELECTOR, detail=self.why.reason)


class HeldEntries:
    """Costs no more than the entries."""

    def __init__(self) -> None:
        self._by_key: dict[str, deque[HeldEntry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    @property
    def domains(self) -> tuple[str, ...]:
        """The signing domains that something waits for."""
        return tuple([key for key, items in self._by_key.items() if items and not items[0].why.order])

    @property
    def keys(self) -> tuple[str, ...]:
        """All that something waits for."""
        return tuple(self._by_key)

    def add(self, entry: QueueEntry, route: Route, why: Held) -> None:
        """Keeps an entry until what it waits for has come."""
        self._by_key.setdefault(why.key, deque()).append(HeldEntry(entry, route, why))

    def take(self, key: str) -> Iterator[QueueEntry]:
        """All that waited for this, in order; whoever asked has them, though they come one by one."""
        taken = self._by_key.pop(key, deque())
        return (item.entry for item in taken)

    def put_back(self, item: HeldEntry) -> bool:
        """One that was taken out of `waiting_for` waits again; False: what it waited for has come meanwhile."""
        waiting = self._by_key.get(item.why.key)
        if waiting is None:
            return False
        waiting.append(item)
        return True

    def waiting_for(self, key: str) -> deque[HeldEntry]:
        """What waits for this now; whoever takes an entry out has it."""
        return self._by_key.get(key, deque())

    def oldest_of(self, key: str) -> int:
        """Message id of the oldest entry that waits for this, 0 without one; looks at all of them."""
        return min((item.entry.id for item in self.waiting_for(key)), default=0, key=age_key)

    def holds_of(self, message_id: int) -> tuple[Hold, ...]:
        """What holds the entries of this message here."""
        return tuple(item.hold for items in self._by_key.values() for item in items if item.entry.id == message_id)
