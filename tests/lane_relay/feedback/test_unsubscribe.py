"""The public port of one-click unsubscribing: what it answers, and how little of the relay strangers can take by it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest

from lane_api.intake import IntakeLimits
from lane_api.relayconfig import Endpoint
from lane_relay.errors import RelayError
from lane_relay.feedback.suppressions import Source
from lane_relay.feedback.unsubscribe import UnsubscribeServer
from lane_relay.mail.token import SEVERAL, Token, TokenKind, write_token

KEY = b"k" * 32
ANN = Token(TokenKind.PERSON, 7, 0, b"a" * 12)
LINK = f"/u/{write_token(KEY, ANN)}"


class Desk:
    """Notes who wants no more, or fails."""

    def __init__(self) -> None:
        self.heard: list[Token] = []
        self.fails = False
        self.waits: asyncio.Event | None = None
        self.under_way = 0

    async def unsubscribe(self, token: Token, _source: Source) -> None:
        self.under_way += 1
        if self.waits is not None:
            await self.waits.wait()
        if self.fails:
            raise RelayError("no room")
        self.heard.append(token)


Made = Callable[..., Awaitable[tuple[UnsubscribeServer, Desk]]]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    servers: list[UnsubscribeServer] = []

    async def make(connections: int = 10) -> tuple[UnsubscribeServer, Desk]:
        desk = Desk()
        limits = IntakeLimits(sessions=connections, sessions_per_client=connections)
        server = UnsubscribeServer(desk.unsubscribe, limits)
        server.apply(KEY)
        await server.start(Endpoint(host="127.0.0.1", port=0), None)
        servers.append(server)
        return server, desk

    yield make
    for server in servers:
        await server.stop()


async def ask(server: UnsubscribeServer, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
        client.request(method, path, data=body or None) as answer,
    ):
        return answer.status, await answer.text()


async def test_only_a_post_with_a_link_of_ours_unsubscribes(made: Made) -> None:
    server, desk = await made()
    bounce = write_token(KEY, Token(TokenKind.BOUNCE, 7, 0, b"a" * 12))
    nobodys = write_token(KEY, Token(TokenKind.PERSON, 7, SEVERAL))
    strange = ("/", "/u/", LINK[:-1], LINK + "x", f"{LINK}/more", f"/v/{LINK[3:]}")
    for path in (*strange, f"/u/{bounce}", f"/u/{nobodys}"):
        assert (await ask(server, "POST", path))[0] == 404
    assert (await ask(server, "GET", LINK))[0] == 200
    assert (await ask(server, "HEAD", LINK))[0] == 200
    assert (await ask(server, "DELETE", LINK))[0] == 405
    assert desk.heard == []
    assert "no more mail" in (await ask(server, "POST", LINK, b"List-Unsubscribe=One-Click"))[1]
    assert desk.heard == [ANN]


async def test_who_could_not_be_unsubscribed_is_told_so(made: Made) -> None:
    server, desk = await made()
    desk.fails = True
    status, text = await ask(server, "POST", LINK)
    assert status == 503
    assert "try again" in text


async def test_a_crowd_of_silent_connections_takes_a_bounded_number_of_sockets_and_keeps_nobody_out(made: Made) -> None:
    server, desk = await made(connections=3)
    silent = []
    for times in range(1, 4):
        silent += [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(9)]
        silent[-1][1].write(b"POST /u")
        assert (await ask(server, "POST", LINK))[0] == 200
        assert len(desk.heard) == times
        assert len(server._connections.open) <= 3
    async with asyncio.timeout(60):
        for reader, _ in silent[:-3]:
            with suppress(ConnectionError):
                assert await reader.read() == b""
    async with asyncio.timeout(60):
        while len(server._connections.connections) > 3:  # noqa: ASYNC110 -- there is no event for tests
            await asyncio.sleep(0.01)
    for _, writer in silent:
        writer.close()


async def test_a_wish_that_is_being_kept_is_not_cut_for_others(made: Made) -> None:
    server, desk = await made(connections=1)
    desk.waits = asyncio.Event()
    asked = asyncio.create_task(ask(server, "POST", LINK))
    async with asyncio.timeout(60):
        while not desk.under_way:  # noqa: ASYNC110 -- there is no event for tests
            await asyncio.sleep(0.01)
    assert (await ask(server, "POST", LINK))[0] == 503
    desk.waits.set()
    assert (await asked)[0] == 200
