"""What every spool promises, run against each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import QueueEntry
from lane_relay.spool.base import Spool
from lane_relay.spool.entries import Waiting
from lane_relay.spool.files import POSIX_FILES
from lane_relay.spool.memory import MemorySpool, MemoryVolume
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import (
    CLOCK,
    NOW,
    answer_to,
    defer,
    journal_lines,
    message_for,
    open_spool,
    put,
    record_of,
    settle,
    until,
)

BUDGET = 2**20


class Store:
    """A store that can be opened again and again, as after restarts."""

    def __init__(self, opening: Callable[[], Spool], journalled: Callable[[], list[bytes]]) -> None:
        self._opening = opening
        self._open: Spool | None = None
        self.journalled = journalled

    async def open(self) -> Spool:
        if self._open is not None:
            await self._open.close()
        self._open = self._opening()
        return self._open

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()


def _memory(_: Path) -> Store:
    volume = MemoryVolume()
    return Store(lambda: MemorySpool(CLOCK, asyncio.get_running_loop(), volume, BUDGET), lambda: volume.records)


def _simulated(_: Path) -> Store:
    disk = SimulatedDisk()
    return Store(lambda: open_spool(disk, budget=BUDGET), lambda: [_plain(line) for line in journal_lines(disk)])


def _posix(tmp_path: Path) -> Store:
    def opening() -> Spool:
        return open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "records", budget=BUDGET)

    return Store(opening, lambda: [_plain(line) for line in journal_lines(POSIX_FILES, tmp_path / "records")])


def _plain(line: dict[str, object]) -> bytes:
    return record_of(str(line["type"]), int(str(line["id"]), 16))


@pytest.fixture(params=[_memory, _simulated, _posix], ids=["memory", "simulated", "posix"])
async def store(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]  # async generator fixture
    made: Store = request.param(tmp_path)
    yield made
    await made.close()


def _known(entries: list[QueueEntry]) -> list[tuple[int, str, tuple[int, ...], int, float, int]]:
    return sorted((one.id, one.domain, one.recipients, one.size, one.due, one.attempts) for one in entries)


async def test_a_stored_message_is_read_back_as_it_was(store: Store) -> None:
    spool = await store.open()
    message = message_for(spool, ("Üser@BÜCHER.example", "b@example.com"))
    entries = await put(spool, message)

    assert spool.cached(entries[0]) == message
    assert await spool.load(entries[0]) == message

    again = await store.open()
    found = list(again.recover())
    assert [await again.load(entry) for entry in found] == [message, message]
    assert {(one.campaign, one.sender_domain, one.expires_at) for one in entries + found} == {
        ("spring-2026", "lane.example", NOW + 600)
    }


async def test_there_is_one_entry_per_recipient_domain(store: Store) -> None:
    spool = await store.open()
    await put(spool, message_for(spool, ("a@one.example", "b@Two.example", "c@ONE.example")))

    found = list((await store.open()).recover())

    assert sorted((one.domain, one.recipients) for one in found) == [("one.example", (0, 2)), ("two.example", (1,))]


async def test_what_is_settled_does_not_come_back(store: Store) -> None:
    spool = await store.open()
    kept = await put(spool, message_for(spool))
    for entry in await put(spool, message_for(spool)):
        settle(spool, entry)
    await spool.flush()
    assert spool.state.live_messages == 1

    assert [one.id for one in (await store.open()).recover()] == [kept[0].id]


async def test_a_message_stays_until_its_last_recipient_is_settled(store: Store) -> None:
    spool = await store.open()
    first, second = await put(spool, message_for(spool, ("a@one.example", "b@two.example", "c@two.example")))
    settle(spool, first)
    spool.settle(second, (2,), [record_of("Delivery", second.id)])
    second.recipients = (1,)
    defer(spool, second, NOW + 60)
    await spool.flush()
    assert spool.state.live_messages == 1

    (found,) = (await store.open()).recover()

    assert (found.domain, found.recipients, found.due, found.attempts) == ("two.example", (1,), NOW + 60, 1)


async def test_the_last_deferral_holds_after_a_restart(store: Store) -> None:
    spool = await store.open()
    (entry,) = await put(spool, message_for(spool))
    defer(spool, entry, NOW + 60)
    defer(spool, entry, NOW + 180)

    (found,) = (await store.open()).recover()

    assert (found.due, found.attempts) == (NOW + 180, 2)


@pytest.mark.parametrize("recipients", [("a@one.example",), ("a@one.example", "b@two.example")])
async def test_what_was_attempted_elsewhere_is_never_stored_without_its_state(
    store: Store, recipients: tuple[str, ...]
) -> None:
    spool = await store.open()
    stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    message = message_for(spool, recipients)
    record = record_of("Reception", message.id)
    spool.put(message, record, answer_to(stored), Waiting(NOW + 900, 4, notified=True))
    await stored

    found = list((await store.open()).recover())

    assert len(found) == len(recipients)
    assert {(one.due, one.attempts, one.notified) for one in found} == {(NOW + 900, 4, True)}


async def test_parts_of_an_entry_wait_each_for_its_own_time_over_a_restart(store: Store) -> None:
    spool = await store.open()
    (entry,) = await put(spool, message_for(spool, ("a@one.example", "b@one.example", "c@one.example")))
    soon, late = replace(entry, recipients=(0, 2)), replace(entry, recipients=(1,))
    late.notified = True
    defer(spool, soon, NOW + 60)
    defer(spool, late, NOW + 4000)
    assert spool.state.live_recipients == 3

    again = await store.open()
    found = {one.recipients: one for one in again.recover()}

    assert {key: (one.due, one.attempts, one.notified) for key, one in found.items()} == {
        (0, 2): (NOW + 60, 1, False),
        (1,): (NOW + 4000, 1, True),
    }
    settle(again, found[0, 2])
    await again.flush()
    assert (again.state.live_messages, again.state.live_recipients) == (1, 1)
    (left,) = (await store.open()).recover()
    assert (left.recipients, left.due) == ((1,), NOW + 4000)


async def test_recovery_after_recovery_finds_the_same(store: Store) -> None:
    spool = await store.open()
    for number in range(20):
        entries = await put(spool, message_for(spool, ("a@one.example", f"b@n{number}.example")))
        if number % 3 == 0:
            defer(spool, entries[0], NOW + number)
        if number % 4 == 0:
            settle(spool, entries[1])
    first = _known(list((await store.open()).recover()))
    second = _known(list((await store.open()).recover()))

    assert len(first) == 35
    assert first == second


async def test_a_recovered_message_can_be_settled(store: Store) -> None:
    spool = await store.open()
    await put(spool, message_for(spool))
    again = await store.open()
    (found,) = again.recover()
    settle(again, found)

    assert list((await store.open()).recover()) == []


async def test_each_record_reaches_the_journal_once_and_in_order(store: Store) -> None:
    spool = await store.open()
    (entry,) = await put(spool, message_for(spool))
    defer(spool, entry, NOW + 60)
    spool.record([record_of("Rejection", 7)])
    settle(spool, entry)
    await spool.flush()
    await store.open()

    expected = [
        record_of("Reception", entry.id),
        record_of("TransientFailure", entry.id),
        record_of("Rejection", 7),
        record_of("Delivery", entry.id),
    ]
    assert store.journalled() == expected


async def test_a_settlement_without_company_is_committed_by_itself(store: Store) -> None:
    spool = await store.open()
    (entry,) = await put(spool, message_for(spool))
    settle(spool, entry)

    await until(lambda: not spool.state.live_messages)


async def test_flags_outlive_a_restart_and_an_empty_value_removes_them(store: Store) -> None:
    spool = await store.open()
    spool.set_flag("intake", "Closed")
    spool.set_flag("suspended", "by-owner")
    spool = await store.open()
    assert (spool.flag("intake"), spool.flag("suspended")) == ("Closed", "by-owner")
    spool.set_flag("intake", "")
    spool = await store.open()
    assert (spool.flag("intake"), spool.flag("suspended"), spool.flag("never")) == ("", "by-owner", "")


async def test_the_identity_outlives_a_restart_and_ids_are_never_repeated(store: Store) -> None:
    spool = await store.open()
    identity = spool.spool_id
    ids = [spool.new_id() for _ in range(1000)]
    for _ in range(3):
        message = message_for(spool)
        ids.append(message.id)
        await put(spool, message)
    spool = await store.open()
    ids += [spool.new_id() for _ in range(1000)]

    assert spool.spool_id == identity
    assert len(set(ids)) == 2003
    assert min(ids[-1000:]) > max(ids[1000:1003]), "later ids are greater, even if the clock stands still"


async def test_a_full_budget_refuses_messages_until_there_is_room(store: Store) -> None:
    spool = await store.open()
    body = b"x" * 100_000
    entries: list[QueueEntry] = []

    async def fill() -> None:
        for _ in range(20):
            entries.extend(await put(spool, message_for(spool, body=body)))

    with pytest.raises(SpoolFullError):
        await fill()
    assert len(entries) >= 8

    for entry in entries:
        settle(spool, entry)
    await spool.flush()
    async with asyncio.timeout(60):
        while True:
            try:
                await put(spool, message_for(spool, body=body))
                break
            except SpoolFullError:
                await asyncio.sleep(0.05)
    assert spool.state.live_messages == 1


async def test_a_closed_spool_refuses_everything(store: Store) -> None:
    spool = await store.open()
    (entry,) = await put(spool, message_for(spool))
    await spool.close()
    stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    calls: list[Callable[[], object]] = [
        lambda: spool.put(message_for(spool), b"{}", answer_to(stored)),
        lambda: settle(spool, entry),
        lambda: defer(spool, entry, NOW),
        lambda: spool.record([b"{}"]),
        lambda: spool.set_flag("a", "b"),
    ]
    for call in calls:
        with pytest.raises(SpoolError):
            call()
    flush: Callable[[], Awaitable[None]] = spool.flush
    with pytest.raises(SpoolError):
        await flush()
