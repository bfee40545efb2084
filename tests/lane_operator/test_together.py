"""Several requests at once: how many, in which order they answer, and that none is left over."""

import asyncio

import pytest

from lane_operator.together import together


async def test_what_each_came_to_stands_in_order_though_the_last_is_first() -> None:
    steps = [asyncio.Event() for _ in range(3)]

    async def one(number: int) -> int:
        if number < 2:
            await steps[number + 1].wait()
        steps[number].set()
        return number

    assert await together(one(number) for number in range(3)) == (0, 1, 2)


async def test_no_more_run_at_once_than_asked_for() -> None:
    running, most = 0, 0

    async def one() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await together((one() for _ in range(10)), at_once=3)

    assert most == 3


async def test_the_first_failure_in_order_is_raised_when_all_are_over() -> None:
    over: list[str] = []

    async def fails(name: str, first: asyncio.Event | None = None) -> None:
        if first is not None:
            await first.wait()
        over.append(name)
        raise ValueError(name)

    last = asyncio.Event()

    async def goes_on() -> None:
        last.set()
        over.append("goes on")

    with pytest.raises(ValueError, match="a"):
        await together([fails("a", last), fails("b"), goes_on()])
    assert sorted(over) == ["a", "b", "goes on"]
