"""A second ISP's p99 while a first one answers 421 to everything, over its p99 in quiet.

Open loop: 1,000 messages to the second ISP at 50 a second, each timed from its scheduled instant to the ISP's receipt
of its last byte, in quiet and again while 20,000 messages wait for the first ISP, which is tried all the time. Three
times, for it says 421 as greeting, to each recipient, or to each whole message; the figure is the worst of them.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import numpy as np

from bench.lanewright import Relay
from bench.load import wait_for_port
from bench.surroundings import FAST, SLOW, Bench
from e2e.figures import record

__all__ = ["run"]

_RATE, _MESSAGES, _FLOOD = 50, 1000, 20_000
_TARGET = 1.2
_LEAST_TRIES = 10
"""In the 20 s beside it: it is backed off, not forgotten."""
GREETING = "GREETING"
_BUSY = b"421 4.7.0 try again later\r\n"
_GREETING = b"220 mx.fast.test ESMTP\r\n"
_COMMAND = "python -m bench --only second-isp"


class Isp:
    """A small SMTP server in a thread: notes when each numbered message came, or says 421 at the stage given."""

    def __init__(self, address: str, busy: str = "") -> None:
        """`busy`: GREETING, or the verb that is answered 421; RCPT or DATA (to the whole message)."""
        self._busy = busy
        self.came: dict[int, float] = {}
        self.refused = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(address), self._loop).result(10)
        wait_for_port(address, 25)

    async def _start(self, address: str) -> None:
        self._server = await asyncio.start_server(self._serve, address, 25)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._busy == GREETING:
                self.refused += 1
                writer.write(_BUSY)
                return
            writer.write(_GREETING)
            while line := await reader.readline():
                if line[:4].upper() == b"DATA":
                    writer.write(b"354 go on\r\n")
                answer = await self._answer(line, reader)
                writer.write(answer)
                if answer == _BUSY:
                    self.refused += 1
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        content = await reader.readuntil(b"\r\n.\r\n") if verb == b"DATA" else b""
        if verb == self._busy.encode():
            return _BUSY
        if verb != b"DATA":
            return b"250 ok\r\n"
        number = int(content.split(b"Subject: ")[1].split(b"\r\n")[0])
        self.came.setdefault(number, time.monotonic())
        return b"250 ok\r\n"

    def wait(self, first: int, within_s: float) -> None:
        """Returns when a phase's messages are all here, or after so long."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and not all(first + at in self.came for at in range(_MESSAGES)):
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def run(folder: Path) -> None:
    """Measures and records."""
    bench = Bench(folder)
    with bench.surroundings():
        worst = max([_ratio(bench, stage) for stage in (GREETING, "RCPT", "DATA")])
    print(f"second ISP, worst of them: {worst:.2f} x (<= {_TARGET})", flush=True)
    record("bench.json", "second_isp_p99_ratio", round(worst, 3), "x", _TARGET, "lower", _COMMAND)


def _ratio(bench: Bench, stage: str) -> float:
    """Of a relay of its own."""
    fast, slow = Isp(FAST), Isp(SLOW, stage)
    relay = bench.relay(retry="2s", room=f"busy-{stage.lower()}")
    try:
        quiet = asyncio.run(_phase(relay, fast, 0))
        asyncio.run(_flood(relay))
        before = slow.refused
        busy = asyncio.run(_phase(relay, fast, _MESSAGES))
        tried, waiting = slow.refused - before, relay.metric("queue_messages")
    finally:
        relay.kill()
        fast.stop()
        slow.stop()
    print(
        f"second ISP, p99 of {_MESSAGES}: {quiet * 1000:.0f} ms quiet, {busy * 1000:.0f} ms beside one that says 421 "
        f"to each {stage} = {busy / quiet:.2f} x; {waiting:.0f} waited, {tried} tries were answered 421",
        flush=True,
    )
    if waiting < _FLOOD or tried < _LEAST_TRIES:
        raise RuntimeError("the first ISP was not flooded, so nothing is shown")
    return busy / quiet


async def _flood(relay: Relay) -> None:
    """Mail for the busy ISP, over many sessions."""
    numbers = iter(range(_FLOOD))

    async def session() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.port, start_tls=False) as client:
            for number in numbers:
                await client.send_message(_letter(number, "rcpt@slow.test"))

    await asyncio.gather(*[session() for _ in range(20)])


async def _phase(relay: Relay, isp: Isp, first: int) -> float:
    """p99 in seconds; what never came counts as infinite."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    began = time.monotonic() + 0.5
    due: Callable[[int], float] = lambda at: began + at / _RATE  # noqa: E731

    async def session() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.port, start_tls=False) as client:
            while True:
                at = await queue.get()
                await client.send_message(_letter(first + at, "rcpt@fast.test"))
                queue.task_done()

    workers = [asyncio.create_task(session()) for _ in range(8)]
    for at in range(_MESSAGES):
        await asyncio.sleep(max(0.0, due(at) - time.monotonic()))
        queue.put_nowait(at)
    await queue.join()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await asyncio.to_thread(isp.wait, first, 30)
    waits = [isp.came.get(first + at, float("inf")) - due(at) for at in range(_MESSAGES)]
    return float(np.percentile(waits, 99, method="higher"))


def _letter(number: int, recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "bench@sender.test", recipient, str(number)
    message.set_content("a code\n" + "x" * 500)
    return message
