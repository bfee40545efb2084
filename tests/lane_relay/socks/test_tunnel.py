"""Connections through a real proxy (Dante): the target's own words, users, and what a proxy says when it cannot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lane_relay.socks.protocol import Connected, Failure, Handshake, Refused
from lane_relay.socks.tunnel import Door, open_socket
from tests.lane_relay.socks.dante import BLOCKED_PORT, LEAVES_FROM, PASSWORD, USER, running_dante
from tests.ports import free_port

BANNER = b"220 isp.test ESMTP\r\n"


@asynccontextmanager
async def speaking_first() -> AsyncIterator[int]:
    """A server that speaks before it is spoken to, as mail servers do; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER)
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait_for(ended.wait(), 60)


async def heard_through(door: Door, port: int) -> tuple[bytes, Connected]:
    found = await open_socket(door, "127.0.0.1", port)
    assert not isinstance(found, Refused), found
    sock, connected = found
    with sock:
        return await asyncio.get_running_loop().sock_recv(sock, 1024), connected


async def refusal(door: Door, address: str = "127.0.0.1", port: int = 25) -> Refused:
    found = await open_socket(door, address, port)
    assert isinstance(found, Refused)
    return found


def credentials(folder: Path, user: str = USER, password: str = PASSWORD) -> str:
    kept = folder / "auth"
    kept.mkdir()
    (kept / "username").write_text(f"{user}\n")
    (kept / "password").write_text(f"{password}\n")
    return str(kept)


async def test_what_the_target_says_comes_whole_and_the_proxy_says_where_it_leaves_from(tmp_path: Path) -> None:
    async with running_dante(tmp_path) as port, speaking_first() as target:
        assert await heard_through(Door("127.0.0.1", port, LEAVES_FROM), target) == (BANNER, Connected(LEAVES_FROM))


async def test_the_proxys_refusals_name_their_cause(tmp_path: Path) -> None:
    async with running_dante(tmp_path) as port:
        door = Door("127.0.0.1", port, LEAVES_FROM)

        assert (await refusal(door, port=free_port())).failure is Failure.REFUSED
        assert "rules do not allow" in (await refusal(door, port=BLOCKED_PORT)).text
        assert "address family" in (await refusal(door, "2001:db8::25")).text


async def test_a_user_is_let_in_with_the_right_password_alone(tmp_path: Path) -> None:
    folder = credentials(tmp_path)
    async with running_dante(tmp_path, users=True) as port, speaking_first() as target:
        assert (await heard_through(Door("127.0.0.1", port, LEAVES_FROM, folder), target))[0] == BANNER
        assert "asks for credentials" in (await refusal(Door("127.0.0.1", port, LEAVES_FROM), port=target)).text
        Path(folder, "password").write_text("wrong")  # read for each connection
        assert (
            "refused our user name" in (await refusal(Door("127.0.0.1", port, LEAVES_FROM, folder), port=target)).text
        )


async def test_a_proxy_that_is_not_there_and_credentials_that_are_not_there_are_said(tmp_path: Path) -> None:
    assert await refusal(Door("127.0.0.1", free_port(), LEAVES_FROM)) == Refused(Failure.PROXY, "Connection refused")
    missing = await refusal(Door("127.0.0.1", 1080, LEAVES_FROM, str(tmp_path / "nowhere")))
    assert "nowhere has no readable username and password" in missing.text


async def test_giving_up_leaves_no_socket_behind() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        door = Door("127.0.0.1", silent.sockets[0].getsockname()[1], LEAVES_FROM)
        tried: list[Handshake] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await open_socket(door, "127.0.0.1", 25, tried)
        assert not tried[0].asked
        await asyncio.wait_for(ended.wait(), 60)


def test_a_door_shows_no_secret_and_tells_its_addresses_apart() -> None:
    door = Door("2001:db8::5", 1080, "203.0.113.10", "/etc/lanewright/proxy")

    assert str(door) == "[2001:db8::5]:1080"
    assert "/etc" not in repr(door)
    assert door.way != Door("2001:db8::5", 1080, "203.0.113.11").way
    assert [door.is_wrong(Connected(bound)) for bound in ("203.0.113.10", "", "203.0.113.11")] == [False, False, True]
