"""Takes sealed segments and heads to the archive, in the chain's order, and remembers how far it came.

A segment goes before the head that speaks of it, so that an archive never says more than it holds. Names are
`LANE-NAMESPACE/LANE/SLOT/JOURNAL/DAY/...`: a lane made anew has a journal of its own, and so has a volume that was put
back from a snapshot, whose journal goes on from the one in the snapshot. Invariants: delivery never waits
for it; what was put once is never put over; after any failure the same piece is tried again, with back-off.
Before: the chain's files. After: `stores`; the journal is told what it may let go.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog
import zstandard

from lane_api.relayconfig import Archive as ArchiveConfig
from lane_relay.audit.chain import Chain, day_of, head_name
from lane_relay.audit.cursor import Cursor, keep_cursor, kept_cursor, target_of
from lane_relay.audit.head import Head, HeadKind, Signed, parse
from lane_relay.audit.segment import index_name, segment_name
from lane_relay.audit.stores import ArchiveStore, ConflictError, UnavailableError, open_archive
from lane_relay.clock import Clock

__all__ = ["Archiver"]

LOOK_EVERY_S: Final = 2.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
PIECE: Final = 2**20
DAY_S: Final = 86400
MOST_DAYS: Final = 366
LEVEL: Final = 3  # zstd's default: some 12:1 on records at half a gigabyte a second

_log = structlog.get_logger("archive")


class Archived(Protocol):
    """Who is told how far the archive is; implemented by the journal."""

    def archived(self, seq: int, number: int) -> None:
        """Records and entries of the chain up to these are in the archive."""

    def begin_anew(self) -> None:
        """What is not sealed yet, and all that comes, is of another journal; blocks, raises OSError."""


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
        self._kept = Cursor()
        """What is kept of the archive and not confirmed by it."""
        self._began_with = chain.last_number
        self._is_alone = False
        """An entry of this process' own was alone in the archive."""
        self._newest = ""
        """The name under which the last entry is in the archive."""
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
        """Another archive, or none; a new one is given all that is still kept.

        Where it was is believed until it is asked, if it is the same place as before; of any other, once it says so.
        """
        if config == self._config:
            return
        self._config, self._store = config, None
        self._kept = Cursor() if config is None else kept_cursor(self._folder, config, self._chain.journals)
        self._say(self._kept if self._kept.is_same_place else Cursor())
        self.failure, self._since = "", 0.0
        self._changed.set()

    async def run(self) -> None:
        """Ships what is sealed, for ever."""
        tries = 0
        while True:
            tries = 0 if await self.ship() else tries + 1
            wait = LOOK_EVERY_S if not tries else self._wait(tries)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            self._changed.clear()

    async def ship(self) -> bool:
        """Ships all that is sealed now; False after a failure, which is said once and counted."""
        try:
            while (config := self._config) is not None and (self._kept.number or self.number < self._chain.last_number):
                self._since = self._since or self._clock.now()
                if self._kept.number:
                    await self._resume(config, self._kept)
                    continue
                store, cursor = await asyncio.to_thread(self._ship_next, config, self._store)
                if config is self._config:  # else it went to the archive of before
                    self._store = store
                    self._say(cursor)
                    await asyncio.to_thread(keep_cursor, self._folder, config, self._chain.journal, cursor)
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

    async def _resume(self, config: ArchiveConfig, kept: Cursor) -> None:
        """Goes on where the archive says that it is, else from the beginning; raises as it does."""
        store, found = await asyncio.to_thread(self._confirmed, config, kept)
        if config is not self._config:
            return
        self._store, self._kept = store, Cursor()
        if not found.number:
            _log.warning("the archive has not what it was given before: it is given all that is kept", head=kept.number)
        self._say(found)

    def _say(self, cursor: Cursor) -> None:
        """How far the archive is, to the journal, which lets go what is there."""
        self.number, self.seq = min(cursor.number, self._chain.last_number), cursor.seq
        self._newest = cursor.head or (self._newest if cursor.number else "")
        self._journal.archived(self.seq, self.number)

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
            "target": target_of(self._config),
            "archivedSeq": self.seq,
            "archivedHead": self.number,
            "lastHead": self._chain.last_number,
            "lagSeconds": round(self.lag_s(), 1),
            "failure": self.failure,
        }

    # --- on a thread

    def _confirmed(self, config: ArchiveConfig, kept: Cursor) -> tuple[ArchiveStore, Cursor]:
        """The store, and where it is by its own word."""
        store = open_archive(config)
        content = None if kept.head else self._chain.read(min(kept.number, self._chain.last_number))
        if content is not None:  # kept by a release that did not say under which name
            head = parse(content).head
            kept = Cursor.at(head.number, kept.seq, _folder_of(head) + head_name(head.number), content)
        return store, kept if kept.is_true_of(store) else Cursor()

    def _ship_next(self, config: ArchiveConfig, store: ArchiveStore | None) -> tuple[ArchiveStore | None, Cursor]:
        """The store that it went to, and how far the archive is then."""
        number, seq = max(self.number + 1, self._chain.oldest_number), self.seq
        content = self._chain.read(number)
        if content is None:
            return store, Cursor(number, seq)
        try:
            head = parse(content).head
        except ValueError as error:
            raise UnavailableError(f"head {number} on the volume is damaged: {error}") from error
        store = store or open_archive(config)
        place = self._take(store, head, content)
        if head.kind is HeadKind.SEGMENT:
            seq = head.last_seq
        return store, Cursor.at(number, seq, place + head_name(number), content)

    def _take(self, store: ArchiveStore, head: Head, content: bytes) -> str:
        """Puts an entry where it belongs, and gives the folder.

        An entry of a journal that was left may have been made after the volume was put back, before the relay heard of
        it: where the journal went on otherwise in the archive, it lies with the journal that goes on from it.
        """
        own = _folder_of(head)
        if head.journal == self._chain.journal:
            if not self._is_alone and (found := self._other(store, head, content)):
                return self._part(store, head, content, found)
            self._put(store, own, head, content)
            self._is_alone = self._is_alone or head.number > self._began_with
            return own
        aside = self._aside(head)
        journal, _, _ = aside.removesuffix("/").rpartition("/")
        if not self._newest.startswith(journal + "/") and not self._other(store, head, content):
            with suppress(ConflictError):
                self._put(store, own, head, content)
                return own
        self._put(store, aside, head, content)
        return aside

    def _part(self, store: ArchiveStore, head: Head, content: bytes, found: bytes) -> str:
        """The archive has another entry of this number. One that our own key signed, and that follows from the same one
        as ours, tells for sure that the volume was set back, though nothing else did: then another journal goes on.
        """
        name = f"entry {head.number} of journal {head.journal}"
        key, other = self._chain.key.public, _parsed(found)
        if key is None or other is None or not other.is_signed_by(key) or not _is_twin(other.head, head):
            raise ConflictError(f"{name} is there with other content")
        _log.error("the volume was set back: its records go on in another journal", reason=f"{name} is in the archive")
        self._journal.begin_anew()
        return self._take(store, head, content)

    def _other(self, store: ArchiveStore, head: Head, content: bytes) -> bytes:
        """Another entry of this number, on whatever day; empty: there is none. Raises UnavailableError, OSError.

        It is asked until an entry of this process' own is found to be alone: before that the volume may be an older
        copy, of a journal that went on after it.
        """
        before = self._chain.read(head.number - 1)
        if before is None:  # a journal's first entry has a name that nobody else has
            return b""
        known = _parsed(before)
        began = _began(known.head if known is not None else head)
        for day in dict.fromkeys([day_of(_began(head)), *_days(began, max(self._clock.now(), head.at))]):
            with suppress(FileNotFoundError):
                found = store.read(f"{_journal_of(head)}{day}/{head_name(head.number)}")
                return found if found != content else b""
        return b""

    def _aside(self, head: Head) -> str:
        journals = self._chain.journals
        after = journals[journals.index(head.journal) + 1]
        return _folder_of(msgspec.structs.replace(head, lane=self._chain.lane, slot=self._chain.slot, journal=after))

    def _put(self, store: ArchiveStore, place: str, head: Head, content: bytes) -> None:
        if head.kind is HeadKind.SEGMENT:
            with suppress(FileNotFoundError):  # dropped before it came here: a statement says so
                packed = _packed(self._folder / segment_name(head.first_seq))
                store.put(place + segment_name(head.first_seq) + ".zst", packed)
                with suppress(FileNotFoundError):
                    index = (self._folder / index_name(head.first_seq)).read_bytes()
                    store.put(place + index_name(head.first_seq), index)
        store.put(place + head_name(head.number), content)

    def _wait(self, tries: int) -> float:
        longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 20))
        return longest * (0.5 + self._jitter() / 2)


def _packed(path: Path) -> bytes:
    """A file in zstd, piece by piece: memory holds the packed one only."""
    with path.open("rb", buffering=0) as file:
        packing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=path.stat().st_size)
        pieces = [packing.compress(piece) for piece in iter(lambda: file.read(PIECE), b"")]
    return b"".join([*pieces, packing.flush()])


def _parsed(content: bytes) -> Signed | None:
    """A head; None for what is none."""
    try:
        return parse(content)
    except ValueError:
        return None


def _is_twin(one: Head, other: Head) -> bool:
    """Whether both follow from the same entry of one journal."""
    return (one.journal, one.number, one.previous) == (other.journal, other.number, other.previous)


def _folder_of(head: Head) -> str:
    """Where an entry and its segment lie in the archive."""
    return f"{_journal_of(head)}{day_of(_began(head))}/"


def _journal_of(head: Head) -> str:
    return f"{head.lane}/{head.slot}/{head.journal}/"


def _began(head: Head) -> float:
    return head.began or head.at


def _days(first: float, last: float) -> list[str]:
    """Each day (UTC) from one time to another, at most the newest year of them."""
    return [day_of(time) for time in range(int(max(first, last - MOST_DAYS * DAY_S)), int(last + DAY_S), DAY_S)]
