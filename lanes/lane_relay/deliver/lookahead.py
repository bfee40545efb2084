"""Bodies and signatures for a destination's entries, made ahead of its sessions where they cannot be had at once.

Before it: the entries of `ready_queue`. After it: the dispatcher's feeding of sessions.
Invariants: bodies held here stay within a bound, and with those in sessions within the budget; a body counts from
before it is loaded until `done`, for a host without 8BITMIME with its 7-bit form; an entry that cannot be sent yet goes
to `held` and keeps none.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from lane_relay.deliver.body_budget import BodyBudget
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.prepared import Gone, Held, Prepared, Preparer
from lane_relay.deliver.ready_queue import Destination, ReadyQueue
from lane_relay.mail.seven_bit import MOST_LONGER
from lane_relay.records import QueueEntry

__all__ = ["Lookahead"]

_AHEAD: Final = 4
"""Entries prepared beyond two a session."""
_PART_AHEAD: Final = 4
"""A quarter of the active bytes may wait for sessions; the rest is for the sessions themselves."""
_FORMS: Final = 1 + MOST_LONGER
"""Times of its size that a message takes for a host without 8BITMIME: as it is, and in 7-bit form at its longest."""
_CALLED: Final = 100
"""Sites called in one turn of the loop, where many that waited for room want none any more."""


class Lookahead:
    """`on_ready(destination)` is called when something was prepared in the background, or turned out not to be."""

    def __init__(
        self,
        preparer: Preparer,
        held: HeldEntries,
        on_ready: Callable[[Destination], None],
        on_room: Callable[[ReadyQueue], None],
    ) -> None:
        """`on_room(site)`: a site that was refused room for a body may ask again."""
        self._preparer = preparer
        self._on_room = on_room
        self._room = BodyBudget(0)
        self._left: dict[ReadyQueue, None] = {}
        """Sites that gave room back in this turn of the loop."""
        self._held = held
        self._on_ready = on_ready
        self._ahead_limit = 0
        """Bytes of bodies that may wait for sessions, or be on their way from the disk or the signer."""
        self._epoch = 0
        """What was begun in an earlier one is not made ready any more: key, selector or its time may be another."""
        self._bytes = 0
        self._forms: dict[int, int] = {}
        """By the identity of an entry: what counts beyond its size, for its 7-bit form."""

    def limit(self, active_bytes: int) -> None:
        """Another bound on the bytes of bodies."""
        self._room.limit = active_bytes
        self._ahead_limit = active_bytes // _PART_AHEAD

    def next(self, destination: Destination) -> Prepared | None:
        """The next entry with its body; None: none can be had at once."""
        while destination.ready:
            prepared = destination.ready.pop(0)
            self._bytes -= prepared.size
            stop = self._preparer.stop(prepared)
            if stop is None:
                return prepared
            if isinstance(stop, Held):  # its selector has gone since
                self._held.add(prepared.entry, destination.route, stop)
            self._leave(destination, prepared.entry)
        if destination.preparing and self._has_enough(destination):
            return None
        while destination.entries.length and self._take(destination):
            found = self._prepare(destination)
            if found is not None:
                return found
            if destination.preparing:
                self.fill(destination)
                return None
        if destination.entries.length:  # no room: when its turn comes, it takes its body before it opens a connection
            destination.looks_ahead = True
        return None

    def _has_enough(self, destination: Destination) -> bool:
        """Whoever asks waits for what is on its way: what is begun no longer takes turns with the mail that comes."""
        most = 2 * destination.sessions + _AHEAD if self._bytes < self._ahead_limit else destination.sessions
        return destination.preparing >= most

    def done(self, destination: Destination, prepared: Prepared) -> None:
        """A body that `next` gave out is in nobody's hands any more; others may have its room."""
        self._leave(destination, prepared.entry)

    def give_back(self, destination: Destination, prepared: Prepared) -> None:
        """What a session could not send is next again, and made ready as things are by then."""
        destination.put_back(prepared.entry)
        self._leave(destination, prepared.entry)

    def reduce(self, destination: Destination, prepared: Prepared) -> bool:
        """After a host did not take 8-bit mail: it is next again, in 7-bit form; False: it is in that form."""
        if prepared.reduced:
            return False
        destination.seven_bit = True
        self.empty(destination)
        self.give_back(destination, prepared)
        return True

    def fill(self, destination: Destination) -> None:
        """Prepares so many entries that sessions need not wait, within the bound on bodies in memory."""
        wanted = 2 * destination.sessions + _AHEAD
        while (
            destination.entries
            and len(destination.ready) + destination.preparing < wanted
            and self._bytes < self._ahead_limit
            and self._take(destination)
        ):
            found = self._prepare(destination)
            if found is not None:
                destination.ready.append(found)
                self._bytes += found.size

    def begin_anew(self, sites: Iterable[ReadyQueue]) -> None:
        """What is ready, or on its way to be, is made ready anew in its turn."""
        self._epoch += 1
        for site in sites:
            for destination in site.destinations.values():
                self.empty(destination)

    def empty(self, destination: Destination) -> None:
        """What was prepared becomes entries again and gives its bodies back."""
        emptied = [prepared.entry for prepared in destination.ready]
        self._bytes -= sum(prepared.size for prepared in destination.ready)
        destination.unprepare()
        for entry in emptied:
            self._leave(destination, entry)

    def _take(self, destination: Destination) -> bool:
        """Counts the body of the first entry; False: there is no room for it now."""
        entry = destination.entries.first
        if not destination.seven_bit:
            return self._room.take(destination.site, entry.size)
        size = int(_FORMS * entry.size)
        if not self._room.take(destination.site, size):
            return False
        self._forms[id(entry)] = size - entry.size
        return True

    def _prepare(self, destination: Destination) -> Prepared | None:
        """Begins with the first entry; Prepared if that is all there is to it."""
        entry = destination.entries.popleft()
        then = partial(self._prepared, destination, self._epoch)
        outcome = self._preparer.prepare(entry, then, seven_bit=destination.seven_bit)
        if isinstance(outcome, Prepared):
            return outcome
        if outcome is not None:
            if isinstance(outcome, Held):
                self._held.add(entry, destination.route, outcome)
            self._leave(destination, entry)
        else:
            destination.preparing += 1
            destination.looks_ahead = True
            self._bytes += entry.size
        return None

    def _prepared(
        self, destination: Destination, epoch: int, entry: QueueEntry, outcome: Prepared | Held | Gone | None
    ) -> None:
        destination.preparing -= 1
        self._bytes -= entry.size
        if isinstance(outcome, Prepared) and epoch == self._epoch:
            destination.ready.append(outcome)
            self._bytes += outcome.size
        else:
            if isinstance(outcome, Held):
                self._held.add(entry, destination.route, outcome)
            elif isinstance(outcome, Prepared):
                destination.put_back(entry)
            self._leave(destination, entry)
        self._on_ready(destination)

    def _leave(self, destination: Destination, entry: QueueEntry) -> None:
        size = entry.size
        if self._forms:
            size += self._forms.pop(id(entry), 0)
        self._room.give_back(destination.site, size)
        self._preparer.release(entry)
        if not self._left:  # later, not amid whatever the caller is at
            asyncio.get_running_loop().call_soon(self._hand_on)
        self._left[destination.site] = None

    def _hand_on(self) -> None:
        left, self._left = self._left, {}
        self._call()
        for site in left:
            for asked in self._room.next_in_line(site):
                self._on_room(asked)

    def _call(self) -> None:
        """Sites that have nothing yet come first; who has no use for the room by now passes it on."""
        for _ in range(_CALLED):
            called = self._room.call_first()
            if called is None:
                return
            self._on_room(called)
            if called.lacks_room:
                return
        asyncio.get_running_loop().call_soon(self._call)
