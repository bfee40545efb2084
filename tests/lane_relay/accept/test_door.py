"""Who is let in, before there is a session."""

import asyncio
import socket
import ssl

import pytest

from tests.lane_relay.accept.clients import SENDER, Hands, Raw, eventually
from tests.lane_relay.accept.conftest import Spool, Start, make_config


@pytest.mark.parametrize("address", ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])])
async def test_a_listener_on_every_address_takes_both_families_and_knows_them_apart(
    start: Start, spool: Spool, address: str
) -> None:
    listener = await start(make_config(smtp={"host": "::", "port": 0}, clients=["192.0.2.0/24"]))
    client = Raw(*await asyncio.open_connection(address, listener.ports[0]))
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\n".encode())

    assert [one.client for one in spool.rejections] == [address]
    await client.close()


async def test_a_client_that_gives_up_its_handshake_leaves_nothing_behind(start: Start) -> None:
    listener = await start()
    for first in (b"", b"\x16\x03\x01", b"EHLO in plain text\r\n"):
        client = await Raw.connect(listener.ports[1])
        client.writer.write(first)
        await client.close()
    await eventually(lambda: not listener._tasks)

    assert listener.session_count == 0


async def test_a_flood_of_unfinished_handshakes_is_bounded_and_passes(start: Start, trusting: ssl.SSLContext) -> None:
    listener = await start(make_config(limits={"sessions": 3}, clients=["127.0.0.0/8"]))
    flood = [await Raw.connect(listener.ports[1]) for _ in range(3)]
    await eventually(lambda: len(listener._tasks) == 3)
    late = await Raw.connect(listener.ports[1])

    assert await late.rest() == ""
    for client in (*flood, late):
        await client.close()
    await eventually(lambda: not listener._tasks)
    again = Raw(*await asyncio.open_connection("127.0.0.1", listener.ports[1], ssl=trusting))
    assert (await again.ask(b""))[0].startswith("220 ")
    await again.close()


async def test_a_client_that_finishes_no_handshake_leaves_the_others_their_places(
    start: Start, trusting: ssl.SSLContext
) -> None:
    listener = await start(make_config(limits={"sessions": 5, "sessionsPerClient": 2}, clients=["127.0.0.0/8"]))
    flood = [await Raw.connect(listener.ports[1]) for _ in range(6)]
    for late in flood[2:]:
        assert await late.rest() == ""
    local = ("127.0.0.2", 0)
    other = await asyncio.open_connection("127.0.0.1", listener.ports[1], ssl=trusting, local_addr=local)
    assert (await Raw(*other).ask(b""))[0].startswith("220 ")
    for client in (*flood, Raw(*other)):
        await client.close()


async def test_a_client_that_never_takes_its_last_words_is_cut_off(start: Start) -> None:
    hands = Hands()
    listener = await start(clock=hands.clock)
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    (session,) = listener._sessions
    assert session._transport is not None
    session._transport.set_write_buffer_limits(2**26)  # so that it does not count as stuck
    session._transport.write(b"2" * 2**25)  # more than two sockets hold, and the client reads none of it
    session._transport.close()
    hands.time += 301
    listener.sweep()
    await eventually(lambda: not listener.session_count)
    await client.close()
