"""Bodies and signatures for a destination's entries, made ahead of its sessions where they cannot be had at once.

Before it: the entries of `ready_queue`. After it: the dispatcher's feeding of sessions.
Invariant: bodies held here stay within a bound; an entry that cannot be sent yet goes to `held` and keeps none.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.prepared import Held, Prepared, Preparer
from lane_relay.deliver.ready_queue import Destination
from lane_relay.records import QueueEntry

__all__ = ["Lookahead"]

_AHEAD: Final = 4
"""Entries prepared beyond two a session."""


class Lookahead:
    """`on_ready(destination)` is called when something was prepared in the background, or turned out not to be."""

    def __init__(self, preparer: Preparer, held: HeldEntries, on_ready: Callable[[Destination], None]) -> None:
        self._preparer = preparer
        self._held = held
        self._on_ready = on_ready
        self.budget = 0
        """Bytes of bodies that may wait for sessions, or be on their way from the disk or the signer."""
        self._bytes = 0

    def next(self, destination: Destination) -> Prepared | None:
        """The next entry with its body; None: none can be had at once."""
        if destination.ready:
            prepared = destination.ready.popleft()
            self._bytes -= prepared.size
            return prepared
        while destination.entries:
            found = self._prepare(destination)
            if found is not None:
                return found
            if destination.preparing:
                self.fill(destination)
                return None
        return None

    def give_back(self, destination: Destination, prepared: Prepared) -> None:
        """What a session could not send is next again."""
        destination.ready.appendleft(prepared)
        self._bytes += prepared.size

    def fill(self, destination: Destination) -> None:
        """Prepares so many entries that sessions need not wait, within the bound on bodies in memory."""
        wanted = 2 * destination.sessions + _AHEAD
        while (
            destination.entries
            and len(destination.ready) + destination.preparing < wanted
            and self._bytes < self.budget
        ):
            found = self._prepare(destination)
            if found is not None:
                destination.ready.append(found)
                self._bytes += found.size

    def empty(self, destination: Destination) -> None:
        """What was prepared becomes entries again and gives its bodies back."""
        self._bytes -= sum(prepared.size for prepared in destination.ready)
        destination.unprepare()

    def _prepare(self, destination: Destination) -> Prepared | None:
        """Begins with the first entry; Prepared if that is all there is to it."""
        entry = destination.entries.popleft()
        outcome = self._preparer.prepare(entry, partial(self._prepared, destination))
        if isinstance(outcome, Prepared):
            return outcome
        if isinstance(outcome, Held):
            self._held.add(entry, destination.route, outcome)
        else:
            destination.preparing += 1
            destination.looks_ahead = True
            self._bytes += entry.size
        return None

    def _prepared(self, destination: Destination, entry: QueueEntry, outcome: Prepared | Held | None) -> None:
        destination.preparing -= 1
        self._bytes -= entry.size
        if isinstance(outcome, Held):
            self._held.add(entry, destination.route, outcome)
        elif outcome is not None:
            destination.ready.append(outcome)
            self._bytes += outcome.size
        self._on_ready(destination)
