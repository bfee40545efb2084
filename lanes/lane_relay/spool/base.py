"""The Spool protocol: what `accept` puts, `account` settles and recovery finds.

Promises of every implementation (the tests in tests/lane_relay/spool run against each):
- `done` is called without an error only after message, envelope and reception record are on stable storage.
- A message stays until every recipient is settled. A crash at any instant loses nothing that was `done`.
- A settlement carries its accounting records; they reach the journal exactly once, also over a crash, and always
  before the message is gone for good.
- What is said first is durable first: a `settle` is never on disk without every `put` that was called before it,
  unless that `put` reported an error.
- After a failed write or fsync the spool refuses everything (SpoolError); it is never retried.
All methods are called on the event loop's thread and never block it on the disk.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from lane_relay.errors import SpoolError
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.entries import Waiting

__all__ = ["Balance", "DamagedMessageError", "Done", "JournalSink", "Spool", "SpoolState"]

Done = Callable[[int, SpoolError | None], None]
"""(location, error): called on the event loop; location is valid if error is None."""


class DamagedMessageError(SpoolError):
    """The volume does not give back what was written for this one message; the rest of the spool is sound.

    The message stays where it is, is counted as damage, and is for a person to judge.
    """


class SpoolState(Struct, frozen=True):
    """What `/v1`, `/readyz` and metrics show of a spool."""

    live_messages: int
    live_bytes: int
    """Bytes of the live messages' records."""
    disk_bytes: int
    """Bytes of all segments, dead records included."""
    budget_bytes: int
    cached_bytes: int
    """Message bodies held in memory."""
    damaged: int
    """Places where what was once durable could not be read; each is named in `damage`."""
    damage: tuple[str, ...]
    """The first of these places, in words."""
    full: bool
    """Refuses messages until there is room."""
    failed: str
    """Why it refuses everything, or empty."""
    commits: int = 0
    """Group commits of this process."""
    commit_s: float = 0.0
    """Seconds they took, write and sync."""
    live_recipients: int = 0
    """Recipients of live messages that no settlement has been said of."""
    missing_recipients: int = 0
    """Of those that should have waited at the opening, how many were not found; negative: more were found."""


class Balance(Struct, frozen=True):
    """What accounting records come to."""

    recipients: int
    """Those that came in less those that were done with."""
    whole: bool
    """No record is missing among them; else only messages count whose reception is there."""


class JournalSink(Protocol):
    """Where accounting records go once the log has made them durable; implemented by `account.journal`.

    Called from the spool's threads, one at a time. Every record has a sequence number, counted from 1 without holes.
    """

    @property
    def last_seq(self) -> int:
        """Number of the last record appended."""

    @property
    def synced_seq(self) -> int:
        """Every record up to this one is on stable storage."""

    def reconcile(self, synced: int, records: Iterable[tuple[int, bytes]]) -> int:
        """Makes the journal equal to the log after a crash; gives how many records neither of them has.

        Records up to `synced` were durable in the journal; `records` are the (number, record)s that the log still
        holds. Called once, before anything is appended.
        """

    def balance(self, after: int) -> Balance:
        """What the records after this number come to; reads them all."""

    def append(self, first_seq: int, records: Sequence[bytes]) -> bool:
        """Appends records that follow the last one; False, and nothing appended, if its volume has no room."""

    def sync(self) -> None:
        """Makes what was appended durable; raises OSError."""

    def close(self) -> None:
        """Syncs and gives up the files; raises OSError."""


class Spool(Protocol):
    """A durable store of messages."""

    @property
    def spool_id(self) -> str:
        """Random identity of this store, made with it; part of the proof of empty."""

    @property
    def state(self) -> SpoolState:
        """Figures as of now."""

    @property
    def has_failed(self) -> bool:
        """Nothing will ever be written again in this process's life; cheap, since it is asked for each message."""

    @property
    def recorded(self) -> int:
        """Number of the last accounting record that is on stable storage."""

    def new_id(self) -> int:
        """A spool id that this store never gave out before."""

    def foreign_id(self, received_at: float) -> int:
        """A spool id for mail that another slot accepted at this Unix time, so that its age stays what it is."""

    def put(self, message: Message, record: bytes, done: Done, waiting: Waiting | None = None) -> None:
        """Stores a message with its reception record (one JSON object, no line end); raises SpoolFullError at once.

        What no client brought, a report of the relay's own, has room where others are refused already.
        With `waiting`, recovery gives its entries in that state: there is no instant at which it is forgotten.
        """

    def settle(self, entry: QueueEntry, recipients: tuple[int, ...], records: Iterable[bytes]) -> None:
        """Takes these recipients off the message, with the records that say why; the last one frees it.

        Called before the caller takes them off `entry.recipients`.
        """

    def defer(self, entry: QueueEntry, records: Iterable[bytes]) -> None:
        """Notes `due`, `attempts` and `notified` of the entry for its recipients, with the attempt's records.

        Recipients of one domain may be deferred in parts; recovery gives an entry for each part.
        """

    def record(self, records: Iterable[bytes]) -> None:
        """Accounting records that belong to no stored message, such as a Rejection."""

    def cached(self, entry: QueueEntry) -> Message | None:
        """The message of an entry if it is still in memory: no await on the path of fresh mail."""

    def lend(self, size: int) -> None:
        """A body that `load` gave is kept while it is sent: what is held in memory for later makes room for it."""

    def give_back(self, size: int) -> None:
        """A body that was lent is kept no more."""

    async def load(self, entry: QueueEntry) -> Message:
        """The message of an entry; DamagedMessageError if the volume does not give it back."""

    async def peek(self, entry: QueueEntry) -> Message | None:
        """The message of an entry that is another's and may be settled meanwhile; None: it is not there, or damaged.

        For who looks on: unlike `load` it takes nothing for damage.
        """

    def recover(self) -> Iterable[QueueEntry]:
        """Every live entry found at opening, once, in no particular order; called before anything else."""

    def keep(self) -> Callable[[], None]:
        """Nothing stored from now on leaves the log, settled or not, until what this returns is called.

        So that after a crash `asked` of the implementation's opening can say of an id whether it was ever stored.
        """

    def was_stored(self, message_id: int) -> bool:
        """An id that the opening was asked about was found in the log, live or settled."""

    def set_flag(self, name: str, value: str) -> None:
        """Keeps a small named fact over restarts, such as `intake` = `Closed`; empty removes it."""

    def flag(self, name: str) -> str:
        """A fact kept by set_flag, or an empty string."""

    async def flush(self) -> None:
        """Returns when everything said so far is on stable storage; raises SpoolError."""

    async def close(self) -> None:
        """Flushes and releases the files; raises SpoolError if the flush failed."""
