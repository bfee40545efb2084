"""What keeps evidence, lists and figures may break: it is told and counted, begins again, and ends nothing else."""

import asyncio

import pytest
from structlog.testing import capture_logs

from lane_relay.supervisor import Supervisor


class PanicError(BaseException):
    """As a library's panic is: no Exception."""


class Task:
    """Breaks off at its first turns, with each of these, and then works until it is cancelled."""

    def __init__(self, *breaks: BaseException) -> None:
        self.breaks = list(breaks)
        self.works = asyncio.Event()

    async def run(self) -> None:
        if self.breaks:
            raise self.breaks.pop(0)
        self.works.set()
        await asyncio.Event().wait()


def supervisor() -> Supervisor:
    return Supervisor(lambda: 0.5, first_wait_s=0.001)


async def test_what_breaks_begins_again_and_its_neighbours_never_stopped() -> None:
    ours, broken, sound = supervisor(), Task(ValueError("odd"), PanicError("panic"), KeyError("x")), Task()
    with capture_logs() as said:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(ours.keep(name, one.run)) for name, one in (("a", broken), ("b", sound))]
            await broken.works.wait()
            await sound.works.wait()
            for task in tasks:
                task.cancel()
    assert ours.broken == {"a": 3, "b": 0}
    assert [(line["task"], str(line["exc_info"])) for line in said] == [("a", "odd"), ("a", "panic"), ("a", "'x'")]


def test_waits_grow_and_have_an_end() -> None:
    shortest, longest = Supervisor(lambda: 0.0), Supervisor(lambda: 1.0)
    tries = (1, 2, 3, 9, 10, 10_000)
    assert [longest.wait_s(one) for one in tries] == [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    assert [shortest.wait_s(one) for one in tries] == [0.5, 1.0, 2.0, 128.0, 150.0, 150.0]


async def test_a_wait_that_somebody_else_cancelled_is_a_broken_turn_and_not_an_end() -> None:
    other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    other.cancel()

    async def waits() -> None:
        await other

    ours = supervisor()
    assert not await ours.once("a", waits)
    assert ours.broken == {"a": 1}


async def test_cancelling_and_orders_to_end_go_through() -> None:
    ours, task = supervisor(), Task()
    keeping = asyncio.ensure_future(ours.keep("a", task.run))
    await task.works.wait()
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled()
    with pytest.raises(GeneratorExit):
        await ours.once("a", Task(GeneratorExit()).run)
    assert ours.broken == {"a": 0}


async def test_what_returns_has_come_to_its_end() -> None:
    async def returns() -> None:
        await asyncio.sleep(0)

    ours = supervisor()
    async with asyncio.timeout(60):
        await ours.keep("a", returns)
    assert ours.broken == {"a": 0}


async def test_what_nobody_awaits_is_counted_when_it_breaks() -> None:
    ours = supervisor()
    ended = ours.watch("words")
    assert ours.broken == {"words": 0}
    for breaks in ((), (ValueError("odd"),)):
        task = asyncio.ensure_future(Task(*breaks).run())
        task.add_done_callback(ended)
        if not breaks:
            task.cancel()
        await asyncio.wait([task])
    await asyncio.sleep(0)
    assert ours.broken == {"words": 1}
