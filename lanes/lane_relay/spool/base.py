"""The Spool protocol: what `accept` puts, `account` settles and recovery finds.

Promises of every implementation (the tests in tests/lane_relay/spool run against each):
- `done` is called without an error only after message, envelope and reception record are on stable storage.
- A message stays until every recipient is settled. A crash at any instant loses nothing that was `done`.
- A settlement carries its accounting records; they reach the journal exactly once, also over a crash, and always
  before the message is gone for good.
- After a failed write or fsync the spool refuses everything (SpoolError); it is never retried.
All methods are called on the event loop's thread and never block it on the disk.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from lane_relay.errors import SpoolError
from lane_relay.records import Message, QueueEntry

__all__ = ["Done", "Spool", "SpoolState"]

Done = Callable[[int, SpoolError | None], None]
"""(location, error): called on the event loop; location is valid if error is None."""


class SpoolState(Protocol):
    """What `/v1`, `/readyz` and metrics show of a spool."""

    live_messages: int
    live_bytes: int
    budget_bytes: int
    failed: str
    """Why it refuses everything, or empty."""


class Spool(Protocol):
    """A durable store of messages."""

    @property
    def spool_id(self) -> str:
        """Random identity of this store, made with it; part of the proof of empty."""

    @property
    def state(self) -> SpoolState:
        """Figures as of now."""

    def new_id(self) -> int:
        """A spool id that this store never gave out before."""

    def put(self, message: Message, record: bytes, done: Done) -> None:
        """Stores a message with its reception record (one JSON object, no line end); raises SpoolFullError at once."""

    def settle(self, entry: QueueEntry, recipients: tuple[int, ...], records: Iterable[bytes]) -> None:
        """Takes these recipients off the message, with the records that say why; the last one frees it."""

    def defer(self, entry: QueueEntry, records: Iterable[bytes]) -> None:
        """Notes `entry.due` and `entry.attempts` for the entry's recipients, with the attempt's records."""

    def record(self, records: Iterable[bytes]) -> None:
        """Accounting records that belong to no stored message, such as a Rejection."""

    async def load(self, entry: QueueEntry) -> Message:
        """The message of an entry; raises SpoolError if the store cannot read what it promised."""

    def recover(self) -> Iterable[QueueEntry]:
        """Every live entry found at opening, once, in no particular order; called before anything else."""

    def set_flag(self, name: str, value: str) -> None:
        """Keeps a small named fact over restarts, such as `intake` = `Closed`; empty removes it."""

    def flag(self, name: str) -> str:
        """A fact kept by set_flag, or an empty string."""

    async def flush(self) -> None:
        """Returns when everything said so far is on stable storage; raises SpoolError."""

    async def close(self) -> None:
        """Flushes and releases the files; raises SpoolError if the flush failed."""
