"""A submission client over one kept-open connection: pipelined envelope, STARTTLS or implicit TLS, AUTH PLAIN.

Invariant: `send` returns the server's reply or raises; it says whether the message may have been accepted when the
connection broke, so that no one counts a message as both lost and never sent.
Before: `generate`. After: a lane's submission port, or the shared Postfix.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Literal, cast

from e2e.internet.tls_pipe import TlsPipe

TIMEOUT_S = 300.0  # RFC 5321 section 4.5.3.2 gives a client no less for most replies
CONNECT_TIMEOUT_S = 30.0
_CLOSES = 421  # RFC 5321 section 3.8: the server ends the session with it


@dataclass(frozen=True, slots=True)
class Reply:
    """The last line of a server's reply."""

    code: int
    text: str


class BrokenConnectionError(ConnectionError):
    """The connection ended; `in_doubt`: after the end of data, so the message may have been accepted."""

    def __init__(self, reason: str, *, in_doubt: bool) -> None:
        super().__init__(reason)
        self.in_doubt = in_doubt


@dataclass(frozen=True, slots=True)
class Target:
    """Where to submit, and how to prove who we are."""

    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"] = "none"
    user: str = ""
    password: str = ""
    ca_file: str = ""  # empty: any certificate is taken
    source_ip: str = ""


class _Wire(asyncio.Protocol):
    """Bytes to replies; TLS in between where asked for."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.broken = ""
        self.tls: TlsPipe | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self.tls is not None:
            try:
                data, ciphertext = self.tls.receive(data)
            except ssl.SSLError as error:
                self.connection_lost(error)
                self.transport.abort()
                return
            if ciphertext:
                self.transport.write(ciphertext)
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            if line[3:4] != b"-":
                self.replies.append(Reply(int(line[:3]), line[4:].decode("utf-8", "replace")))
                if self.replies[-1].code == _CLOSES and not self.broken:
                    # nothing comes behind it; over TLS a server may wait for our goodbye
                    self.broken = "closed by the server"
                    self.transport.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = self.broken or (repr(exc) if exc else "closed by the server")
        self._wake()

    def write(self, data: bytes) -> None:
        self.transport.write(self.tls.send(data) if self.tls else data)

    async def wait(self, count: int, timeout_s: float) -> list[Reply]:
        """The next `count` replies, or fewer if the connection ends before; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self.replies) < count and not self.broken:
                await self.changed()
        return [self.replies.popleft() for _ in range(min(count, len(self.replies)))]

    async def changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def client_context(target: Target) -> ssl.SSLContext:
    """TLS towards a target: verified against `ca_file` if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if target.ca_file:
        context.load_verify_locations(target.ca_file)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Submission:
    """One open session."""

    def __init__(self, wire: _Wire, target: Target) -> None:
        self._wire = wire
        self._target = target

    @classmethod
    async def open(cls, target: Target, context: ssl.SSLContext) -> Submission:
        """Connects, greets, encrypts and authenticates; raises BrokenConnectionError or OSError."""
        loop = asyncio.get_running_loop()
        local = (target.source_ip, 0) if target.source_ip else None
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, wire = await loop.create_connection(_Wire, target.host, target.port, local_addr=local)
        session = cls(wire, target)
        try:
            await session._greet(context)
        except BaseException:
            wire.transport.abort()
            raise
        return session

    @property
    def alive(self) -> bool:
        """False once the server has gone."""
        return not self._wire.broken

    async def send(self, sender: str, recipient: str, message: bytes) -> Reply:
        """Offers one message (dot-stuffed, ends in CRLF); the reply that decided. Raises BrokenConnectionError."""
        envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        replies = await self._ask(envelope, 3)
        for reply, wanted in zip(replies, (250, 250, 354), strict=True):
            if reply.code != wanted:
                if replies[-1].code == 354:
                    await self._ask(b".\r\n", 1)
                else:
                    await self._ask(b"RSET\r\n", 1)
                return reply
        (reply,) = await self._ask(message + b".\r\n", 1, in_doubt=True)
        return reply

    async def close(self) -> None:
        """Says goodbye and closes."""
        if self.alive:
            self._wire.write(b"QUIT\r\n")
        self._wire.broken = self._wire.broken or "closed here"
        self._wire.transport.close()

    async def _ask(self, data: bytes, count: int, *, in_doubt: bool = False) -> list[Reply]:
        if self._wire.broken:
            raise BrokenConnectionError(self._wire.broken, in_doubt=False)
        self._wire.write(data)
        return await self._replies(count, in_doubt=in_doubt)

    async def _replies(self, count: int, *, in_doubt: bool = False) -> list[Reply]:
        try:
            replies = await self._wire.wait(count, TIMEOUT_S)
        except TimeoutError:
            self._wire.transport.abort()
            raise BrokenConnectionError(f"no reply within {TIMEOUT_S:.0f} s", in_doubt=in_doubt) from None
        if len(replies) < count:
            last = f" after {replies[-1].code} {replies[-1].text}" if replies else ""
            raise BrokenConnectionError(f"{self._wire.broken}{last}", in_doubt=in_doubt)
        return replies

    async def _expect(self, data: bytes, code: int) -> None:
        (reply,) = await (self._ask(data, 1) if data else self._replies(1))
        if reply.code != code:
            raise BrokenConnectionError(f"{reply.code} {reply.text}", in_doubt=False)

    async def _greet(self, context: ssl.SSLContext) -> None:
        if self._target.tls == "implicit":
            self._begin_tls(context)
        await self._expect(b"", 220)
        await self._expect(b"EHLO load.example.net\r\n", 250)
        if self._target.tls == "starttls":
            await self._expect(b"STARTTLS\r\n", 220)
            self._begin_tls(context)
            await self._expect_handshake()
            await self._expect(b"EHLO load.example.net\r\n", 250)
        if self._target.user:
            token = base64.b64encode(f"\0{self._target.user}\0{self._target.password}".encode())
            await self._expect(b"AUTH PLAIN " + token + b"\r\n", 235)

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        pipe = TlsPipe(context, server_side=False, server_hostname=self._target.host)
        self._wire.transport.write(pipe.begin())
        self._wire.tls = pipe

    async def _expect_handshake(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while self._wire.tls is not None and not self._wire.tls.established:
                if self._wire.broken:
                    raise BrokenConnectionError(self._wire.broken, in_doubt=False)
                await self._wire.changed()
