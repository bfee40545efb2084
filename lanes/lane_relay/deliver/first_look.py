"""Whether a destination's mail may leave at all, found out before it gets a connection that would serve for nothing.

After a restart no body is in memory, so nobody knows which signing domain an entry waits for. Where something is held,
the entries of a destination without a connection are read, one after the other, until one may leave. So they are where
mail of some From domain waits: a connection that brings no message is a bad sign by itself to who asked for less.
Before it: `connections`, which is about to open one. After it: `held`, `judgement`, or `connections` again.
Invariants: few bodies are read at once and none is kept; an entry that is being looked at counts as being prepared.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.prepared import Preparer
from lane_relay.deliver.ready_queue import Destination
from lane_relay.records import Message, QueueEntry

__all__ = ["FirstLook"]

_AT_ONCE: Final = 1024 * 1024
"""Bytes of bodies being read; a larger one is read alone."""

_IN_A_TURN: Final = 100
"""Entries looked at in one turn of the loop, where their bodies are in memory."""

Then = Callable[[Destination], None]


class FirstLook:
    """One look for each destination; `looked` stays with it until its next connection is opened."""

    def __init__(self, preparer: Preparer, held: HeldEntries, judgement: Judgement) -> None:
        self._preparer = preparer
        self._held = held
        self._judgement = judgement
        self._line: deque[tuple[Destination, Then]] = deque()
        self._bytes = 0

    def begins(self, destination: Destination, then: Then) -> bool:
        """True: the destination is being looked at, and `then` is called with it if something of it may leave."""
        if destination.looking:
            return True
        busy = destination.sessions or destination.ready or destination.preparing or not destination.entries
        if busy or destination.looked:
            return False
        may_be_put_off = self._judgement.acts.has_domains_at(destination.site.name)
        if not may_be_put_off and not self._preparer.must_look(destination.entries.first):
            return False
        destination.looking = True
        self._line.append((destination, then))
        asyncio.get_running_loop().call_soon(self._go_on)  # later: the caller is amid its line
        return True

    def _go_on(self) -> None:
        for _ in range(_IN_A_TURN):
            if not self._line:
                return
            destination, then = self._line[0]
            size = destination.entries.first.size if destination.entries else 0
            if self._bytes and self._bytes + size > _AT_ONCE:
                return
            self._line.popleft()
            if not destination.entries:  # they have gone elsewhere meanwhile
                destination.looking = False
                continue
            destination.preparing += 1
            self._bytes += size
            self._preparer.read(destination.entries.popleft(), partial(self._on_read, destination, then))
        asyncio.get_running_loop().call_soon(self._go_on)

    def _on_read(self, destination: Destination, then: Then, entry: QueueEntry, message: Message | None) -> None:
        destination.preparing -= 1
        self._bytes -= entry.size
        asyncio.get_running_loop().call_soon(self._go_on)
        held = self._preparer.why_held(message) if message is not None else None
        if held is not None:
            self._held.add(entry, destination.route, held)
        if held is not None or message is None or self._judgement.puts_off_unprepared(destination.site, entry, message):
            self._line.append((destination, then))
            return
        destination.put_back(entry)
        destination.looking = False
        destination.looked = True
        then(destination)
