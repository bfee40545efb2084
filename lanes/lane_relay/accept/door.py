"""One listening socket: takes connections, finds out whose they are, and hands each to a session.

Before it: clients, or the balancers that the lane names, which say in front who the client is (`accept.proxy`). After
it: `accept.session`, whose transport has TLS already where the door is for implicit TLS.
Invariants: who is named as a balancer says so in front, or gets nothing; nobody else is believed. A connection that
comes to nothing is closed, and concerns nobody else.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import structlog

from lane_api.relayconfig import Endpoint
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.policy import client_address
from lane_relay.accept.proxy import HEAD_SIZE, parse_preface, parse_source
from lane_relay.records import Reply
from lane_relay.smtp.reply import format_reply

__all__ = ["HANDSHAKE_TIMEOUT_S", "PREFACE_TIMEOUT_S", "Door", "Peer", "upgrade"]

HANDSHAKE_TIMEOUT_S: Final = 30.0
PREFACE_TIMEOUT_S: Final = 5.0
"""A balancer sends it with its first packet."""
_BACKLOG: Final = 1024
_NO_ROOM_PAUSE_S: Final = 1.0
"""Where no more files can be opened: the connections wait in the backlog meanwhile."""
_LAST_WORDS_S: Final = 1.0

Peer = IPv4Address | IPv6Address

_log = structlog.get_logger(__name__)


class Door:
    """`make` makes the session of a client at this address; `is_proxy` tells who speaks for others, and is `named_in` a
    field of the lane."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        certificate: Certificate | None,
        make: Callable[[str], asyncio.BaseProtocol],
        is_proxy: Callable[[Peer], bool],
        named_in: str = "submission.clients.proxies",
        preface_s: float = PREFACE_TIMEOUT_S,
    ) -> None:
        """Binds the address; raises OSError if that cannot be. A certificate: TLS from the first byte."""
        self._preface_s = preface_s
        self._socket = _bound(endpoint)
        self._certificate = certificate
        self._make = make
        self._is_proxy = is_proxy
        text = f"4.7.0 This peer is named in {named_in}: begin with the PROXY protocol, version 2"
        self._no_preface = Reply(421, (text,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    @property
    def shakes_hands(self) -> bool:
        """TLS comes first, for which a client may take its time."""
        return self._certificate is not None

    def close(self) -> None:
        """Takes no more; call it when `connections` has been cancelled."""
        self._socket.close()

    async def connections(self, let_in: Callable[[socket.socket, Peer], None]) -> None:
        """Calls for each connection, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._socket)
            except ConnectionError:  # gone before we looked
                continue
            except OSError as failed:
                _log.error("no connections can be taken for a second", reason=str(failed))
                await asyncio.sleep(_NO_ROOM_PAUSE_S)
                continue
            let_in(connection, client_address(peer[0]))

    async def welcome(self, connection: socket.socket, peer: Peer, may_come: Callable[[Peer], bool]) -> None:
        """Makes a session of a connection; what fails is the peer's affair.

        `may_come` is asked about a client whom a balancer names; False: its connection is closed.
        """
        taken = False
        try:
            client = await self._client(connection, peer) if self._is_proxy(peer) else peer
            if client is None:
                _log.warning("named as a balancer, and no PROXY header came in front: refused", peer=str(peer))
                if self._certificate is None:
                    await _say_and_end(connection, self._no_preface)
                return
            if client != peer and not may_come(client):
                return
            taken = True  # from here on its transport closes it
            await self.take(connection, lambda: self._make(str(client)))
        except (OSError, EOFError):
            pass
        finally:
            if not taken:
                connection.close()

    async def take(self, connection: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Makes a session, once a handshake is done where there is one; one that fails is the peer's affair."""
        with suppress(OSError):  # also where it takes too long
            await asyncio.get_running_loop().connect_accepted_socket(
                make,
                connection,
                ssl=self._certificate.context if self._certificate is not None else None,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if self._certificate is not None else None,
            )

    async def _client(self, connection: socket.socket, peer: Peer) -> Peer | None:
        """Who the balancer says it is; itself where it speaks for itself. Raises EOFError if it goes."""
        try:
            async with asyncio.timeout(self._preface_s):
                preface = parse_preface(await _exactly(connection, HEAD_SIZE))
                if preface is None:
                    return None
                source = parse_source(preface, await _exactly(connection, preface.length))
        except TimeoutError:
            return None
        return client_address(str(source)) if source is not None else peer


async def _say_and_end(connection: socket.socket, reply: Reply) -> None:
    """The peer's last words are read for a moment: what is not read when a socket closes takes our words with it."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, format_reply(reply.code, *reply.lines))
    connection.shutdown(socket.SHUT_WR)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            while await loop.sock_recv(connection, 4096):
                pass


async def _exactly(connection: socket.socket, count: int) -> bytes:
    """So many octets and none more; raises EOFError if the peer goes before."""
    loop, read = asyncio.get_running_loop(), bytearray()
    while len(read) < count:
        part = await loop.sock_recv(connection, count - len(read))
        if not part:
            raise EOFError
        read += part
    return bytes(read)


def _bound(endpoint: Endpoint) -> socket.socket:
    """Both families with `::`, whatever the system has for that; IPv4 alone where there is no other."""
    address = (endpoint.host, endpoint.port)
    if endpoint.host == "::" and not socket.has_dualstack_ipv6():
        address = ("0.0.0.0", endpoint.port)
    is_v6 = ":" in address[0]
    made = socket.create_server(
        address,
        family=socket.AF_INET6 if is_v6 else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=address[0] == "::",
    )
    made.setblocking(False)
    return made


async def upgrade(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext
) -> asyncio.Transport | None:
    """The handshake behind STARTTLS; None where it comes to nothing, and the connection is cut off then.

    Cancelling it leaves the connection to be aborted.
    """
    try:
        upgraded = await asyncio.get_running_loop().start_tls(
            transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
        )
    except (OSError, RuntimeError):  # RuntimeError: the client has closed before the upgrade began
        transport.abort()
        protocol.connection_lost(None)
        return None
    if upgraded is None:
        transport.abort()
    return upgraded
