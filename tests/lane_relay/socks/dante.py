"""A real SOCKS5 proxy (Dante) on loopback, with or without users; started and ended by id.

It leaves from 127.0.0.1, since it takes only addresses that an interface has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from e2e.internet.dante import BLOCKED_PORT, PASSWORD, USER, Dante
from tests.ports import free_port

__all__ = ["BLOCKED_PORT", "LEAVES_FROM", "PASSWORD", "USER", "running_dante"]

LEAVES_FROM = "127.0.0.1"


@asynccontextmanager
async def running_dante(folder: Path, *, users: bool = False) -> AsyncIterator[int]:
    """A proxy that takes everybody, or only USER with PASSWORD; its port."""
    dante = Dante("127.0.0.1", free_port(), LEAVES_FROM, users)
    process = await asyncio.create_subprocess_exec(
        *dante.command(folder), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    heard = b""
    try:
        async with asyncio.timeout(60):
            while line := await process.stdout.readline():
                heard += line
                if line.rstrip().endswith(b" running"):
                    break
            else:
                raise AssertionError(f"Dante ended before it ran: {heard.decode()}")
        reader = asyncio.create_task(_drain(process.stdout))
        yield dante.port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    await reader


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
