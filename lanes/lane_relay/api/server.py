"""The admin API: TLS, a bearer token, and requests; used by the operator and `kubectl lane`.

Every act is a method of `Slot`, which the pipeline gives; this module parses, checks the token, and words the errors.
Invariant: nothing is answered without the token; every error is JSON `{"error": ...}` that names the fix.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import structlog
from aiohttp import web

from lane_api.relayconfig import Admin
from lane_relay.accept.certificate import Certificate
from lane_relay.api.handover import PREFIX
from lane_relay.api.refusals import refusal
from lane_relay.errors import ConfigError, SpoolError

__all__ = ["AdminServer", "Slot"]

BODY_LIMIT: Final = 4 * 2**20  # as config.SIZE_LIMIT: the largest thing ever pushed
CERTIFICATE_POLL_S: Final = 5.0  # leaves live for 30 days and are renewed at two thirds of it

_log = structlog.get_logger("api")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Slot(Protocol):
    """What can be asked of a slot and done to it."""

    async def report(self) -> dict[str, Any]:
        """The answer to GET /v1/slot."""

    async def set_intake(self, state: Literal["Open", "Closed"]) -> str:
        """Opens or closes intake, kept over a restart; gives the state in force (the configuration may keep it
        closed). Raises SpoolError if the order could not be kept."""

    def push(self, text: str) -> int:
        """Puts a configuration in force and gives its generation; raises ConfigError."""

    def replies(self) -> dict[str, Any]:
        """Samples of the replies that no rule of a policy was for, each with a rule to begin with."""

    def sites(self) -> list[dict[str, Any]]:
        """Every site with queue, connections and the limit that holds it now."""


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
            and hmac.compare_digest(given.strip().encode(), self._value)
        )


def _guard(token: _Token) -> Any:
    """401 before anything else, JSON for aiohttp's own errors, 500 in our words."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await handler(request)  # siblings show a certificate instead
        if not token.admits(request.headers.get("Authorization", "")):
            return refusal(
                401, "send the slot's admin token: Authorization: Bearer TOKEN (Secret SLOT-admin, key token)"
            )
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return refusal(404, f"no such request; there are {_requests(request.app)}")
        except web.HTTPMethodNotAllowed as failed:
            return refusal(405, f"use {' or '.join(sorted(failed.allowed_methods))} here")
        except web.HTTPRequestEntityTooLarge:
            return refusal(413, f"the body is larger than {BODY_LIMIT} octets")

    return guard


def _requests(application: web.Application) -> str:
    """Every request that there is, such as `GET /v1/slot`."""
    known = [(one.method, one.resource.canonical) for one in application.router.routes() if one.resource is not None]
    return ", ".join(f"{method} {path}" for method, path in known if method != "HEAD")


def _application(slot: Slot, token: _Token, routes: Iterable[web.RouteDef]) -> web.Application:
    """The requests."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(await slot.report())

    async def sites(_request: web.Request) -> web.Response:
        return web.json_response({"sites": slot.sites()})

    async def replies(_request: web.Request) -> web.Response:
        return web.json_response(slot.replies())

    async def intake(request: web.Request) -> web.Response:
        state = _wanted_state(await request.read())
        if state is None:
            return refusal(422, 'send {"state": "Open"} or {"state": "Closed"}')
        try:
            return web.json_response({"state": await slot.set_intake(state)})
        except SpoolError as failed:
            return refusal(503, f"the order could not be kept: {failed}; replace the slot's volume")

    async def config(request: web.Request) -> web.Response:
        try:
            return web.json_response({"generation": slot.push((await request.read()).decode())})
        except UnicodeDecodeError:
            return refusal(422, "the body is not UTF-8: send relay.yaml as it is")
        except ConfigError as refused:
            return refusal(422, str(refused))

    application = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guard(token)])
    application.router.add_get("/v1/slot", show)
    application.router.add_get("/v1/sites", sites)
    application.router.add_get("/v1/replies", replies)
    application.router.add_put("/v1/intake", intake)
    application.router.add_put("/v1/config", config)
    application.router.add_routes(routes)
    return application


def _wanted_state(body: bytes) -> Literal["Open", "Closed"] | None:
    """The state of `{"state": ...}`, or None for anything else."""
    try:
        wanted = json.loads(body)
    except ValueError:
        return None
    if not isinstance(wanted, dict) or set(wanted) != {"state"}:
        return None
    return wanted["state"] if wanted["state"] in ("Open", "Closed") else None


class AdminServer:
    """The API on its port; new certificates serve the next connection."""

    def __init__(
        self, admin: Admin, slot: Slot, routes: Iterable[web.RouteDef] = (), authority: str | None = None
    ) -> None:
        """Loads certificate and key; raises ConfigError if they cannot be used.

        `routes` are the requests of other rooms, each made by a module of this package; siblings, who hand over, show
        certificates that `authority` (a file) has signed.
        """
        self._endpoint = admin.listen
        self._certificate = Certificate(admin.tls, field="admin.tls", client_authority=authority)
        self._runner = web.AppRunner(
            _application(slot, _Token(Path(admin.token_file)), routes),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
        )
        self.port = 0

    async def start(self) -> None:
        """Listens; raises OSError if the port is taken."""
        await self._runner.setup()
        # "::" alone would leave out IPv4: asyncio makes such sockets IPv6 only; None binds both families
        host = None if self._endpoint.host == "::" else self._endpoint.host
        site = web.TCPSite(self._runner, host, self._endpoint.port, ssl_context=self._certificate.context)
        await site.start()
        self.port = self._runner.addresses[0][1]

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
        await self._runner.cleanup()
