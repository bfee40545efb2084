"""Entries that must not leave yet, by the signing domain that they wait for.

Before it: `prepared`, which found out. After it: the ready queue again, when the domain is released.
"""

from itertools import islice

from lane_relay.deliver.prepared import Held
from lane_relay.deliver.ready_queue import Hold, Limit
from lane_relay.records import QueueEntry, Route

__all__ = ["HeldEntries"]


class HeldEntries:
    """Costs no more than the entries."""

    def __init__(self) -> None:
        self._by_domain: dict[str, list[tuple[QueueEntry, Route, Held]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_domain.values()))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that something waits for."""
        return tuple(self._by_domain)

    def add(self, entry: QueueEntry, route: Route, why: Held) -> None:
        """Keeps an entry until its domain is released."""
        self._by_domain.setdefault(why.domain, []).append((entry, route, why))

    def take(self, domain: str) -> list[tuple[QueueEntry, Route]]:
        """All that waited for this domain, in order."""
        return [(entry, route) for entry, route, _ in self._by_domain.pop(domain, ())]

    def take_older(self, newest_id: int, most: int) -> list[tuple[QueueEntry, Route, Hold]]:
        """At most so many whose id lies below, with what held them."""
        items = (item for kept in self._by_domain.values() for item in kept if item[0].id < newest_id)
        older = list(islice(items, most))
        if older:
            gone = {id(item) for item in older}
            for domain, kept in self._by_domain.items():
                self._by_domain[domain] = [item for item in kept if id(item) not in gone]
        return [(entry, route, _hold(why)) for entry, route, why in older]

    def holds_of(self, message_id: int) -> tuple[Hold, ...]:
        """What holds the entries of this message here."""
        return tuple(
            _hold(why) for items in self._by_domain.values() for entry, _, why in items if entry.id == message_id
        )


def _hold(why: Held) -> Hold:
    return Hold(Limit.SELECTOR, detail=why.reason)
