"""The way to the API server, which breaks on command: before a write, or after it and before the answer.

Before: `apiserver`. After: one client; each operator has a door of its own.
"""

from collections import deque
from typing import Literal

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from e2e.model.apiserver import ApiServer

__all__ = ["Door"]

_PASSED_ON = ("Content-Type", "Accept")


class Door:
    """A plain HTTP port whose requests reach the API server as its administrator's."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None
        application = web.Application(client_max_size=8 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._listener = TestServer(application)
        self._left: int | None = None
        self._how: Literal["before", "after"] = "before"
        self.writes = 0
        """How many have come."""
        self.latest: deque[str] = deque(maxlen=12)
        """What they were."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self._listener.make_url("")).rstrip("/")

    async def open(self) -> None:
        """Begins to listen."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._server.tls))
        await self._listener.start_server()

    async def close(self) -> None:
        """Ends."""
        await self._listener.close()
        if self._session is not None:
            await self._session.close()

    def breaks(self, after: int, how: Literal["before", "after"]) -> None:
        """`after` more writes pass; the next one does not reach the server, or its answer does not come back, and
        nothing after it does: as when the client is killed there."""
        self._left, self._how = after, how

    def mend(self) -> None:
        """Everything passes."""
        self._left = None

    @property
    def is_broken(self) -> bool:
        """Nothing passes any more."""
        return self._left is not None and self._left < 0

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        if self.is_broken:
            return _cut(request)
        body = await request.read()
        breaks = False
        if request.method != "GET":
            self.writes += 1
            self.latest.append(f"{request.method} {request.path} {body[:200].decode(errors='replace')}")
            if self._left is not None:
                self._left -= 1
                breaks = self._left < 0
        if breaks and self._how == "before":
            return _cut(request)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers["Authorization"] = f"Bearer {self._server.token}"
        url = f"{self._server.url}{request.rel_url}"
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            if breaks:
                return _cut(request)
            return web.Response(status=answer.status, body=content, content_type="application/json")


def _cut(request: web.Request) -> web.StreamResponse:
    """The connection ends without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
