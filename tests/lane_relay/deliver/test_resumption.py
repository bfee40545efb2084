"""TLS sessions that go on over connections: on both loops, both versions of TLS, never where another proof is asked."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_relay.deliver.resumption import Resumption
from lane_relay.deliver.tls import make_contexts
from lane_relay.records import Attempt, Hop, Route, TlsDemand, TlsPolicy, TlsResult
from tests.lane_relay.deliver.certificates import Issued, make_authority
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import EHLO, Peer, running

STARTTLS = EHLO.replace(b"250 SIZE", b"250-STARTTLS\r\n250 SIZE")
HOST = "mx0.peer.test"


def _route(port: int, demand: TlsDemand | None = None) -> Route:
    route = route_to(port)
    return replace(route, hops=(Hop(HOST, ("127.0.0.1",), demand),), demands="demanded" if demand else "")


def _dane(*named: Issued) -> TlsDemand:
    return TlsDemand(TlsPolicy.DANE, tlsa=tuple(one.tlsa(3, 1, 1) for one in named), server_name=HOST)


async def _one_by_one(delivery: Delivery, *routes: Route) -> list[Attempt]:
    """Each over a connection of its own."""
    for number, route in enumerate(routes, start=1):
        delivery.send(route)
        await delivery.attempted(number)
        for session in list(delivery.dispatcher._connections.sessions):
            session.quit()
        await until(lambda: not delivery.dispatcher._connections.count)
    return delivery.attempts


def _resumed(attempts: list[Attempt]) -> list[bool | None]:
    return [attempt.tls.resumed if attempt.tls is not None else None for attempt in attempts]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_next_connection_goes_on_with_the_session_and_keeps_its_result(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None], version: ssl.TLSVersion
) -> None:
    async def deliver() -> None:
        root = make_authority()
        leaf = root.issue(HOST)
        context = leaf.context(tmp_path)
        context.maximum_version = version
        (tmp_path / "root.pem").write_bytes(root.pem)
        peer = Peer({"ehlo": STARTTLS}, context=context)
        contexts = make_contexts(str(tmp_path / "root.pem"))
        async with running(peer), delivering(contexts=contexts) as delivery:
            sts, dane = _route(peer.port, TlsDemand(TlsPolicy.MTA_STS)), _route(peer.port, _dane(leaf))
            dane = replace(dane, demands="dane")
            attempts = await _one_by_one(delivery, sts, sts, dane, dane, _route(peer.port), _route(peer.port))
        assert _resumed(attempts) == [False, True] * 3
        results = [attempt.tls for attempt in attempts if attempt.tls is not None]
        assert [(one.how, one.verified) for one in results] == [
            *[("mta-sts", True)] * 2,
            *[("dane", True)] * 2,
            *[("", False)] * 2,
        ]
        assert {one.version for one in results} == {version.name.replace("_", ".")}

    run(deliver())


async def test_records_that_have_changed_ask_for_the_certificate_again(tmp_path: Path) -> None:
    root = make_authority()
    leaf, other = root.issue(HOST), root.issue(HOST)
    peer = Peer({"ehlo": STARTTLS}, context=leaf.context(tmp_path))
    async with running(peer), delivering() as delivery:
        right, wrong = _route(peer.port, _dane(leaf)), _route(peer.port, _dane(other))
        attempts = await _one_by_one(delivery, right, right, wrong)
    assert _resumed(attempts) == [False, True, False]
    assert attempts[2].results[0].verdict.category is Category.TLS_POLICY
    assert len(peer.messages) == 2


async def test_a_session_that_the_peer_no_longer_knows_costs_a_full_handshake_and_nothing_else(tmp_path: Path) -> None:
    leaf = make_authority().issue(HOST)
    peer = Peer({"ehlo": STARTTLS}, context=leaf.context(tmp_path))
    async with running(peer), delivering() as delivery:
        await _one_by_one(delivery, _route(peer.port, _dane(leaf)))
        peer.context = leaf.context(tmp_path)  # other ticket keys, as after a restart
        delivery.attempts.clear()
        attempts = await _one_by_one(delivery, _route(peer.port, _dane(leaf)))
    assert _resumed(attempts) == [False]
    assert len(peer.messages) == 2


async def test_a_peer_that_breaks_off_when_a_session_is_offered_is_asked_again_without(tmp_path: Path) -> None:
    leaf = make_authority().issue(HOST)
    context = leaf.context(tmp_path)
    peer = Peer({"ehlo": STARTTLS}, context=context)

    def break_the_second(_line: str) -> bytes:
        peer.context = None if peer.connections == 2 else context  # None: says 220 and hangs up
        return b"220 go ahead\r\n"

    peer.script["starttls"] = break_the_second
    async with running(peer), delivering() as delivery:
        attempts = await _one_by_one(delivery, *[_route(peer.port)] * 3)
    assert _resumed(attempts) == [False, False, False]  # and no other session is offered to it
    assert [message.encrypted for message in peer.messages] == [True, True, True]
    assert peer.connections == 4


def test_a_session_lives_for_an_hour_however_often_it_goes_on_and_there_are_only_so_many() -> None:
    class Object:
        class session:  # noqa: N801 -- as ssl names it
            has_ticket = True
            id = b""

    sessions = Resumption()
    sessions.keep(("a",), Object, TlsResult(), 0.0)
    sessions.keep(("a",), Object, TlsResult(resumed=True), 3000.0)
    assert sessions.find(("a",), 3599.0) is not None
    assert sessions.find(("a",), 3600.0) is None
    for number in range(5000):
        sessions.keep((number,), Object, TlsResult(), 0.0)
    assert len(sessions) == 1000
