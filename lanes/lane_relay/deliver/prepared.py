"""An entry with everything that a session needs to send it: body loaded, signature made.

Before it: the ready queue's entries. After it: the session. Invariant: few exist at a time, since they hold bodies;
whatever waits longer goes back to being an entry.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from lane_relay.deliver.reducer import Reducer
from lane_relay.errors import SpoolError
from lane_relay.guard import report
from lane_relay.mail.seven_bit import MOST_LONGER, is_signed
from lane_relay.records import Message, QueueEntry

__all__ = ["GONE", "Bodies", "Gone", "Held", "Prepared", "Preparer", "Screening", "Signing"]

_log = logging.getLogger(__name__)


class Bodies(Protocol):
    """Where messages come from: the spool."""

    def cached(self, entry: QueueEntry) -> Message | None:
        """The message if it is in memory."""

    async def load(self, entry: QueueEntry) -> Message:
        """The message from disk; raises SpoolError."""

    def lend(self, size: int) -> None:
        """A body that was loaded is kept until `give_back`."""

    def give_back(self, size: int) -> None:
        """It is kept no more."""


class Held(Struct, frozen=True, gc=False):
    """The message must not leave yet: its domain's DKIM selector is not live, no key signs for it, or by order."""

    domain: str
    """The signing domain that it waits for; something else in brackets where it waits for no domain."""
    reason: str
    order: str = ""
    """The order that holds it, by its id."""
    lasting: bool = False
    """Its lifetime does not end it while it is held."""

    @property
    def key(self) -> str:
        """What releases it; no domain has a blank in it."""
        return f"order {self.order}" if self.order else self.domain


class Gone(Struct, frozen=True, gc=False):
    """Nobody of the entry is left to be attempted: it is settled, or on its way to be."""


GONE: Final = Gone()


class Prepared(Struct, frozen=True, gc=False):
    """Ready to be sent."""

    entry: QueueEntry
    message: Message
    chunks: tuple[bytes, ...]
    """What is sent: signature (if any) and body, unstuffed."""
    size: int
    reduced: bool = False
    """The body is 7-bit, if it can be."""


class Screening(Protocol):
    """Who decides, message in hand, that recipients are not to be attempted."""

    def admit(self, entry: QueueEntry, message: Message) -> Held | Gone | None:
        """Settles those who are not to be attempted, and takes them off the entry; None: the others may be attempted.

        Asked again for the same entry it says the same, unless something has changed.
        """


class Signing(Protocol):
    """Who makes signatures; `deliver.signer` or nobody."""

    def signature(self, message: Message, then: Callable[[bytes | Held], None]) -> bytes | Held | None:
        """The DKIM-Signature field with its line end (b"": goes unsigned), or why not; None: `then` gets it later."""

    def why_held(self, message: Message) -> Held | None:
        """Why the message must not leave now, or None; cheap."""

    def holds_some(self) -> bool:
        """Mail of some domain must not leave now."""


Outcome = Prepared | Held | Gone


class Preparer:
    """Makes entries ready, at once where body and signature are at hand, else in the background."""

    def __init__(self, bodies: Bodies, signing: Signing | None, screening: Screening | None = None) -> None:
        self._bodies = bodies
        self._signing = signing
        self._screening = screening
        self._loading: set[asyncio.Task[None]] = set()
        self._lent: dict[int, int] = {}
        """By the identity of an entry whose body was loaded or made anew: how many bytes, until `release`."""
        self._reducer = Reducer()
        self.reading_bytes = 0
        """Of the bodies that `read` waits for."""
        self.unreadable: list[QueueEntry] = []
        """Entries that the spool could not read; they stay on its disk, for a restart to find."""

    def why_held(self, message: Message) -> Held | None:
        """Why the message must not leave now, or None."""
        return self._signing.why_held(message) if self._signing is not None else None

    def stop(self, prepared: Prepared) -> Held | Gone | None:
        """Why something that was made ready must not leave after all, or None."""
        held = self.why_held(prepared.message)
        if held is not None or self._screening is None:
            return held
        return self._screening.admit(prepared.entry, prepared.message)

    def why_entry_held(self, entry: QueueEntry) -> Held | None:
        """Why the entry must not leave now, as far as that is known without the disk."""
        if self._signing is None:
            return None
        message = self._bodies.cached(entry)
        return self._signing.why_held(message) if message is not None else None

    def must_look(self, entry: QueueEntry) -> bool:
        """Only the disk can tell whether the entry must not leave now, and that may be so."""
        return self._signing is not None and self._bodies.cached(entry) is None and self._signing.holds_some()

    def prepare(
        self, entry: QueueEntry, then: Callable[[QueueEntry, Outcome | None], None], *, seven_bit: bool = False
    ) -> Outcome | None:
        """The entry made ready or held; None: `then` is called with it later (with None if it cannot be read).

        `seven_bit`: it is for a host without 8BITMIME.
        """
        message = self._bodies.cached(entry)
        if message is not None and (not seven_bit or message.body.isascii()):
            return self._sign(entry, message, then)
        task = asyncio.get_running_loop().create_task(self._load(entry, then, seven_bit=seven_bit))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)
        task.add_done_callback(report)
        return None

    def release(self, entry: QueueEntry) -> None:
        """What was prepared of this entry is in nobody's hands any more."""
        if self._lent:
            size = self._lent.pop(id(entry), 0)
            if size:
                self._bodies.give_back(size)

    def read(self, entry: QueueEntry, then: Callable[[QueueEntry, Message | None], None]) -> None:
        """Hands the entry's message to `then`, at once or later; None if the spool cannot read it."""
        message = self._bodies.cached(entry)
        if message is not None:
            then(entry, message)
            return
        task = asyncio.get_running_loop().create_task(self._read(entry, then))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)
        task.add_done_callback(report)

    async def close(self) -> None:
        """Gives up what is being loaded; the entries stay in the spool."""
        tasks = list(self._loading)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reducer.close()

    async def _read(self, entry: QueueEntry, then: Callable[[QueueEntry, Message | None], None]) -> None:
        self.reading_bytes += entry.size
        try:
            message = await self._message(entry)
        finally:
            self.reading_bytes -= entry.size
        then(entry, message)

    async def _message(self, entry: QueueEntry) -> Message | None:
        try:
            return await self._bodies.load(entry)
        except SpoolError:
            _log.exception("the spool cannot read message %024x", entry.id)
            self.unreadable.append(entry)
            return None

    async def _load(
        self, entry: QueueEntry, then: Callable[[QueueEntry, Outcome | None], None], *, seven_bit: bool
    ) -> None:
        message = await self._message(entry)
        if message is None:
            then(entry, None)
            return
        if self._bodies.cached(entry) is None and id(entry) not in self._lent:
            self._lend(entry, len(message.body))
        if seven_bit and not message.body.isascii():
            await self._reduce(entry, message, then)
            return
        outcome = self._sign(entry, message, then)
        if outcome is not None:
            then(entry, outcome)

    def _lend(self, entry: QueueEntry, size: int) -> None:
        self._lent[id(entry)] = self._lent.get(id(entry), 0) + size
        self._bodies.lend(size)

    def _stop(self, entry: QueueEntry, message: Message) -> Held | Gone | None:
        return self._screening.admit(entry, message) if self._screening is not None else None

    def _sign(
        self, entry: QueueEntry, message: Message, then: Callable[[QueueEntry, Outcome | None], None]
    ) -> Outcome | None:
        stop = self._stop(entry, message)
        if stop is not None:
            return stop
        if self._signing is None:
            return Prepared(entry, message, (message.body,), len(message.body))

        found = self._signing.signature(message, partial(_signed, entry, message, then))
        return None if found is None else _outcome(entry, message, found)

    async def _reduce(
        self, entry: QueueEntry, message: Message, then: Callable[[QueueEntry, Outcome | None], None]
    ) -> None:
        """Hands the 7-bit form to `then`, or why there is nothing to send. Its signature covers what is sent, so it is
        made for that, under an id that no message has."""
        stop = self._stop(entry, message) or self.why_held(message)
        if stop is not None:
            then(entry, stop)
            return
        self._lend(entry, int(MOST_LONGER * len(message.body)))
        made = await self._reducer.reduce(message.body)
        if self._signing is None:
            then(entry, _reduced(entry, message, made, b""))
            return
        signed = message if made is None else replace(message, id=~message.id, body=made)
        found = self._signing.signature(signed, lambda found: then(entry, _reduced(entry, message, made, found)))
        if found is not None:
            then(entry, _reduced(entry, message, made, found))


def _reduced(entry: QueueEntry, message: Message, made: bytes | None, found: bytes | Held) -> Outcome:
    """Where we do not sign, a signature of the sender's own is not broken: the message stays as it is."""
    if isinstance(found, Held):
        return found
    body = message.body if made is None or (not found and is_signed(message.body)) else made
    chunks = (found, body) if found else (body,)
    return Prepared(entry, message, chunks, len(found) + len(body), reduced=True)


def _signed(
    entry: QueueEntry, message: Message, then: Callable[[QueueEntry, Outcome | None], None], found: bytes | Held
) -> None:
    then(entry, _outcome(entry, message, found))


def _outcome(entry: QueueEntry, message: Message, found: bytes | Held) -> Outcome:
    if isinstance(found, Held):
        return found
    chunks = (found, message.body) if found else (message.body,)
    return Prepared(entry, message, chunks, len(found) + len(message.body))
