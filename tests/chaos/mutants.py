"""Relays with one promise broken, each to show that the campaign would see it.

Before: `nursery`, which applies one by name before the first fork. Nothing here is reachable from the product.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from lane_api.isppolicy import Stage
from lane_relay.accept.crowd import Crowd
from lane_relay.account.settler import Settler
from lane_relay.deliver.opening import SessionMaker
from lane_relay.deliver.session import Session
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.exchange import Exchange
from lane_relay.handover.book import Book
from lane_relay.handover.carriage import NotSentError, UnansweredError
from lane_relay.handover.consignment import Consignment, pack
from lane_relay.handover.doubts import Doubt, Doubts
from lane_relay.handover.giver import Giver
from lane_relay.handover.receiver import Receiver
from lane_relay.path import MessagePath
from lane_relay.records import Message, QueueEntry
from lane_relay.resolve.dns import WireResolver
from lane_relay.smtp.client import REPLY_TIMEOUTS
from lane_relay.spool.bodies import BodyCache
from lane_relay.spool.format import Kind
from lane_relay.spool.log import SegmentSpool

NONE: Final = "none"
_TAKES_ALL: Final = ("three.test", "four.test")


def _answers_before_the_disk() -> None:
    """250 goes out at once, the message to the spool a little later."""
    deposit = MessagePath.deposit

    def early(self: MessagePath, message: Any, stored: Any) -> None:
        stored(None)
        asyncio.get_running_loop().call_later(0.3, deposit, self, message, lambda _error: None)

    MessagePath.deposit = early  # type: ignore[method-assign]


def _settles_before_the_reply() -> None:
    """A recipient leaves the spool when the message is written to its ISP, not when the ISP has answered."""
    settle, defer, go_on = SegmentSpool.settle, SegmentSpool.defer, Session.go_on
    spools: list[SegmentSpool] = []
    gone: set[tuple[int, int]] = set()
    begin: Any = Settler.__init__

    def remember(self: Settler, spool: Any, *others: Any) -> None:
        spools.append(spool)
        begin(self, spool, *others)

    def once(self: SegmentSpool, entry: QueueEntry, recipients: tuple[int, ...], records: Any) -> None:
        left = tuple(one for one in recipients if (entry.id, one) not in gone)
        gone.update((entry.id, one) for one in left)
        if left:
            settle(self, entry, left, records)

    def never(self: SegmentSpool, entry: QueueEntry, records: Any) -> None:
        if not any((entry.id, one) in gone for one in entry.recipients):
            defer(self, entry, records)

    def early(self: Session, prepared: Any, portion: Any, now: float) -> None:
        # where the ISP takes it at the first try: what is gone from the spool cannot be tried again
        if prepared.entry.domain in _TAKES_ALL and prepared.message.envelope.recipients[0].startswith("user"):
            once(spools[0], prepared.entry, portion.recipients, ())
        go_on(self, prepared, portion, now)

    Settler.__init__ = remember  # type: ignore[method-assign, assignment]
    SegmentSpool.settle = once  # type: ignore[method-assign]
    SegmentSpool.defer = never  # type: ignore[method-assign]
    Session.go_on = early  # type: ignore[method-assign]


def _settles_late(late_s: float) -> None:
    """What the ISP answered is journalled so much later."""
    say = SegmentSpool._say

    def late(self: SegmentSpool, fact: Any) -> None:
        if fact.kind is Kind.SETTLED:
            asyncio.get_running_loop().call_later(late_s, say, self, fact)
        else:
            say(self, fact)

    SegmentSpool._say = late  # type: ignore[method-assign]


def _forgets_transfers() -> None:
    """The giver notes nothing, so that after a restart it sends what its sibling has taken, too."""
    Book.put_given = lambda self, transfer, given: None  # type: ignore[method-assign]


def _goes_on_sending() -> None:
    """What is on its way to a sibling, or has arrived there, leaves from here as well."""
    sends_here, handed_over, take_back = Exchange.sends_here, Exchange.handed_over, Exchange.take_back

    def both(self: Exchange, entry: QueueEntry, *others: Any, **room: Any) -> bool:
        return sends_here(self, entry, *others, **room) or entry.domain in _TAKES_ALL

    def keep(self: Exchange, entry: QueueEntry, *others: Any) -> None:
        if entry.domain not in _TAKES_ALL:
            handed_over(self, entry, *others)

    def has_it(self: Exchange, entry: QueueEntry) -> None:
        if entry.domain not in _TAKES_ALL:
            take_back(self, entry)

    Exchange.sends_here = both  # type: ignore[method-assign]
    Exchange.handed_over = keep  # type: ignore[method-assign, assignment]
    Exchange.take_back = has_it  # type: ignore[method-assign]


def _takes_up_a_part() -> None:
    """Of what a restart finds in the spool, every fourth entry stays there, and nobody looks at it."""
    recover = SegmentSpool.recover

    def part(self: SegmentSpool) -> Iterator[QueueEntry]:
        return (entry for at, entry in enumerate(recover(self)) if at % 4)

    SegmentSpool.recover = part  # type: ignore[method-assign]


def _never_asks_again() -> None:
    """A transfer that has had no answer is left in doubt for ever."""

    async def ask(self: Doubts, doubt: Doubt) -> None:
        return None

    Doubts._ask = ask  # type: ignore[method-assign]


def _lets_go_before_the_answer() -> None:
    """The giver settles what it offers when it offers it, and notes nothing."""

    async def early(self: Giver, slot: str, bundle: Any) -> None:
        for entry, message in bundle:
            self._home.handed_over(entry, message, slot, "0" * 24)
        await self._home.flush()
        with suppress(NotSentError, UnansweredError):
            parcels = tuple(pack(entry, message) for entry, message in bundle)
            await self._carrier.offer(slot, secrets.token_hex(16), Consignment(self._slot, parcels))

    Giver._transfer = early  # type: ignore[method-assign]


def _takes_before_the_disk() -> None:
    """The receiver answers that it has what it has only begun to write."""

    async def early(self: Receiver, consignment: Consignment, ids: list[int]) -> Any:
        for parcel, spool_id in zip(consignment.parcels, ids, strict=True):
            self._store.store(parcel, spool_id, consignment.giver, lambda _error: None)
        return [None] * len(ids), False

    Receiver._store_all = early  # type: ignore[method-assign]


def _holds_all_bodies() -> None:
    """Every message that was accepted stays in memory, however many there are."""

    def offer(self: BodyCache, message: Message) -> None:
        self._held.setdefault(message.id, message)

    BodyCache.offer = offer  # type: ignore[method-assign]
    BodyCache.drop = lambda self, message_id: None  # type: ignore[method-assign]


def _gives_up_early() -> None:
    """Seconds, not the ten minutes of RFC 5321 section 4.5.3.2.6, for the answer to a whole message."""
    hurried = {**REPLY_TIMEOUTS, Stage.END_OF_DATA: 2.0}
    begin: Any = SessionMaker.__init__

    def hurry(self: SessionMaker, config: Any, contexts: Any, timeouts: Timeouts, *others: Any) -> None:
        begin(self, config, contexts, msgspec.structs.replace(timeouts, stages=hurried), *others)

    SessionMaker.__init__ = hurry  # type: ignore[method-assign, assignment]


def _asks_one_by_one() -> None:
    """A question to the resolver waits for the answer to the one before."""
    ask, one_by_one = WireResolver._ask, asyncio.Lock()

    async def wait(self: WireResolver, name: str, kind: str, *others: Any) -> Any:
        async with one_by_one:
            return await ask(self, name, kind, *others)

    WireResolver._ask = wait  # type: ignore[method-assign, assignment]


def _makes_no_room() -> None:
    """Whoever has a session keeps it, however silent."""
    Crowd._send_one_away = lambda self, tick: False  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    NONE: lambda: None,
    "answers-before-the-disk": _answers_before_the_disk,
    "settles-before-the-reply": _settles_before_the_reply,
    "settles-late": partial(_settles_late, 2.5),
    "settles-a-little-late": partial(_settles_late, 0.05),
    "forgets-transfers": _forgets_transfers,
    "goes-on-sending": _goes_on_sending,
    "takes-up-a-part": _takes_up_a_part,
    "never-asks-again": _never_asks_again,
    "lets-go-before-the-answer": _lets_go_before_the_answer,
    "takes-before-the-disk": _takes_before_the_disk,
    "holds-all-bodies": _holds_all_bodies,
    "gives-up-early": _gives_up_early,
    "asks-one-by-one": _asks_one_by_one,
    "makes-no-room": _makes_no_room,
}


def apply(name: str) -> None:
    """Breaks this process's relay; raises KeyError for a name that is none."""
    MUTANTS[name]()
