"""Seals what is finished, lets go what is old, off the hot path: one thread of its own, looked after from the loop.

Invariant: nothing here holds up a message; a failure is said, counted and tried again, for ever, also one that nobody
foresaw (`supervisor`).
Before it: the journal, whose files it seals. After it: the archive and the webhook, which take what is sealed.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from lane_api.relayconfig import Records, RelayConfig
from lane_relay.audit.archive import Archiver
from lane_relay.audit.chain import Chain
from lane_relay.audit.evidence import DirectoryStore
from lane_relay.audit.head import HeadKey, key_text
from lane_relay.audit.recipients import digest, read_key
from lane_relay.audit.trace import Wanted, trace
from lane_relay.audit.webhook import WebhookSender
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError
from lane_relay.metrics import RecordsFigures
from lane_relay.spool.files import POSIX_FILES
from lane_relay.supervisor import Supervisor

__all__ = ["Auditor", "Sealing", "check_records", "open_chain"]

TEND_EVERY_S: Final = 2.0
SHIP_AT_STOP_S: Final = 4.0  # of the seconds that a stop keeps for closing; the rest goes at the next start
_SEAL: Final = "records-seal"
_ARCHIVE: Final = "records-archive"
_WEBHOOK: Final = "records-webhook"
"""Tasks, as the supervisor names them."""

_log = structlog.get_logger("audit")


def check_records(config: Records) -> None:
    """Whether the keys that are named can be used; raises ConfigError that names the file and the fix."""
    _head_key(config)
    read_key(config)


def open_chain(config: RelayConfig, clock: Clock) -> Chain:
    """The chain of this slot's records; raises ConfigError for a key that cannot be used, RelayError for the volume."""
    records, lane = config.records, f"{config.lane.namespace}/{config.lane.name}"
    return Chain.open(POSIX_FILES, Path(records.path), lane, config.slot.name, _head_key(records), clock)


def _head_key(config: Records) -> HeadKey:
    if config.signing_key_file is None:
        return HeadKey(None)
    try:
        return HeadKey.read(Path(config.signing_key_file).read_bytes())
    except OSError as error:
        raise ConfigError(f"records.signingKeyFile cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"records.signingKeyFile {config.signing_key_file}: {error}") from error


class Sealing(Protocol):
    """What the auditor does to the journal; what blocks runs on its thread and raises OSError."""

    @property
    def last_seq(self) -> int:
        """Number of the last record."""

    @property
    def disk_bytes(self) -> int:
        """Of all files."""

    @property
    def budget_bytes(self) -> int:
        """That they may have at most."""

    def tend(self) -> None:
        """Finishes what is old enough, drops what is too old; blocks."""

    def finish(self) -> None:
        """Ends the current file, whatever its age; blocks."""

    def seal_next(self) -> bool:
        """Seals one file; False if there is none to seal; blocks."""

    def archived(self, seq: int, number: int) -> None:
        """Records and entries of the chain up to these are in the archive."""

    def begin_anew(self) -> None:
        """What is not sealed yet, and all that comes, is of another journal; blocks."""


class Auditor:
    """The records' own housekeeping, and their way out of the slot."""

    def __init__(
        self,
        journal: Sealing,
        chain: Chain,
        clock: Clock,
        jitter: Callable[[], float],
        is_drained: Callable[[], bool],
        supervisor: Supervisor,
    ) -> None:
        """`is_drained`: nothing more is to come, so nothing need be waited for."""
        self._journal = journal
        self._chain = chain
        self._folder = folder = chain.directory
        self._recipients_key: bytes | None = None
        self._is_drained = is_drained
        self._supervisor = supervisor
        supervisor.name(_SEAL, _ARCHIVE, _WEBHOOK)
        self._thread = ThreadPoolExecutor(1, "auditor")
        self.archive = Archiver(chain, folder, journal, clock, jitter)
        self.webhook = WebhookSender(chain, clock, jitter, lambda: journal.last_seq)
        self.failure = ""
        """Why the last look broke off, or empty."""
        self.failures = 0

    def apply(self, config: Records) -> None:
        """Another archive and another receiver, from now on."""
        self.archive.apply(config.archive)
        self.webhook.apply(config.webhook)
        self._recipients_key = read_key(config)

    async def run(self) -> None:
        """Seals and ships, for ever."""
        async with asyncio.TaskGroup() as group:
            for task, work in ((_SEAL, self._seal), (_ARCHIVE, self.archive.run), (_WEBHOOK, self.webhook.run)):
                group.create_task(self._supervisor.keep(task, work), name=task)

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
        """After the journal is closed: seals the rest and ships what it can."""
        await self._supervisor.once(_SEAL, partial(self.look, hurry=True))
        await self._supervisor.once(_ARCHIVE, partial(self.archive.close, SHIP_AT_STOP_S))
        self._thread.shutdown()

    def report(self) -> dict[str, Any]:
        """For `/v1/slot`: how far records are proven and archived, and what was let go."""
        chain, last = self._chain, self._chain.last
        return {
            "lastSeq": self._journal.last_seq,
            "sealedSeq": chain.sealed_seq,
            "failure": self.failure,
            "dropped": dict(chain.dropped),
            "lost": chain.unarchived,
            "publicKey": key_text(chain.key.public) if chain.key.public is not None else "",
            "head": last.line().decode().strip() if last is not None else "",
            "archive": self.archive.report(),
            "webhook": self.webhook.report(),
        }

    def figures(self) -> RecordsFigures:
        """For `/metrics`."""
        chain = self._chain
        return RecordsFigures(
            disk_bytes=self._journal.disk_bytes,
            budget_bytes=self._journal.budget_bytes,
            last_seq=self._journal.last_seq,
            sealed_seq=chain.sealed_seq,
            archived_seq=self.archive.seq,
            archive_lag_s=self.archive.lag_s(),
            archive_failures=self.archive.failures,
            webhook_lag=self.webhook.lag(),
            webhook_failures=self.webhook.failures,
            dropped=dict(chain.dropped),
            lost=chain.unarchived,
        )

    def recipients_key(self) -> bytes | None:
        """The key under which recipients are digests, or None where they are plain."""
        return self._recipients_key

    async def heads(self, after: int, most: int) -> list[str]:
        """Heads as they are kept, oldest first: each a line of JSON, to be kept outside of this pod; raises OSError."""
        first = max(after + 1, self._chain.oldest_number)
        numbers = range(first, min(first + most, self._chain.last_number + 1))
        found = await asyncio.to_thread(lambda: [self._chain.read(one) for one in numbers])
        return [content.decode().strip() for content in found if content is not None]

    async def trace(self, name: str, recipient: str) -> list[dict[str, Any]]:
        """The records of a message, of this slot's volume; raises OSError. Takes a thread, never the loop."""
        forms = [recipient] if recipient else []
        if recipient and self._recipients_key is not None:
            forms.append(digest(self._recipients_key, recipient))
        return await asyncio.to_thread(trace, DirectoryStore(self._folder), Wanted(name, tuple(forms)))

    async def _seal(self) -> None:
        while True:
            await self.look(hurry=self._is_drained())
            await asyncio.sleep(TEND_EVERY_S)

    def _work(self, hurry: bool) -> None:
        if hurry:
            self._journal.finish()
        self._journal.tend()
        while self._journal.seal_next():
            pass
