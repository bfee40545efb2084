"""The socket of the admin API and of the probes: whoever connects and says nothing keeps nobody out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack

import aiohttp
import pytest
import uvloop
from aiohttp import web

from lane_api.relayconfig import Endpoint
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.small_server import IDLE_S, SmallServer
from tests.lane_relay.spool.making import until

MOST = 10


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: how a socket is cut that is not ours any more is the loop's affair."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Running:
    """A server with one answer that comes at once, and one that comes when the test says so."""

    def __init__(self, certificate: Certificate | None) -> None:
        self.go_on = asyncio.Event()
        self.in_work = 0
        application = web.Application()
        application.router.add_get("/now", self._now)
        application.router.add_get("/later", self._later)
        endpoint = Endpoint(host="127.0.0.1", port=0)
        self.server = SmallServer(application, endpoint, most=MOST, certificate=certificate)
        self.scheme = "https" if certificate is not None else "http"

    async def _now(self, _request: web.Request) -> web.Response:
        return web.Response(text="now")

    async def _later(self, _request: web.Request) -> web.Response:
        self.in_work += 1
        await self.go_on.wait()
        return web.Response(text="later")

    async def ask(self, path: str = "/now", source: str = "127.0.0.1") -> str:
        connector = aiohttp.TCPConnector(ssl=False, local_addr=(source, 0))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{self.scheme}://127.0.0.1:{self.server.port}{path}") as answer,
        ):
            return await answer.text()

    def crowd(self, stack: ExitStack, count: int) -> list[socket.socket]:
        """So many who have connected and say nothing."""
        address = ("127.0.0.1", self.server.port)
        return [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[Running] = []

    async def start_one(*, tls: bool = False) -> Running:
        started.append(Running(Certificate(None, hostname="otp-0.test") if tls else None))
        await started[-1].server.start()
        return started[-1]

    yield start_one
    for one in started:
        await one.server.stop()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_who_asks_is_answered_however_many_others_say_nothing(start: Start, source: str, *, tls: bool) -> None:
    running = await start(tls=tls)
    with ExitStack() as stack:
        for _ in range(5):
            running.crowd(stack, 3 * MOST)
            assert await running.ask(source=source) == "now"
            assert running.server.connections <= MOST
        await until(lambda: running.server.sent_away >= 14 * MOST)


async def test_a_request_in_work_is_not_cut(start: Start) -> None:
    running = await start()
    with ExitStack() as stack:
        later = asyncio.create_task(running.ask("/later"))
        await until(lambda: running.in_work == 1)
        running.crowd(stack, 3 * MOST)
        await until(lambda: running.server.sent_away >= 2 * MOST)
        running.server.sweep(asyncio.get_running_loop().time() + 2 * IDLE_S)
        running.go_on.set()
        assert await later == "later"


async def test_while_every_place_has_a_request_in_work_no_more_come_in(start: Start) -> None:
    running = await start()
    later = [asyncio.create_task(running.ask("/later")) for _ in range(MOST)]
    await until(lambda: running.in_work == MOST)
    with pytest.raises(aiohttp.ClientError):
        await running.ask()
    running.go_on.set()
    assert set(await asyncio.gather(*later)) == {"later"}
    assert await running.ask() == "now"


@pytest.mark.parametrize("tls", [False, True])
async def test_one_that_is_silent_goes_by_itself(start: Start, *, tls: bool) -> None:
    running = await start(tls=tls)
    with ExitStack() as stack:
        silent = running.crowd(stack, 3)
        await until(lambda: running.server.connections == 3)
        running.server.sweep(asyncio.get_running_loop().time() + IDLE_S - 1)
        assert running.server.connections == 3
        running.server.sweep(asyncio.get_running_loop().time() + IDLE_S)
        await until(lambda: running.server.connections == 0)
        assert await asyncio.to_thread(silent[0].recv, 1) == b""


async def test_a_head_that_comes_byte_by_byte_is_silence(start: Start) -> None:
    running = await start()
    with ExitStack() as stack:
        (slow,) = running.crowd(stack, 1)
        await until(lambda: running.server.connections == 1)
        slow.sendall(b"GET /now HT")
        running.server.sweep(asyncio.get_running_loop().time() + IDLE_S)
        await until(lambda: running.server.connections == 0)
