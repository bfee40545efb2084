"""The admin API: TLS, a bearer token, and requests; used by the operator and `kubectl lane`.

Each room of this package gives its requests as operations; this module checks the token, routes, and serves the
document made of the same operations. Invariant: nothing is answered without the token, or to siblings their
certificate; every error is JSON `{"error": ...}` that names the fix. Before: the operator, persons, siblings.
After: the rooms, and through them the stages.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from lane_api.relayconfig import Admin
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.small_server import SmallServer
from lane_relay.api import slot_requests
from lane_relay.api.handover import PREFIX
from lane_relay.api.openapi import compose
from lane_relay.api.operation import Operation, Query, routes_of
from lane_relay.api.refusals import refusal
from lane_relay.api.slot_requests import Slot
from lane_relay.errors import ConfigError

__all__ = ["AdminServer", "application_of"]

BODY_LIMIT: Final = 4 * 2**20  # as config.SIZE_LIMIT: the largest thing ever pushed
LINE_LIMIT: Final = 128 * 2**10  # holds every parameter at its longest, percent-encoded
_MOST: Final = 500
"""Connections: of the operator, of people, of siblings, and of 32 neighbours' slots, which ask every ten seconds."""
CERTIFICATE_POLL_S: Final = 5.0  # leaves live for 30 days and are renewed at two thirds of it

_log = structlog.get_logger("api")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Token:
    """The bearer token, read again when its file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._value = b""

    def admits(self, header: str) -> bool:
        """Whether an Authorization header carries the token; never if the file is unreadable or empty."""
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._stamp:
                self._value = self._path.read_bytes().strip()
                self._stamp = found.st_ino, found.st_mtime_ns
        except OSError:
            return False
        scheme, _, given = header.partition(" ")
        return (
            scheme.lower() == "bearer"
            and self._value != b""
            and hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._value)
        )


_UNADMITTED: Final = "send the slot's admin token: Authorization: Bearer TOKEN (Secret SLOT-admin, key token)"


def _guard(token: _Token) -> Any:
    """401 before anything else, JSON for aiohttp's own errors, 500 in our words."""

    def is_admitted(request: web.Request) -> bool:
        return token.admits(request.headers.get("Authorization", ""))

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        # siblings show a certificate instead, which the operation looks at
        if not request.path.startswith(PREFIX) and not is_admitted(request):
            return refusal(401, _UNADMITTED)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            if not is_admitted(request):
                return refusal(401, _UNADMITTED)
            return refusal(404, f"no such request; there are {_requests(request.app)}")
        except web.HTTPMethodNotAllowed as failed:
            answer = refusal(405, f"use {' or '.join(sorted(failed.allowed_methods))} here")
            answer.headers["Allow"] = failed.headers["Allow"]
            return answer
        except web.HTTPRequestEntityTooLarge:
            return refusal(413, f"the body is larger than {BODY_LIMIT} octets")
        except web.HTTPException as failed:
            return refusal(failed.status, f"{failed.reason}: see GET /v1/openapi.json")
        except Exception:  # noqa: BLE001  # the request's edge: the next one is served
            _log.exception("request broke us", method=request.method, path=request.path)
            return refusal(500, "this is our fault: the slot's log has what broke, and asking again may help")

    return guard


def _requests(application: web.Application) -> str:
    """Every request that there is, such as `GET /v1/slot`."""
    known = [(one.method, one.resource.canonical) for one in application.router.routes() if one.resource is not None]
    return ", ".join(f"{method} {path}" for method, path in known)


def application_of(operations: Iterable[Operation], token_file: Path) -> web.Application:
    """The requests behind the token, and their document."""

    said: list[dict[str, Any]] = []

    async def describe(_request: web.Request, _query: Query) -> web.Response:
        """Made when it is asked for the first time: no start waits for it."""
        steps = compose(served)
        while not said:
            try:
                next(steps)
                await asyncio.sleep(0)
            except StopIteration as end:
                said.append(end.value)
        return web.json_response(said[0])

    served = [
        *operations,
        Operation("GET", "/v1/openapi.json", "describe", "This document (OpenAPI 3.1).", describe, None),
    ]
    application = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guard(_Token(token_file))])
    application.router.add_routes(routes_of(served))
    return application


class AdminServer:
    """The API on its port; new certificates serve the next connection."""

    def __init__(self, admin: Admin, slot: Slot, rooms: Iterable[Operation] = (), authority: str | None = None) -> None:
        """Loads certificate and key; raises ConfigError if they cannot be used.

        `rooms` are the requests of other rooms, each made by a module of this package; siblings, who hand over, show
        certificates that `authority` (a file) has signed.
        """
        self._certificate = Certificate(admin.tls, field="admin.tls", client_authority=authority)
        self._server = SmallServer(
            application_of([*slot_requests.operations(slot), *rooms], Path(admin.token_file)),
            admin.listen,
            most=_MOST,
            certificate=self._certificate,
            max_line_size=LINE_LIMIT,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    async def start(self) -> None:
        """Listens; raises OSError if the port is taken."""
        await self._server.start()

    async def watch(self) -> None:
        """Takes renewed certificates for ever."""
        while True:
            await asyncio.sleep(CERTIFICATE_POLL_S)
            self.renew()

    def renew(self) -> None:
        """Takes a certificate that has changed; a bad pair leaves the old one in use."""
        try:
            self._certificate.reload()
        except ConfigError as failed:
            _log.warning("certificate kept", reason=str(failed))

    async def stop(self) -> None:
        """Stops listening and ends open requests within a second."""
        await self._server.stop()
