"""The reflector: tells whoever asks which address it sees them with (`lane-relay reflect`).

Runs outside the cluster or at least outside the slot's network, by default on port 25. It holds one secret, keeps no
state, and says nothing to anyone who does not speak the protocol.
Invariants: at most MAX_CONNECTIONS at once and MAX_PER_SECOND answers; a connection lives IDLE_S at most. Of too many
the one goes that has said nothing for longest: who asks at once is answered, however many others keep connections.
Before it: `wire`. After it: the relay's `prober`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast

from lane_relay.egress.wire import REQUEST_LIMIT, LineBuffer, answer, parse_request

__all__ = ["Reflector", "serve"]

MAX_CONNECTIONS: Final = 4096  # 1,000 slots asking at once after a power cut, times four; about 1 KiB each
MAX_PER_SECOND: Final = 2000  # 1,000 slots that retry each second, times two
IDLE_S: Final = 10.0  # as long as a relay waits for it, twice over
BACKLOG: Final = 1024


class Reflector:
    """What all connections of one reflector share."""

    def __init__(self, key: bytes, now: Callable[[], float], most: int = MAX_CONNECTIONS) -> None:
        self.key = key
        self.now = now
        self.open: dict[asyncio.Transport, None] = {}
        """The oldest first."""
        self._most = most
        self.answered = 0
        self._idle = asyncio.Event()
        self._second = 0
        self._in_second = 0

    def admit(self, transport: asyncio.Transport) -> None:
        """Takes a connection in, for the oldest if there are too many."""
        if len(self.open) >= self._most:
            oldest = next(iter(self.open))
            del self.open[oldest]
            oldest.abort()
        self.open[transport] = None

    def forget(self, transport: asyncio.Transport) -> None:
        """The connection is gone."""
        self.open.pop(transport, None)
        if not self.open:
            self._idle.set()

    async def drain(self, grace_s: float) -> None:
        """Returns when no connection is open; cuts off what is left after the grace, in seconds."""
        self._idle.clear()
        if self.open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
        for transport in list(self.open):
            transport.abort()

    def may_answer(self) -> bool:
        """Whether this second has room for one more answer."""
        second = int(self.now())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second <= MAX_PER_SECOND


class _Connection(asyncio.Protocol):
    """One asker: one line in, one line out."""

    def __init__(self, shared: Reflector) -> None:
        self._shared = shared
        self._line = LineBuffer(REQUEST_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the clock."""
        self._transport = cast("asyncio.Transport", transport)
        self._shared.admit(self._transport)
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answers the first line if it is a request, and hangs up in every case."""
        if self._transport is None or self._transport.is_closing():
            return
        line = self._line.feed(data)
        if line is None and not self._line.overflow:
            return
        nonce = parse_request(line) if line is not None else None
        peer = self._transport.get_extra_info("peername")
        if nonce is not None and peer is not None and self._shared.may_answer():
            self._shared.answered += 1
            self._transport.write(answer(self._shared.key, nonce, peer[0], peer[1], self._shared.now()))
        self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Gives its place to the next."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._shared.forget(self._transport)


async def serve(host: str, port: int, shared: Reflector) -> asyncio.Server:
    """A listening server; both families where host is `::`. Raises OSError if the address cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        return await asyncio.get_running_loop().create_server(
            lambda: _Connection(shared), sock=listener, backlog=BACKLOG
        )
    except BaseException:
        listener.close()
        raise
