"""An SMTP peer whose every answer can be scripted, on a loopback address; it counts what it sees on its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.ports import free_port

DROP = "drop"
STALL = "stall"
Script = dict[str, "bytes | str | Callable[[str], bytes | str]"]
"""Stage (connect, ehlo, starttls, auth, mail, rcpt, data, end, quit) -> reply, DROP, STALL or a function."""

EHLO = b"250-peer.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"
_DEFAULT: Script = {
    "connect": b"220 peer.test ESMTP\r\n",
    "ehlo": EHLO,
    "helo": b"250 peer.test\r\n",
    "starttls": b"220 go ahead\r\n",
    "auth": b"235 2.7.0 welcome\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go\r\n",
    "end": b"250 2.0.0 queued\r\n",
    "rset": b"250 ok\r\n",
    "quit": b"221 bye\r\n",
}


@dataclass
class Seen:
    """One message that the peer took."""

    source: str
    recipients: list[str]
    content: bytes
    connection: int
    at: float
    encrypted: bool


@dataclass
class Peer:
    """What one peer does and saw."""

    script: Script = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    hosts: tuple[str, ...] = ("127.0.0.1",)
    """Loopback addresses that it listens on, on one port."""
    messages: list[Seen] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    accepted_at: list[float] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends every STALL."""
    late_answer: bytes = b""
    """What is said then; empty: the connection ends."""
    close_delay: float = 0.0
    """Seconds between the answer to QUIT and the end of the connection."""
    just_hangs_up: bool = False
    """Ends a connection with the FIN alone, without TLS's closing words, as many servers do."""

    trickles: str = ""
    """The stage at which a reply never ends, line after line."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.accepted_at.append(asyncio.get_running_loop().time())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, EOFError):
                await self._talk(reader, writer, self.connections)
        finally:
            self.open -= 1  # before our FIN: nobody may have counted on it earlier
            if self.just_hangs_up:
                writer.transport.abort()
            else:
                writer.close()

    async def _say(self, writer: asyncio.StreamWriter, stage: str, line: str = "") -> bytes:
        """Does what the script says; the reply, which is empty where the connection has to end."""
        while stage == self.trickles:
            writer.write(b"250-wait\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
        action = self.script.get(stage, _DEFAULT[stage])
        if callable(action):
            action = action(line)
        if action == STALL:
            await self.release.wait()
            action = self.late_answer or DROP
        if isinstance(action, str):
            return b""
        writer.write(action)
        await writer.drain()
        return action

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if not (await self._say(writer, "connect")).startswith(b"220"):
            return
        recipients: list[str] = []
        encrypted = in_mail = False
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.commands.append(line)
            stage = line.split(" ")[0].split(":")[0].lower()
            if stage == "data":
                if not recipients and "data" not in self.script:
                    writer.write(b"554 5.5.1 no valid recipients\r\n")
                    continue
                reply = await self._say(writer, "data", line)
                if not reply.startswith(b"354"):
                    if not reply or reply.startswith(b"421"):
                        return
                    continue
                content = b""
                while not (content == b".\r\n" or content.endswith(b"\r\n.\r\n")):
                    content += await reader.readuntil(b"\r\n")
                source = writer.get_extra_info("peername")[0]
                now = asyncio.get_running_loop().time()
                reply = await self._say(writer, "end", line)
                if reply.startswith(b"2"):
                    self.messages.append(Seen(source, recipients, content[:-3], number, now, encrypted))
                recipients = []
            elif stage == "starttls":
                reply = await self._say(writer, "starttls", line)
                if reply.startswith(b"220"):
                    if self.context is None:
                        return
                    await writer.start_tls(self.context)
                    encrypted = True
                continue
            else:
                if stage == "rcpt" and not in_mail:
                    writer.write(b"503 5.5.1 MAIL first\r\n")
                    continue
                reply = await self._say(writer, stage, line)
                if stage == "mail":
                    recipients, in_mail = [], reply.startswith(b"2")
                elif stage == "rcpt" and reply.startswith(b"2"):
                    recipients.append(line[9:-1])
                elif stage == "quit" and reply:
                    await asyncio.sleep(self.close_delay)
                    return
            if not reply or reply.startswith(b"421"):
                return


@asynccontextmanager
async def running(*peers: Peer) -> AsyncIterator[None]:
    """Runs peers, each on its addresses; all of one call share a port, as MX hosts do."""
    servers: list[asyncio.Server] = []
    port = free_port(*(host for peer in peers for host in peer.hosts))
    for peer in peers:
        servers += [await asyncio.start_server(peer.serve, host, port) for host in peer.hosts]
        peer.port = port
    try:
        yield
    finally:
        for peer in peers:
            peer.release.set()
        for server in servers:
            server.close()
