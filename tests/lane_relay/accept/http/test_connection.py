"""A full house by HTTP: whose connection makes room, and whose does not."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lane_relay.accept.users import Users
from tests.lane_relay.accept.http.conftest import HEADERS, Http, StartHttp, message
from tests.lane_relay.accept.test_checks import Hashes, hashes, users
from tests.lane_relay.spool.making import until

__all__ = ["hashes", "users"]

BODY = json.dumps(message()).encode()
STRANGERS_ONLY = {"clients": ["10.0.0.0/8"]}


def authorization(password: str) -> str:
    return "Basic " + b64encode(f"app:{password}".encode()).decode()


def request(password: str) -> bytes:
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    return f"{head}Authorization: {authorization(password)}\r\n\r\n".encode() + BODY


@contextmanager
def strangers(running: Http, first: int, count: int) -> Iterator[list[socket.socket]]:
    """Each from an address of its own, silent."""
    made = [
        socket.create_connection(("127.0.0.1", running.server.ports[0]), 30, (f"127.0.1.{number}", 0))
        for number in range(first, first + count)
    ]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def clients(running: Http) -> set[str]:
    return {one.client for one in running.server._connections.open}


async def test_whose_password_waits_to_be_checked_keeps_his_place(
    http: StartHttp, tmp_path: Path, users: Users, hashes: Hashes
) -> None:
    assert users  # of that folder, made before hashes wait
    running = await http(users_dir=str(tmp_path), limits={"sessions": 3}, **STRANGERS_ONLY)
    asking = asyncio.create_task(running.post(headers={**HEADERS, "Authorization": authorization("secret")}))
    await until(lambda: hashes.asked == ["secret"])
    with strangers(running, 1, 5):
        await until(lambda: "127.0.1.5" in clients(running))
        assert clients(running) == {"127.0.0.1", "127.0.1.4", "127.0.1.5"}
        hashes.let_go()
        assert (await asking).status == 200


async def test_a_users_connection_stays_between_two_requests_and_a_guessers_does_not(
    http: StartHttp, tmp_path: Path
) -> None:
    (tmp_path / "app").write_text("secret")
    running = await http(users_dir=str(tmp_path), limits={"sessions": 3}, **STRANGERS_ONLY)
    port = running.server.ports[0]
    guess = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.2.1", 0))
    user = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.2.2", 0))
    for (reader, writer), password, status in ((guess, "wrong", b"401"), (user, "secret", b"200")):
        writer.write(request(password))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status)
    with strangers(running, 1, 4):
        await until(lambda: "127.0.1.4" in clients(running))
        assert clients(running) == {"127.0.2.2", "127.0.1.3", "127.0.1.4"}
        user[1].write(request("secret"))
        await until(lambda: len(running.spool.messages) == 2)
    for _, writer in (guess, user):
        writer.close()
