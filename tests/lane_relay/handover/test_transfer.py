"""Exactly one owner of each recipient at any instant, whatever is lost and whoever dies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.handover.consignment import Answer, Consignment, decode, pack
from lane_relay.handover.giver import Giver
from lane_relay.handover.pauses import Pauses
from lane_relay.records import FOREIGN, QueueEntry, received_at
from tests.lane_relay.handover.slots import Slot, Wire, stored
from tests.lane_relay.spool.disk import Image
from tests.lane_relay.spool.making import NOW, journal_lines, message_for, until


@asynccontextmanager
async def at_work(giver: Giver) -> AsyncIterator[None]:
    task = asyncio.create_task(giver.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def two_slots() -> AsyncIterator[tuple[Slot, Slot]]:
    slots = Slot("a"), Slot("b")
    try:
        yield slots
    finally:
        for slot in slots:
            await slot.spool.close()


async def letters(slot: Slot, count: int) -> list[QueueEntry]:
    return [
        entry
        for number in range(count)
        for entry in await stored(slot, message_for(slot.spool, body=b"Subject: %d\r\n\r\n%d\r\n" % (number, number)))
    ]


def bodies(count: int) -> list[bytes]:
    return sorted(b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(count))


async def test_what_is_given_is_the_siblings_alone_and_keeps_its_age() -> None:
    async with two_slots() as (a, b):
        wire = Wire(b)
        giver = a.giver(wire)
        entries = await letters(a, 3)
        entries[0].attempts, entries[0].due = 4, 1_900_000_000.0
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(wire.forgotten) == 1 and not a.disk_has_transfers())
        assert await b.bodies() == bodies(3)
        assert (a.sendable, a.spool.state.live_messages, giver.parcels, giver.waiting) == ([], 0, 3, 0)
        assert {received_at(entry.id) for entry in b.sendable} == {received_at(entry.id) for entry in entries}
        assert all(entry.id & FOREIGN for entry in b.sendable)
        assert max(entry.due for entry in b.sendable) == 1_900_000_000.0
        assert [line["type"] for line in journal_lines(a.disk)].count("HandOver") == 3
        assert not b.disk_has_transfers()


async def test_only_the_recipients_of_the_entry_go() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        one, two = await stored(a, message_for(a.spool, ("x@one.test", "y@two.test", "z@one.test")))
        async with at_work(giver):
            giver.give(one, "b")
            await until(lambda: giver.parcels == 1)
        (taken,) = b.sendable
        message = await b.spool.load(taken)
        assert message.envelope.recipients == ("x@one.test", "z@one.test")
        assert [one.orcpt for one in message.envelope.options] == ["rfc822;x@one.test", "rfc822;z@one.test"]
        assert a.spool.state.live_messages == 1
        assert two.recipients == (1,)


@pytest.mark.parametrize("fault", ["lost-request", "lost-answer"])
async def test_a_lost_connection_leaves_it_in_doubt_until_the_sibling_answers(fault: str) -> None:
    async with two_slots() as (a, b):
        wire = Wire(b)
        wire.fault = fault
        giver = a.giver(wire)
        (entry,) = await letters(a, 1)
        async with at_work(giver):
            giver.give(entry, "b")
            await until(lambda: len(wire.forgotten) == 1)
        assert wire.asked == 1
        assert [len(a.sendable), len(b.sendable)] == ([1, 0] if fault == "lost-request" else [0, 1])


async def test_a_request_that_comes_after_the_question_is_refused_for_ever() -> None:
    async with two_slots() as (a, b):
        wire = Wire(b)
        wire.fault = "late"
        giver = a.giver(wire)
        (entry,) = await letters(a, 1)
        async with at_work(giver):
            giver.give(entry, "b")
            await until(lambda: len(a.sendable) == 1)
        ((transfer, data),) = wire.late
        found = decode(data)
        assert not isinstance(found, str)
        answer = await b.receiver.take(transfer, found)
        assert (answer.taken, b.sendable) == ((), [])


async def test_a_sibling_that_is_down_gets_nothing_and_nothing_is_in_doubt() -> None:
    a = Slot("a")
    giver = a.giver(Wire(None))
    entries = await letters(a, 5)
    async with at_work(giver):
        for entry in entries:
            giver.give(entry, "b")
        await until(lambda: len(a.sendable) == 5)
    assert not giver.is_up("b")
    assert (len(giver.doubts), a.disk_has_transfers()) == (0, False)
    await a.spool.close()


async def test_a_sibling_that_is_unwilling_or_full_takes_what_it_can() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        entries = await letters(a, 5)
        b.fails_after = 2
        async with at_work(giver):
            for entry in entries[:4]:
                giver.give(entry, "b")
            await until(lambda: len(a.sendable) == 2)
            assert (len(b.sendable), giver.parcels) == (2, 2)
        b.unwilling_because = "intake is closed"
        again = a.giver(Wire(b))
        async with at_work(again):
            again.give(entries[4], "b")
            await until(lambda: len(a.sendable) == 3)
        assert len(b.sendable) == 2


@pytest.mark.parametrize("reached", [True, False])
async def test_a_disk_that_forgets_no_transfer_stops_nothing_and_is_asked_again(reached: bool) -> None:
    async with two_slots() as (a, b):
        a.pauses = Pauses(forget_again=0.01)
        giver = a.giver(Wire(b if reached else None))
        first, second = await letters(a, 2)
        a.disk.forgets = b.disk.forgets = False
        async with at_work(giver):
            giver.give(first, "b")
            await until(lambda: a.disk.refused > 0 and len(a.sendable) + len(b.sendable) == 1)
            giver.give(second, "b")
            await until(lambda: a.disk.refused > 2 and len(a.sendable) + len(b.sendable) == 2)
            assert len(giver.doubts) == 0
            a.disk.forgets = True
            await until(lambda: not a.disk_has_transfers())
        assert len(b.sendable) == (2 if reached else 0)


async def test_a_slot_that_cannot_forget_what_is_stale_goes_on() -> None:
    async with two_slots() as (a, b):
        (entry,) = await letters(a, 1)
        parcel = pack(entry, await a.spool.load(entry))
        await b.receiver.take("f" * 32, Consignment("a", (parcel,)))
        b.pauses = Pauses(stale=0.01)
        b.giver(Wire(None), Clock(now=lambda: NOW + 1e12, monotonic=lambda: 0.0))
        b.disk.forgets = False
        running = asyncio.create_task(b.exchange.run())
        await until(lambda: b.disk.refused > 1)
        assert (await b.receiver.ask("f" * 32, "a")).taken == (0,), "it is in the book, so it is known"
        b.disk.forgets = True
        await until(lambda: not b.disk_has_transfers())
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_order_reaches_what_waits_for_a_sibling() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        one, other = await letters(a, 2)
        giver.give(one, "b")
        giver.give(other, "b")
        a.ordered.add(one.id)
        async with at_work(giver):
            await until(lambda: giver.parcels == 1 and not a.disk_has_transfers())
        assert await b.bodies() == bodies(2)[1:]
        assert (a.sendable, giver.waiting) == ([], 0)


async def test_a_slot_whose_intake_closes_while_a_transfer_is_noted_stores_none_of_it() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        entries = await letters(a, 2)
        seen: list[int] = []

        def close(_name: str) -> None:
            b.unwilling_because = "intake is closed by order"
            seen.append(b.exchange.taking)

        b.disk.writing = close
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(a.sendable) == 2 and not b.disk_has_transfers())
        assert seen[0] == 1, "it may still store something: it is not empty"
        assert (b.sendable, b.spool.state.live_messages, b.exchange.taking) == ([], 0, 0)


async def test_a_restarted_giver_tells_the_parts_of_a_message_apart() -> None:
    async with two_slots() as (a, b):
        wire = Wire(b)
        wire.fault, b.fails_after = "lost-answer", 1
        giver = a.giver(wire)
        entries = await stored(a, message_for(a.spool, ("x@one.test", "y@two.test")))
        wire.happens = lambda what: setattr(wire, "to", None if what == "answered" else wire.to)
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(giver.doubts) == 1)
        again = Slot("a", a.disk.image())
        restarted = again.giver(Wire(b))
        async with at_work(restarted):
            await until(lambda: len(restarted.doubts) == 0)
        assert [entry.domain for entry in b.sendable] == ["one.test"]
        assert [entry.domain for entry in again.sendable] == ["two.test"], "lost: neither slot will send it"
        await again.spool.close()


async def test_a_receiver_that_cannot_note_its_answer_does_not_deny_what_it_stored() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        entries = await letters(a, 2)
        b.disk.keeps_answers = False
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: b.disk.refused > 0 and len(giver.doubts) == 1)
            assert (await b.bodies(), a.sendable) == (bodies(2), [])
            b.disk.keeps_answers = True
            await until(lambda: len(giver.doubts) == 0)
        assert (len(a.sendable), len(b.sendable), giver.parcels) == (0, 2, 2)


async def test_a_receiver_whose_disk_fails_leaves_it_open_until_its_recovery_tells() -> None:
    a, b = Slot("a"), Slot("b")
    wire = Wire(b)
    giver = a.giver(wire)
    b.sync_fails = True
    async with at_work(giver):
        giver.give((await letters(a, 1))[0], "b")
        await until(lambda: len(giver.doubts) == 1)
        image = b.disk.image()
        with pytest.raises(SpoolError):
            await b.spool.close()
        wire.to = again = Slot("b", image)
        again.sendable += again.spool.recover()
        await until(lambda: len(giver.doubts) == 0)
    assert (len(a.sendable), len(again.sendable)) == (0, 1), "both own it, or neither"
    for slot in (a, again):
        await slot.spool.close()


async def test_a_message_that_cannot_be_read_is_tried_once_and_left_to_a_restart() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        bad, good = await letters(a, 2)
        a.unreadable.add(bad.id)
        a.taken_back = lambda entry: giver.give(entry, "b")
        async with at_work(giver):
            giver.give(bad, "b")
            giver.give(good, "b")
            await until(lambda: giver.parcels == 1)
            giver.give((await letters(a, 1))[0], "b")
            await until(lambda: giver.parcels == 2)
        assert (a.loads[bad.id], giver.unreadable) == (1, 1)


async def test_what_is_chosen_for_the_same_sibling_again_while_it_is_given_back_does_not_stay() -> None:
    async with two_slots() as (a, b):
        wire, now = Wire(None), [0.0]
        giver = a.giver(wire, Clock(now=lambda: NOW, monotonic=lambda: now[0]))

        def choose_again(entry: QueueEntry) -> None:
            if len(a.sendable) < 256:  # the first transfer's
                a.sendable.append(entry)
                return
            wire.to, now[0] = b, now[0] + 10.0  # it took so long that the sibling is up again
            giver.give(entry, "b")

        a.taken_back = choose_again
        entries = await letters(a, 260)
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(a.sendable) + giver.parcels == 260)
        assert giver.parcels == 4


async def test_what_a_lost_sibling_leaves_is_given_back_in_portions() -> None:
    a = Slot("a")
    giver = a.giver(Wire(None))
    (entry,) = await letters(a, 1)
    async with at_work(giver):
        for number in range(3000):
            giver.give(replace(entry, due=float(number)), "b")
        sizes = [0]
        while sizes[-1] < 3000:
            await asyncio.sleep(0)
            sizes.append(len(a.sendable))
    assert max(now - before for before, now in pairwise(sizes)) < 500
    await a.spool.close()


@pytest.mark.parametrize("taken", [(0, 0), (7,), (-1,), (0, 1)])
async def test_an_answer_about_other_parcels_leaves_it_in_doubt(taken: tuple[int, ...]) -> None:
    async with two_slots() as (a, b):
        wire = Wire(b)
        wire.instead = Answer(taken, ("0" * 24,) * min(len(taken), 1))
        giver = a.giver(wire)
        (entry,) = await letters(a, 1)
        async with at_work(giver):
            giver.give(entry, "b")
            await until(lambda: wire.asked > 0)
        assert (a.sendable, giver.parcels) == ([], 0)


async def test_only_the_giver_says_that_it_knows() -> None:
    async with two_slots() as (a, b):
        giver = a.giver(Wire(b))
        (entry,) = await letters(a, 1)
        parcel = pack(entry, await a.spool.load(entry))
        await b.receiver.take("f" * 32, Consignment("a", (parcel,)))
        await b.receiver.forget("f" * 32, "c")
        assert (await b.receiver.ask("f" * 32, "a")).taken == (0,)
        await b.receiver.forget("f" * 32, "a")
        assert not b.disk_has_transfers()
        assert giver.waiting == 0


async def test_what_is_no_consignment_is_said_so() -> None:
    for data in (b"", b"\x00", b"\x82\xa5giver\xa1a\xa7parcels\x91\xc0"):
        assert "not a consignment" in str(decode(data))


# -- crashes of either side, at every step of both disks


def endings(slot: Slot, begun: int) -> Iterator[tuple[int, Image]]:
    """(length of the trace, what may be found then): nothing unsynced, all of it, and between."""
    for at, image in slot.disk.crash_images(0, 0, every_byte=False, after_syncs=True):
        if at >= begun:
            yield at, image


Marks = dict[str, tuple[int, int]]


async def whole_transfer() -> tuple[Slot, Slot, Marks]:
    """A whole transfer, and how far both traces were at each message between the two."""
    async with two_slots() as (a, b):
        wire = Wire(b)
        giver = a.giver(wire)
        entries = await letters(a, 3)
        await a.spool.flush()
        marks = {"begun": (len(a.disk.trace), len(b.disk.trace))}
        wire.happens = lambda what: marks.update({what: (len(a.disk.trace), len(b.disk.trace))})
        async with at_work(giver):
            for entry in entries:
                giver.give(entry, "b")
            await until(lambda: len(wire.forgotten) == 1 and not a.disk_has_transfers())
    return a, b, marks


def is_possible(at_a: int, at_b: int, marks: Marks) -> bool:
    """Both points can be each side's last: nobody has reacted to what the other had not said yet."""
    if at_b > marks["offered"][1] and at_a < marks["offered"][0]:
        return False
    if at_a > marks["answered"][0] and at_b < marks["answered"][1]:
        return False
    return not (at_b > marks["forgetting"][1] and at_a < marks["forgetting"][0])


async def judge(image_a: Image, image_b: Image) -> str:
    """Both come back from what their disks hold: who owns it, at once and in the end."""
    a, b = Slot("a", image_a), Slot("b", image_b)
    try:
        b.sendable += b.spool.recover()
        giver = a.giver(Wire(b))
        at_once = await a.bodies() + await b.bodies()
        assert len(at_once) == len(set(at_once)), "owned twice at the restart"
        assert len(at_once) == 3 or len(giver.doubts), "owned by nobody, and nobody in doubt"
        async with at_work(giver):
            await until(lambda: len(giver.doubts) == 0 and not a.disk_has_transfers())
        mine, theirs = await a.bodies(), await b.bodies()
        assert sorted(mine + theirs) == bodies(3), "lost or owned twice"
    finally:
        for slot in (a, b):
            await slot.spool.close()
    return f"{len(mine)} and {len(theirs)}"


Ending = tuple[int, Image]


def pairs_of(
    a: Slot, b: Slot, marks: Marks, is_possible: Callable[[int, int, Marks], bool]
) -> list[tuple[Ending, Ending]]:
    """All that the two disks can hold together after a crash, each pair of images once, at its latest."""
    ends_a, ends_b = (list(endings(slot, begun)) for slot, begun in zip((a, b), marks["begun"], strict=True))
    same: dict[frozenset[tuple[str, bytes]], int] = {}
    numbers = {id(image): same.setdefault(frozenset(image.items()), len(same)) for _, image in (*ends_a, *ends_b)}
    found = {
        (numbers[id(one[1])], numbers[id(other[1])]): (one, other)
        for one in ends_a
        for other in ends_b
        if is_possible(one[0], other[0], marks)
    }
    return list(found.values())


async def crash_pairs() -> list[tuple[Image, Image]]:
    """Of a whole transfer."""
    return [(one[1], other[1]) for one, other in pairs_of(*await whole_transfer(), is_possible)]


async def test_a_crash_of_either_side_or_both_at_any_step_leaves_one_owner() -> None:
    pairs = await crash_pairs()
    assert len(pairs) > 2000
    ended = {await judge(*pair) for pair in pairs}
    assert {"3 and 0", "0 and 3"} <= ended


async def test_a_receiver_that_forgot_too_soon_would_be_found_out() -> None:
    a, b, marks = await whole_transfer()
    forgetful = {path: content for path, content in b.disk.image().items() if "received" not in path}
    noted = next(image for _, image in endings(a, marks["offered"][0]) if any("given" in path for path in image))
    with pytest.raises(AssertionError, match="owned twice"):
        await judge(noted, forgetful)
