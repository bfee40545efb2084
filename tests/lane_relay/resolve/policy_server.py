"""An HTTPS server for MTA-STS policies on loopback, whose every answer the test decides; it counts what it is asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["PolicyServer", "policy", "serving"]


def policy(mode: str = "enforce", *mx: str, max_age: int = 86400) -> str:
    """The text of a policy as domains publish it."""
    hosts = "".join(f"mx: {host}\r\n" for host in mx or ("mx.isp.test",))
    return f"version: STSv1\r\nmode: {mode}\r\n{hosts}max_age: {max_age}\r\n"


@dataclass
class PolicyServer:
    """What it says and what it heard."""

    body: str = field(default_factory=policy)
    status: str = "200 OK"
    content_type: str = "text/plain; charset=utf-8"
    kept_back: int = 0
    """Octets that are promised and never come."""
    moved_to: str = ""
    """Where the policy is said to be; it is there, for who follows."""
    requests: list[str] = field(default_factory=list)
    """First line and Host of each."""
    sources: list[str] = field(default_factory=list)
    port: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait for it; set unless the test says otherwise."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
            self.requests.append(f"{head.splitlines()[0]} {host}")
            self.sources.append(writer.get_extra_info("peername")[0])
            await self.release.wait()
            moves = bool(self.moved_to) and "/.well-known/" in head.splitlines()[0]
            status = f"301 Moved\r\nLocation: {self.moved_to}" if moves else self.status
            content = self.body.encode()
            kind = f"Content-Type: {self.content_type}\r\n" if self.content_type else ""
            writer.write(
                f"HTTP/1.1 {status}\r\n{kind}Content-Length: {len(content) + self.kept_back}\r\n"
                f"Connection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(server: PolicyServer, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Runs it on 127.0.0.1."""
    server.release.set()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listening.close()
