"""Mail follows its domain: what waits for hosts that the domain names no more asks for its route anew.

A route is asked for when an entry is due, and then the entry may wait here for hours: for a pace, or for hosts that do
not answer. So the domains of all that waits are looked up again when their route is past its life, and compared.
Before it: the dispatcher's sweep. After it: the router, and for what has moved `rerouting`.
Invariants: what has not moved keeps its place; one portion looks at a bounded number of entries and asks for a bounded
number of domains, and mail whose route is not known at all comes first in DNS.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from lane_relay.deliver.ready_queue import Destination, ReadyQueue, place_of
from lane_relay.deliver.rerouting import Rerouting
from lane_relay.deliver.unfit import leave_out
from lane_relay.records import QueueEntry, Route, Unroutable

__all__ = ["MovedMail", "Routes"]

_EVERY_S: Final = 30.0
"""Between the beginnings of two looks: no answer of DNS is believed for less (`resolve.cache`)."""
_LOOKS: Final = 5000
"""Sites and entries in one portion: a few milliseconds."""
_STRIDE: Final = 1000
"""Entries of one queue in a row."""
_ASKS: Final = 100
"""Domains looked up anew in one portion: some 4 % of a core. Of more the look takes longer."""

Found = Route | Unroutable


class Routes(Protocol):
    """Who knows routes: the router."""

    def fresh(self, domain: str) -> Found | None:
        """The route if it is known and has not expired; nothing is asked."""

    def ask(self, domain: str, then: Callable[[Found], None]) -> bool:
        """`then` is called with what DNS says by now; False: not now, mail without any route comes first."""


class MovedMail:
    """Walks over what waits, and goes on where it stopped."""

    def __init__(
        self,
        routes: Routes,
        sites: dict[str, ReadyQueue],
        rerouting: Rerouting,
        unprepare: Callable[[Destination], None],
        want: Callable[[Destination], None],
    ) -> None:
        """`unprepare(destination)`: what is ready there becomes entries again; `want`: it may be tried at once."""
        self._routes = routes
        self._sites = sites
        self._rerouting = rerouting
        self._unprepare = unprepare
        self._want = want
        self._walk: Iterator[int] | None = None
        self._next_at = 0.0
        self._gone: dict[Destination, list[str]] = {}
        """Domains that have left a destination, as answers have shown since the walk began."""
        self._leaves: dict[str, bool] = {}
        """Of the destination that is walked through: whether a domain's mail is to leave it."""
        self._left = 0
        """Domains that may be looked up anew in this portion."""

    def go_on(self, now: float) -> None:
        """The next portion; of a new walk when it is time for one."""
        if self._walk is None and now >= self._next_at:
            self._next_at, self._walk = now + _EVERY_S, self._all()
        self._left = _ASKS
        looked = 0
        while self._walk is not None and looked < _LOOKS and self._left > 0:
            step = next(self._walk, None)
            if step is None:
                self._walk = None
            else:
                looked += step
        self._rerouting.go_on()

    def _all(self) -> Iterator[int]:
        """Yields how much it looked at, between two looks."""
        gone, self._gone = self._gone, {}
        for site in list(self._sites.values()):
            yield 1
            for destination in list(site.destinations.values()):
                if destination.waiting:
                    self._leaves = dict.fromkeys(gone.get(destination, ()), True)
                    yield from self._through(destination)

    def _through(self, destination: Destination) -> Iterator[int]:
        if any(self._takes(destination, prepared.entry) for prepared in destination.ready):
            self._unprepare(destination)
        takes, entries = partial(self._takes, destination), destination.entries
        for campaign in entries.in_turn():
            start = 0
            while start < entries.count(campaign):
                end, found = entries.take_out(campaign, start, _STRIDE, takes)
                if found:
                    self._rerouting.add(found)
                yield end - start + len(found)
                start = end

    def _takes(self, destination: Destination, entry: QueueEntry) -> bool | None:
        """Whether the entry is to leave; None: the portion is over."""
        leaves = self._leaves.get(entry.domain)
        if leaves is None:
            leaves = self._look(destination, entry.domain)
            if leaves is not None:
                self._leaves[entry.domain] = leaves
        return leaves

    def _look(self, destination: Destination, domain: str) -> bool | None:
        found = self._routes.fresh(domain)
        if found is not None:
            return self._is_elsewhere(destination, found)
        if self._left <= 0 or not self._routes.ask(domain, partial(self._on_found, destination, domain)):
            self._left = 0
            return None
        self._left -= 1
        return False

    def _on_found(self, destination: Destination, domain: str, found: Found) -> None:
        if self._is_elsewhere(destination, found):
            self._gone.setdefault(destination, []).append(domain)
            self._next_at = 0.0

    def _is_elsewhere(self, destination: Destination, found: Found) -> bool:
        """A failure for the time being says nothing; the same hosts may have other addresses by now."""
        if isinstance(found, Unroutable):
            return found.reply.is_permanent
        left_out = destination.route.without
        if left_out:  # else what waits here for the other hosts would go back and ask those that cannot take it
            found = leave_out(found, left_out)
        if found.site != destination.site.name or place_of(found) != place_of(destination.route):
            return True
        if destination.update(found):
            self._want(destination)
        return False
