"""What goes between two slots, seen and stopped at each step: a `Door` in front of each slot's admin port.

TLS ends here on both sides, with a certificate of the lane's authority; what passes is not changed. A request is read
whole before any of it goes on, and so is its answer: what a peer that is killed had written may still be brought.
Before: `stepping`, which says where to stop. After: the slot behind the door.
"""

import socket
import ssl
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import IO, Final, Self

_PREFIX: Final = "/v1/handover/"
_PATIENCE_S: Final = 120.0
"""Nobody is stopped for so long; a thread that is left over ends then."""
Point = tuple[str, str]
"""(exchange, part of it). Exchanges: `connect`, `offer`, `ask`, `forget`, `given`, `other`. Parts, in their order:
`made` of a connection; of a request `head` (gone on, if a body follows; else read alone), `half` of its body, `last`:
all but its last byte; `answer`: read whole, and none of it gone on; `half-answer`; `over`."""


class _Socket(ssl.SSLSocket):
    """Closes itself: `wrap_socket` raises what a reset connection says, and keeps what it took of its caller open."""

    def __del__(self) -> None:
        self.close()


class _EndedError(Exception):
    """The connection is at its end."""


@dataclass
class Stop:
    """The n-th time from now that a point is reached, the peers wait there."""

    point: Point
    times: int = 1
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    """The connection that was stopped has ended, or its exchange has."""
    _go: threading.Event = field(default_factory=threading.Event)
    _goes_on: bool = False

    def cut(self) -> None:
        """The connection breaks here, on both sides."""
        self._go.set()

    def go_on(self) -> None:
        """What was read goes on to whoever still listens."""
        self._goes_on = True
        self._go.set()

    def wait(self) -> bool:
        """Called by the connection: whether it goes on."""
        self.reached.set()
        return self._go.wait(_PATIENCE_S) and self._goes_on


class Door:
    """Stands in front of one slot."""

    def __init__(self, folder: Path, port: int) -> None:
        """`folder` has the lane's authority and the door's certificate; `port` is the slot's own."""
        self._to = port
        authority, certificate, key = (str(folder / name) for name in ("ca.crt", "door.crt", "door.key"))
        self._server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        self._server.verify_mode = ssl.CERT_REQUIRED
        self._client = ssl.create_default_context(cafile=authority)
        for context in (self._server, self._client):
            context.load_cert_chain(certificate, key)
            context.sslsocket_class = _Socket
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._stops: list[Stop] = []
        self.cuts: frozenset[Point] = frozenset()
        """Connections that come to one of these break there."""
        self.seen: Counter[Point] = Counter()
        self.offers: Counter[str] = Counter()
        """How often each transfer was offered."""
        self._passages: set[_Passage] = set()
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for stop in self._stops:
            stop.cut()
        self.hang_up()
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    def stop_at(self, exchange: str, part: str, times: int = 1) -> Stop:
        """Whoever comes there next, or so many times later, waits."""
        stop = Stop((exchange, part), times)
        with self._lock:
            self._stops.append(stop)
        return stop

    def forget(self, stop: Stop) -> None:
        """Nobody waits there any more."""
        with self._lock:
            if stop in self._stops:
                self._stops.remove(stop)
        stop.cut()

    def hang_up(self) -> None:
        """Breaks all connections, as a network that is gone."""
        with self._lock:
            passages = list(self._passages)
        for one in passages:
            one.hang_up()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            slot = socket.create_connection(("127.0.0.1", self._to), 30)
        except OSError:  # the slot is down: so is its door
            client.close()
            return
        passage = _Passage(self, client, slot)
        with self._lock:
            self._passages.add(passage)
        try:
            passage.begin(self._server, self._client)
            while True:
                passage.exchange()
        except (_EndedError, OSError, ValueError):
            pass  # it was cut, or one of the two has died
        finally:
            with self._lock:
                self._passages.discard(passage)
            passage.close()

    def reach(self, point: Point) -> Stop | None:
        """A connection is there: raises _EndedError where it breaks, else its stop, which it has waited at."""
        with self._lock:
            self.seen[point] += 1
            if point in self.cuts:
                raise _EndedError
            stop = next((one for one in self._stops if one.point == point), None)
            if stop is None:
                return None
            stop.times -= 1
            if stop.times:
                return None
            self._stops.remove(stop)
        if not stop.wait():
            stop.over.set()
            raise _EndedError
        return stop

    def offered(self, transfer: str) -> None:
        """One more time."""
        with self._lock:
            self.offers[transfer] += 1


class _Passage:
    """One connection through a door."""

    def __init__(self, door: Door, client: socket.socket, slot: socket.socket) -> None:
        self._door, self._client, self._slot = door, client, slot
        self._asks: IO[bytes]
        self._answers: IO[bytes]
        self._stopped: list[Stop] = []

    def begin(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        """TLS on both sides."""
        self._reach("connect", "made")
        self._client = server.wrap_socket(self._client, server_side=True)
        self._slot = client.wrap_socket(self._slot, server_hostname="localhost")
        self._client.settimeout(_PATIENCE_S)
        self._slot.settimeout(_PATIENCE_S)
        self._asks, self._answers = self._client.makefile("rb"), self._slot.makefile("rb")

    def _reach(self, exchange: str, part: str) -> None:
        stop = self._door.reach((exchange, part))
        if stop is not None:
            self._stopped.append(stop)

    def exchange(self) -> None:
        """One request and its answer."""
        self._await_request()
        head = _head(self._asks)
        body = _body(self._asks, head)
        what = self._what(head)
        if body:
            self._slot.sendall(head)
        self._reach(what, "head")
        if not body:
            self._slot.sendall(head)
        elif len(body) > 1:
            half = len(body) // 2
            self._slot.sendall(body[:half])
            self._reach(what, "half")
            self._slot.sendall(body[half:-1])
            self._reach(what, "last")
            self._slot.sendall(body[-1:])
        said = _head(self._answers)
        answer = _body(self._answers, said)
        self._reach(what, "answer")
        half = len(answer) // 2
        self._client.sendall(said + answer[:half])
        self._reach(what, "half-answer")
        self._client.sendall(answer[half:])
        self._door.reach((what, "over"))
        self._is_over()

    def _what(self, head: bytes) -> str:
        """The exchange that a request begins."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        name = target.partition("?")[0].removeprefix(_PREFIX)
        if name == "given":
            return "given"
        if len(name) != 32:
            return "other"
        if method == "POST":
            self._door.offered(name)
        return {"POST": "offer", "GET": "ask", "DELETE": "forget"}.get(method, "other")

    def _await_request(self) -> None:
        """A kept connection: ends with either side."""
        while True:
            ready, _, _ = select([self._client, self._slot], [], [], _PATIENCE_S)
            if not ready:
                raise _EndedError
            if self._slot in ready and _has_ended(self._slot):
                raise _EndedError
            if self._client in ready:
                return

    def _is_over(self) -> None:
        for stop in self._stopped:
            stop.over.set()
        self._stopped.clear()

    def hang_up(self) -> None:
        """Ends both sides, whoever is at work with them."""
        for one in (self._client, self._slot):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The same, and says so to who stopped it."""
        self.hang_up()
        for one in (self._client, self._slot):
            one.close()
        for file in (getattr(self, "_asks", None), getattr(self, "_answers", None)):
            if file is not None:
                with suppress(OSError):
                    file.close()
        self._is_over()


def _has_ended(one: socket.socket) -> bool:
    """What came while nothing was asked: the end, or TLS's own (session tickets)."""
    one.settimeout(0)
    try:
        return not one.recv(1)
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    except OSError:
        return True
    finally:
        one.settimeout(_PATIENCE_S)


def _head(stream: IO[bytes]) -> bytes:
    """A head with its empty line; raises _EndedError where it ends before."""
    lines = []
    while True:
        line = stream.readline()
        if not line:
            raise _EndedError
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)


def _body(stream: IO[bytes], head: bytes) -> bytes:
    found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(found[0].partition(b":")[2]) if found else 0
    body = stream.read(length)
    if len(body) < length:
        raise _EndedError
    return body
