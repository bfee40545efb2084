"""One-click unsubscribing (RFC 8058): the public HTTP listener behind the links in List-Unsubscribe.

`POST /u/TOKEN` unsubscribes, whoever posts and whatever the body is: mail programs send `List-Unsubscribe=One-Click`,
and the page's button the same. `GET /u/TOKEN` shows the page and changes nothing, since programs that scan mail follow
its links. Before it: an Ingress or load balancer. After it: the desk. Invariants: no cookie, no redirect, no address
on any page; a link that is not ours, and one that is not whole, get one and the same answer; connections are bounded,
and silent ones are closed, the longest silent first.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from lane_api.intake import IntakeLimits
from lane_api.relayconfig import Endpoint
from lane_relay.accept.http.connection import Connection, Connections
from lane_relay.errors import RelayError
from lane_relay.feedback.suppressions import Source
from lane_relay.mail.token import Token, TokenKind, read_token

__all__ = ["UnsubscribeServer"]

LIMITS: Final = IntakeLimits(sessions=1000, sessions_per_client=1000)
"""Connections open at a time; all may come from one balancer. Of more the longest silent one goes, so that a crowd can
neither take the sockets that mail needs nor keep anybody out."""
_SWEEP_EVERY_S: Final = 5.0
_RETRY_AFTER_S: Final = "60"
_LINK = re.compile(r"/u/([A-Za-z2-7]{1,100})")
_STYLE: Final = (
    "body{font:1.1em/1.5 sans-serif;max-width:32em;margin:4em auto;padding:0 1em}button{font:inherit;padding:.5em 1em}"
)
_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<meta name=robots content=noindex><title>{title}</title><style>{style}</style><h1>{title}</h1>{body}</html>"
)
_ASK: Final = (
    "<p>You will get no more mail of this kind.</p><form method=post>"
    "<input type=hidden name=List-Unsubscribe value=One-Click><button>Unsubscribe</button></form>"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
}


def _page(status: int, title: str, body: str) -> web.Response:
    text = _PAGE.format(title=title, body=body, style=_STYLE)
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


class UnsubscribeServer:
    """The listener."""

    def __init__(self, unsubscribe: Callable[[Token, Source], Awaitable[None]], limits: IntakeLimits = LIMITS) -> None:
        self._unsubscribe = unsubscribe
        self._key = b""
        self._connections = Connections(
            self._respond, limits, time.monotonic, lambda _client: None, may_go=lambda _client: True
        )
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.port = 0

    def apply(self, key: bytes) -> None:
        """The key in force."""
        self._key = key

    def _token(self, request: web.BaseRequest) -> Token | None:
        matched = _LINK.fullmatch(request.path)
        token = read_token(self._key, matched[1]) if matched is not None else None
        return token if token is not None and token.kind is TokenKind.PERSON and token.names_recipient else None

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD", "POST"):
            answer = _page(405, "Not here", "<p>Open the link, and use its button.</p>")
            answer.headers["Allow"] = "GET, HEAD, POST"
            return answer
        token = self._token(request)
        if token is None:
            return _unknown()
        if request.method != "POST":
            return _page(200, "Unsubscribe?", _ASK)
        return await self._act(token, request.protocol)

    async def _act(self, token: Token, connection: object) -> web.Response:
        assert isinstance(connection, Connection)  # noqa: S101 -- Connections makes no other
        connection.in_work = True
        try:
            await self._unsubscribe(token, Source.LINK)
        except RelayError:
            answer = _page(503, "Not now", "<p>This could not be kept. Please try again in a minute.</p>")
            answer.headers["Retry-After"] = _RETRY_AFTER_S
            return answer
        finally:
            connection.in_work = False
        return _page(200, "Unsubscribed", "<p>You will get no more mail of this kind.</p>")

    async def start(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        """Listens; raises OSError if the port is taken."""
        host = None if endpoint.host == "::" else endpoint.host
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._connections.make(""), host, endpoint.port, ssl=context, reuse_address=True
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._sweep_again()

    def _sweep_again(self) -> None:
        self._connections.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep_again)

    async def stop(self) -> None:
        """Stops listening and ends open requests within a second."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        await self._connections.shutdown(1.0)


def _unknown() -> web.Response:
    return _page(404, "No such link", "<p>The link is not whole, or not ours. Copy all of it, or answer the mail.</p>")
