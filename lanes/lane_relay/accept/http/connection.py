"""One client's connection: aiohttp's protocol, admitted and watched as an SMTP session is.

Invariant: a connection beyond the limits is answered and closed before a byte of it is read; one that is silent for
too long, with no request in work, is closed by the sweep. Before it: the socket. After it: `server`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lane_api.intake import IntakeLimits
from lane_relay.accept.policy import client_address
from lane_relay.records import Reply

__all__ = ["IDLE_S", "Connection", "Connections"]

IDLE_S: Final = 60.0
"""As long as a client may leave between requests, and within the bytes of one."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """Knows when its client was last heard of, and whether a request of it is in work."""

    __slots__ = ("_connections", "client", "in_work", "last_active")

    def __init__(self, connections: "Connections", *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._connections = connections
        self.client = ""
        self.in_work = False
        self.last_active = connections.now()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (with TLS: the handshake is done)."""
        peer = transport.get_extra_info("peername")
        self.client = str(client_address(peer[0])) if peer else ""
        if not self._connections.admit(self):
            assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- for the type checker
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.last_active = self._connections.now()
        if self in self._connections.open:
            super().data_received(data)

    def eof_received(self) -> None:
        """The client has sent its last byte."""
        if self in self._connections.open:
            super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if self in self._connections.open:
            self._connections.forget(self)
            super().connection_lost(exc)

    def end(self) -> None:
        """Closes it; a request whose body is awaited breaks off."""
        self.force_close()


class Connections(web.Server):
    """The open connections; makes one for each that the socket accepts."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: IntakeLimits,
        now: Callable[[], float],
        judge: Callable[[str], Reply | None],
    ) -> None:
        """`now` is monotonic, in seconds; `judge` says whether this client may connect once more."""
        super().__init__(handler, handler_cancellation=False)
        self.limits = limits
        """In force; may be replaced."""
        self._judge = judge
        self.now = now
        self.open: set[Connection] = set()
        self._by_client: Counter[str] = Counter()

    def __call__(self) -> RequestHandler:
        """A protocol for a new connection."""
        loop = asyncio.get_running_loop()
        return Connection(self, self, loop=loop, access_log=None, keepalive_timeout=IDLE_S, lingering_time=5.0)

    def admit(self, connection: Connection) -> bool:
        """Takes a new connection in, unless there are too many."""
        limits, client = self.limits, connection.client
        if len(self.open) >= limits.sessions or self._by_client[client] >= limits.sessions_per_client:
            return False
        if self._judge(client) is not None:
            return False
        self.open.add(connection)
        self._by_client[connection.client] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is over."""
        self.open.discard(connection)
        self._by_client[connection.client] -= 1
        if not self._by_client[connection.client]:
            del self._by_client[connection.client]

    def sweep(self) -> None:
        """Closes what has been silent for too long."""
        least = self.now() - IDLE_S
        for connection in tuple(self.open):
            if not connection.in_work and connection.last_active < least:
                connection.end()
