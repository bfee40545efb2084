"""Entries that must not leave yet, by the signing domain that they wait for.

Before it: `prepared`, which found out. After it: the ready queue again, when the domain is released.
"""

from collections import deque

from msgspec import Struct

from lane_relay.deliver.prepared import Held
from lane_relay.deliver.ready_queue import Hold, Limit
from lane_relay.records import QueueEntry, Route

__all__ = ["HeldEntries", "HeldEntry"]


class HeldEntry(Struct, frozen=True, gc=False):
    """One entry, where it would have gone, and what it waits for."""

    entry: QueueEntry
    route: Route
    why: Held

    @property
    def hold(self) -> Hold:
        """The same as a limit."""
        return Hold(Limit.SELECTOR, detail=self.why.reason)


class HeldEntries:
    """Costs no more than the entries."""

    def __init__(self) -> None:
        self._by_domain: dict[str, deque[HeldEntry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_domain.values()))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that something waits for."""
        return tuple(self._by_domain)

    def add(self, entry: QueueEntry, route: Route, why: Held) -> None:
        """Keeps an entry until its domain is released."""
        self._by_domain.setdefault(why.domain, deque()).append(HeldEntry(entry, route, why))

    def take(self, domain: str) -> list[QueueEntry]:
        """All that waited for this domain, in order."""
        return [item.entry for item in self._by_domain.pop(domain, ())]

    def waiting_for(self, domain: str) -> deque[HeldEntry]:
        """What waits for this domain now; whoever takes an entry out has it."""
        return self._by_domain.get(domain, deque())

    def holds_of(self, message_id: int) -> tuple[Hold, ...]:
        """What holds the entries of this message here."""
        return tuple(item.hold for items in self._by_domain.values() for item in items if item.entry.id == message_id)
