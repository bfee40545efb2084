"""The round over all that waits, a portion at a time: forgets sites at rest, finds entries past their lifetime, and
those that have become late.

Before it: the dispatcher's sweep, once a second. After it: the dispatcher, which hands overdue entries on.
Invariant: one portion looks at a bounded number of sites and entries, however many there are; their order is kept.
"""

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from lane_relay.deliver.held import HeldEntries, HeldEntry
from lane_relay.deliver.known_sites import KnownSites
from lane_relay.deliver.ready_queue import Destination, Hold, ReadyQueue
from lane_relay.records import QueueEntry, age_key
from lane_relay.turns import Turns, sift

__all__ = ["Overdue", "Rounds"]

_EVERY_S: Final = 60.0
"""Between the beginnings of two rounds; a long queue's round takes as many portions as it needs."""
_LOOKS: Final = 10_000
"""Sites and entries looked at in one portion: a few milliseconds."""
_STRIDE: Final = 1000
"""Entries of one queue looked at before the portion's bounds are asked again."""
_CROWD: Final = 20_000
"""Whole sites, beyond which those without work are forgotten with all that is known of them: some 30 MB. What that
costs is one connection attempt to a host that did not answer lately, when it has mail again."""
_MOST: Final = 500
"""Overdue entries in one portion: each has to be read and settled."""


class Overdue(Struct, frozen=True, gc=False):
    """An entry that was taken out, where it would have gone, and what held it."""

    site: str
    hold: Hold
    entry: QueueEntry
    is_over: bool = True
    """False: it goes on waiting once its sender was told that it is late."""
    held: HeldEntry | None = None
    """As what it was held, if it was."""


class Rounds:
    """Walks the sites and the held entries, and goes on where it stopped."""

    def __init__(
        self,
        sites: dict[str, ReadyQueue],
        held: HeldEntries,
        hold_of: Callable[[ReadyQueue], Hold],
        unprepare: Callable[[Destination], None],
        known: KnownSites | None = None,
        crowd: int = _CROWD,
    ) -> None:
        """`unprepare(destination)`: what is ready there becomes entries again; `known`: packs sites that are
        only left alone; `crowd`: whole sites at once."""
        self._crowd = crowd
        self._known = known
        self._sites = sites
        self._held = held
        self._hold_of = hold_of
        self._unprepare = unprepare
        self._walk: Iterator[int] | None = None
        self._next_at = 0.0
        self._now = 0.0
        self._newest = self._late = 0
        self._wall = 0.0
        self._room = 0
        self._left = 0
        self._found: list[Overdue] = []

    def begin(self, now: float) -> bool:
        """Begins another round if it is time for one; True if it did."""
        if self._walk is not None or now < self._next_at:
            return False
        self._next_at = now + _EVERY_S
        self._walk = self._all()
        return True

    def portion(self, now: float, newest: int, room: int, wall: float = 0.0, late: int = 0) -> list[Overdue]:
        """The next portion of the round; what it takes out has about `room` bytes of bodies.

        Its age keys are below `newest`, or its own time is over at `wall`, in Unix time; or they are below `late`, and
        nobody has looked whether their senders want to hear of it.
        """
        self._late = late
        self._wall = wall
        self._now, self._newest, self._room, self._left, self._found = now, newest, room, _MOST, []
        looked = 0
        while self._walk is not None and looked < _LOOKS and self._has_room:
            step = next(self._walk, None)
            if step is None:
                self._walk = None
            else:
                looked += step
        return self._found

    def put_back(self, found: Overdue) -> bool:
        """What was held is held again; False: it was not, or need not be any more."""
        return found.held is not None and self._held.put_back(found.held)

    @property
    def _has_room(self) -> bool:
        return self._room > 0 and self._left > 0

    def _all(self) -> Iterator[int]:
        """Yields how much it looked at, between two looks."""
        for site in list(self._sites.values()):
            yield 1
            for destination in list(site.destinations.values()):
                if any(self._is_wanted(prepared.entry) for prepared in destination.ready):
                    self._unprepare(destination)
                yield from self._through_site(site, destination.entries)
            if self._known is not None and self._known.shrink(site, self._now):
                continue
            crowded = len(self._sites) > self._crowd
            site.forget_empty(self._now, crowded=crowded)
            if site.is_at_rest(self._now, crowded=crowded) and self._sites.get(site.name) is site:
                del self._sites[site.name]
        for key in self._held.keys:
            yield from self._through_held(key)
        if self._known is not None:
            yield from self._known.parked.forget(self._now)

    def _through_site(self, site: ReadyQueue, entries: Turns[QueueEntry]) -> Iterator[int]:
        for campaign in entries.in_turn():
            start = 0
            while start < entries.count(campaign):
                end, found = entries.take_out(campaign, start, _STRIDE, self._takes)
                if found:
                    hold = self._hold_of(site)
                    self._found += [Overdue(site.name, hold, entry, self._is_over(entry)) for entry in found]
                yield end - start + len(found)
                start = end

    def _through_held(self, key: str) -> Iterator[int]:
        start = 0
        while start < len(queue := self._held.waiting_for(key)):
            end, found = sift(queue, start, _STRIDE, lambda item: self._takes(item.entry, lasts=item.why.lasting))
            self._found += [
                Overdue(item.route.site, item.hold, item.entry, self._is_over(item.entry, item.why.lasting), item)
                for item in found
            ]
            yield end - start + len(found)
            start = end

    def _is_over(self, entry: QueueEntry, lasts: bool = False) -> bool:
        """`lasts`: while it is held its lifetime does not end it."""
        if lasts:
            return False
        return age_key(entry.id) < self._newest or bool(entry.expires_at and entry.expires_at < self._wall)

    def _is_wanted(self, entry: QueueEntry, lasts: bool = False) -> bool:
        return self._is_over(entry, lasts) or (
            age_key(entry.id) < self._late and not entry.notified and bool(entry.sender_domain)
        )

    def _takes(self, entry: QueueEntry, lasts: bool = False) -> bool | None:
        if not self._is_wanted(entry, lasts):
            return False
        if not self._has_room:
            return None
        self._room -= entry.size
        self._left -= 1
        return True
