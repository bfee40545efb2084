"""Returned mail is read in turns: who brings much waits behind his own."""

import asyncio
import threading

import pytest

from lane_relay.feedback.readers import Readers
from lane_relay.mail.reports.reading import Kind, Reading


class Slow:
    """Reads one mail at a time, each once it may."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.may = threading.Semaphore(0)

    def __call__(self, content: bytes) -> Reading:
        self.may.acquire()
        self.read.append(content)
        if content == b"breaks us":
            raise ValueError("a mistake of ours")
        return Reading(Kind.NOT_UNDERSTOOD, content.decode())


async def test_many_of_one_peer_do_not_delay_another() -> None:
    slow = Slow()
    readers = Readers(slow)
    flood = [asyncio.ensure_future(readers.read("hostile", b"%d" % number)) for number in range(30)]
    await asyncio.sleep(0)
    other = asyncio.ensure_future(readers.read("isp", b"report"))
    await asyncio.sleep(0)
    slow.may.release(3)
    assert (await other).dialect == "report"
    assert len(slow.read) <= 3
    assert readers.waiting >= 27
    slow.may.release(28)
    assert [(await one).dialect for one in flood] == [str(number) for number in range(30)]
    readers.close()


async def test_a_mail_that_breaks_us_and_one_that_nobody_waits_for_stop_no_other() -> None:
    slow = Slow()
    readers = Readers(slow)
    first, gone, last = (asyncio.ensure_future(readers.read("a", one)) for one in (b"breaks us", b"gone", b"last"))
    await asyncio.sleep(0)
    gone.cancel()
    slow.may.release(2)
    with pytest.raises(ValueError, match="a mistake of ours"):
        await first
    assert (await last).dialect == "last"
    assert slow.read == [b"breaks us", b"last"]
    readers.close()
