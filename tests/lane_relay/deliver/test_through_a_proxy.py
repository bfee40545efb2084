"""Sessions through a SOCKS5 proxy: a real one (Dante) where it works, a silent or absent one where it does not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lane_api.isppolicy import Category, Stage
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.records import Attempt
from tests.lane_relay.deliver.delivery import BODY, PATIENT, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running
from tests.lane_relay.socks.dante import LEAVES_FROM, PASSWORD, USER, running_dante
from tests.ports import free_port


def behind(port: int, address: str = LEAVES_FROM, **proxy: Any) -> dict[str, Any]:
    """An egress through a proxy on loopback."""
    return {"address": address, "proxy": {"host": "127.0.0.1", "port": port, **proxy}}


def only(attempt: Attempt) -> tuple[Stage, Category, str]:
    (result,) = attempt.results
    return result.stage, result.verdict.category, str(result.reply)


async def test_a_message_arrives_through_the_proxy_as_it_is_and_the_record_says_where_from(tmp_path: Path) -> None:
    (tmp_path / "username").write_text(USER)
    (tmp_path / "password").write_text(PASSWORD)
    peer = Peer()
    async with (
        running_dante(tmp_path, users=True) as port,
        running(peer),
        delivering(egress=behind(port, authDir=str(tmp_path))) as delivery,
    ):
        for _ in range(3):
            delivery.send(route_to(peer.port))
            attempts = await delivery.attempted(len(delivery.attempts) + 1)
    assert [seen.content for seen in peer.messages] == [BODY.replace(b"\r\n.", b"\r\n..")] * 3
    assert peer.connections == 1, "one handshake serves message after message"
    assert {attempt.peer.source for attempt in attempts if attempt.peer} == {LEAVES_FROM}


async def test_nothing_is_said_over_a_connection_for_which_the_proxy_names_another_address(tmp_path: Path) -> None:
    peer = Peer()
    async with (
        running_dante(tmp_path) as port,
        running(peer),
        delivering(egress=behind(port, "203.0.113.9")) as delivery,
    ):
        delivery.send(route_to(peer.port))
        (attempt,) = await delivery.attempted(1)
        await until(lambda: peer.connections == 1 and not peer.open)  # the proxy lets go of it in its own time
    stage, category, reply = only(attempt)
    assert (stage, category) == (Stage.CONNECT, Category.BAD_CONFIGURATION)
    assert f"connected from {LEAVES_FROM} instead of 203.0.113.9" in reply
    assert peer.commands == []


async def test_what_a_translation_behind_the_proxy_hides_is_named_as_bound(tmp_path: Path) -> None:
    peer = Peer()
    async with (
        running_dante(tmp_path) as port,
        running(peer),
        delivering(egress=behind(port, "203.0.113.9", bound=LEAVES_FROM)) as delivery,
    ):
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
    assert len(peer.messages) == 1


async def test_a_host_that_refuses_the_proxy_gives_way_to_the_next_host(tmp_path: Path) -> None:
    peer = Peer(hosts=("127.0.0.1",))
    async with (
        running_dante(tmp_path) as port,
        running(peer),
        delivering(egress=behind(port)) as delivery,
    ):
        delivery.send(route_to(peer.port, "127.0.0.99", "127.0.0.1"))
        (attempt,) = await delivery.attempted(1)
    assert len(peer.messages) == 1
    assert attempt.peer is not None
    assert attempt.peer.address == "127.0.0.1"


async def test_an_absent_proxy_is_our_trouble_and_no_host_is_blamed() -> None:
    port = free_port()
    async with delivering(egress=behind(port)) as delivery:
        delivery.send(route_to(25, "127.0.0.98", "127.0.0.99"))
        (attempt,) = await delivery.attempted(1)
    stage, category, reply = only(attempt)
    assert (stage, category) == (Stage.CONNECT, Category.BAD_CONFIGURATION)
    assert f"SOCKS5 proxy 127.0.0.1:{port}: Connection refused" in reply


async def test_a_silent_proxy_is_our_trouble_once_its_time_is_over() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with silent, delivering(egress=behind(port), timeouts=Timeouts(connect=0.2, stages=PATIENT)) as delivery:
        delivery.send(route_to(25))
        (attempt,) = await delivery.attempted(1)
    _, category, reply = only(attempt)
    assert category is Category.BAD_CONFIGURATION
    assert f"SOCKS5 proxy 127.0.0.1:{port} did not answer in time" in reply


async def test_another_proxy_in_the_configuration_ends_connections_through_the_one_before(tmp_path: Path) -> None:
    peer, folders = Peer(), [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        running_dante(folders[0]) as one,
        running_dante(folders[1]) as two,
        running(peer),
        delivering(egress=behind(one)) as delivery,
    ):
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        delivery.dispatcher.apply(make_config(egress=behind(two)))
        delivery.send(route_to(peer.port))
        await delivery.attempted(2)
    assert [seen.connection for seen in peer.messages] == [1, 2]


@pytest.mark.parametrize(
    ("egress", "fix"),
    [
        ({"address": "203.0.113.9", "source": "10.0.0.1", "proxy": {"host": "127.0.0.1"}}, "write it as proxy.bound"),
        ({"proxy": {"host": "127.0.0.1"}}, "add address"),
        ({"address": "203.0.113.9", "proxy": {"host": "socks.example.com"}}, "IPv4 or IPv6 address"),
    ],
    ids=["bound-here-too", "without-an-address", "by-name"],
)
def test_a_proxy_that_makes_no_sense_is_refused_with_the_fix(egress: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        make_config(egress=egress)
