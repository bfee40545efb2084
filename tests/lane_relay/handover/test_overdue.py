"""What the sender of mail in doubt hears, and that he hears it once, whoever dies."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from lane_relay.handover.giver import Giver
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.records import Notify, RecipientOptions
from tests.lane_relay.handover.slots import Slot, Wire, stored
from tests.lane_relay.handover.test_transfer import at_work, bodies, endings, two_slots
from tests.lane_relay.spool.disk import Image
from tests.lane_relay.spool.making import NOW, message_for, until

HOUR = 3600.0


@asynccontextmanager
async def in_doubt(
    *asked: Notify, hours: float = 1.0, pauses: Pauses = USUAL
) -> AsyncIterator[tuple[Slot, Slot, Wire, Giver]]:
    """A message for each of these wishes, in one transfer whose sibling has it and does not answer."""
    async with two_slots() as (a, b):
        wire = Wire(b)
        a.pauses = pauses
        giver = a.giver(wire)
        wire.fault = "lost-answer"
        wire.happens = lambda what: setattr(wire, "to", None if what == "answered" else wire.to)
        entries = []
        for number, notify in enumerate(asked):
            message = message_for(a.spool, body=b"Subject: %d\r\n\r\n%d\r\n" % (number, number))
            options = (RecipientOptions(notify),)
            message = replace(message, envelope=replace(message.envelope, options=options), notice_at=0.0)
            if hours > 1:
                message = replace(message, id=a.spool.foreign_id(NOW - hours * HOUR))
            entries += await stored(a, message)
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(giver.doubts) == 1)
            yield a, b, wire, giver


def said(slot: Slot) -> list[bytes]:
    return [report.body.replace(b"\r\n    ", b" ").replace(b"\r\n\t", b" ") for report in slot.reports]


async def test_the_sender_hears_once_that_nobody_knows_and_the_mail_stays_in_doubt() -> None:
    async with in_doubt(Notify.DEFAULT) as (a, _, _, giver):
        await giver.overdue.look()
        assert a.reports == [], "its lifetime is not over"
        a.over = True
        await giver.overdue.look()
        await giver.overdue.look()
        (report,) = said(a)
        (told,) = a.reports
        assert (told.envelope.sender, told.envelope.recipients) == ("", ("sender@lane.example",))
        assert b"Action: delayed\r\nStatus: 4.4.2\r\n" in report
        assert b"It is not known whether your message was delivered" in report
        assert b"has not answered since" in report
        assert b"Will-Retry-Until" not in report
        assert (giver.waiting, len(giver.doubts), a.sendable) == (1, 1, [])


async def test_who_asked_not_to_hear_of_delays_hears_nothing_and_is_not_asked_again() -> None:
    async with in_doubt(Notify.FAILURE, Notify.NEVER, Notify.DELAY) as (a, _, _, giver):
        a.over = True
        await giver.overdue.look()
        assert len(a.reports) == 1
        loads = a.loads.total()
        await giver.overdue.look()
        assert (len(a.reports), a.loads.total()) == (1, loads)


async def test_a_late_one_is_told_of_as_late_before_that() -> None:
    async with in_doubt(Notify.DELAY, Notify.DEFAULT, hours=5.0) as (a, _, _, giver):
        await giver.overdue.look()
        await giver.overdue.look()
        await until(lambda: len(a.reports) > 0)
        await a.spool.flush()
        (report,) = said(a)
        assert b"is late" in report
        assert b"has not answered since" in report
        a.over = True
        await giver.overdue.look()
        assert len(a.reports) == 3


async def test_what_its_sibling_answers_afterwards_is_settled_as_ever() -> None:
    async with in_doubt(Notify.DEFAULT, pauses=Pauses(ask_again=0.01)) as (a, b, wire, giver):
        a.over = True
        await giver.overdue.look()
        wire.to = b
        await until(lambda: len(giver.doubts) == 0 and not a.disk_has_transfers())
        await giver.overdue.look()
        assert (len(a.reports), giver.parcels, len(b.sendable)) == (1, 1, 1)


async def test_a_person_takes_it_back_as_ever() -> None:
    async with in_doubt(Notify.DEFAULT) as (a, _, _, giver):
        a.over = True
        await giver.overdue.look()
        assert await giver.doubts.take_back("b", "jane", "gone") == 1
        await until(lambda: not a.disk_has_transfers())
        await giver.overdue.look()
        assert (await a.bodies(), len(a.reports)) == (bodies(1), 1)


async def test_what_is_being_decided_is_not_told_of() -> None:
    async with in_doubt(Notify.DEFAULT) as (a, _, _, giver):
        a.over = True
        (doubt,) = giver.doubts.all
        await doubt.asking.acquire()
        looking = asyncio.ensure_future(giver.overdue.look())
        await asyncio.sleep(0)
        doubt.is_answered = True
        doubt.asking.release()
        await looking
        assert a.reports == []


async def test_a_report_that_finds_no_room_comes_with_the_next_look() -> None:
    async with in_doubt(Notify.DEFAULT, Notify.DEFAULT) as (a, _, _, giver):
        a.over = a.refuses_reports = True
        await giver.overdue.look()
        a.refuses_reports = False
        await giver.overdue.look()
        await giver.overdue.look()
        assert len(a.reports) == 2


async def test_a_message_that_cannot_be_read_holds_up_no_other() -> None:
    async with in_doubt(Notify.DEFAULT, Notify.DEFAULT) as (a, _, _, giver):
        a.over = True
        a.unreadable.add(giver.doubts.all[0].entries[0].id)
        await giver.overdue.look()
        assert len(a.reports) == 1


def refuse(after: int) -> Callable[[str], None]:
    """A disk that takes so many files of transfers, and then none."""
    left = [after]

    def writing(_name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    return writing


@pytest.mark.parametrize(("takes", "at_first"), [(0, 0), (1, 1)])
async def test_a_book_that_cannot_be_written_tells_nobody_twice(takes: int, at_first: int) -> None:
    async with in_doubt(Notify.DEFAULT) as (a, _, _, giver):
        a.over, a.disk.writing = True, refuse(takes)
        await giver.overdue.look()
        await giver.overdue.look()
        assert len(a.reports) == at_first
        a.disk.writing = lambda _name: None
        await giver.overdue.look()
        assert len(a.reports) == 1
        assert [at for at, report in a.book.given[giver.doubts.all[0].transfer].told if not report] == [0]


# -- crashes at every step of telling


async def test_a_crash_at_any_step_of_telling_has_told_each_sender_once_in_the_end() -> None:
    async with in_doubt(Notify.DEFAULT, Notify.FAILURE, Notify.DELAY) as (a, _, _, giver):
        await a.spool.flush()
        begun = len(a.disk.trace)
        a.over = True
        await giver.overdue.look()
        assert len(a.reports) == 2
        await a.spool.flush()
    ends = [await _after_crash(image) for _, image in endings(a, begun)]
    assert {0, 2} <= set(ends)
    assert len(ends) > 20


async def _after_crash(image: Image) -> int:
    """How many reports the crash had left on the disk."""
    again = Slot("a", image)
    again.over = True
    try:
        giver = again.giver(Wire(None))
        kept = len(again.sendable)
        assert giver.waiting == 3, "it stays in doubt"
        await giver.overdue.look()
        await giver.overdue.look()
        assert kept + len(again.reports) == 2, "told twice, or never"
    finally:
        await again.spool.close()
    return kept
