"""Bounces on their way to a webhook: one small file each, on the volume before the report is taken, gone once told.

Before it: `forwarding`. After it: somebody's HTTP endpoint, which hears of each bounce at least once and knows a
repeated one by its `id` and `recipientIndex`. Invariants: number and size are bounded, the oldest go first and are
counted; an endpoint that is down costs nobody anything but the files, and no other endpoint its bounces.
"""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

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
        """Looks what a former life left, which blocks: nobody is told that nothing waits before that is known."""
        self._directory = directory
        self._count = len(self._paths())
        self._number = 0
        self._disk = threading.Lock()
        self._came = asyncio.Event()
        self.told = 0
        self.failures = 0
        """Attempts that the endpoint did not answer with 2xx."""
        self.dropped = 0
        """Given up for newer ones."""
        self.failure = ""
        """Why some of them wait, or empty."""

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
        """In a thread; reports come side by side, and each has a number of its own."""
        with self._disk:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not self._number:
                self._number = max([int(path.stem) for path in self._paths()], default=0)
            if self._count >= MOST:
                self._drop_oldest()
            self._number += 1
            self._keep(self._directory / f"{self._number:016d}.json", content)
            self._count += 1

    def _drop_oldest(self) -> None:
        kept = self._paths()
        for path in kept[: len(kept) - MOST + 1]:
            path.unlink(missing_ok=True)
            self.dropped += 1
        self._count = min(len(kept), MOST - 1)

    def _keep(self, path: Path, content: bytes) -> None:
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

    def _forget(self, path: Path) -> None:
        """In a thread; it may have been dropped meanwhile."""
        with self._disk:
            if path.exists():
                path.unlink()
                self._count -= 1

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.json"))

    async def run(self) -> None:
        """Tells them in their order, for ever."""
        wait = _FIRST_WAIT_S
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
        """Whether every one that was there has been told; an endpoint that fails waits with all of its own, alone."""
        failing: dict[str, str] = {}
        for path in await asyncio.to_thread(self._paths):
            url, event = await asyncio.to_thread(_read, path)
            if url in failing:
                continue
            if url and (why := await self._tell(client, url, event)):
                self.failures += 1
                self.failure = failing[url] = f"{urlsplit(url).hostname} {why}"
                continue
            await asyncio.to_thread(self._forget, path)
            self.told += bool(url)
        self.failure = next(iter(failing.values()), "")
        return not failing

    async def _tell(self, client: aiohttp.ClientSession, url: str, event: Any) -> str:
        """Why the endpoint does not have it, or empty."""
        try:
            async with client.post(url, json=event, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return ""
                _log.warning("a webhook refused a bounce, it is told again", status=answer.status)
                return f"answers {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            _log.warning("a webhook does not answer, it is told again", reason=type(failed).__name__)
            return f"does not answer: {type(failed).__name__}"


def _read(path: Path) -> tuple[str, Any]:
    """The address and the event; no address for what cannot be read: it is told to nobody."""
    try:
        kept = msgspec.json.decode(path.read_bytes())
        return str(kept["url"]), kept["event"]
    except FileNotFoundError:  # dropped for newer ones
        return "", None
    except (msgspec.DecodeError, KeyError, TypeError):
        _log.error("a kept bounce is damaged", file=path.name)
        return "", None
