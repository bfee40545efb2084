"""Transfers that a sibling has not answered: it is asked until it does, or until a person takes them back.

Invariants: a transfer leaves here by one of the two alone; while a sibling is asked about one, nobody decides about it,
and a person's decision is in the book before anybody acts on it, so that no restart forgets it. A sibling that answers
is never passed over: it knows what it owns.
Before it: `giver`, which opens and concludes them. After it: `carrier`, `book`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from lane_relay.errors import RelayError, SpoolError
from lane_relay.handover.book import Book, Given, TakenBack
from lane_relay.handover.carriage import Carrier, NotNowError, NotSentError, UnansweredError
from lane_relay.handover.consignment import Answer
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.records import QueueEntry

__all__ = ["Doubt", "Doubts", "NothingToTakeBackError", "SlotDoubt", "check_answer"]

_ANSWERS_WITHIN_S: Final = 10.0
"""A sibling that has not answered a person's question in so long does not answer."""

_log = structlog.get_logger("handover")


class NothingToTakeBackError(RelayError):
    """Nothing may be taken back from this sibling; the message says why, and what will settle it."""


class Doubt(Struct, eq=False):
    """One transfer without an answer."""

    transfer: str
    given: Given
    entries: list[QueueEntry] = []
    """Nobody's to send until it is settled."""
    said: str = ""
    """Why there is no answer, in words; empty: nobody has been asked yet."""
    is_answered: bool = False
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    look_again: asyncio.Event = field(default_factory=asyncio.Event)


class SlotDoubt(Struct, frozen=True):
    """What is in doubt with one sibling."""

    slot: str
    transfers: int
    entries: int
    since: float
    """Unix time of the oldest transfer."""
    said: str
    """Why it does not answer."""


class Doubts:
    """Of one slot; all on the event loop."""

    def __init__(self, book: Book, carrier: Carrier, now: Callable[[], float], pauses: Pauses = USUAL) -> None:
        """With those that the book has; `now` in Unix time."""
        self._pauses = pauses
        self._book = book
        self._carrier = carrier
        self._now = now
        self._open = {transfer: Doubt(transfer, given) for transfer, given in book.given.items()}
        self._deciding = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def all(self) -> list[Doubt]:
        """Every one of them."""
        return list(self._open.values())

    @property
    def entries(self) -> int:
        """How many wait for an answer."""
        return sum(len(doubt.entries) for doubt in self._open.values())

    def of(self, transfer: str) -> Doubt:
        """The one of this name; raises KeyError."""
        return self._open[transfer]

    def is_about(self, slot: str) -> bool:
        """This sibling owes an answer."""
        return bool(self._open) and any(doubt.given.to == slot for doubt in self._open.values())

    def by_slot(self) -> list[SlotDoubt]:
        """The same for people, by sibling."""
        found = []
        for slot in sorted({doubt.given.to for doubt in self._open.values()}):
            mine = [doubt for doubt in self._open.values() if doubt.given.to == slot]
            since = min(doubt.given.at for doubt in mine)
            said = next((doubt.said for doubt in mine if doubt.said), "it is being asked")
            found.append(SlotDoubt(slot, len(mine), sum(len(doubt.entries) for doubt in mine), since, said))
        return found

    def open(self, transfer: str, given: Given, entries: list[QueueEntry], why: str) -> Doubt:
        """One more."""
        doubt = self._open[transfer] = Doubt(transfer, given, entries, why)
        return doubt

    def close(self, doubt: Doubt) -> None:
        """It is settled, or left to a restart."""
        self._open.pop(doubt.transfer, None)

    async def end_of(self, doubt: Doubt) -> Answer:
        """Asks until the sibling answers, which may be gone for hours; empty, and `given.taken_back`: a person did."""
        while True:
            async with doubt.asking:
                if doubt.given.taken_back is not None:
                    return Answer(reason="taken back")
                answer = await self._ask(doubt)
                if answer is not None:
                    doubt.is_answered = True
                    return answer
            try:
                async with asyncio.timeout(self._pauses.ask_again):
                    await doubt.look_again.wait()
                doubt.look_again.clear()
            except TimeoutError:
                continue

    async def _ask(self, doubt: Doubt) -> Answer | None:
        slot = doubt.given.to
        try:
            answer = await self._carrier.ask(slot, doubt.transfer)
            check_answer(answer, len(doubt.given.parcels))
        except (NotSentError, UnansweredError) as error:
            if str(error) != doubt.said:
                doubt.said = str(error)
                _log.warning("a transfer stays in doubt", transfer=doubt.transfer, slot=slot, reason=doubt.said)
            return None
        return answer

    # -- a person's way out

    async def take_back(self, slot: str, owner: str, reason: str) -> int:
        """Decides that all transfers in doubt with this sibling never came there; how many parcels they are.

        The decision is on disk. Raises NothingToTakeBackError while the sibling answers, or if nothing is in doubt
        with it; SpoolError if the decision could not be kept: what was is done with, the rest stays in doubt.
        """
        async with self._deciding:
            doubts = [one for one in self._open.values() if one.given.to == slot and not one.given.taken_back]
            for doubt in doubts:
                await doubt.asking.acquire()
            try:
                return await self._take_back(slot, doubts, TakenBack(owner, reason, self._now()))
            finally:
                for doubt in doubts:  # what was decided, or that it answers
                    doubt.look_again.set()
                    doubt.asking.release()

    async def _take_back(self, slot: str, doubts: list[Doubt], order: TakenBack) -> int:
        if not doubts:
            raise NothingToTakeBackError(f"nothing is in doubt with slot {slot!r:.80}: see handover in GET /v1/slot")
        said = await asyncio.gather(*[self._is_there(doubt) for doubt in doubts])
        there = next((one for one in said if one), "")
        if there:
            raise NothingToTakeBackError(
                f"slot {slot} is there ({there}): it knows what it has, and its answer settles what is in doubt. Take "
                "back only from a slot that is gone for good"
            )
        parcels = 0
        for doubt in doubts:
            given = replace(doubt.given, taken_back=order)
            try:
                await asyncio.to_thread(self._book.put_given, doubt.transfer, given)
            except OSError as error:
                raise SpoolError(f"that a transfer is taken back cannot be noted: {error}") from error
            doubt.given = given
            parcels += len(given.parcels)
        return parcels

    async def _is_there(self, doubt: Doubt) -> str:
        """What the sibling says, if it says anything; empty: nothing."""
        if doubt.is_answered:
            return "it has answered"
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                check_answer(await self._carrier.ask(doubt.given.to, doubt.transfer), len(doubt.given.parcels))
        except NotNowError as error:
            return str(error)
        except (NotSentError, UnansweredError, TimeoutError) as error:
            doubt.said = str(error) or "no answer in time"
            return ""
        return "it answers"


def check_answer(answer: Answer, parcels: int) -> None:
    """Raises NotNowError for what cannot be about a transfer of so many parcels."""
    if not answer.is_about(parcels):
        raise NotNowError(f"the answer is about other parcels than the {parcels} of this transfer")
