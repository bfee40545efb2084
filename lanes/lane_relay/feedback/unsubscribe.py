"""One-click unsubscribing (RFC 8058): the public HTTP listener behind the links in List-Unsubscribe.

`POST /u/TOKEN` unsubscribes, whoever posts and whatever the body is: mail programs send `List-Unsubscribe=One-Click`,
and the page's button the same. `GET /u/TOKEN` shows the page and changes nothing, since programs that scan mail follow
its links. Before it: an Ingress or load balancer. After it: the desk. Invariants: no cookie, no redirect, no address
on any page; a link that is not ours, and one that is not whole, get one and the same answer.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from lane_api.relayconfig import Endpoint
from lane_relay.errors import RelayError
from lane_relay.feedback.suppressions import Source
from lane_relay.mail.token import Token, TokenKind, read_token

__all__ = ["UnsubscribeServer"]

_BODY_LIMIT: Final = 4096
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

    def __init__(self, unsubscribe: Callable[[Token, Source], Awaitable[None]]) -> None:
        self._unsubscribe = unsubscribe
        self._key = b""
        application = web.Application(client_max_size=_BODY_LIMIT)
        application.router.add_get("/u/{token}", self._ask, allow_head=True)
        application.router.add_post("/u/{token}", self._act)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        self.port = 0

    def apply(self, key: bytes) -> None:
        """The key in force."""
        self._key = key

    def _token(self, request: web.Request) -> Token | None:
        token = read_token(self._key, request.match_info["token"])
        return token if token is not None and token.kind is TokenKind.PERSON and token.names_recipient else None

    async def _ask(self, request: web.Request) -> web.Response:
        if self._token(request) is None:
            return _unknown()
        return _page(200, "Unsubscribe?", _ASK)

    async def _act(self, request: web.Request) -> web.Response:
        token = self._token(request)
        if token is None:
            return _unknown()
        try:
            await self._unsubscribe(token, Source.LINK)
        except RelayError:
            return _page(503, "Not now", "<p>This could not be kept. Please try again in a minute.</p>")
        return _page(200, "Unsubscribed", "<p>You will get no more mail of this kind.</p>")

    async def start(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        """Listens; raises OSError if the port is taken."""
        await self._runner.setup()
        host = None if endpoint.host == "::" else endpoint.host
        await web.TCPSite(self._runner, host, endpoint.port, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops listening and ends open requests within a second."""
        await self._runner.cleanup()


def _unknown() -> web.Response:
    return _page(404, "No such link", "<p>The link is not whole, or not ours. Copy all of it, or answer the mail.</p>")
