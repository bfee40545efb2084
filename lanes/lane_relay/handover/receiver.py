"""The taking side: stores what a sibling hands over, and remembers what it said about each transfer.

Theory of operation: a transfer is unknown, under way, answered, or refused for ever; the answer never changes, and the
giver may ask for it until it says that it has it. A question about an unknown transfer refuses it for ever, since its
bytes may still be on the way over another connection; after a restart none can be.
Invariant: a parcel is owned here from the instant at which the spool has it on disk; the giver sends none of it from
before that instant until it was told that it was not taken. So each recipient has exactly one owner at any time.
Before it: `/v1/handover`. After it: the spool, through `store`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.handover.book import Book, Received
from lane_relay.handover.consignment import Answer, Consignment, Parcel
from lane_relay.records import message_id_text, received_at

__all__ = ["InDoubtError", "Receiver", "Store"]

_REFUSED_KEPT: Final = 10_000
"""Transfers refused in this process's life of which we remember so; a giver asks at once, not after ten thousand."""
_FAILED: Final = "the spool failed while the transfer was stored: its recovery, at the next start, tells what it has"

_log = structlog.get_logger("handover")
Stored = Callable[[SpoolError | None], None]


class InDoubtError(Exception):
    """It cannot be said now what became of the transfer; the giver is to ask again."""


class Store(Protocol):
    """The spool, and what follows when something is in it."""

    def new_id(self, received_at: float) -> int:
        """A spool id of mail that was accepted elsewhere at this Unix time."""

    def store(self, parcel: Parcel, spool_id: int, giver: str, stored: Stored) -> None:
        """Puts the parcel into the spool, and into the queue once it is there; raises SpoolError at once."""

    def keep(self) -> Callable[[], None]:
        """See Spool.keep."""

    def was_stored(self, spool_id: int) -> bool:
        """See Spool.was_stored."""

    def unwilling(self) -> str:
        """Why nothing is taken now, or an empty string."""


class Receiver:
    """Transfers that come in; all on the event loop."""

    def __init__(self, book: Book, store: Store, now: Callable[[], float]) -> None:
        """Answers what a crash left open; blocks, raises OSError. `now` in Unix time."""
        self._book = book
        self._store = store
        self._now = now
        self._answers: dict[str, tuple[str, Answer]] = {}
        """By transfer: its giver, and what was said."""
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._unnoted: dict[str, tuple[Received, Callable[[], None]]] = {}
        """Answers that the disk has not taken, and what lets the spool tidy again: until then it tells a restart."""
        self._open: set[str] = set()
        """Transfers of which the disk did not say whether it has a parcel; only recovery can tell."""
        self._refused: OrderedDict[str, str] = OrderedDict()
        self.parcels = 0
        """Taken in this process's life."""
        for transfer, found in book.received.items():
            self._answers[transfer] = found.giver, self._resolve(transfer, found)

    @property
    def under_way(self) -> int:
        """Transfers of which something may still be stored."""
        return len(self._under_way)

    def _resolve(self, transfer: str, found: Received) -> Answer:
        taken = found.taken
        if taken is None:
            taken = tuple(at for at, one in enumerate(found.ids) if self._store.was_stored(int(one, 16)))
            self._book.put_received(transfer, replace(found, taken=taken))
        return Answer(taken, tuple(found.ids[at] for at in taken), "the receiver was restarted")

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        """Stores the parcels and tells which it has; raises InDoubtError if the disk leaves that open."""
        if transfer in self._under_way:
            return await asyncio.shield(self._under_way[transfer])
        known = self._known(transfer)
        if known is not None:
            return known
        unwilling = self._store.unwilling()
        if unwilling:
            return self._refuse(transfer, unwilling)
        work = asyncio.get_running_loop().create_task(self._take(transfer, consignment))
        self._under_way[transfer] = work
        work.add_done_callback(partial(self._ended, transfer))
        return await asyncio.shield(work)  # the giver may hang up; what was begun is brought to its answer

    async def ask(self, transfer: str, giver: str) -> Answer:
        """What became of the transfer; an unknown one never will be taken. Raises InDoubtError."""
        under_way = self._under_way.get(transfer)
        if under_way is not None:
            return await asyncio.shield(under_way)
        if transfer in self._open:
            raise InDoubtError(_FAILED)
        if transfer in self._unnoted:
            await self._note(transfer)
        return self._known(transfer, giver) or self._refuse(transfer, "it never came in")

    async def forget(self, transfer: str, giver: str) -> None:
        """The giver has the answer on its disk; nobody else can say so. Raises OSError."""
        found = self._answers.get(transfer)
        if found is not None and found[0] == giver:
            await self._drop(transfer)

    async def forget_over(self, transfer: str) -> None:
        """The giver has no such transfer any more, or never will ask about it; what is being stored stays.

        Raises OSError, InDoubtError: it is to be tried again.
        """
        if transfer in self._under_way or transfer in self._open:
            return
        if transfer in self._unnoted:
            await self._note(transfer)
        await self._drop(transfer)

    async def forget_stale(self, now: float) -> None:
        """Forgets transfers whose givers will not ask any more; raises OSError."""
        for transfer in await asyncio.to_thread(self._book.stale, now):
            await self._drop(transfer)

    async def _drop(self, transfer: str) -> None:
        if transfer in self._answers:
            await asyncio.to_thread(self._book.drop_received, transfer)
            self._answers.pop(transfer, None)

    def _known(self, transfer: str, giver: str | None = None) -> Answer | None:
        found = self._answers.get(transfer)
        if found is not None and giver in (None, found[0]):
            return found[1]
        reason = self._refused.get(transfer)
        return Answer(reason=reason) if reason is not None else None

    def _refuse(self, transfer: str, reason: str) -> Answer:
        self._refused[transfer] = reason
        if len(self._refused) > _REFUSED_KEPT:
            self._refused.popitem(last=False)
        return Answer(reason=reason)

    async def _take(self, transfer: str, consignment: Consignment) -> Answer:
        store, giver = self._store, consignment.giver
        ids = [store.new_id(received_at(int(parcel.origin, 16))) for parcel in consignment.parcels]
        texts = tuple(map(message_id_text, ids))
        noted, release = Received(giver, texts, at=self._now()), store.keep()
        try:
            await asyncio.to_thread(self._book.put_received, transfer, noted)
        except OSError as error:
            release()
            return self._refuse(transfer, f"the transfer cannot be noted: {error}")
        failures, is_open = await self._store_all(consignment, ids)
        if is_open:  # the book says that it was being stored, and the spool tells no more and tidies no more
            self._open.add(transfer)
            raise InDoubtError(_FAILED)
        taken = tuple(at for at, error in enumerate(failures) if error is None)
        reason = next((str(error) for error in failures if error is not None), "")
        answer = Answer(taken, tuple(texts[at] for at in taken), reason)
        # Until this is written a crash is answered by what the spool has; that is the same.
        self._answers[transfer] = giver, answer
        self._unnoted[transfer] = replace(noted, taken=taken), release
        self.parcels += len(taken)
        await self._note(transfer)
        return answer

    async def _note(self, transfer: str) -> None:
        received, release = self._unnoted[transfer]
        try:
            await asyncio.to_thread(self._book.put_received, transfer, received)
        except OSError as error:
            _log.exception("the answer to a transfer cannot be noted", transfer=transfer)
            raise InDoubtError(f"the answer cannot be noted: {error}") from error
        if self._unnoted.pop(transfer, None) is not None:
            release()

    async def _store_all(self, consignment: Consignment, ids: list[int]) -> tuple[list[SpoolError | None], bool]:
        """Why each parcel was not stored, and whether one of these may be on the disk all the same."""
        unwilling = self._store.unwilling()
        if unwilling:  # since it was noted; a slot that said that it is empty must stay so
            return [SpoolError(unwilling)] * len(ids), False
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[SpoolError | None]] = []
        begun = []
        for parcel, spool_id in zip(consignment.parcels, ids, strict=True):
            stored: asyncio.Future[SpoolError | None] = loop.create_future()
            waiting.append(stored)
            try:
                self._store.store(parcel, spool_id, consignment.giver, stored.set_result)
                begun.append(stored)
            except SpoolError as error:
                stored.set_result(error)
        failures = [await one for one in waiting]
        unknown = any(one.result() is not None and not isinstance(one.result(), SpoolFullError) for one in begun)
        return failures, unknown

    def _ended(self, transfer: str, work: asyncio.Future[Answer]) -> None:
        del self._under_way[transfer]
        if not work.cancelled():
            work.exception()  # whoever waited has it
