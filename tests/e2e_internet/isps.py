"""A real ISP process for tests, on a loopback address of its own, and a plain client to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from e2e.internet.control_client import IspControl
from e2e.internet.isp import Host, IspConfig, IspsConfig
from e2e.internet.policy import Policy
from tests.ports import free_port

_open: list[Client] = []
_numbers = itertools.count(1)
STARTED_WITHIN = 60.0  # seconds


@asynccontextmanager
async def running_isps(
    folder: Path, **policies: Policy
) -> AsyncIterator[tuple[IspControl, dict[str, tuple[str, int]]]]:
    """One process with these ISPs; their control and the address of each."""
    addresses = {name: ("127.0.0.31", free_port("127.0.0.31")) for name in policies}
    config = IspsConfig(
        isps=tuple(
            IspConfig(name=name, hosts=(Host(hostname=f"mx1.{name}.test", ip=ip, port=port),), policy=policies[name])
            for name, (ip, port) in addresses.items()
        ),
        control=folder / "control",
        records=folder / "records",
    )
    file = folder / "isps.json"
    file.write_text(config.model_dump_json())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "e2e.internet.isp", "--config", str(file), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), STARTED_WITHIN) == b"ready\n"
        async with IspControl(config.control) as control:
            yield control, addresses
    finally:
        while _open:
            await _open.pop().close()
        process.terminate()
        assert await process.wait() == 0


class Client:
    """A client that says exactly what a test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        _open.append(self)

    @classmethod
    async def connect(cls, address: tuple[str, int], source_ip: str = "127.0.0.41") -> Client:
        """Connects from a source address, without waiting for the banner."""
        return cls(*await asyncio.open_connection(*address, local_addr=(source_ip, 0)))

    async def reply(self) -> tuple[int, str]:
        """The next reply, its last line's text."""
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 60)).decode()
            if line[3:4] != "-":
                return (int(line[:3]), line[4:].strip()) if line else (0, "")

    async def say(self, *lines: str) -> list[int]:
        """Sends lines in one piece; the codes of as many replies."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return [(await self.reply())[0] for _ in lines]

    async def send(self, recipient: str = "r@b.test", message_id: str = "") -> list[int]:
        """Sends one message; the codes of MAIL, RCPT, DATA and the end of data."""
        codes = await self.say("MAIL FROM:<s@a.test>", f"RCPT TO:<{recipient}>", "DATA")
        if codes[-1] != 354:
            return codes
        number = message_id or f"<{next(_numbers)}@a.test>"
        self.writer.write(f"Message-ID: {number}\r\n\r\nbody\r\n.\r\n".encode())
        return [*codes, (await self.reply())[0]]

    async def greeted(self) -> Client:
        """Takes the banner and says EHLO."""
        assert (await self.reply())[0] == 220
        assert await self.say("EHLO client.test") == [250]
        return self

    async def close(self) -> None:
        """Ends the connection, whatever state it is in."""
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()
