"""The part of a session that waits: its connection and its TLS handshakes, each a coroutine of its own task.

Apart from `session` because that may be compiled, and nothing that awaits inside a `try` may be (`compiled`): these
functions use a session's inside as if they were its methods. Before and after it: `session`.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from lane_api.isppolicy import Category, Stage
from lane_relay.deliver.resumption import offer
from lane_relay.deliver.tls import TlsMode
from lane_relay.deliver.trouble import Ending, Trouble, our_trouble, tls_trouble
from lane_relay.records import Peer, Reply

if TYPE_CHECKING:
    from lane_relay.deliver.session import Session

__all__ = ["connect", "upgrade"]

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""linux/in.h: the port is chosen at connect, so that one source may use a port towards several hosts at once."""


async def connect(session: "Session") -> None:
    """Opens its connection, or gives it up with the trouble."""
    family = socket.AF_INET6 if ":" in session.target.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptor is left, or the kernel does not speak this family
        text = f"4.3.0 no socket to {session.target.address}: {error.strerror}"
        session.give_up(Trouble(Stage.CONNECT, Reply(451, (text,)), Category.BAD_CONFIGURATION))
        return
    try:
        trouble = await _open_socket(session, asyncio.get_running_loop(), sock)
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
    session.peer = Peer(session.target.host, session.target.address, session.destination.route.port, own)
    session._owner.session_connected(session)
    return await _hand_over(session, loop, sock, where)


async def _hand_over(
    session: "Session", loop: asyncio.AbstractEventLoop, sock: socket.socket, where: str
) -> Trouble | None:
    timeouts = session._settings.timeouts
    implicit = session._settings.tls.mode is TlsMode.IMPLICIT
    session.deadline = session._owner.monotonic() + timeouts.tls
    offer(session._settings.kept)
    try:
        await loop.create_connection(
            lambda: session,
            sock=sock,
            ssl=session._settings.context if implicit else None,
            server_hostname=session._settings.tls.server_name(session.target.host) if implicit else None,
            ssl_handshake_timeout=timeouts.tls if implicit else None,
            ssl_shutdown_timeout=timeouts.quit if implicit else None,
        )
    except (OSError, ValueError, asyncio.CancelledError) as error:  # ValueError: a host name that IDNA refuses
        if isinstance(error, asyncio.CancelledError) and session.ending is not Ending.TIMEOUT:
            return session._cancelled(f"TLS with {where}")
        return session._broken_handshake(error)
    return None


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
