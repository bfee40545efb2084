"""STARTTLS, implicit TLS and AUTH of outbound sessions."""

import asyncio
import ssl
from pathlib import Path

import pytest
import uvloop

from lane_api.isppolicy import Action, Category
from lane_relay.deliver.session import Session
from lane_relay.deliver.tls import make_contexts
from lane_relay.records import Attempt
from tests.lane_relay.deliver.certificates import server_context
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import EHLO, Peer, running

STARTTLS = EHLO.replace(b"250 SIZE", b"250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE")
NAME = "mx0.peer.test"


def _tls_peer(folder: Path, *names: str) -> tuple[Peer, Path]:
    context, chain = server_context(folder, *(names or (NAME,)))
    return Peer({"ehlo": STARTTLS}, context=context), chain


async def _deliver_one(delivery: Delivery, peer: Peer, **route: str) -> Attempt:
    delivery.send(route_to(peer.port, **route))
    return (await delivery.attempted(1))[0]


async def test_tls_is_used_where_it_is_offered_whatever_the_certificate(tmp_path: Path) -> None:
    peer, _ = _tls_peer(tmp_path, "another.name")
    async with running(peer), delivering() as delivery:
        attempt = await _deliver_one(delivery, peer)
    assert peer.messages[0].encrypted
    assert attempt.tls is not None
    assert (attempt.tls.version, attempt.tls.verified) == ("TLSv1.3", False)
    assert attempt.tls.cipher


async def test_where_tls_is_not_offered_mail_goes_in_plain_text() -> None:
    peer = Peer()
    async with running(peer), delivering() as delivery:
        attempt = await _deliver_one(delivery, peer)
    assert attempt.tls is None
    assert not peer.messages[0].encrypted


async def test_tls_that_fails_is_given_up_on_a_fresh_connection_and_remembered() -> None:
    peer = Peer({"ehlo": STARTTLS})  # says 220 to STARTTLS and hangs up
    async with running(peer), delivering(connections=1) as delivery:
        await _deliver_one(delivery, peer)
        await until(lambda: len(peer.messages) == 1)
        assert peer.connections == 2
        delivery.send(route_to(peer.port))
        await delivery.attempted(2)
        assert all(attempt.results[0].verdict.action is None for attempt in delivery.attempts)
    assert [command for command in peer.commands if command == "STARTTLS"] == ["STARTTLS"]


async def test_starttls_refused_is_no_reason_to_give_up_where_tls_is_opportunistic() -> None:
    peer = Peer({"ehlo": STARTTLS, "starttls": b"454 4.7.0 not now\r\n"})
    async with running(peer), delivering() as delivery:
        attempt = await _deliver_one(delivery, peer)
    assert attempt.results[0].verdict.action is None
    assert peer.connections == 1


@pytest.mark.parametrize("script", [{}, {"ehlo": STARTTLS}, {"ehlo": STARTTLS, "starttls": b"454 4.7.0 no\r\n"}])
async def test_where_tls_is_required_nothing_leaves_in_plain_text(script: dict[str, bytes]) -> None:
    peer = Peer(dict(script))
    async with running(peer), delivering(outboundTLS="Required") as delivery:
        attempt = await _deliver_one(delivery, peer)
    result = attempt.results[0]
    assert (result.verdict.category, result.verdict.action) == (Category.TLS_POLICY, Action.RETRY)
    assert not peer.messages
    assert not [command for command in peer.commands if command.startswith("MAIL")]


async def test_a_required_route_checks_the_name_in_the_certificate(tmp_path: Path) -> None:
    right, chain = _tls_peer(tmp_path)
    async with running(right), delivering(contexts=make_contexts(str(chain))) as delivery:
        attempt = await _deliver_one(delivery, right, tls="Required")
        assert attempt.tls is not None
        assert attempt.tls.verified
    wrong, chain = _tls_peer(tmp_path, "another.name")
    async with running(wrong), delivering(contexts=make_contexts(str(chain))) as delivery:
        attempt = await _deliver_one(delivery, wrong, tls="Required")
        assert attempt.results[0].verdict.category is Category.TLS_POLICY
    assert not wrong.messages


async def test_implicit_tls_speaks_tls_from_the_first_byte(tmp_path: Path) -> None:
    context, chain = server_context(tmp_path, NAME)
    peer = Peer({"ehlo": STARTTLS})
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        async with delivering(contexts=make_contexts(str(chain)), connections=1) as delivery:
            for _ in range(3):
                delivery.send(route_to(peer.port, tls="Implicit"))
            attempts = await delivery.attempted(3)
            assert all(attempt.tls is not None and attempt.tls.verified for attempt in attempts)
        assert "STARTTLS" not in peer.commands
        async with delivering(connections=1) as delivery:  # the system's authorities do not know ours
            attempt = await _deliver_one(delivery, peer, tls="Implicit")
            assert attempt.results[0].verdict.category is Category.TLS_POLICY
    finally:
        server.close()


def _credentials(folder: Path) -> str:
    (folder / "username").write_text("lane\n")
    (folder / "password").write_text("s3cret\n")
    return str(folder)


async def test_a_smart_host_gets_credentials_inside_tls_only(tmp_path: Path) -> None:
    auth_dir = _credentials(tmp_path)
    peer, chain = _tls_peer(tmp_path)
    async with running(peer), delivering(contexts=make_contexts(str(chain))) as delivery:
        attempt = await _deliver_one(delivery, peer, tls="Required", auth_dir=auth_dir)
        assert attempt.results[0].verdict.action is None
    assert any(command.startswith("AUTH PLAIN") for command in peer.commands)
    plain = Peer({"ehlo": STARTTLS.replace(b"250-STARTTLS\r\n", b"")})
    async with running(plain), delivering() as delivery:
        attempt = await _deliver_one(delivery, plain, tls="Opportunistic", auth_dir=auth_dir)
        assert attempt.results[0].verdict.category is Category.AUTH_FAILURE
    assert not any(command.startswith(("AUTH", "MAIL")) for command in plain.commands)


async def test_refused_credentials_hold_the_mail_and_never_bounce_it(tmp_path: Path) -> None:
    auth_dir = _credentials(tmp_path)
    peer, _ = _tls_peer(tmp_path)
    peer.script["auth"] = b"535 5.7.8 wrong\r\n"
    async with running(peer), delivering() as delivery:
        attempt = await _deliver_one(delivery, peer, tls="Opportunistic", auth_dir=auth_dir)
    result = attempt.results[0]
    assert (result.verdict.category, result.verdict.action) == (Category.AUTH_FAILURE, Action.RETRY)
    assert "s3cret" not in str(result.reply)


async def test_missing_credentials_are_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    peer, _ = _tls_peer(tmp_path)
    async with running(peer), delivering() as delivery:
        attempt = await _deliver_one(delivery, peer, tls="Opportunistic", auth_dir=str(tmp_path / "none"))
    assert attempt.results[0].verdict.category is Category.BAD_CONFIGURATION
    assert peer.connections == 0


async def test_a_host_name_that_is_none_costs_its_entry_and_nothing_else(tmp_path: Path) -> None:
    peer, _ = _tls_peer(tmp_path)
    async with running(peer), delivering() as delivery:
        route = route_to(peer.port)
        hop = type(route.hops[0])("x" * 70 + ".test", ("127.0.0.1",))
        delivery.send(type(route)("bad", "", (hop,), peer.port))
        attempts = await delivery.attempted(1)
        assert attempts[0].results[0].verdict.action in (None, Action.RETRY)
    assert isinstance(peer.context, ssl.SSLContext)


@pytest.mark.parametrize("just_hangs_up", [False, True], ids=["close_notify", "fin alone"])
def test_a_peer_that_has_closed_frees_its_place_at_once_with_or_without_closing_words_of_tls(
    tmp_path: Path, just_hangs_up: bool
) -> None:
    async def deliver_and_leave() -> bool:
        peer, _ = _tls_peer(tmp_path)
        peer.just_hangs_up = just_hangs_up
        async with running(peer), delivering(connections=1) as delivery:
            await _deliver_one(delivery, peer)
            ended: list[Session] = []
            connections = delivery.dispatcher._connections
            forward = connections.gone

            def listening(session: Session) -> None:
                ended.append(session)
                forward(session)

            connections.gone = listening  # type: ignore[method-assign]  # listens in
            for session in connections.sessions:
                session.quit()
            await until(lambda: bool(ended))
            return ended[0].peer_closed

    # the loop that the relay runs on: asyncio's own reports the end of a TLS connection in another way
    assert uvloop.run(deliver_and_leave())
