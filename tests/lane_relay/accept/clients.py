"""Clients that write what they are told to, and a clock that is set by hand."""

import asyncio
import ssl
from collections.abc import Callable

from lane_relay.clock import Clock

CONTENT = (
    b"From: App <otp@notify.example.com>\r\nTo: b@isp.example\r\nX-Correlation-Id: o-1\r\n\r\nCode 123\r\n.dot\r\n"
)
SENDER, RECIPIENT = "otp@notify.example.com", "b@isp.example"


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is the product's state, which has no event for tests
            await asyncio.sleep(0.005)


class Raw:
    """A client that writes what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> "Raw":
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), ssl=tls))

    async def ask(self, data: bytes, lines: int = 1) -> list[str]:
        self.writer.write(data)
        async with asyncio.timeout(60):
            return [(await self.reader.readline()).decode().rstrip() for _ in range(lines)]

    async def hello(self) -> list[str]:
        """Says EHLO; what is offered."""
        self.writer.write(b"EHLO app\r\n")
        lines = [""]
        async with asyncio.timeout(60):
            while not lines[-1].startswith("250 "):
                lines.append((await self.reader.readline()).decode().rstrip())
        return lines[1:]

    async def rest(self) -> str:
        async with asyncio.timeout(60):
            return (await self.reader.read()).decode()

    async def close(self) -> None:
        self.writer.close()


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.clock = Clock(now=lambda: 1_790_000_000.0, monotonic=lambda: self.time)
