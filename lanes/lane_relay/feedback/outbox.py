"""Bounces on their way to a webhook: one small file each, on the volume before the report is taken, gone once told.

Before it: `forwarding`. After it: somebody's HTTP endpoint, which hears of each bounce at least once and knows a
repeated one by its `id` and `recipientIndex`. Invariants: number and size are bounded, the oldest go first and are
counted; an endpoint that is down costs nobody anything but the files, and no other endpoint its bounces; a bounce that
its endpoint refuses holds up none behind it, and is given up after a day.
"""

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from lane_relay.audit.webhook import stamped
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.errors import NOT_OURS, RelayError

__all__ = ["Outbox", "OutboxError"]

_MOST: Final = 10_000
_ATTEMPT_S: Final = 10.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 300.0
_REFUSED_WAIT_S: Final = 60.0
"""Before a bounce that is refused is told once more; four times as long each time."""
_REFUSED_LONGEST_S: Final = 6 * 3600.0
_REFUSED_FOR_S: Final = 24 * 3600.0
_REFUSED_TRIES: Final = 5
_OF_ALL: Final = frozenset({401, 403, 407, 408, 421, 425, 429})
"""4xx that are not about what was sent, but about who sends it or when: everything waits (RFC 9110 section 15.5)."""
_log = structlog.get_logger("feedback")


class OutboxError(RelayError):
    """The volume did not take it."""


class _Refused(Struct):
    """A bounce that its endpoint does not want."""

    host: str | None
    why: str
    tries: int = 0
    due: float = 0.0
    """Monotonic seconds."""


class _Said(Struct, frozen=True):
    """What came of one attempt."""

    why: str = ""
    """Why the endpoint does not have it, or empty."""
    is_refusal: bool = False
    """Of this one: others may be taken."""


class _Kept(Struct, frozen=True):
    """A file's content."""

    url: str = ""
    """Empty for what cannot be read: it is told to nobody."""
    event: dict[str, Any] = {}
    at: float = 0.0
    """When it was put; Unix time."""


class Outbox:
    """The folder and its courier."""

    def __init__(self, directory: Path, most: int = _MOST, clock: Clock = SYSTEM_CLOCK) -> None:
        """Looks what a former life left, which blocks: nobody is told that nothing waits before that is known."""
        self._most = most
        self._directory = directory
        self._count = len(self._paths())
        self._number = 0
        self._disk = threading.Lock()
        self._came = asyncio.Event()
        self._clock = clock
        self._refused: dict[Path, _Refused] = {}
        self.told = 0
        self.failures = 0
        """Attempts that the endpoint did not answer with 2xx."""
        self.dropped = 0
        """Given up for newer ones."""
        self.refused = 0
        """Given up since their endpoint refused them for a day."""
        self.key_file: str | None = None
        """Of the key that signs each post as `audit.webhook` does; None: they are not signed."""
        self.failure = ""
        """Why some of them wait, or empty."""

    @property
    def waiting(self) -> int:
        """Bounces that are to be told."""
        return self._count

    async def put(self, url: str, event: dict[str, Any]) -> None:
        """Keeps an event for this address; returns when it is on the volume. Raises OutboxError."""
        content = msgspec.json.encode({"url": url, "at": self._clock.now(), "event": event})
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
            if self._count >= self._most:
                self._drop_oldest()
            self._number += 1
            self._keep(self._directory / f"{self._number:016d}.json", content)
            self._count += 1

    def _drop_oldest(self) -> None:
        kept = self._paths()
        for path in kept[: len(kept) - self._most + 1]:
            path.unlink(missing_ok=True)
            self.dropped += 1
        self._count = min(len(kept), self._most - 1)

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
                if await self.tell_all(client):
                    wait = _FIRST_WAIT_S
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._until_due()):
                            await self._came.wait()
                else:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT_S)

    def _until_due(self) -> float | None:
        """Seconds until one that was refused is told again; None: there is none."""
        if not self._refused:
            return None
        return max(0.0, min(one.due for one in self._refused.values()) - self._clock.monotonic())

    async def tell_all(self, client: aiohttp.ClientSession) -> bool:
        """Whether every one that was there was told or refused; an endpoint that fails waits with all of its own."""
        failing: dict[str, str] = {}
        paths = await asyncio.to_thread(self._paths)
        self._refused = {path: self._refused[path] for path in paths if path in self._refused}
        for path in paths:
            refused = self._refused.get(path)
            if refused is not None and refused.due > self._clock.monotonic():
                continue
            kept = await asyncio.to_thread(_read, path)
            if kept.url in failing:
                continue
            said = await self._tell(client, kept) if kept.url else _Said()
            if said.why:
                self.failures += 1
                why = f"{urlsplit(kept.url).hostname} {said.why}"
                if not said.is_refusal:
                    self.failure = failing[kept.url] = why
                    continue
                if not self._is_given_up(path, kept, said.why):
                    continue
            self.told += bool(kept.url and not said.why)  # before the file goes: who sees it gone sees it counted
            await self._forget_of(path)
        self.failure = next(iter(failing.values()), "") or self._refusals()
        return not failing

    async def _forget_of(self, path: Path) -> None:
        await asyncio.to_thread(self._forget, path)
        self._refused.pop(path, None)

    def _is_given_up(self, path: Path, kept: _Kept, why: str) -> bool:
        """Whether this refusal was the last one; else it is told again later, and others go on."""
        host = urlsplit(kept.url).hostname
        refused = self._refused.setdefault(path, _Refused(host, why))
        refused.why = why
        refused.tries += 1
        if refused.tries >= _REFUSED_TRIES and self._clock.now() - kept.at >= _REFUSED_FOR_S:
            self.refused += 1
            _log.error(
                "a bounce is given up, its webhook refuses it",
                host=host,
                reason=why,
                id=kept.event.get("id"),
                recipient_index=kept.event.get("recipientIndex"),
            )
            return True
        wait = min(_REFUSED_WAIT_S * 4.0 ** min(refused.tries - 1, 10), _REFUSED_LONGEST_S)
        refused.due = self._clock.monotonic() + wait
        return False

    def _refusals(self) -> str:
        """Why some are told again later, by the first of them."""
        first = next(iter(self._refused.values()), None)
        return f"{first.host} refuses {len(self._refused)} of them: {first.why}" if first is not None else ""

    def _signed(self, body: bytes) -> dict[str, str]:
        """What proves to the endpoint that a post is ours and new; raises OSError where its key is not there."""
        if self.key_file is None:
            return {}
        key = Path(self.key_file).read_bytes().strip()
        if not key:
            raise OSError(f"{self.key_file} is empty")
        return stamped(body, self._clock.now(), key)

    async def _tell(self, client: aiohttp.ClientSession, kept: _Kept) -> _Said:
        body = msgspec.json.encode(kept.event)
        try:
            header = {"Content-Type": "application/json", **await asyncio.to_thread(self._signed, body)}
        except OSError as failed:
            _log.warning("the key of bounces by webhook cannot be read", reason=str(failed))
            return _Said(f"is told nothing: {self.key_file} has no key")
        try:
            async with client.post(kept.url, data=body, headers=header, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return _Said()
                _log.warning("a webhook refused a bounce, it is told again", status=answer.status)
                is_refusal = 400 <= answer.status < 500 and answer.status not in _OF_ALL
                return _Said(f"answers {answer.status}", is_refusal)
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            _log.warning("a webhook does not answer, it is told again", reason=type(failed).__name__)
            return _Said(f"does not answer: {type(failed).__name__}")


def _read(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:  # dropped for newer ones
        return _Kept()
    except NOT_OURS:
        _log.error("a kept bounce is damaged", file=path.name)
        return _Kept()
