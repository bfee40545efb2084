"""Relays with one promise broken, each to show that the campaign would see it.

Before: `nursery`, which applies one by name before the first fork. Nothing here is reachable from the product.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from lane_api.isppolicy import Stage
from lane_relay.account.settler import Settler
from lane_relay.deliver.opening import SessionMaker
from lane_relay.deliver.session import Session
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.handover.book import Book
from lane_relay.handover.doubts import Doubt, Doubts
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

    async def wait(self: WireResolver, name: str, kind: str, read: Any) -> Any:
        async with one_by_one:
            return await ask(self, name, kind, read)

    WireResolver._ask = wait  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    NONE: lambda: None,
    "answers-before-the-disk": _answers_before_the_disk,
    "settles-before-the-reply": _settles_before_the_reply,
    "settles-late": partial(_settles_late, 2.5),
    "settles-a-little-late": partial(_settles_late, 0.05),
    "forgets-transfers": _forgets_transfers,
    "takes-up-a-part": _takes_up_a_part,
    "never-asks-again": _never_asks_again,
    "holds-all-bodies": _holds_all_bodies,
    "gives-up-early": _gives_up_early,
    "asks-one-by-one": _asks_one_by_one,
}


def apply(name: str) -> None:
    """Breaks this process's relay; raises KeyError for a name that is none."""
    MUTANTS[name]()
