"""Seals what is finished, lets go what is old, off the hot path: one thread of its own, looked after from the loop.

Invariant: nothing here holds up a message; a failure is said, counted and tried again, for ever.
Before it: the journal, whose files it seals. After it: the archive and the webhook, which take what is sealed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from lane_api.relayconfig import RelayConfig
from lane_relay.audit.chain import Chain
from lane_relay.audit.head import HeadKey, key_text
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError
from lane_relay.spool.files import POSIX_FILES

__all__ = ["Auditor", "Sealing", "open_chain"]

TEND_EVERY_S: Final = 2.0

_log = structlog.get_logger("audit")


def open_chain(config: RelayConfig, clock: Clock) -> Chain:
    """The chain of this slot's records; raises ConfigError for a key that cannot be used, RelayError for the volume."""
    records = config.records
    key = HeadKey(None)
    if records.signing_key_file is not None:
        try:
            key = HeadKey.read(Path(records.signing_key_file).read_bytes())
        except OSError as error:
            raise ConfigError(f"records.signingKeyFile cannot be read: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"records.signingKeyFile {records.signing_key_file}: {error}") from error
    lane = f"{config.lane.namespace}/{config.lane.name}"
    return Chain.open(POSIX_FILES, Path(records.path), lane, config.slot.name, key, clock)


class Sealing(Protocol):
    """What the auditor does to the journal; all block and raise OSError."""

    @property
    def last_seq(self) -> int:
        """Number of the last record."""

    @property
    def disk_bytes(self) -> int:
        """Of all files."""

    def tend(self) -> None:
        """Finishes what is old enough, drops what is too old."""

    def finish(self) -> None:
        """Ends the current file, whatever its age."""

    def seal_next(self) -> bool:
        """Seals one file; False if there is none to seal."""


class Auditor:
    """The records' own housekeeping."""

    def __init__(self, journal: Sealing, chain: Chain, is_drained: Callable[[], bool]) -> None:
        """`is_drained`: nothing more is to come, so nothing need be waited for."""
        self._journal = journal
        self._chain = chain
        self._is_drained = is_drained
        self._thread = ThreadPoolExecutor(1, "auditor")
        self.failure = ""
        """Why the last look broke off, or empty."""
        self.failures = 0

    async def run(self) -> None:
        """Looks every few seconds, for ever."""
        while True:
            await self.look(hurry=self._is_drained())
            await asyncio.sleep(TEND_EVERY_S)

    async def look(self, *, hurry: bool) -> None:
        """One look; `hurry` seals also what is not full and not old."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._work, hurry)
        except OSError as error:
            if str(error) != self.failure:
                _log.error("records cannot be sealed for now", reason=str(error))
            self.failure = str(error)
            self.failures += 1
        else:
            self.failure = ""

    async def close(self) -> None:
        """After the journal is closed: seals the rest."""
        await self.look(hurry=True)
        self._thread.shutdown()

    def report(self) -> dict[str, Any]:
        """For `/v1/slot`: how far records are proven, and what was let go."""
        chain, last = self._chain, self._chain.last
        return {
            "lastSeq": self._journal.last_seq,
            "sealedSeq": chain.sealed_seq,
            "failure": self.failure,
            "dropped": dict(chain.dropped),
            "lost": chain.unarchived,
            "publicKey": key_text(chain.key.public) if chain.key.public is not None else "",
            "head": last.line().decode().strip() if last is not None else "",
        }

    def heads_after(self, number: int, most: int) -> list[str]:
        """Heads as they are kept, oldest first: each a line of JSON, to be kept outside of this pod."""
        found = (self._chain.read(one) for one in range(max(number + 1, self._chain.oldest_number), number + most + 1))
        return [content.decode().strip() for content in found if content is not None]

    def _work(self, hurry: bool) -> None:
        if hurry:
            self._journal.finish()
        self._journal.tend()
        while self._journal.seal_next():
            pass
