"""The suppression list as the rest of the relay sees it: addresses in, answers and durable words out.

Before it: intake and delivery ask, reports and `/v1` tell. After it: `suppression_store`. Invariant: a plain address
goes no further than this module; what is kept, given out and copied are keyed digests.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression, SuppressionScope
from lane_relay.clock import Clock
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source, Suppressed, pack, unpack
from lane_relay.mail.token import address_digest

__all__ = ["SuppressionList"]

_SNAPSHOT_LOOK_S: Final = 30.0


class SuppressionList:
    """Who is not mailed again, in one slot."""

    def __init__(
        self, config: Suppression, traffic_class: TrafficClass, key: bytes, store: SuppressionStore, clock: Clock
    ) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._class = traffic_class
        self.apply(config)

    def apply(self, config: Suppression) -> None:
        """Another scope and other bounds; what is known stays."""
        self._config = config
        self._store.apply(config.max_entries)

    @property
    def rows(self) -> int:
        """Words known."""
        return self._store.table.rows

    @property
    def damaged(self) -> int:
        """Rows that the volume did not give back."""
        return self._store.damaged

    @property
    def failed(self) -> str:
        """Why it takes no more words, or empty."""
        return self._store.failed

    @property
    def store(self) -> SuppressionStore:
        """Its rows, for copying."""
        return self._store

    # -- asking

    def is_suppressed(self, recipient: str, traffic_class: TrafficClass, from_domain: str = "") -> str:
        """Why mail of this class must not go to this recipient, or empty; some microseconds."""
        if not self._store.table.rows:
            return ""
        found = self._worst(address_digest(self._key, recipient), traffic_class)
        if found is None and from_domain and self._config.scope is SuppressionScope.DOMAIN:
            found = self._worst(address_digest(self._key, recipient, from_domain), traffic_class)
        return "" if found is None else found.reason.value

    def _worst(self, digest: bytes, traffic_class: TrafficClass) -> Suppressed | None:
        now = self._clock.now()
        words = (
            word for word in self._store.table.about(digest) if word.is_in_force(now) and word.concerns(traffic_class)
        )
        return next(words, None)

    def words_about(self, address: str, from_domain: str = "") -> list[Suppressed]:
        """Every word about an address, those that count no more as well."""
        words = list(self._store.table.about(address_digest(self._key, address)))
        if from_domain:
            words += self._store.table.about(address_digest(self._key, address, from_domain))
        return words

    # -- telling

    def digest(self, address: str, from_domain: str = "") -> bytes:
        """The digest under which words about an address are kept, for the scope in force."""
        scoped = from_domain if self._config.scope is SuppressionScope.DOMAIN else ""
        return address_digest(self._key, address, scoped)

    def word(
        self, digest: bytes, reason: Reason, source: Source, *, domain_scoped: bool | None = None
    ) -> Suppressed | None:
        """The word that this reason gives; None where the configuration lets it suppress nobody."""
        now = int(self._clock.now())
        expires = 0
        if reason is Reason.HARD_BOUNCE:
            if not self._config.hard_bounces:
                return None
            expires = min(now + int(self._config.hard_bounces), 2**32 - 1)
        scope = self._config.scope
        if domain_scoped is not None:
            scope = (
                SuppressionScope.DOMAIN
                if domain_scoped
                else (SuppressionScope.LANE if scope is SuppressionScope.DOMAIN else scope)
            )
        return Suppressed(digest, reason, self._class, source, now, expires, scope)

    async def suppress(self, words: list[Suppressed]) -> int:
        """Keeps words; returns how many were news, when they are on the volume. Raises what `SuppressionStore` does."""
        return await self._store.add([pack(word) for word in words])

    async def lift(self, digest: bytes, source: Source = Source.PERSON) -> int:
        """Takes back every word about an address; returns how many counted."""
        now = self._clock.now()
        lifted = []
        for word in list(self._store.table.about(digest)):
            if word.is_in_force(now):
                later = max(int(now), word.created + 1)  # whatever the clock says, this is the later word
                lifted.append(
                    Suppressed(word.digest, word.reason, word.about, source, later, 0, word.scope, lifted=True)
                )
        await self._store.add([pack(word) for word in lifted])
        return len(lifted)

    async def copy(self, rows: list[bytes]) -> int:
        """Takes in rows of another list with the same key; returns how many were news."""
        return await self._store.add([row for row in rows if unpack(row) is not None])

    async def pages(self) -> AsyncIterator[tuple[Suppressed, ...]]:
        """All words, a page at a time, as of about now."""
        cursor, more = "", True
        while more:
            page = self._store.page(cursor)
            yield tuple(word for row in page.rows if (word := unpack(row)) is not None)
            if page.cursor.startswith("log"):
                return
            cursor, more = page.cursor, page.more
            await asyncio.sleep(0)

    # -- life

    async def run(self) -> None:
        """Keeps the log short, for ever."""
        while True:
            await asyncio.sleep(_SNAPSHOT_LOOK_S)
            if self._store.wants_snapshot:
                await self._store.snapshot(self._clock.now())

    async def close(self) -> None:
        """When all that was told is on the volume."""
        await self._store.close()
