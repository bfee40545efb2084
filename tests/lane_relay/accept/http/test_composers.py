"""Whose turn it is in the threads that compose."""

import asyncio
import threading

import pytest

from lane_relay.accept.http.composers import Composers
from tests.lane_relay.spool.making import until


async def test_one_users_many_pieces_let_another_users_piece_in_between() -> None:
    composers, begun, go = Composers(1), [], threading.Event()

    def work(name: str) -> str:
        begun.append(name)
        assert go.wait(60)
        return name

    many = [asyncio.create_task(composers.run("news", work, f"news {number}")) for number in range(20)]
    await until(lambda: bool(begun))
    code = asyncio.create_task(composers.run("login", work, "code"))
    await asyncio.sleep(0)
    go.set()
    assert await code == "code"
    assert begun.index("code") <= 2
    assert await asyncio.gather(*many) == [f"news {number}" for number in range(20)]
    composers.close()


async def test_no_more_pieces_run_than_there_are_threads_and_what_fails_frees_its_thread() -> None:
    composers, running, most, lock = Composers(2), [0], [0], threading.Lock()

    def work(*, fails: bool) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        with lock:
            running[0] -= 1
        if fails:
            raise ValueError("as asked")

    def one(number: int) -> None:
        work(fails=number % 2 == 0)

    found = await asyncio.gather(*(composers.run("x", one, number) for number in range(40)), return_exceptions=True)
    assert sum(isinstance(one, ValueError) for one in found) == 20
    assert most[0] <= 2
    await composers.run("x", one, 1)
    composers.close()


async def test_who_does_not_wait_any_more_takes_no_turn_with_them() -> None:
    composers, go = Composers(1), threading.Event()
    done: list[str] = []
    first = asyncio.create_task(composers.run("a", go.wait, 30))
    gone = [asyncio.create_task(composers.run(name, done.append, name)) for name in ("b", "c")]
    last = asyncio.create_task(composers.run("d", done.append, "d"))
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    go.set()
    await asyncio.gather(first, last)
    with pytest.raises(asyncio.CancelledError):
        await gone[0]
    assert done == ["d"]
    await composers.run("e", done.append, "e")
    assert done == ["d", "e"]
    composers.close()
