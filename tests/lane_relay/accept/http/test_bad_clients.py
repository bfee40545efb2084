"""Clients that break off, speak no HTTP, wait to be asked, or take their time: an answer, and no place in the log."""

import asyncio
import json
import logging
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lane_relay.accept.http.connection import IDLE_S
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.guard import CONTAINED
from tests.lane_relay.accept.http.conftest import HEADERS, Http, StartHttp, message
from tests.lane_relay.spool.making import until

BODY = json.dumps(message()).encode()
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def said(running: Http, *pieces: bytes, breaks_off: bool = False) -> bytes:
    """What the server answers until it has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.ports[0])
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    if breaks_off:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
async def quiet(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[None]:
    """Nothing of what the test does is an error of ours."""
    yield
    assert not [one for one in caplog.get_records("call") if one.levelno >= logging.WARNING]
    printed = capsys.readouterr()
    assert "a mistake of ours" not in printed.out + printed.err


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD + b"Content-Length: 1000\r\n\r\n", BODY),
        (CHUNKED + b"5\r\nabc",),
        (CHUNKED + b"3\r\nabc\r\n",),
    ],
)
async def test_a_client_that_breaks_off_in_its_body_is_no_error_of_ours(
    http: StartHttp, pieces: tuple[bytes, ...]
) -> None:
    running = await http()
    await said(running, *pieces, breaks_off=True)
    await until(lambda: not running.server.session_count)
    assert running.server._listener.held_bytes == 0
    assert "500" not in running.server.answered
    assert (await running.post()).status == 200


@pytest.mark.usefixtures("quiet")
async def test_chunks_that_are_none_are_the_clients_mistake(http: StartHttp) -> None:
    running = await http()
    answer = await said(running, CHUNKED + b"3\r\nabc\r\n", b"zz\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert b"application/problem+json" in head
    assert b"chunk" in body


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x00\xf4\x01\r\n\r\n",
        b"HELO client.example\r\n",
        HEAD + b"X: " + b"a" * 20000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
    ],
)
async def test_what_is_no_http_is_answered_in_our_words_and_fills_no_log(http: StartHttp, request_: bytes) -> None:
    running = await http()
    head, _, body = (await said(running, request_)).partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == 400
    assert "no HTTP" in problem["detail"]


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(http: StartHttp) -> None:
    running = await http()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.ports[0])
    writer.write(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_would_be_refused_anyhow_is_not_asked_for_its_body(http: StartHttp) -> None:
    running = await http()
    expecting = HEAD + b"Expect: 100-continue\r\n"
    for head, status in (
        (expecting.replace(b"application/json", b"text/plain") + b"Content-Length: 5\r\n", b"415"),
        (expecting + b"Content-Length: 99999999999\r\n", b"413"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.ports[0])
        writer.write(head + b"\r\n")
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 " + status)
        writer.close()
        await writer.wait_closed()


async def test_a_key_that_is_given_twice_and_differs_is_refused(http: StartHttp) -> None:
    running = await http()
    twice = HEAD + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = await said(running, twice % len(BODY) + BODY)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"give Idempotency-Key once" in answer
    assert not running.spool.messages


async def test_a_head_that_comes_byte_by_byte_has_a_minute(http: StartHttp) -> None:
    late = [0.0]
    running = await http(clock=replace(SYSTEM_CLOCK, monotonic=lambda: SYSTEM_CLOCK.monotonic() + late[0]))
    with socket.create_connection(("127.0.0.1", running.server.ports[0])) as slow:
        await until(lambda: len(running.server._connections.open) == 1)
        (one,) = running.server._connections.open
        for octet in b"POST /v":
            late[0] += IDLE_S / 7
            before = one.last_active
            slow.sendall(bytes([octet]))
            await until(lambda before=before: one.last_active > before)  # type: ignore[misc]  # bound at once
            running.server._connections.sweep()
        await until(lambda: not running.server._connections.open)
    assert (await running.post()).status == 200
    running.server._connections.sweep()


async def test_nobody_is_told_which_software_of_which_version_answers(http: StartHttp) -> None:
    running = await http()
    assert (await running.post()).headers["Server"] == "lane-relay"
    assert b"aiohttp" not in await said(running, b"HELO client.example\r\n")


async def test_who_guesses_passwords_is_answered_later_and_nobody_else_is(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(users_dir=str(tmp_path))
    wrong = {**HEADERS, "Authorization": "Basic " + b64encode(b"app:wrong").decode()}
    for _ in range(5):
        assert (await running.post(headers=wrong)).status == 401
    answered: list[str] = []

    async def post(who: str, headers: dict[str, str]) -> int:
        answer = await running.post(headers=headers)
        answered.append(who)
        return answer.status

    guess = asyncio.create_task(post("guesser", wrong))
    await until(lambda: len(running.spool.rejections) == 6)
    assert running.server.session_count == 0, "it has a place while it waits"
    assert await post("other", HEADERS) == 200
    assert await guess == 401
    assert answered == ["other", "guesser"]


async def test_the_connection_of_a_client_with_too_many_errors_is_closed(http: StartHttp, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(users_dir=str(tmp_path), limits={"error_rate_per_client": "2/h"})
    head = HEAD + b"Authorization: Basic " + b64encode(b"app:wrong") + b"\r\nContent-Length: 2\r\n\r\n{}"
    answer = await said(running, head * 4)
    assert answer.count(b" 401 ") == 2


async def test_what_breaks_us_in_one_request_ends_that_request_alone_and_is_counted(http: StartHttp) -> None:
    is_broken: list[bool] = []

    def now() -> float:
        return 1 / 0 if is_broken else SYSTEM_CLOCK.now()  # a fault on purpose

    running = await http(clock=replace(SYSTEM_CLOCK, now=now))
    before = CONTAINED["submission"]
    asked = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    for broken, status in (([True], b"500"), ([], b"200")):
        is_broken[:] = broken
        assert (await said(running, asked))[9:12] == status
    assert CONTAINED["submission"] == before + 1
