"""The operator's way to the API server, as a program: counts each request, and breaks what it is told to break.

`python -m e2e.chaos.door --config door.json`, in the place of the control plane. It has the API server's certificate
and hands on the caller's own token, so that the audit log still says who asked. Orders come as JSON over HTTP on a
Unix socket: `door_control` speaks them. Invariant: what is not told to break passes unchanged, watches as they come.
"""

import argparse
import asyncio
import os
import random
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp
from aiohttp import web
from yarl import URL

from e2e.internet.policy import Model

__all__ = ["DoorConfig", "Fault", "FaultKind", "KillOrder", "asked", "chosen", "is_pass_write"]

FaultKind = Literal["429", "500", "503", "409", "cut", "silent", "swallowed", "slow"]
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "host", "content-length"})
_SILENT_S: Final = 40.0
"""Longer than the operator waits for an answer."""
_SLOW_S: Final = 4.0
_REASONS: Final = {"429": "TooManyRequests", "500": "InternalError", "503": "ServiceUnavailable", "409": "Conflict"}


class DoorConfig(Model):
    """Where it listens and where it leads."""

    listen: str
    port: int
    server: str  # https://address:port
    certificate: Path
    key: Path
    authority: Path
    control: Path
    seed: int


class Fault(Model):
    """What becomes of a share of the requests.

    cut: ended without a word; silent: not passed on, never answered; swallowed: passed on, the answer is kept;
    slow: passed on after seconds; the others: answered with that status, not passed on (409 writes only).
    """

    kind: FaultKind
    share: float


class KillOrder(Model):
    """Kill a process (SIGKILL) at a write of a pass: `after` more pass, then before the next or after its answer."""

    pid: int
    after: int
    how: Literal["before", "after"]


@dataclass(slots=True)
class Seen:
    """One request that counts."""

    at: float
    what: str
    became: str = "broken"
    """The status that it was answered with, or why it was not; broken: the door's doing."""


_SEEN: Final = "seen"


def _became(request: web.Request, what: str) -> None:
    if _SEEN in request:
        request[_SEEN].became = what


def is_pass_write(method: str, path: str) -> bool:
    """Whether a request is a write that a pass makes: the Lease is renewed whatever passes do."""
    return method != "GET" and "/leases" not in path


def asked(method: str, path: str, who: str | None, *, is_watch: bool) -> str:
    """A request in one line: who asks, what is done, and to which kind of object."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]  # after the group and its version
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return f"{who} {'watch' if is_watch else method} {parts[0] if parts else path}"


def chosen(faults: tuple[Fault, ...], method: str, is_watch: bool, roll: float) -> FaultKind | None:
    """The fault of one request; `roll` is in [0, 1). A watch is cut or answered with a status, never silent here."""
    for fault in faults:
        if roll < fault.share:
            if (fault.kind == "409" and method == "GET") or (is_watch and fault.kind in ("silent", "swallowed")):
                return None
            return fault.kind
        roll -= fault.share
    return None


class Door:
    """The listener and its orders."""

    def __init__(self, config: DoorConfig) -> None:
        self._config = config
        self._random = random.Random(config.seed)
        self._session: aiohttp.ClientSession | None = None
        self._faults: tuple[Fault, ...] = ()
        self._kill: tuple[int, int, str] | None = None
        """(pidfd, writes still to pass, how)"""
        self._striking = 0
        """Kills whose write is on its way."""
        self._watches: set[asyncio.Transport] = set()
        self._owed = 0
        """Streams that were cut, and may be opened again: that is the door's doing and no storm."""
        self._seen: list[Seen] = []
        self._counts: Counter[str] = Counter()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serves until stopped."""
        config = self._config
        trust = ssl.create_default_context(cafile=str(config.authority))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        identity.load_cert_chain(config.certificate, config.key)
        front = web.Application(client_max_size=64 * 2**20)
        front.router.add_route("*", "/{path:.*}", self._pass)
        orders = web.Application()
        orders.add_routes([
            web.put("/faults", self._put_faults), web.post("/kill", self._post_kill),
            web.delete("/kill", self._no_kill), web.post("/cut-watches", self._cut_watches),
            web.get("/counts", self._get_counts), web.get("/seen", self._get_seen),
        ])  # fmt: skip
        runners = [
            web.AppRunner(one, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            for one in (front, orders)
        ]
        for runner in runners:
            await runner.setup()
        config.control.unlink(missing_ok=True)
        await web.TCPSite(runners[0], config.listen, config.port, ssl_context=identity).start()
        await web.UnixSite(runners[1], str(config.control)).start()
        await stop.wait()
        for runner in runners:
            await runner.cleanup()
        await self._session.close()

    # what passes

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        is_watch = request.query.get("watch", "") in ("1", "true")
        if is_watch and self._owed:
            self._owed -= 1
        else:
            what = asked(request.method, request.path, request.remote, is_watch=is_watch)
            self._seen.append(Seen(time.time(), what))
            request[_SEEN] = self._seen[-1]
        fault = chosen(self._faults, request.method, is_watch, self._random.random())
        self._counts[fault or "passed"] += 1
        body = await request.read()
        how, victim = self._kills_at(request)
        if victim is not None and how == "before":
            self._strike(victim)
            return _cut(request)
        try:
            answer = await self._treated(request, fault, body, is_watch)
        finally:
            if victim is not None:
                self._strike(victim)
        return answer if victim is None else _cut(request)

    async def _treated(
        self, request: web.Request, fault: FaultKind | None, body: bytes, is_watch: bool
    ) -> web.StreamResponse:
        """The answer, or what the fault makes of it."""
        if fault in ("429", "500", "503", "409"):
            return _refused(fault)
        if fault == "cut":
            return _cut(request)
        if fault == "silent":
            await asyncio.sleep(_SILENT_S)
            return _cut(request)
        if fault == "slow":
            await asyncio.sleep(_SLOW_S)
        try:
            return await self._answered(request, body, is_watch, keeps=fault == "swallowed")
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            self._counts["unreachable"] += 1
            _became(request, "unreachable")
            return _cut(request)

    async def _answered(self, request: web.Request, body: bytes, is_watch: bool, *, keeps: bool) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(f"{self._config.server}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            _became(request, str(answer.status))
            if not is_watch:
                content = await answer.read()
                if keeps:
                    await asyncio.sleep(_SILENT_S)
                    return _cut(request)
                return web.Response(status=answer.status, body=content, headers=_passed_on(answer))
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer))
            await response.prepare(request)
            assert request.transport is not None
            transport = request.transport
            self._watches.add(transport)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            finally:
                self._watches.discard(transport)
            return response

    def _kills_at(self, request: web.Request) -> tuple[str, int | None]:
        """How, and who, dies at this request: the pidfd is the caller's from now on."""
        if self._kill is None or not is_pass_write(request.method, request.path):
            return "", None
        handle, left, how = self._kill
        if left > 0:
            self._kill = (handle, left - 1, how)
            return "", None
        self._kill = None
        self._striking += 1
        return how, handle

    def _strike(self, handle: int) -> None:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            self._counts["killed"] += 1
        except ProcessLookupError:
            self._counts["killed too late"] += 1
        finally:
            self._striking -= 1
            os.close(handle)

    # orders

    async def _put_faults(self, request: web.Request) -> web.Response:
        self._faults = tuple(Fault.model_validate(one) for one in await request.json())
        return web.json_response({})

    async def _post_kill(self, request: web.Request) -> web.Response:
        order = KillOrder.model_validate(await request.json())
        self._forget_kill()
        self._kill = (os.pidfd_open(order.pid), order.after, order.how)
        return web.json_response({})

    async def _no_kill(self, request: web.Request) -> web.Response:
        waited = self._kill is not None
        self._forget_kill()
        while self._striking:  # noqa: ASYNC110 - a moment, until the write is answered
            await asyncio.sleep(0.01)
        return web.json_response({"waited": waited})

    def _forget_kill(self) -> None:
        if self._kill is not None:
            os.close(self._kill[0])
            self._kill = None

    async def _cut_watches(self, request: web.Request) -> web.Response:
        cut = [one for one in self._watches if not one.is_closing()]
        for one in cut:
            one.abort()
        self._owed = len(cut)
        self._counts["watches cut"] += len(cut)
        return web.json_response({"cut": len(cut)})

    async def _get_counts(self, request: web.Request) -> web.Response:
        return web.json_response(dict(self._counts))

    async def _get_seen(self, request: web.Request) -> web.Response:
        return web.json_response([(one.at, f"{one.what} {one.became}") for one in self._seen])


def _passed_on(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}


def _refused(kind: str) -> web.Response:
    """As the API server says it: a Status object."""
    headers = {"Retry-After": "1"} if kind in ("429", "503") else {}
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(kind)}
    said |= {"reason": _REASONS[kind], "message": f"{_REASONS[kind]}, says the door", "metadata": {}}
    return web.json_response(said, status=int(kind), headers=headers)


def _cut(request: web.Request) -> web.StreamResponse:
    """The connection ends without a word."""
    if request.transport is not None and not request.transport.is_closing():
        request.transport.abort()
    return web.Response()


async def _until_terminated(config: DoorConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Door(config).serve(stop)


def main() -> None:
    """Reads the configuration file and serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="DoorConfig as JSON")
    asyncio.run(_until_terminated(DoorConfig.model_validate_json(parser.parse_args().config.read_text())))
    sys.exit(0)


if __name__ == "__main__":
    main()
