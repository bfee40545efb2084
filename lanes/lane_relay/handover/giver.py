"""The giving side: bundles what is to go to each sibling, and lets go of it only when the sibling has it on its disk.

Theory of operation, for each transfer
    noted      in the book, before its first byte leaves: from here on nobody sends its entries
    offered    the sibling answers which parcels it has; these are settled, the others come back
    in doubt   no answer came (connection lost, either side restarted): the sibling is asked until it answers
    settled    on our disk: the sibling may forget the transfer, then the book does
Invariant: an entry that was noted is attempted here again only after the receiver said that it does not have it.
Before it: `choose`, through the pipeline. After it: `carrier`, and `account` for what was handed over.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from lane_relay.errors import SpoolError
from lane_relay.handover.book import Book, Given
from lane_relay.handover.consignment import Answer, Consignment, Parcel, pack
from lane_relay.records import Message, QueueEntry, message_id_text

__all__ = ["Carrier", "Giver", "Home", "NotSentError", "UnansweredError"]

_PARCELS: Final = 256
_PORTION: Final = 200
"""Entries that are given back in one turn of the loop."""
_BYTES: Final = 4 * 2**20
"""Of bodies in one transfer: a second of a slow network, and little memory on both sides."""
_ASK_AGAIN_S: Final = 2.0
DOWN_S: Final = 2.0
"""How long nothing is offered to a sibling that could not be reached, or would not take anything."""

_log = structlog.get_logger("handover")


class NotSentError(Exception):
    """No byte of the request left: the sibling cannot be reached."""


class UnansweredError(Exception):
    """The request may have arrived, and nobody knows what became of it."""


class Carrier(Protocol):
    """The way to the siblings."""

    async def offer(self, slot: str, transfer: str, consignment: Consignment) -> Answer:
        """Raises NotSentError, UnansweredError."""

    async def ask(self, slot: str, transfer: str) -> Answer:
        """Raises NotSentError, UnansweredError."""

    async def forget(self, slot: str, transfer: str) -> None:
        """Raises NotSentError, UnansweredError."""


class Home(Protocol):
    """What the giver needs of its own slot."""

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool.load."""

    def handed_over(self, entry: QueueEntry, message: Message, to: str, their_id: str) -> None:
        """Settles the entry as handed over; raises SpoolError."""

    def take_back(self, entry: QueueEntry) -> None:
        """The entry is ours to send again."""

    async def flush(self) -> None:
        """See Spool.flush."""


class Giver:
    """Everything that is to go to siblings; all on the event loop."""

    def __init__(self, book: Book, home: Home, carrier: Carrier, slot: str, monotonic: Callable[[], float]) -> None:
        """`slot` is our own name."""
        self._book = book
        self._home = home
        self._carrier = carrier
        self._slot = slot
        self._monotonic = monotonic
        self._waiting: dict[str, deque[QueueEntry]] = {}
        self._down_until: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._doubts = dict(book.given)
        self._entries: dict[str, list[QueueEntry]] = {transfer: [] for transfer in self._doubts}
        """Of transfers in doubt: what is nobody's to send until they are answered."""
        self._frozen: dict[str, list[tuple[str, frozenset[int]]]] = {}
        """Spool id -> (transfer in doubt that a restart found, recipients)."""
        for transfer, given in self._doubts.items():
            for origin, recipients in given.parcels:
                self._frozen.setdefault(origin, []).append((transfer, frozenset(recipients)))
        self._is_recovered = asyncio.Event()
        self.parcels = 0
        """Handed over in this process's life."""
        self.unreadable = 0
        """Entries whose message the disk did not give; the spool keeps them, a restart tries again."""
        self._work: asyncio.TaskGroup | None = None

    # -- what the pipeline asks and tells

    @property
    def waiting(self) -> int:
        """Entries that wait to be handed over, or for the answer about a transfer."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._entries.values()))

    @property
    def in_doubt(self) -> int:
        """Transfers without an answer."""
        return len(self._doubts)

    def is_up(self, slot: str) -> bool:
        """The sibling may be offered something."""
        return self._down_until.get(slot, 0.0) <= self._monotonic()

    def withhold(self, entry: QueueEntry) -> QueueEntry | None:
        """What of an entry that recovery found may be sent: not the part that a transfer in doubt is about."""
        for transfer, recipients in self._frozen.get(message_id_text(entry.id), ()):
            frozen = tuple(index for index in entry.recipients if index in recipients)
            if not frozen:
                continue
            self._entries[transfer].append(replace(entry, recipients=frozen))
            rest = tuple(index for index in entry.recipients if index not in recipients)
            if not rest:
                return None
            entry = replace(entry, recipients=rest)
        return entry

    def recovered(self) -> None:
        """Recovery has handed on all that it found: answers about transfers may take effect."""
        self._is_recovered.set()

    def give(self, entry: QueueEntry, to: str) -> None:
        """Takes an entry that is to go to this sibling; it comes back by `take_back` if it cannot."""
        self._waiting.setdefault(to, deque()).append(entry)
        if self._work is not None and to not in self._tasks:
            self._begin(to)

    async def run(self) -> None:
        """Works for ever; ends by cancellation, at which what is not noted comes back."""
        async with asyncio.TaskGroup() as group:
            self._work = group
            for transfer, given in list(self._doubts.items()):
                group.create_task(self._clear_up(transfer, given))
            for slot in list(self._waiting):
                self._begin(slot)
            await asyncio.Event().wait()

    def _begin(self, slot: str) -> None:
        if self._work is not None:
            self._tasks[slot] = self._work.create_task(self._empty(slot))

    # -- one sibling

    async def _empty(self, slot: str) -> None:
        waiting = self._waiting[slot]
        try:
            while waiting:
                if not self.is_up(slot):
                    await self._return_all(waiting)
                    continue
                await self._transfer(slot, await self._bundle(waiting))
        finally:
            del self._tasks[slot]

    async def _return_all(self, waiting: "deque[QueueEntry]") -> None:
        """Whoever chose this sibling chooses again, knowing that it is down; a portion in each turn of the loop."""
        for number in range(1, len(waiting) + 1):
            self._home.take_back(waiting.popleft())
            if number % _PORTION == 0:
                await asyncio.sleep(0)

    async def _bundle(self, waiting: "deque[QueueEntry]") -> list[tuple[QueueEntry, Message]]:
        bundle: list[tuple[QueueEntry, Message]] = []
        size = 0
        while waiting and len(bundle) < _PARCELS and size < _BYTES:
            entry = waiting.popleft()
            try:
                message = await self._home.load(entry)
            except SpoolError as error:
                _log.exception("a message cannot be read", id=message_id_text(entry.id), reason=str(error))
                self.unreadable += 1
                continue
            bundle.append((entry, message))
            size += entry.size
        return bundle

    async def _transfer(self, slot: str, bundle: list[tuple[QueueEntry, Message]]) -> None:
        if not bundle:
            return
        transfer = secrets.token_hex(16)
        given = Given(slot, tuple((message_id_text(entry.id), entry.recipients) for entry, _ in bundle))
        try:
            await asyncio.to_thread(self._book.put_given, transfer, given)
        except OSError as error:
            _log.exception("a transfer cannot be noted, its mail stays here", reason=str(error))
            self._come_back(slot, bundle)
            return
        parcels: tuple[Parcel, ...] = tuple(pack(entry, message) for entry, message in bundle)
        try:
            answer = await self._carrier.offer(slot, transfer, Consignment(self._slot, parcels))
            _check(answer, len(parcels))
        except NotSentError as error:
            _log.warning("a sibling cannot be reached, its mail stays here", slot=slot, reason=str(error))
            await asyncio.to_thread(self._book.drop_given, transfer)
            self._come_back(slot, bundle)
            return
        except UnansweredError as error:
            _log.warning("a transfer is in doubt", transfer=transfer, slot=slot, reason=str(error))
            self._doubts[transfer] = given
            self._entries[transfer] = [entry for entry, _ in bundle]
            answer = await self._answer(transfer, slot, len(parcels))
            self._doubts.pop(transfer)
            self._entries.pop(transfer)
        await self._conclude(transfer, slot, bundle, answer)

    def _come_back(self, slot: str, bundle: list[tuple[QueueEntry, Message]]) -> None:
        self._down_until[slot] = self._monotonic() + DOWN_S
        for entry, _ in bundle:
            self._home.take_back(entry)

    async def _conclude(
        self, transfer: str, slot: str, bundle: list[tuple[QueueEntry, Message]], answer: Answer
    ) -> None:
        their_ids = dict(zip(answer.taken, answer.ids, strict=True))
        if len(their_ids) < len(bundle):
            _log.warning(
                "a sibling took only a part", slot=slot, taken=len(their_ids), of=len(bundle), why=answer.reason
            )
            self._down_until[slot] = self._monotonic() + DOWN_S
        try:
            for at, (entry, message) in enumerate(bundle):
                if at in their_ids:
                    self._home.handed_over(entry, message, slot, their_ids[at])
                    self.parcels += 1
                else:
                    self._home.take_back(entry)
            await self._finish(transfer, slot)
        except SpoolError as error:
            _left_to_restart(transfer, error)

    # -- what is in doubt

    async def _answer(self, transfer: str, slot: str, parcels: int) -> Answer:
        """Asks until the sibling answers; it may be restarting, or be gone for hours."""
        said = ""
        while True:
            try:
                answer = await self._carrier.ask(slot, transfer)
                _check(answer, parcels)
            except (NotSentError, UnansweredError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("a transfer stays in doubt", transfer=transfer, slot=slot, reason=said)
                await asyncio.sleep(_ASK_AGAIN_S)
            else:
                return answer

    async def _clear_up(self, transfer: str, given: Given) -> None:
        """A transfer that a restart found: what is still in our spool of it is settled, or ours again."""
        answer = await self._answer(transfer, given.to, len(given.parcels))
        await self._is_recovered.wait()  # what it is about may not have been found yet
        their_ids = {given.parcels[at]: one for at, one in zip(answer.taken, answer.ids, strict=True)}
        for origin, _ in given.parcels:
            self._frozen.pop(origin, None)
        try:
            for entry in self._entries[transfer]:
                their_id = _id_of(entry, their_ids)
                if their_id is None:
                    self._home.take_back(entry)
                else:
                    self._home.handed_over(entry, await self._home.load(entry), given.to, their_id)
                    self.parcels += 1
            await self._finish(transfer, given.to)
        except SpoolError as error:
            _left_to_restart(transfer, error)
        del self._doubts[transfer], self._entries[transfer]

    async def _finish(self, transfer: str, slot: str) -> None:
        await self._home.flush()  # only then may the sibling forget what it said
        await self._tell(self._carrier.forget(slot, transfer))
        await asyncio.to_thread(self._book.drop_given, transfer)

    @staticmethod
    async def _tell(told: Awaitable[None]) -> None:
        try:
            await told
        except (NotSentError, UnansweredError) as error:
            _log.info("a sibling will forget a transfer by itself", reason=str(error))


def _id_of(entry: QueueEntry, their_ids: dict[tuple[str, tuple[int, ...]], str]) -> str | None:
    """The receiver's id of the parcel that the entry is in: a message may be in several, one for each domain."""
    origin, mine = message_id_text(entry.id), set(entry.recipients)
    return next((one for (name, theirs), one in their_ids.items() if name == origin and mine <= set(theirs)), None)


def _check(answer: Answer, parcels: int) -> None:
    """Raises UnansweredError for what cannot be about a transfer of so many parcels."""
    if not answer.is_about(parcels):
        raise UnansweredError(f"the answer is about other parcels than the {parcels} of this transfer")


def _left_to_restart(transfer: str, error: SpoolError) -> None:
    """The spool keeps what it was last told, and the book the transfer: a restart asks again."""
    _log.error("a transfer cannot be settled", transfer=transfer, error=str(error))
