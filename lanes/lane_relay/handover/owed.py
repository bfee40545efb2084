"""What siblings may still ask about what they gave: a slot that leaves before takes the only answer with it.

Each giver is asked every ten seconds which of its transfers to us are not over; the others are forgotten.
Invariants: only what was in the book before the giver was asked is judged by its answer, for a giver notes a transfer
before its first byte leaves; no answer forgets nothing. A giver that is no sibling any more went empty, so it owns
nothing that it could ask about, and nobody waits for it.
Before it: `receiver`, which took the transfers. After it: `carriage`, and the slot's report.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct

from lane_relay.errors import RelayError
from lane_relay.handover.book import Book
from lane_relay.handover.carriage import Carrier, NotNowError, NotSentError, UnansweredError
from lane_relay.handover.receiver import InDoubtError, Receiver

__all__ = ["NothingToForgetError", "Owed", "SlotOwed"]

_LOOK_EVERY_S: Final = 10.0
"""Where there is nothing, nobody is asked; a giver that stops for good is asked in time."""

_log = structlog.get_logger("handover")


class NothingToForgetError(RelayError):
    """Nothing may be forgotten for this sibling by order; the message says why, and what will settle it."""


class SlotOwed(Struct, frozen=True):
    """What one giver may still ask about."""

    slot: str
    transfers: int
    since: float
    """Unix time of the oldest transfer; 0: not known."""
    said: str
    """Why it is not known that they are over; empty: the giver has not been asked yet, or says that they are not."""


class Owed:
    """Of one slot; all on the event loop."""

    def __init__(self, book: Book, receiver: Receiver, carrier: Carrier, siblings: Callable[[], Iterable[str]]) -> None:
        """`siblings()`: names of the lane's other slots, as of now."""
        self._book = book
        self._receiver = receiver
        self._carrier = carrier
        self._siblings = siblings
        self._said: dict[str, str] = {}

    def by_slot(self) -> list[SlotOwed]:
        """By giver, for people; empty: none needs us any more."""
        found = []
        for slot, transfers in sorted(self._by_giver().items()):
            found.append(SlotOwed(slot, len(transfers), min(transfers.values()), self._said.get(slot, "")))
        return found

    async def watch(self) -> None:
        """Asks now, and then again and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Asks all givers at once."""
        await asyncio.gather(*[self._ask(slot, list(mine)) for slot, mine in self._by_giver().items()])

    async def _ask(self, slot: str, known: list[str]) -> None:
        try:
            still_open = frozenset(await self._carrier.given(slot))
        except (NotSentError, UnansweredError) as error:
            self._said[slot] = str(error)
            return
        self._said.pop(slot, None)
        await self.forget(one for one in known if one not in still_open)

    async def unasked(self, slot: str) -> list[str]:
        """What is owed to a sibling that is not there; raises NothingToForgetError if it is, or is owed nothing."""
        known = list(self._by_giver().get(slot, ()))
        if not known:
            raise NothingToForgetError(f"slot {slot!r:.80} is owed nothing: see handover.owed in GET /v1/slot")
        try:
            await self._carrier.given(slot)
        except NotNowError as error:
            said = str(error)
        except (NotSentError, UnansweredError):
            return known
        else:
            said = "it answers"
        raise NothingToForgetError(
            f"slot {slot} is there ({said}): it says itself what is over. Forget only what a slot asked "
            "that is gone for good"
        )

    async def forget(self, transfers: Iterable[str]) -> None:
        """These are over; what cannot be forgotten now stays owed."""
        for transfer in transfers:
            try:
                await self._receiver.forget_over(transfer)
            except (OSError, InDoubtError) as error:
                _log.exception("a transfer that is over stays in the book", transfer=transfer, reason=str(error))

    def _by_giver(self) -> dict[str, dict[str, float]]:
        """Giver -> transfer -> when it was noted."""
        siblings = frozenset(self._siblings())
        found: dict[str, dict[str, float]] = {}
        for transfer, received in list(self._book.received.items()):
            if received.giver in siblings:
                found.setdefault(received.giver, {})[transfer] = received.at
        return found
