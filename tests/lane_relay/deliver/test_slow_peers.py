"""Peers that take a large message slowly: what counts is that they go on taking it, not how long all of it lasts."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from lane_api.isppolicy import Stage
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.deliver.session import Session
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.deliver.tls import make_contexts
from tests.lane_relay.deliver.certificates import server_context
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until

BODY = b"Subject: large\r\n\r\n" + (b"A" * 76 + b"\r\n") * (8 * 2**20 // 78)
SIP = 256 * 1024
SHOWS = 16 * 1024
TLS_MODES = ["None", "Required", "Implicit"]


class Sipper:
    """An SMTP peer that reads a message as far as it is told to."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.may_take = 0
        self.taken = 0
        self.took_all = asyncio.Event()
        self.may_answer = asyncio.Event()
        self._more = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None
        self.is_gone = False
        self._over = False

    def sip(self, size: int) -> None:
        """Reads so many bytes more."""
        self.may_take += size
        self._more.set()

    def end(self) -> None:
        """Hangs up."""
        self._over = True
        self._more.set()
        self.may_answer.set()
        if self.writer is not None:
            self.writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writer = writer
        writer.write(b"220 slow.test ESMTP\r\n")
        try:
            while line := await reader.readline():
                word = line[:4].upper()
                if word == b"EHLO":
                    writer.write(b"250-slow.test\r\n250-8BITMIME\r\n250 STARTTLS\r\n")
                elif word == b"STAR":
                    writer.write(b"220 go\r\n")
                    await writer.start_tls(self._context)
                elif word == b"DATA":
                    writer.write(b"354 go\r\n")
                    await self._take(reader)
                    self.took_all.set()
                    await self.may_answer.wait()
                    writer.write(b"250 2.0.0 taken\r\n")
                else:
                    writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
            self.is_gone = True

    async def _take(self, reader: asyncio.StreamReader) -> None:
        tail = b""
        while not tail.endswith(b"\r\n.\r\n"):
            while self.taken >= self.may_take and not self._over:
                self._more.clear()
                await self._more.wait()
            data = await reader.read(max(1, min(65536, self.may_take - self.taken)))
            if not data:
                raise ConnectionResetError
            self.taken += len(data)
            tail = (tail + data)[-5:]


class Slow:
    """A delivery to a peer that sips, and the hands of its clock."""

    def __init__(self, peer: Sipper, tls: str) -> None:
        self.peer = peer
        self.tls = tls
        self.ahead = 0.0
        self.delivery: Delivery

    @property
    def session(self) -> Session:
        """The only one."""
        (session,) = self.delivery.dispatcher._connections.sessions
        return session

    def sweep(self, seconds: float) -> None:
        """Time passes, and the dispatcher looks at its sessions."""
        self.ahead += seconds
        self.delivery.dispatcher._look_at_sessions(self.delivery.dispatcher.monotonic())

    async def settle(self) -> None:
        """The kernels have handed on what they can."""
        before = -1
        while before != (before := self.session.left()):  # noqa: ASYNC110 -- kernels tell nobody
            await asyncio.sleep(0.05)

    async def sip(self) -> None:
        """The peer takes some more, so that it shows: what was in its buffers already does not."""
        had = self.session.left()
        while had - self.session.left() < SHOWS:
            self.peer.sip(SIP)
            await until(lambda: self.peer.taken >= self.peer.may_take)
            await self.settle()


@asynccontextmanager
async def slow(tls: str, folder: Path, timeouts: Timeouts | None = None) -> AsyncIterator[Slow]:
    """A large message is under way, and the peer has said 354 and nothing more."""
    context, chain = server_context(folder, "mx0.peer.test")
    peer = Sipper(context)
    made = Slow(peer, tls)
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    door.bind(("127.0.0.1", 0))
    implicit = context if tls == "Implicit" else None
    server = await asyncio.start_server(peer.serve, sock=door, limit=16384, ssl=implicit)
    clock = Clock(SYSTEM_CLOCK.now, lambda: SYSTEM_CLOCK.monotonic() + made.ahead)
    quick = Timeouts(quit=0.1) if timeouts is None else timeouts
    try:
        async with delivering(clock=clock, timeouts=quick, contexts=make_contexts(str(chain))) as made.delivery:
            made.delivery.send(route_to(door.getsockname()[1], tls=tls), body=BODY)
            sessions = made.delivery.dispatcher._connections.sessions
            await until(lambda: any(one.client.awaits_verdict for one in sessions))
            await made.settle()
            yield made
    finally:
        server.close()
        peer.end()
        await until(lambda: peer.is_gone)


Case = Callable[[str, Path], Awaitable[None]]


async def _is_delivered_however_long(tls: str, folder: Path) -> None:
    async with slow(tls, folder) as made:
        for _ in range(8):
            made.sweep(120.0)  # 960 s in all; the answer to a whole message may take 600 s
            await made.sip()
            made.sweep(0.0)
        assert made.delivery.attempts == []
        assert not made.session.awaits_verdict
        made.peer.sip(len(BODY) * 2)
        await made.peer.took_all.wait()
        await made.settle()
        made.sweep(0.0)
        assert made.session.awaits_verdict
        made.sweep(500.0)
        assert made.delivery.attempts == []
        made.peer.may_answer.set()
        (attempt,) = await made.delivery.attempted(1)
        assert attempt.results[0].verdict.action is None


async def _takes_no_more(tls: str, folder: Path) -> None:
    async with slow(tls, folder) as made:
        made.sweep(0.0)
        await made.sip()
        made.sweep(170.0)
        made.sweep(179.0)
        assert made.delivery.attempts == []
        made.sweep(2.0)
        (attempt,) = await made.delivery.attempted(1)
        said = str(attempt.results[0].reply)
        assert "did not take the message in time" in said
        assert "may have been delivered" not in said


async def _has_it_all_and_says_nothing(tls: str, folder: Path) -> None:
    async with slow(tls, folder) as made:
        made.sweep(170.0)
        made.peer.sip(len(BODY) * 2)
        await made.peer.took_all.wait()
        await made.settle()
        made.sweep(0.0)
        made.sweep(599.0)
        assert made.delivery.attempts == []
        made.sweep(2.0)
        (attempt,) = await made.delivery.attempted(1)
        said = str(attempt.results[0].reply)
        assert "did not answer in time after the whole message was sent; it may have been delivered" in said


CASES = [_is_delivered_however_long, _takes_no_more, _has_it_all_and_says_nothing]


@pytest.mark.parametrize("tls", TLS_MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__[1:])
def test_a_slow_peer(case: Case, tls: str, tmp_path: Path) -> None:
    """With the loop that the relay runs on: how much has left is the transport's word."""

    async def run() -> None:
        await case(tls, tmp_path)

    uvloop.run(run())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_who_hangs_up_amid_a_message_does_not_have_it(run: Callable[..., None], tmp_path: Path) -> None:
    async def case() -> None:
        async with slow("None", tmp_path) as made:
            made.peer.end()
            (attempt,) = await made.delivery.attempted(1)
            said = str(attempt.results[0].reply)
            assert attempt.results[0].own_words
            assert "dropped the connection before the whole message was sent" in said

    run(case())


async def test_a_stop_waits_for_the_verdict_and_not_for_the_message(tmp_path: Path) -> None:
    async with slow("None", tmp_path) as made:
        await made.delivery.dispatcher.drain(0.0, 3600.0)
        (attempt,) = made.delivery.attempts
        said = str(attempt.results[0].reply)
        assert "this relay stopped while" in said
        assert "may have been delivered" not in said


async def test_who_takes_a_message_keeps_its_place_though_others_wait_for_it(tmp_path: Path) -> None:
    timeouts = Timeouts(quit=0.1, pressed=120.0)  # a busy machine needs seconds for each sip
    async with slow("None", tmp_path, timeouts) as made:
        made.delivery.dispatcher._connections.limit = 1
        made.delivery.send(route_to(1, site="another"))
        await until(lambda: made.delivery.dispatcher._connections.is_pressed)
        for _ in range(3):
            made.sweep(60.0)
            await made.sip()
            made.sweep(0.0)
        assert made.delivery.attempts == []
        made.sweep(121.0)  # and takes no more
        (attempt,) = await made.delivery.attempted(1)
        assert "did not take the message in time" in str(attempt.results[0].reply)
        assert attempt.results[0].stage is Stage.END_OF_DATA
