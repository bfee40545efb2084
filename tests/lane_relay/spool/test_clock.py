"""What the spool makes of a wall clock that was wrong: it costs mail nothing but the time that the clock was off."""

import asyncio
import random

import pytest

from lane_relay.clock import Clock
from lane_relay.records import received_at
from lane_relay.spool.entries import Waiting
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.making import NOW, answer_to, defer, message_for, open_spool, put, reception_of, settle

DAY = 86_400.0


def _clock(now: float) -> Clock:
    return Clock(now=lambda: now, monotonic=lambda: 0.0)


async def _dues_after(disk: SimulatedDisk, now: float) -> list[tuple[str, float]]:
    """(domain, seconds until it is due) of what a restart at this time finds."""
    spool = open_spool(disk, clock=_clock(now))
    found = sorted((one.domain, one.due - now) for one in spool.recover())
    await spool.close()
    return found


async def _stored_a_day_ahead(disk: SimulatedDisk) -> None:
    """Fresh mail, mail put off by 300 s, a part of a message put off by 500 s, and a sibling's mail for in 900 s."""
    now = NOW + DAY
    spool = open_spool(disk, clock=_clock(now))
    await put(spool, message_for(spool, ("a@fresh.example",)))
    (entry,) = await put(spool, message_for(spool, ("a@later.example",)))
    defer(spool, entry, now + 300)
    _, parted = await put(spool, message_for(spool, ("a@other.example", "a@parted.example")))
    defer(spool, parted, now + 500)
    message = message_for(spool, ("a@sibling.example",))
    stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = Waiting(now + 900, 4, said_at=now)
    spool.put(message, reception_of(message), answer_to(stored), waiting)
    await stored
    await spool.close()


async def test_what_was_put_off_by_a_clock_that_was_ahead_waits_no_longer_than_it_was_to() -> None:
    disk = SimulatedDisk()
    await _stored_a_day_ahead(disk)

    expected = [
        ("fresh.example", 0.0),
        ("later.example", 300.0),
        ("other.example", 0.0),
        ("parted.example", 500.0),
        ("sibling.example", 900.0),
    ]
    assert await _dues_after(disk, NOW + 10) == expected
    assert await _dues_after(disk, NOW + 20) == expected


async def test_what_was_put_off_keeps_its_time_if_the_clock_went_on_as_it_should() -> None:
    disk = SimulatedDisk()
    await _stored_a_day_ahead(disk)

    assert await _dues_after(disk, NOW + DAY + 100) == [
        ("fresh.example", -100.0),
        ("later.example", 200.0),
        ("other.example", -100.0),
        ("parted.example", 400.0),
        ("sibling.example", 800.0),
    ]


async def test_mail_that_comes_after_a_clock_was_set_back_is_dated_by_the_clock_over_restarts() -> None:
    disk = SimulatedDisk()
    await _stored_a_day_ahead(disk)
    ids = []
    for restart in range(3):
        now = NOW + restart
        spool = open_spool(disk, clock=_clock(now))
        for _ in range(2):
            message = message_for(spool)
            ids.append(message.id)
            assert received_at(message.id) == now
            for entry in await put(spool, message):
                settle(spool, entry)
        await spool.close()
    assert ids == sorted(ids)
    assert {one >> 90 for one in ids} == {1}, "one step back is one era"


async def test_an_era_is_remembered_when_all_its_mail_has_gone() -> None:
    disk = SimulatedDisk()
    times = (NOW + DAY, NOW, NOW + 10, NOW + 11)
    ids = []
    for now in times:
        spool = open_spool(disk, clock=_clock(now))
        message = message_for(spool)
        ids.append(message.id)
        (entry,) = await put(spool, message)
        settle(spool, entry)
        await spool.close()
    assert [received_at(one) for one in ids] == list(times)
    assert [one >> 90 for one in ids] == [0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
async def test_ids_grow_and_say_the_time_however_the_clock_was_set_while_the_relay_was_down(seed: int) -> None:
    """Over lives that end by a stop or a crash."""
    chance = random.Random(seed)
    disk, now, last = SimulatedDisk(), NOW, 0
    for _ in range(14):
        now += chance.choice((-9 * DAY, -DAY, -3600, -30, 5, 3600, DAY))
        spool = open_spool(disk, segment_size=2**16, clock=_clock(now))
        for entry in spool.recover():
            assert entry.due <= now
            if chance.random() < 0.5:
                settle(spool, entry)
        for _ in range(chance.randint(0, 3)):
            message = message_for(spool, body=b"x" * 30_000)
            assert message.id > last
            assert abs(received_at(message.id) - now) <= 16, "the step that begins an era has grown to no more"
            last = message.id
            await put(spool, message)
        image = disk.image()
        await spool.close()
        if chance.random() < 0.5:
            disk = SimulatedDisk(image)
