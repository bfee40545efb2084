"""Mail in doubt that has become old: its sender hears in time that it is late, and once its lifetime is over, once and
for good, that nobody knows whether it was delivered.

It stays in doubt: whether it leaves or has left is its sibling's to say, or a person's. RFC 3464 (2.3.3) has `failed`
for what is given up; here it may have arrived, so the report says `delayed`, which RFC 3461 (4.1) means for mail whose
final status "cannot be determined", and promises no further attempt.
Invariant: a report's id is in the book before the report is in the spool, and that it is there afterwards, so that a
restart finds out by its spool whether it was told. Before it: `doubts`. After it: `account`, through the exchange.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from lane_relay.clock import rfc3339
from lane_relay.errors import SpoolError
from lane_relay.handover.book import Book, Given
from lane_relay.handover.doubts import Doubt, Doubts
from lane_relay.records import Message, QueueEntry, message_id_text

__all__ = ["Home", "OverdueDoubts"]

_LOOK_EVERY_S: Final = 60.0

_log = structlog.get_logger("handover")


class Home(Protocol):
    """What it needs of its own slot."""

    def is_over(self, entry: QueueEntry) -> bool:
        """Its lifetime has passed."""

    def is_late(self, entry: QueueEntry) -> bool:
        """Its sender may want to hear that it is late, and nobody has looked yet."""

    def tell_late(self, entry: QueueEntry, message: Message, why: str) -> None:
        """See Settler.on_late."""

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool.load."""

    def report_unknown(self, entry: QueueEntry, message: Message, why: str) -> Message | None:
        """See Settler.report_unknown."""

    def deposit(self, report: Message, done: Callable[[SpoolError | None], None]) -> None:
        """See Surroundings.deposit; `done` is called in any case."""

    def keep(self) -> Callable[[], None]:
        """See Spool.keep."""

    def was_stored(self, spool_id: int) -> bool:
        """See Spool.was_stored."""


class OverdueDoubts:
    """Of one slot; all on the event loop."""

    def __init__(self, book: Book, doubts: Doubts, home: Home) -> None:
        """Finds out what a crash left open; blocks, raises OSError."""
        self._book = book
        self._doubts = doubts
        self._home = home
        self._unnoted: dict[str, tuple[Doubt, Callable[[], None]]] = {}
        """Whose senders were told, though the disk has not taken that, and what lets the spool tidy again."""
        for doubt in doubts.all:
            told = tuple((at, "") for at, report in doubt.given.told if not report or home.was_stored(int(report, 16)))
            if told != doubt.given.told:
                book.put_given(doubt.transfer, replace(doubt.given, told=told))
                doubt.given = replace(doubt.given, told=told)

    async def watch(self) -> None:
        """Looks now, and then once a minute, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Tells the senders of what has become old since."""
        for doubt, release in list(self._unnoted.values()):
            async with doubt.asking:
                await self._note_told(doubt, release)
        for doubt in self._doubts.all:
            if any(self._is_old(entry) for entry in doubt.entries):
                async with doubt.asking:  # nobody decides meanwhile
                    if _is_open(doubt):
                        await self._tell(doubt)

    def _is_old(self, entry: QueueEntry) -> bool:
        return self._home.is_over(entry) or self._home.is_late(entry)

    async def _tell(self, doubt: Doubt) -> None:
        told = {at for at, _ in doubt.given.told}
        reports: dict[int, Message | None] = {}
        why = f"another slot of this system was handed it at {rfc3339(doubt.given.at)} and has not answered since"
        for entry in [one for one in doubt.entries if self._is_old(one)]:
            at = _position(entry, doubt.given)
            is_over = self._home.is_over(entry)
            if at is None or (is_over and at in told):
                continue
            try:
                message = await self._home.load(entry)
            except SpoolError as error:
                _log.warning("a message in doubt cannot be read", id=message_id_text(entry.id), reason=str(error))
                continue
            if is_over:
                reports[at] = self._home.report_unknown(entry, message, why)
            else:
                self._home.tell_late(entry, message, why)
        if reports:
            await self._report(doubt, reports)

    async def _report(self, doubt: Doubt, reports: dict[int, Message | None]) -> None:
        before, release = doubt.given, self._home.keep()
        names = tuple((at, message_id_text(report.id) if report is not None else "") for at, report in reports.items())
        try:
            await self._put(doubt, replace(before, told=before.told + names))
        except OSError as error:
            _log.exception("that senders are told cannot be noted, they hear it later", reason=str(error))
            release()
            return
        wanted = [(at, report) for at, report in reports.items() if report is not None]
        failed = {at for at, report in wanted if not await self._stored(report)}
        told = tuple((at, "") for at in reports if at not in failed)
        doubt.given = replace(before, told=before.told + told)
        _log.warning("mail in doubt is past its lifetime", transfer=doubt.transfer, slot=before.to, told=len(told))
        await self._note_told(doubt, release)

    async def _stored(self, report: Message) -> bool:
        done: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()
        self._home.deposit(report, done.set_result)
        error = await done
        if error is not None:
            _log.warning("report is not stored", id=message_id_text(report.id), error=str(error))
        return error is None

    async def _note_told(self, doubt: Doubt, release: Callable[[], None]) -> None:
        if _is_open(doubt):
            try:
                await self._put(doubt, doubt.given)
            except OSError as error:
                _log.exception("that senders were told cannot be noted yet", reason=str(error))
                self._unnoted[doubt.transfer] = doubt, release
                return
        self._unnoted.pop(doubt.transfer, None)
        release()

    async def _put(self, doubt: Doubt, given: Given) -> None:
        await asyncio.to_thread(self._book.put_given, doubt.transfer, given)
        doubt.given = given


def _is_open(doubt: Doubt) -> bool:
    """Neither its sibling nor a person has settled it."""
    return not doubt.is_answered and doubt.given.taken_back is None


def _position(entry: QueueEntry, given: Given) -> int | None:
    """Of the parcel that the entry is in."""
    origin, mine = message_id_text(entry.id), set(entry.recipients)
    found: Iterable[int] = (
        at for at, (name, theirs) in enumerate(given.parcels) if name == origin and mine <= set(theirs)
    )
    return next(iter(found), None)
