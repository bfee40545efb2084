"""The part of a session that waits: its connection and its TLS handshakes, each a coroutine of its own task.

Apart from `session` because that may be compiled, and nothing that awaits inside a `try` may be (`compiled`): these
functions use a session's inside as if they were its methods. Before and after it: `session`.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from lane_api.isppolicy import Category, Stage
from lane_relay.deliver.resumption import offer
from lane_relay.deliver.tls import TlsMode
from lane_relay.deliver.trouble import Ending, Trouble, our_trouble, tls_trouble
from lane_relay.records import Peer, Reply
from lane_relay.socks.protocol import Failure, Handshake, Refused
from lane_relay.socks.tunnel import Door, open_socket

if TYPE_CHECKING:
    from lane_relay.deliver.session import Session

__all__ = ["connect", "upgrade"]

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""linux/in.h: the port is chosen at connect, so that one source may use a port towards several hosts at once."""


async def connect(session: "Session") -> None:
    """Opens its connection, or gives it up with the trouble."""
    door = session._settings.door
    if door is not None:
        await _connect_through(session, door)
        return
    family = socket.AF_INET6 if ":" in session.target.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptor is left, or the kernel does not speak this family
        text = f"4.3.0 no socket to {session.target.address}: {error.strerror}"
        session.give_up(Trouble(Stage.CONNECT, Reply(451, (text,)), Category.BAD_CONFIGURATION))
        return
    await _or_give_up(session, sock, _open_socket(session, asyncio.get_running_loop(), sock))


async def _or_give_up(session: "Session", sock: socket.socket, opening: Coroutine[None, None, Trouble | None]) -> None:
    """Closes the socket where its opening fails."""
    try:
        trouble = await opening
    except BaseException:
        sock.close()
        raise
    if trouble is not None:
        sock.close()
        session.give_up(trouble)


async def _open_socket(session: "Session", loop: asyncio.AbstractEventLoop, sock: socket.socket) -> Trouble | None:
    """Binds, connects, checks the source, and hands the socket to the transport; or why not."""
    settings, where = session._settings, session._where()
    try:
        if settings.source:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((settings.source, 0))
    except OSError as error:
        return our_trouble(f"cannot send from {settings.source}: {error.strerror}")
    try:
        await loop.sock_connect(sock, (session.target.address, session.destination.route.port))
    except OSError as error:
        reply = Reply(421, (f"4.4.1 connect to {where}: {error.strerror or error}",))
        return Trouble(Stage.CONNECT, reply, Category.NO_ANSWER_FROM_HOST)
    except asyncio.CancelledError:
        return session._cancelled(f"connect to {where}")
    own = sock.getsockname()[0]
    if settings.source and own != settings.source:
        return our_trouble(f"connected from {own} instead of {settings.source}")
    return await _hand_over(session, loop, sock, own)


async def _connect_through(session: "Session", door: Door) -> None:
    """The same through a proxy, whose word on the address that it left from stands in for getsockname."""
    where, tried = session._where(), list[Handshake]()
    try:
        found = await open_socket(door, session.target.address, session.destination.route.port, tried)
    except asyncio.CancelledError:
        late = session.ending is Ending.TIMEOUT and not (tried and tried[0].asked)
        silent = our_trouble(f"SOCKS5 proxy {door} did not answer in time")
        session.give_up(silent if late else session._cancelled(f"connect to {where} through SOCKS5 proxy {door}"))
        return
    if isinstance(found, Refused):
        session.give_up(_refused(found, door, where))
        return
    sock, connected = found
    if door.is_wrong(connected):
        sock.close()
        text = f"SOCKS5 proxy {door} connected from {connected.bound} instead of {door.bound}"
        session.give_up(our_trouble(text))
        return
    handing_over = _hand_over(session, asyncio.get_running_loop(), sock, connected.bound or door.bound)
    await _or_give_up(session, sock, handing_over)


def _refused(found: Refused, door: Door, where: str) -> Trouble:
    """Of the proxy itself other hosts fare no better; of the target it says what connect(2) would."""
    if found.failure is Failure.PROXY:
        return our_trouble(f"SOCKS5 proxy {door}: {found.text}")
    reply = Reply(421, (f"4.4.1 connect to {where} through SOCKS5 proxy {door}: {found.text}",))
    return Trouble(Stage.CONNECT, reply, Category.NO_ANSWER_FROM_HOST)


async def _hand_over(
    session: "Session", loop: asyncio.AbstractEventLoop, sock: socket.socket, own: str
) -> Trouble | None:
    """The socket becomes the session's transport, in TLS where that is implicit; `own`: what it leaves from."""
    session.peer = Peer(session.target.host, session.target.address, session.destination.route.port, own)
    session._owner.session_connected(session)
    session.deadline = session._owner.monotonic() + session._settings.timeouts.tls
    offer(session._settings.kept)  # before the transport is made: uvloop's remembers the context of then
    try:
        if session._settings.tls.mode is TlsMode.IMPLICIT:
            await _begin_in_tls(session, loop, sock)
        else:
            await loop.create_connection(lambda: session, sock=sock)
    except (OSError, ValueError, asyncio.CancelledError) as error:  # ValueError: a host name that IDNA refuses
        if isinstance(error, asyncio.CancelledError) and session.ending is not Ending.TIMEOUT:
            return session._cancelled(f"TLS with {session._where()}")
        return session._broken_handshake(error)
    return None


class _First(asyncio.Protocol):
    """Stands in for the session until its TLS transport is there, and keeps what the peer says by then."""

    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        """Its greeting, mostly."""
        self.heard += data


async def _begin_in_tls(session: "Session", loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """The handshake upon the socket's own transport, which alone knows what has not left (`uptake`)."""
    timeouts, first = session._settings.timeouts, _First()
    wire, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    try:
        upgraded = await loop.start_tls(
            wire, first, session._settings.context,
            server_hostname=session._settings.tls.server_name(session.target.host),
            ssl_handshake_timeout=timeouts.tls, ssl_shutdown_timeout=timeouts.quit,
        )  # fmt: skip
    except BaseException:
        wire.abort()
        raise
    if upgraded is None or upgraded.is_closing():
        raise ConnectionResetError("the connection was dropped")
    session._wire = wire
    upgraded.set_protocol(session)
    session.connection_made(upgraded)
    if first.heard:
        session.data_received(first.heard)


async def upgrade(session: "Session") -> None:
    """The handshake after STARTTLS."""
    transport, timeouts = session._transport, session._settings.timeouts
    if transport is None:
        return
    offer(session._settings.kept)
    try:
        upgraded = await asyncio.get_running_loop().start_tls(
            transport, session, session._settings.context,
            server_hostname=session._settings.tls.server_name(session.target.host),
            ssl_handshake_timeout=timeouts.tls, ssl_shutdown_timeout=timeouts.quit,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, asyncio.CancelledError) as error:
        # ValueError: a host name that IDNA refuses; RuntimeError: the peer has closed before the upgrade began
        session._fail_upgrade(session._broken_handshake(error))
        return
    if upgraded is None or session._over:
        return
    session._transport = upgraded
    wrong = session._read_tls()
    if wrong:
        text = f"TLS with {session._where()}: {wrong}{session._settings.tls.wants}"
        session._fail_upgrade(tls_trouble(text, session.tls))
        return
    session._write(session.client.greet())
    session._set_deadline(session._owner.monotonic())
