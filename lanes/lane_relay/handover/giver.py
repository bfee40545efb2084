"""The giving side: bundles what is to go to each sibling, and lets go of it only when the sibling has it on its disk.

Theory of operation, for each transfer
    noted      in the book, before its first byte leaves: from here on nobody sends its entries
    offered    the sibling answers which parcels it has; these are settled, the others come back
    in doubt   no answer came (connection lost, either side restarted): the sibling is asked until it answers, and is
               offered nothing else meanwhile; a person may take back what a sibling has that is gone for good
    settled    on our disk: the sibling may forget the transfer, then the book does
Invariant: an entry that was noted is attempted here again only after the receiver said that it does not have it, or a
person that the receiver is gone.
Before it: `choose`, through the pipeline. After it: `carrier`, `doubts`, and `account` for what was handed over.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Iterator
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.handover.book import Book, Given, TakenBack
from lane_relay.handover.carriage import Carrier, NotSentError, UnansweredError
from lane_relay.handover.consignment import Answer, Consignment, Parcel, pack
from lane_relay.handover.doubts import Doubt, Doubts, check_answer
from lane_relay.handover.overdue import Home as OldHome
from lane_relay.handover.overdue import OverdueDoubts
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.records import Message, QueueEntry, message_id_text

__all__ = ["Giver", "Home"]

_PARCELS: Final = 256
_PORTION: Final = 200
"""Entries that are given back in one turn of the loop."""
_BYTES: Final = 4 * 2**20
"""Of bodies in one transfer: a second of a slow network, and little memory on both sides."""
DOWN_S: Final = 2.0
"""How long nothing is offered to a sibling that could not be reached, or would not take anything."""

_log = structlog.get_logger("handover")


class Home(OldHome, Protocol):
    """What the giver needs of its own slot."""

    def handed_over(self, entry: QueueEntry, message: Message, to: str, their_id: str) -> None:
        """Settles the entry as handed over; raises SpoolError."""

    def take_back(self, entry: QueueEntry) -> None:
        """The entry is ours to send again."""

    def is_ordered(self, entry: QueueEntry, message: Message) -> bool:
        """An order stops the entry, and has it now."""

    def note_taken_back(self, transfer: str, given: Given, order: TakenBack) -> None:
        """A record of who takes back a transfer that may have been taken; raises SpoolError."""

    async def flush(self) -> None:
        """See Spool.flush."""


class Giver:
    """Everything that is to go to siblings; all on the event loop."""

    def __init__(
        self, book: Book, home: Home, carrier: Carrier, slot: str, clock: Clock, pauses: Pauses = USUAL
    ) -> None:
        """`slot` is our own name."""
        self._pauses = pauses
        self._book = book
        self._home = home
        self._carrier = carrier
        self._slot = slot
        self._clock = clock
        self._waiting: dict[str, deque[QueueEntry]] = {}
        self._down_until: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.doubts = Doubts(book, carrier, clock.now, pauses)
        self.overdue = OverdueDoubts(book, self.doubts, home)
        self._frozen: dict[str, list[tuple[str, frozenset[int]]]] = {}
        """Spool id -> (transfer in doubt that a restart found, recipients)."""
        for doubt in self.doubts.all:
            for origin, recipients in doubt.given.parcels:
                self._frozen.setdefault(origin, []).append((doubt.transfer, frozenset(recipients)))
        self._over: set[str] = set()
        """Transfers that the disk did not let the book forget."""
        self._is_recovered = asyncio.Event()
        self.parcels = 0
        """Handed over in this process's life."""
        self.setbacks = 0
        """How often a sibling was lost: what came back from it meanwhile found it down."""
        self.unreadable = 0
        """Entries whose message the disk did not give; the spool keeps them, a restart tries again."""
        self._work: asyncio.TaskGroup | None = None

    # -- what the pipeline asks and tells

    @property
    def waiting(self) -> int:
        """Entries that wait to be handed over, or for the answer about a transfer."""
        return sum(map(len, self._waiting.values())) + self.doubts.entries

    def is_up(self, slot: str) -> bool:
        """The sibling may be offered something: it was reached last, and owes no answer."""
        return self._down_until.get(slot, 0.0) <= self._clock.monotonic() and not self.doubts.is_about(slot)

    def waiting_for(self) -> Iterator[tuple[str, tuple[QueueEntry, ...]]]:
        """What is to be offered to each sibling."""
        for slot, waiting in list(self._waiting.items()):
            if waiting:
                yield slot, tuple(waiting)

    def open_with(self, slot: str) -> tuple[str, ...]:
        """Transfers to this sibling of which its answer may still be needed: it forgets no other of ours too soon."""
        return tuple(one for one, given in list(self._book.given.items()) if given.to == slot and one not in self._over)

    def withhold(self, entry: QueueEntry) -> QueueEntry | None:
        """What of an entry that recovery found may be sent: not the part that a transfer in doubt is about."""
        for transfer, recipients in self._frozen.get(message_id_text(entry.id), ()):
            frozen = tuple(index for index in entry.recipients if index in recipients)
            if not frozen:
                continue
            self.doubts.of(transfer).entries.append(replace(entry, recipients=frozen))
            rest = tuple(index for index in entry.recipients if index not in recipients)
            if not rest:
                return None
            entry = replace(entry, recipients=rest)
        return entry

    def recovered(self) -> None:
        """Recovery has handed on all that it found: answers about transfers may take effect."""
        self._frozen.clear()
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
            group.create_task(self._forget_again())
            group.create_task(self._watch_overdue())
            for doubt in self.doubts.all:
                group.create_task(self._clear_up(doubt))
            for slot in list(self._waiting):
                self._begin(slot)
            await asyncio.Event().wait()

    async def _watch_overdue(self) -> None:
        await self._is_recovered.wait()  # what is in doubt may not have been found yet
        await self.overdue.watch()

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
        # at the last instant: a sibling knows nothing of the orders here, and one may have been given meanwhile
        return [(entry, message) for entry, message in bundle if not self._home.is_ordered(entry, message)]

    async def _transfer(self, slot: str, bundle: list[tuple[QueueEntry, Message]]) -> None:
        if not bundle:
            return
        transfer = secrets.token_hex(16)
        named = tuple((message_id_text(entry.id), entry.recipients) for entry, _ in bundle)
        given = Given(slot, named, self._clock.now())
        try:
            await asyncio.to_thread(self._book.put_given, transfer, given)
        except OSError as error:
            _log.exception("a transfer cannot be noted, its mail stays here", reason=str(error))
            self._come_back(slot, bundle)
            return
        parcels: tuple[Parcel, ...] = tuple(pack(entry, message) for entry, message in bundle)
        try:
            answer = await self._carrier.offer(slot, transfer, Consignment(self._slot, parcels))
            check_answer(answer, len(parcels))
        except NotSentError as error:
            _log.warning("a sibling cannot be reached, its mail stays here", slot=slot, reason=str(error))
            await self._forget(transfer)
            self._come_back(slot, bundle)
            return
        except UnansweredError as error:
            _log.warning("a transfer is in doubt", transfer=transfer, slot=slot, reason=str(error))
            self.setbacks += 1
            doubt = self.doubts.open(transfer, given, [entry for entry, _ in bundle], str(error))
            if self._work is not None:  # what else waits for this sibling does not wait for its answer
                self._work.create_task(self._clear_up(doubt))
            return
        await self._conclude(transfer, slot, bundle, answer)

    def _is_down(self, slot: str) -> None:
        self._down_until[slot] = self._clock.monotonic() + DOWN_S
        self.setbacks += 1

    def _come_back(self, slot: str, bundle: list[tuple[QueueEntry, Message]]) -> None:
        self._is_down(slot)
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
            self._is_down(slot)
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

    async def _clear_up(self, doubt: Doubt) -> None:
        """Once there is an end to it, what is still in our spool of the transfer is settled, or ours again."""
        answer = await self.doubts.end_of(doubt)
        await self._is_recovered.wait()  # what it is about may not have been found yet
        given = doubt.given
        their_ids = {given.parcels[at]: one for at, one in zip(answer.taken, answer.ids, strict=True)}
        try:
            if given.taken_back is not None:  # on record before anything can leave twice
                self._home.note_taken_back(doubt.transfer, given, given.taken_back)
                await self._home.flush()
            await self._settle(doubt, their_ids)
            await self._finish(doubt.transfer, given.to)
        except SpoolError as error:
            _left_to_restart(doubt.transfer, error)
        self.doubts.close(doubt)

    async def _settle(self, doubt: Doubt, their_ids: dict[tuple[str, tuple[int, ...]], str]) -> None:
        """Every entry of the transfer; raises SpoolError after it if one of them could not be."""
        failed: SpoolError | None = None
        done = 0
        while doubt.entries:
            entry, done = doubt.entries.pop(), done + 1
            their_id = _id_of(entry, their_ids)
            if their_id is None:
                self._home.take_back(entry)
            else:
                try:
                    self._home.handed_over(entry, await self._home.load(entry), doubt.given.to, their_id)
                    self.parcels += 1
                except SpoolError as error:  # of this message alone, or of the whole spool
                    failed = error
            if done % _PORTION == 0:
                await asyncio.sleep(0)
        if failed is not None:
            raise failed

    async def _finish(self, transfer: str, slot: str) -> None:
        await self._home.flush()  # only then may the sibling forget what it said
        await self._tell(self._carrier.forget(slot, transfer))
        await self._forget(transfer)

    async def _forget(self, transfer: str) -> None:
        """The transfer is over; one that stays in the book would only be asked about again by a restart."""
        try:
            await asyncio.to_thread(self._book.drop_given, transfer)
        except OSError as error:
            _log.exception("a transfer that is over stays in the book", transfer=transfer, reason=str(error))
            self._over.add(transfer)
        else:
            self._over.discard(transfer)

    async def _forget_again(self) -> None:
        while True:
            await asyncio.sleep(self._pauses.forget_again)
            for transfer in list(self._over):
                await self._forget(transfer)

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


def _left_to_restart(transfer: str, error: SpoolError) -> None:
    """The spool keeps what it was last told, and the book the transfer: a restart asks again."""
    _log.error("a transfer cannot be settled", transfer=transfer, error=str(error))
