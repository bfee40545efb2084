"""7-bit forms are made in a thread, one at a time, and given up when the relay ends."""

import asyncio
import logging
import threading
import time

import pytest

from lane_relay.deliver.reducer import Reducer
from lane_relay.mail.seven_bit import seven_bit

TEXT = b"From: a@b.test\r\nMIME-Version: 1.0\r\n\r\n" + "Gr\u00fc\u00dfe\r\n".encode() * 5000


async def test_forms_are_made_one_at_a_time_in_a_thread_of_their_own() -> None:
    reducer = Reducer()
    before = {thread.name for thread in threading.enumerate()}
    made = await asyncio.gather(*[reducer.reduce(TEXT) for _ in range(3)])
    after = {thread.name for thread in threading.enumerate()}
    reducer.close()
    assert made == [seven_bit(TEXT)] * 3
    assert len({name for name in after - before if name.startswith("seven-bit")}) == 1
    assert made[0] is not None


async def test_a_form_takes_half_a_core_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    reducer, loop, sleep = Reducer(), asyncio.get_running_loop(), time.sleep
    slept = list[float]()

    def asleep(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    used = -await loop.run_in_executor(reducer._thread, time.thread_time)
    monkeypatch.setattr(time, "sleep", asleep)
    await reducer.reduce(TEXT * 100)  # dozens of pieces on any machine
    used += await loop.run_in_executor(reducer._thread, time.thread_time)
    reducer.close()
    # what the pauses themselves take, and the last piece, are not slept for
    assert sum(slept) > 0.5 * used
    assert len(slept) > 5


async def test_closing_gives_up_what_is_under_way(caplog: pytest.LogCaptureFixture) -> None:
    reducer = Reducer()
    work = asyncio.ensure_future(reducer.reduce(TEXT * 400))
    await asyncio.sleep(0)
    reducer.close()
    with caplog.at_level(logging.ERROR):
        assert await work is None
    assert not caplog.records
