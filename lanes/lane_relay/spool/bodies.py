"""Fresh messages in memory, so that what was just accepted is delivered without reading it back.

Invariant: what it holds, and what was read back from the disk to be sent, never exceed its bound
together, unless what was read back does so alone. When it is full, newer messages stay on disk: the older ones are the
next to leave. A message goes when it is settled or deferred (its next try is a long time off).
Before: `log` offers every message that became durable. After: `Spool.cached` and `load`.
"""

from typing import Final

from lane_relay.records import Message

__all__ = ["BodyCache"]

_OVERHEAD: Final = 1024
"""Bytes of the objects around a body, measured generously."""


class BodyCache:
    """Messages by spool id, bounded by bytes."""

    def __init__(self, bound: int) -> None:
        """`bound` in bytes."""
        self.bytes = 0
        self._bound = bound
        self._held: dict[int, Message] = {}
        self.lent = 0
        """Bytes of what was read back, as its readers say."""

    def offer(self, message: Message) -> None:
        """Keeps the message if there is room."""
        size = len(message.body) + _OVERHEAD
        if self.bytes + self.lent + size <= self._bound and message.id not in self._held:
            self._held[message.id] = message
            self.bytes += size

    def get(self, message_id: int) -> Message | None:
        """The message, if it is held."""
        return self._held.get(message_id)

    def drop(self, message_id: int) -> None:
        """Forgets it."""
        message = self._held.pop(message_id, None)
        if message is not None:
            self.bytes -= len(message.body) + _OVERHEAD

    def lend(self, size: int) -> None:
        """Counts a body that was read back; the newest fresh messages make room for it."""
        self.lent += size
        while self._held and self.bytes + self.lent > self._bound:
            _, newest = self._held.popitem()
            self.bytes -= len(newest.body) + _OVERHEAD

    def give_back(self, size: int) -> None:
        """The reader has it no more."""
        self.lent -= size

    def resize(self, bound: int) -> None:
        """A new bound; what is held above it leaves as it is settled."""
        self._bound = bound
