"""Bounces on their way to a webhook: one small file each, on the volume before the report is taken, gone once told.

Before it: `forwarding`. After it: somebody's HTTP endpoint, which hears of each bounce at least once and knows a
repeated one by its `id` and `recipientIndex`. Invariants: number and size are bounded, the oldest go first and are
counted; an endpoint that is down costs nobody anything but the files.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from lane_relay.errors import RelayError

__all__ = ["Outbox", "OutboxError"]

MOST: Final = 10_000
_ATTEMPT_S: Final = 10.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 300.0
_log = structlog.get_logger("feedback")


class OutboxError(RelayError):
    """The volume did not take it."""


class Outbox:
    """The folder and its courier."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        self._number = 0
        self._came = asyncio.Event()
        self.told = 0
        self.failures = 0
        """Attempts that the endpoint did not answer with 2xx."""
        self.dropped = 0
        """Given up for newer ones."""

    @property
    def waiting(self) -> int:
        """Bounces that are to be told."""
        return self._count

    async def put(self, url: str, event: dict[str, Any]) -> None:
        """Keeps an event for this address; returns when it is on the volume. Raises OutboxError."""
        content = msgspec.json.encode({"url": url, "event": event})
        try:
            await asyncio.to_thread(self._write, content)
        except OSError as failed:
            raise OutboxError(f"a bounce cannot be kept for its webhook: {failed}") from failed
        self._came.set()

    def _write(self, content: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._number:
            self._number = max([int(path.stem) for path in self._directory.glob("*.json")], default=0)
        while self._count >= MOST:
            self._paths()[0].unlink(missing_ok=True)
            self._count -= 1
            self.dropped += 1
        self._number += 1
        path = self._directory / f"{self._number:016d}.json"
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._count += 1

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.json"))

    async def run(self) -> None:
        """Tells them in their order, for ever."""
        wait = _FIRST_WAIT_S
        self._count = len(self._paths())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ATTEMPT_S)) as client:
            while True:
                self._came.clear()
                if await self._tell_all(client):
                    wait = _FIRST_WAIT_S
                    if not self._count:
                        await self._came.wait()
                else:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _tell_all(self, client: aiohttp.ClientSession) -> bool:
        """Whether the endpoint took every one that was there."""
        for path in await asyncio.to_thread(self._paths):
            if not await self._tell(client, path):
                self.failures += 1
                return False
        return True

    async def _tell(self, client: aiohttp.ClientSession, path: Path) -> bool:
        """Whether the endpoint has it; what cannot be read is told to nobody."""
        try:
            kept = msgspec.json.decode(await asyncio.to_thread(path.read_bytes))
            async with client.post(kept["url"], json=kept["event"], allow_redirects=False) as answer:
                if not 200 <= answer.status < 300:
                    _log.warning("a webhook refused a bounce, it is told again", status=answer.status)
                    return False
        except FileNotFoundError:
            return True
        except (msgspec.DecodeError, KeyError, TypeError):
            _log.error("a kept bounce is damaged", file=path.name)
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            _log.warning("a webhook does not answer, it is told again", reason=type(failed).__name__)
            return False
        await asyncio.to_thread(path.unlink, missing_ok=True)
        self._count -= 1
        self.told += 1
        return True
