"""One client's connection: aiohttp's protocol, admitted and watched as an SMTP session is.

Invariant: of a connection beyond the limits nothing is read but that a request has come, to be refused; one that is
silent for too long, with no request in work, is closed by the sweep. Before it: `accept.door`. After it: `server`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lane_api.intake import IntakeLimits
from lane_relay.records import Reply

__all__ = ["IDLE_S", "Connection", "Connections"]

IDLE_S: Final = 60.0
"""As long as a client may leave between requests, and within the bytes of one."""
_REFUSED_FOR_S: Final = 2.0
_MOST_REFUSED: Final = 100
"""So many refused clients are waited for; in a flood nobody is."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """Knows when its client was last heard of, and whether a request of it is in work."""

    __slots__ = ("_connections", "_refused", "client", "in_work", "last_active")

    def __init__(self, connections: "Connections", client: str, **settings: Any) -> None:
        super().__init__(connections, **settings)
        self._connections = connections
        self.client = client
        self.in_work = False
        self._refused: asyncio.Transport | None = None
        self.last_active = connections.now()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (with TLS: the handshake is done)."""
        if not self._connections.admit(self):
            self._refuse(cast("asyncio.Transport", transport))  # uvloop's are no instances of it
            return
        super().connection_made(transport)

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Answers when the request comes: a socket that is closed before takes the answer with it."""
        self._refused = transport
        if self._connections.wait_for_request(self):
            asyncio.get_running_loop().call_later(_REFUSED_FOR_S, transport.close)
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.last_active = self._connections.now()
        if self in self._connections.open:
            super().data_received(data)
        elif self._refused is not None and not self._refused.is_closing():
            self._refused.write(_FULL)
            self._refused.close()

    def eof_received(self) -> None:
        """The client has sent its last byte."""
        if self in self._connections.open:
            super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._connections.refused.discard(self)
        if self in self._connections.open:
            self._connections.forget(self)
            super().connection_lost(exc)

    def end(self) -> None:
        """Closes it; a request whose body is awaited breaks off."""
        self.force_close()


class Connections(web.Server):
    """The open connections; makes one for each that comes in."""

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
        self.refused: set[Connection] = set()
        """Beyond the limits, and to be told so."""
        self._by_client: Counter[str] = Counter()

    def make(self, client: str) -> Connection:
        """A protocol for a new connection of this client."""
        loop = asyncio.get_running_loop()
        return Connection(self, client, loop=loop, access_log=None, keepalive_timeout=IDLE_S, lingering_time=5.0)

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

    def wait_for_request(self, connection: Connection) -> bool:
        """A refused client may be told why."""
        if len(self.refused) >= _MOST_REFUSED:
            return False
        self.refused.add(connection)
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
