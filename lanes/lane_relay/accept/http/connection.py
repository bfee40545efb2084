"""One client's connection: aiohttp's protocol, admitted and watched as an SMTP session is.

Invariants: of a connection beyond the limits nothing is read but that a request has come, to be refused; one that is
silent for too long, with no request in work, or takes too long for its first head, is closed by the sweep; what is no
HTTP, or breaks off, is answered and not logged, since anybody can send it.
Before it: `accept.door`. After it: `server`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lane_api.intake import IntakeLimits
from lane_relay.accept.http.answer import problem
from lane_relay.records import Reply

__all__ = ["IDLE_S", "SERVER", "Connection", "Connections"]

IDLE_S: Final = 60.0
"""As long as a client may leave between requests, and within the bytes of one."""
SERVER: Final = {"Server": "lane-relay"}
"""Instead of the library's name and version."""
_REFUSED_FOR_S: Final = 2.0
_MOST_REFUSED: Final = 100
"""So many refused clients are waited for; in a flood nobody is."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connection(RequestHandler):
    """Knows when its client was last heard of, and whether a request of it is in work."""

    __slots__ = (
        "_connections",
        "_is_admitted",
        "_refused",
        "began",
        "client",
        "counted_as",
        "in_work",
        "last_active",
        "may_go",
    )

    def __init__(self, connections: "Connections", client: str, **settings: Any) -> None:
        super().__init__(connections, **settings)
        self._connections = connections
        self.client = self.counted_as = client
        self.in_work = False
        self.may_go = False
        """For another's sake, when there are too many and no request of it is in work: nobody who may submit."""
        self._is_admitted = False
        self._refused: asyncio.Transport | None = None
        self.began = self.last_active = connections.now()

    @property
    def has_asked(self) -> bool:
        """The head of a first request is complete."""
        return self._request_count > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (with TLS: the handshake is done)."""
        if not self._connections.admit(self):
            self._refuse(cast("asyncio.Transport", transport))  # uvloop's are no instances of it
            return
        self._is_admitted = True
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
            self._connections.heard(self)
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
        if self._is_admitted:
            self._connections.forget(self)
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP; of a client that is gone nothing is said, for it fails by itself."""
        if status >= 500 and not isinstance(exc, ConnectionError):
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionResetError("half an answer is sent already")
        said = problem(
            HTTPStatus.BAD_REQUEST, f"this is no HTTP/1.1 request: {' '.join((message or '').split())[:200]}"
        )
        answer = web.Response(status=said.status, body=said.encoded(), headers=said.headers | SERVER)
        answer.content_type = said.media_type
        answer.force_close()
        return answer

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
        *,
        may_go: Callable[[str], bool] = lambda _client: False,
        counted_as: Callable[[str], str] = str,
    ) -> None:
        """`now` is monotonic, in seconds; `judge` says whether this client may connect once more.

        In a full house nobody is refused while there is a silent one whose client `may_go`: the longest silent one
        goes instead; where it is one client that has too many, one of its own.
        `counted_as`: whom the limits take a client for.
        """
        super().__init__(handler, handler_cancellation=False)
        self.limits = limits
        """In force; may be replaced."""
        self._judge = judge
        self.now = now
        self._may_go = may_go
        self._counted_as = counted_as
        self.open: dict[Connection, None] = {}
        """The longest silent first."""
        self.refused: set[Connection] = set()
        """Beyond the limits, and to be told so."""
        self._by_client: Counter[str] = Counter()

    def make(self, client: str) -> Connection:
        """A protocol for a new connection of this client."""
        loop = asyncio.get_running_loop()
        return Connection(self, client, loop=loop, access_log=None, keepalive_timeout=IDLE_S, lingering_time=5.0)

    def admit(self, connection: Connection) -> bool:
        """Takes a new connection in, unless there are too many."""
        limits, client = self.limits, self._counted_as(connection.client)
        connection.counted_as = client
        has_too_many = self._by_client[client] >= limits.sessions_per_client
        if self._judge(client) is not None:
            return False
        is_full = has_too_many or len(self.open) >= limits.sessions
        if is_full and not self._send_one_away(client if has_too_many else ""):
            return False
        connection.may_go = self._may_go(connection.client)
        self.open[connection] = None
        self._by_client[client] += 1
        return True

    def _send_one_away(self, client: str) -> bool:
        """The longest silent one, of this client or with an empty one of all; False if none may go."""
        waiting = (one for one in self.open if one.may_go and not one.in_work)
        found = next((one for one in waiting if not client or one.counted_as == client), None)
        if found is None:
            return False
        self.forget(found)
        found.end()
        return True

    def heard(self, connection: Connection) -> None:
        """It is the last one to be sent away now."""
        del self.open[connection]
        self.open[connection] = None

    def wait_for_request(self, connection: Connection) -> bool:
        """A refused client may be told why."""
        if len(self.refused) >= _MOST_REFUSED:
            return False
        self.refused.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is over, or as good as over."""
        if connection not in self.open:
            return
        del self.open[connection]
        self._by_client[connection.counted_as] -= 1
        if not self._by_client[connection.counted_as]:
            del self._by_client[connection.counted_as]

    def sweep(self) -> None:
        """Closes what has been silent for too long."""
        least = self.now() - IDLE_S
        for connection in tuple(self.open):
            since = connection.last_active if connection.has_asked else connection.began
            if not connection.in_work and since < least:
                connection.end()
