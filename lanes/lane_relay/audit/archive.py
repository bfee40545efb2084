"""Takes sealed segments and heads to the archive, in the chain's order, and remembers how far it came.

A segment goes before the head that speaks of it, so that an archive never says more than it holds. Names are
`LANE-NAMESPACE/LANE/SLOT/JOURNAL/DAY/...`: a lane made anew has a journal of its own. Invariants: delivery never waits
for it; what was put once is never put over; after any failure the same piece is tried again, with back-off.
Before: the chain's files. After: `stores`; the journal is told what it may let go.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
import zstandard

from lane_api.relayconfig import Archive as ArchiveConfig
from lane_relay.audit.chain import Chain, day_of, head_name
from lane_relay.audit.head import Head, HeadKind, parse
from lane_relay.audit.segment import index_name, segment_name
from lane_relay.audit.stores import ArchiveStore, ConflictError, UnavailableError, open_archive
from lane_relay.clock import Clock

__all__ = ["Archiver"]

CURSOR_NAME: Final = "archive.json"
LOOK_EVERY_S: Final = 2.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
PIECE: Final = 2**20
LEVEL: Final = 3  # zstd's default: some 12:1 on records at half a gigabyte a second

_log = structlog.get_logger("archive")


class Archived(Protocol):
    """Who is told how far the archive is; implemented by the journal."""

    def archived(self, seq: int, number: int) -> None:
        """Records and entries of the chain up to these are in the archive."""


class Archiver:
    """One slot's way into its archive."""

    def __init__(
        self, chain: Chain, folder: Path, journal: Archived, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        """`folder`: of the records; `jitter`: a random number in [0, 1)."""
        self._chain = chain
        self._folder = folder
        self._journal = journal
        self._clock = clock
        self._jitter = jitter
        self._config: ArchiveConfig | None = None
        self._store: ArchiveStore | None = None
        self._changed = asyncio.Event()
        self.number = 0
        """Of the last entry that is in the archive."""
        self.seq = 0
        """Every record up to this one is there, or lost and so stated."""
        self.failure = ""
        """Why the last try broke off, or empty."""
        self.failures = 0
        self._since = 0.0
        """Unix time since which the oldest entry waits that is not there; 0: none."""

    def apply(self, config: ArchiveConfig | None) -> None:
        """Another archive, or none; a new one is given all that is still kept."""
        if config == self._config:
            return
        self._config, self._store = config, None
        self.number, self.seq = self._cursor() if config is not None else (0, 0)
        self._journal.archived(self.seq, self.number)
        self.failure, self._since = "", 0.0
        self._changed.set()

    async def run(self) -> None:
        """Ships what is sealed, for ever."""
        tries = 0
        while True:
            tries = 0 if await self.ship() else tries + 1
            wait = LOOK_EVERY_S if not tries else self._wait(tries)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
            self._changed.clear()

    async def ship(self) -> bool:
        """Ships all that is sealed now; False after a failure, which is said once and counted."""
        try:
            while self._config is not None and self.number < self._chain.last_number:
                self._since = self._since or self._clock.now()
                config, store = self._config, self._store
                shipped = await asyncio.to_thread(self._ship_next, config, store)
                if config is self._config:  # else it went to the archive of before
                    self._store, self.number, self.seq = shipped
                    self._journal.archived(self.seq, self.number)
                    await asyncio.to_thread(self._keep_cursor, config, self.number, self.seq)
        except (UnavailableError, ConflictError, OSError) as error:
            self.failures += 1
            if str(error) != self.failure:
                _log.error("the archive waits", reason=str(error))
            self.failure = str(error)
            return False
        if self.failure:
            _log.info("the archive takes records again")
        self.failure, self._since = "", 0.0
        return True

    async def close(self, within_s: float) -> None:
        """Ships the rest, for so long; what is left goes at the next start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.ship()

    def lag_s(self) -> float:
        """Seconds for which the oldest sealed entry has waited; 0 if none waits."""
        return max(0.0, self._clock.now() - self._since) if self._since else 0.0

    def report(self) -> dict[str, Any]:
        """For `/v1/slot`; empty without an archive."""
        if self._config is None:
            return {}
        return {
            "target": _target(self._config),
            "archivedSeq": self.seq,
            "archivedHead": self.number,
            "lastHead": self._chain.last_number,
            "lagSeconds": round(self.lag_s(), 1),
            "failure": self.failure,
        }

    # --- on a thread

    def _ship_next(self, config: ArchiveConfig, store: ArchiveStore | None) -> tuple[ArchiveStore | None, int, int]:
        """The store that it went to, and how far the archive is then, as (number, seq)."""
        number, seq = max(self.number + 1, self._chain.oldest_number), self.seq
        content = self._chain.read(number)
        if content is not None:
            try:
                head = parse(content).head
            except ValueError as error:
                raise UnavailableError(f"head {number} on the volume is damaged: {error}") from error
            store = store or open_archive(config)
            self._put(store, head, content)
            if head.kind is HeadKind.SEGMENT:
                seq = head.last_seq
        return store, number, seq

    def _put(self, store: ArchiveStore, head: Head, content: bytes) -> None:
        place = f"{head.lane}/{head.slot}/{head.journal}/{day_of(head.began or head.at)}/"
        if head.kind is HeadKind.SEGMENT:
            with suppress(FileNotFoundError):  # dropped before it came here: a statement says so
                packed = _packed(self._folder / segment_name(head.first_seq))
                store.put(place + segment_name(head.first_seq) + ".zst", packed)
                with suppress(FileNotFoundError):
                    index = (self._folder / index_name(head.first_seq)).read_bytes()
                    store.put(place + index_name(head.first_seq), index)
        store.put(place + head_name(head.number), content)

    def _cursor(self) -> tuple[int, int]:
        """Where it was; from the beginning if that is not known, for putting again does no harm."""
        try:
            kept = json.loads((self._folder / CURSOR_NAME).read_bytes())
            if (
                self._config is None
                or kept["target"] != _target(self._config)
                or kept["journal"] != self._chain.journal
            ):
                return 0, 0
            return min(int(kept["number"]), self._chain.last_number), int(kept["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0

    def _keep_cursor(self, config: ArchiveConfig, number: int, seq: int) -> None:
        part = self._folder / (CURSOR_NAME + ".new")
        kept = {"target": _target(config), "journal": self._chain.journal, "number": number, "seq": seq}
        with suppress(OSError):  # a full volume: then it is put again after a restart
            part.write_text(json.dumps(kept))
            part.replace(self._folder / CURSOR_NAME)

    def _wait(self, tries: int) -> float:
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 20))
        return longest * (0.5 + self._jitter() / 2)


def _packed(path: Path) -> bytes:
    """A file in zstd, piece by piece: memory holds the packed one only."""
    with path.open("rb", buffering=0) as file:
        packing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=path.stat().st_size)
        pieces = [packing.compress(piece) for piece in iter(lambda: file.read(PIECE), b"")]
    return b"".join([*pieces, packing.flush()])


def _target(config: ArchiveConfig) -> str:
    """As people write it."""
    if config.s3 is not None:
        return "/".join(part for part in (f"s3://{config.s3.bucket}", config.s3.prefix) if part)
    return str(config.path)
