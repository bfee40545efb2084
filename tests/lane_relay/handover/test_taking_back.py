"""A sibling that is gone for good: what is in doubt with it comes back by a person's order, and by nothing else."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable
from typing import Any, NamedTuple

import pytest

from lane_relay.errors import SpoolError
from lane_relay.handover.carriage import NotNowError
from lane_relay.handover.consignment import Answer
from lane_relay.handover.doubts import NothingToTakeBackError
from lane_relay.handover.giver import Giver
from tests.lane_relay.handover.slots import Slot, Wire
from tests.lane_relay.handover.test_transfer import at_work, bodies, endings, letters, two_slots
from tests.lane_relay.spool.making import NOW, journal_lines, until


class Pair(NamedTuple):
    """A slot, its sibling, the wire between them, and the slot's giving side."""

    a: Slot
    b: Slot
    wire: Wire
    giver: Giver


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two slots, before the first transfer."""
    async with two_slots() as (a, b):
        wire = Wire(b)
        yield Pair(a, b, wire, a.giver(wire))


async def lose(giver: Giver, a: Slot, wire: Wire, count: int = 3) -> None:
    """The transfer arrives, its answer does not, and the sibling is never seen again."""
    wire.fault = "lost-answer"
    wire.happens = lambda what: setattr(wire, "to", None if what == "answered" else wire.to)
    for entry in await letters(a, count):
        giver.give(entry, "b")
    await until(lambda: len(giver.doubts) == 1)


async def refusal(of: Awaitable[int]) -> str:
    with pytest.raises(NothingToTakeBackError) as refused:
        await of
    return str(refused.value)


def actions(slot: Slot) -> list[tuple[str, str, str]]:
    lines: list[Any] = [line for line in journal_lines(slot.disk) if line["type"] == "AdminAction"]
    return [(line["user"], line["meta"]["reason"], line["meta"]["action"]) for line in lines]


async def test_a_person_takes_back_what_a_lost_sibling_had_and_it_is_on_record_that_it_may_leave_twice(
    pair: Pair,
) -> None:
    a, _, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        ((slot, transfers, entries, since, said),) = [
            (one.slot, one.transfers, one.entries, one.since, one.said) for one in giver.doubts.by_slot()
        ]
        assert (slot, transfers, entries, since, bool(said)) == ("b", 1, 3, NOW, True)
        assert await giver.doubts.take_back("b", "jane", "its volume is lost") == 3
        await until(lambda: len(giver.doubts) == 0 and not a.disk_has_transfers())
    assert await a.bodies() == bodies(3)
    ((owner, reason, action),) = actions(a)
    assert (owner, reason) == ("jane", "its volume is lost")
    assert "slot b" in action
    assert "leaves twice" in action


async def test_a_sibling_that_answers_settles_it_itself(pair: Pair) -> None:
    a, b, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        wire.to = b
        assert "slot b is there" in await refusal(giver.doubts.take_back("b", "jane", "I think it is lost"))
        await until(lambda: len(giver.doubts) == 0)
    assert (a.sendable, len(b.sendable), actions(a)) == ([], 3, [])


async def test_a_sibling_that_is_there_and_cannot_tell_yet_is_not_passed_over(pair: Pair) -> None:
    a, b, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        wire.to, wire.instead = b, Answer((7,), ("0" * 24,))
        assert "other parcels" in await refusal(giver.doubts.take_back("b", "jane", "odd"))
        assert len(giver.doubts) == 1
    assert a.sendable == []


async def test_nothing_is_taken_back_from_a_sibling_with_which_nothing_is_in_doubt(pair: Pair) -> None:
    a, _, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        assert "nothing is in doubt with slot 'c'" in await refusal(giver.doubts.take_back("c", "jane", "gone"))
        assert len(giver.doubts) == 1


async def test_a_decision_that_cannot_be_kept_is_none(pair: Pair) -> None:
    a, _, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        a.disk.fail_rename = errno.ENOSPC
        with pytest.raises(SpoolError, match="cannot be noted"):
            await giver.doubts.take_back("b", "jane", "gone")
        assert (len(giver.doubts), a.sendable) == (1, [])
        a.disk.fail_rename = 0
        assert await giver.doubts.take_back("b", "jane", "gone") == 3
        await until(lambda: len(a.sendable) == 3)


async def test_an_answer_on_its_way_is_waited_for(pair: Pair) -> None:
    a, b, wire, giver = pair
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(_slot: str, transfer: str) -> Answer:
        asked.set()
        await may_answer.wait()
        return await b.receiver.ask(transfer, "a")

    async with at_work(giver):
        await lose(giver, a, wire)
        wire.asking = slow
        await asked.wait()
        decision = asyncio.ensure_future(giver.doubts.take_back("b", "jane", "gone"))
        await asyncio.sleep(0)
        may_answer.set()
        assert "is there" in await refusal(decision)
        await until(lambda: len(giver.doubts) == 0)
    assert (a.sendable, len(b.sendable)) == ([], 3)


async def test_what_waits_behind_a_transfer_in_doubt_leaves_another_way(pair: Pair) -> None:
    a, b, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire, 260)  # 256 are one transfer
        await until(lambda: len(a.sendable) == 4)
        assert not giver.is_up("b")
        wire.to = b
        await until(lambda: len(giver.doubts) == 0)
        assert giver.is_up("b")


async def test_a_message_that_cannot_be_read_holds_up_no_other_of_its_transfer(pair: Pair) -> None:
    a, b, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        a.unreadable.add(giver.doubts.all[0].entries[1].id)
        wire.to = b
        await until(lambda: len(giver.doubts) == 0)
    assert (giver.parcels, a.sendable, len(b.sendable)) == (2, [], 3)
    assert a.disk_has_transfers(), "the next start must not send it"


# -- crashes of the giver at every step of taking back


async def test_a_crash_at_any_step_of_taking_back_leaves_it_in_doubt_or_takes_it_back_on_record(pair: Pair) -> None:
    a, _, wire, giver = pair
    async with at_work(giver):
        await lose(giver, a, wire)
        begun = len(a.disk.trace)
        await giver.doubts.take_back("b", "jane", "gone")
        await until(lambda: len(giver.doubts) == 0 and not a.disk_has_transfers())
    ends = [await _after_crash(Slot("a", image)) for _, image in endings(a, begun)]
    assert {"in doubt", "taken back"} == set(ends)
    assert len(ends) > 20


async def _after_crash(again: Slot) -> str:
    try:
        giver = again.giver(Wire(None))
        decided = all(doubt.given.taken_back for doubt in giver.doubts.all)
        assert not (giver.doubts.all and again.sendable), "sent before it is on record"
        async with at_work(giver):
            if decided:
                await until(lambda: not again.disk_has_transfers())
            await again.spool.flush()
        if decided:
            assert await again.bodies() == bodies(3)
            assert {line[:2] for line in actions(again)} == {("jane", "gone")}
        else:
            assert (again.sendable, giver.waiting) == ([], 3)
    finally:
        await again.spool.close()
    return "taken back" if decided else "in doubt"


async def test_a_sibling_that_is_there_is_told_from_one_that_is_not(pair: Pair) -> None:
    error: Exception = NotNowError("503 ask again")
    a, _, wire, giver = pair

    async def broken(_slot: str, _transfer: str) -> Answer:
        raise error

    async with at_work(giver):
        await lose(giver, a, wire)
        wire.asking = broken
        assert "503 ask again" in await refusal(giver.doubts.take_back("b", "jane", "gone"))
