"""A server of ours for few clients, the admin API's or the probes': its socket, and how many may hold connections.

Whoever can reach the port can open connections and say nothing. They must neither take the sockets that mail needs nor
keep a probe out, so nobody is refused: when there are too many, the one goes that has been silent for the longest time,
of the peer that has the most. A peer that asks at once after it has connected is answered, however many others do not.
Invariants: connections are bounded, those whose TLS is not up yet as well; a request in work is never cut; silent
connections go by themselves. Before it: `door`. After it: an aiohttp application.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import web

from lane_api.relayconfig import Endpoint
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.door import Door, Peer
from lane_relay.guard import report

__all__ = ["IDLE_S", "SmallServer"]

IDLE_S: Final = 75.0
"""Of a connection between requests, or before its first; scrapes and probes come more often."""
_SWEEP_EVERY_S: Final = 5.0
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Guest(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's protocol, and can be sent away."""

    def __init__(self, server: "SmallServer", peer: str, connection: socket.socket, now: float) -> None:
        self._server = server
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self.peer = peer
        self.since = now
        """When it came, or its last request was answered; monotonic."""
        self.in_work = 0

    @property
    def is_up(self) -> bool:
        """Its handshake, if there is one, is done."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has connected (with TLS: the handshake is done)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no instances of it
        self._inner = self._server.make(self)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer has sent its last byte."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """The peer does not read."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The peer has read."""
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._server.forget(self, self._inner)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def send_away(self) -> None:
        """Cuts the connection, also one whose handshake goes on."""
        if self._transport is not None:
            self._transport.abort()
            return
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class SmallServer:
    """One application on one socket."""

    def __init__(
        self,
        application: web.Application,
        endpoint: Endpoint,
        *,
        most: int,
        certificate: Certificate | None = None,
        idle_s: float = IDLE_S,
        **settings: Any,
    ) -> None:
        """Opens nothing yet; `most` connections at a time, `settings` are aiohttp's. A certificate: TLS."""
        application.middlewares.insert(0, self._attended())
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0, **settings
        )
        self._endpoint = endpoint
        self._certificate = certificate
        self._most = most
        self._idle_s = idle_s
        self._count = 0
        self._by_peer: dict[str, dict[_Guest, None]] = {}
        """Those of each peer, the longest silent first."""
        self._by_inner: dict[Any, _Guest] = {}
        self._door: Door | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.sent_away = 0
        """Connections that went because there were too many."""

    def _attended(self) -> Any:
        """Notes that a request is in work."""

        @web.middleware
        async def attended(request: web.Request, handler: _Handler) -> web.StreamResponse:
            guest = self._by_inner.get(request.protocol)
            if guest is None:
                return await handler(request)
            guest.in_work += 1
            try:
                return await handler(request)
            finally:
                guest.in_work -= 1
                self._heard(guest)

        return attended

    @property
    def port(self) -> int:
        """Where it listens; 0: not yet."""
        return self._door.port if self._door is not None else 0

    @property
    def connections(self) -> int:
        """Open now."""
        return self._count

    async def start(self) -> None:
        """Listens; raises OSError if the port is taken."""
        await self._runner.setup()
        self._door = Door(self._endpoint, certificate=self._certificate, make=_never, is_proxy=lambda _peer: False)
        self._own(self._door.connections(self._let_in))
        self._sweep_again()

    async def stop(self) -> None:
        """Stops listening and ends open requests within a second."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._door is not None:
            self._door.close()
        await self._runner.cleanup()

    # -- connections

    def _let_in(self, connection: socket.socket, peer: Peer) -> None:
        if self._count >= self._most and not self._send_one_away():
            connection.close()  # all are in work
            return
        guest = _Guest(self, str(peer), connection, asyncio.get_running_loop().time())
        self._by_peer.setdefault(guest.peer, {})[guest] = None
        self._count += 1
        self._own(self._welcome(connection, guest))

    async def _welcome(self, connection: socket.socket, guest: _Guest) -> None:
        assert self._door is not None  # noqa: S101 -- it has let the guest in
        try:
            await self._door.take(connection, lambda: guest)
        finally:
            if not guest.is_up:
                self.forget(guest, None)

    def make(self, guest: _Guest) -> asyncio.Protocol:
        """What answers on a connection that is up."""
        assert self._runner.server is not None  # noqa: S101 -- `start` has set it up
        inner = self._runner.server()
        self._by_inner[inner] = guest
        return inner

    def _heard(self, guest: _Guest) -> None:
        """It is the last one to be sent away now."""
        guest.since = asyncio.get_running_loop().time()
        guests = self._by_peer.get(guest.peer, {})
        if guest in guests:
            del guests[guest]
            guests[guest] = None

    def forget(self, guest: _Guest, inner: asyncio.Protocol | None) -> None:
        """It is gone, or as good as gone."""
        self._by_inner.pop(inner, None)
        guests = self._by_peer.get(guest.peer, {})
        if guest not in guests:
            return
        del guests[guest]
        self._count -= 1
        if not guests:
            del self._by_peer[guest.peer]

    def _send_one_away(self) -> bool:
        """The one that has been silent the longest, of the peer with the most; False if all are in work."""
        for guests in sorted(self._by_peer.values(), key=len, reverse=True):
            found = next((one for one in guests if not one.in_work), None)
            if found is not None:
                self.sent_away += 1
                self.forget(found, None)
                found.send_away()
                return True
        return False

    def sweep(self, now: float) -> None:
        """Ends what has been silent for too long."""
        for guests in tuple(self._by_peer.values()):
            for guest in tuple(guests):
                if not guest.in_work and now - guest.since >= self._idle_s:
                    guest.send_away()

    def _sweep_again(self) -> None:
        loop = asyncio.get_running_loop()
        self.sweep(loop.time())
        self._sweeper = loop.call_later(_SWEEP_EVERY_S, self._sweep_again)

    def _own(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report)


def _never(_client: str) -> asyncio.BaseProtocol:
    raise AssertionError("guests are made when they come in")
