"""Puts the suppression list of a slot that is to go into the lane's archive, from where a person brings it back.

The claim of such a slot may be deleted, and where no slot stays nobody else has the words. What is put is what
`GET /v1/suppressions?format=csv` gives, in pieces, each packed with zstd and named by what is in it:
`NAMESPACE/LANE/SLOT/suppressions/DIGEST.csv.zst`. `POST /v1/suppressions` takes each of them in; words merge, so that
neither order nor an older list beside a newer one matters. Digests need the key of the Secret `LANE-feedback`, which
outlives the lane. Invariants: nothing is put while the slot is not drained; what is put once is never put over; after
any failure it is tried again, with back-off. Before it: `suppression_list`. After it: `audit.stores`.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog
import zstandard

from lane_api.relayconfig import Archive, RelayConfig
from lane_relay.audit.stores import ArchiveStore, ConflictError, UnavailableError, open_archive
from lane_relay.feedback.exchange import COLUMNS, write_lines
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppressions import Suppressed

__all__ = ["ListArchive"]

_LOOK_EVERY_S: Final = 2.0
_LONGEST_WAIT_S: Final = 300.0
_PIECE: Final = 100_000
"""Words; some 2 MB packed."""

_log = structlog.get_logger("feedback")


class ListArchive:
    """The list's way into the archive."""

    def __init__(self, suppressions: SuppressionList, is_drained: Callable[[], bool], piece: int = _PIECE) -> None:
        """`is_drained`: nothing is left to be sent, and nothing is to come; `piece`: words of a file, or a few more."""
        self._piece = piece
        self._suppressions = suppressions
        self._is_drained = is_drained
        self._archive: Archive | None = None
        self._place = ""
        self._put: tuple[int, int] | None = None
        """Where the list ended when all of it was put."""
        self._changed = asyncio.Event()
        self.failure = ""
        """Why the last try broke off, or empty."""

    def apply(self, config: RelayConfig) -> None:
        """Another archive, or none; a new one is given everything."""
        if config.records.archive == self._archive:
            return
        self._archive, self._put, self.failure = config.records.archive, None, ""
        self._place = f"{config.lane.namespace}/{config.lane.name}/{config.slot.name}/suppressions/"
        self._changed.set()

    @property
    def has_all(self) -> bool:
        """Every word is there."""
        return self._archive is not None and self._put == self._suppressions.end

    async def run(self) -> None:
        """Puts what is not there, for ever."""
        wait = _LOOK_EVERY_S
        while True:
            wait = _LOOK_EVERY_S if await self.ship() else min(wait * 2, _LONGEST_WAIT_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            self._changed.clear()

    async def ship(self) -> bool:
        """Puts the whole list if it is time to; False after a failure, which is said once."""
        archive = self._archive
        if archive is None or self.has_all or not self._suppressions.rows or not self._is_drained():
            return True
        end = self._suppressions.end
        try:
            await self._put_all(await asyncio.to_thread(open_archive, archive))
        except (UnavailableError, ConflictError, OSError) as failed:
            if str(failed) != self.failure:
                _log.error("the suppression list waits for the archive", reason=str(failed))
            self.failure = str(failed)
            return False
        if archive is self._archive:
            self._put, self.failure = end, ""
        return True

    async def _put_all(self, store: ArchiveStore) -> None:
        cursor, more = "", True
        while more:
            words: list[Suppressed] = []
            while more and len(words) < self._piece:
                page, cursor, more = self._suppressions.page(cursor)
                words += page
            if words:
                await asyncio.to_thread(_put, store, self._place, words)

    def report(self, others: tuple[str, ...]) -> dict[str, Any]:
        """For `/v1/slot`; `others` as `SuppressionList.at_its_end` has them."""
        return {
            "words": self._suppressions.rows,
            "readBy": self._suppressions.at_its_end(others),
            "archived": self.has_all,
            "failure": self.failure,
        }


def _put(store: ArchiveStore, place: str, words: list[Suppressed]) -> None:
    """In a thread."""
    text = ",".join(COLUMNS) + "\n" + "".join(write_lines(words))
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(text.encode())
    store.put(f"{place}{hashlib.sha256(packed).hexdigest()[:32]}.csv.zst", packed)
