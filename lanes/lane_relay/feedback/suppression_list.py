"""The suppression list as the rest of the relay sees it: addresses in, answers and durable words out.

Before it: intake and delivery ask, reports and `/v1` tell. After it: `suppression_store`. Invariant: a plain address
goes no further than this module; what is kept, given out and copied are keyed digests.
"""

import asyncio
from collections.abc import Collection, Iterator
from typing import Final

from msgspec import Struct, structs

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression, SuppressionScope
from lane_relay.clock import Clock
from lane_relay.feedback.exchange import Brought
from lane_relay.feedback.room import Room
from lane_relay.feedback.suppression_store import SuppressionStore
from lane_relay.feedback.suppressions import SHARDS, Reason, Source, Suppressed, expiring, pack, site_mark, unpack
from lane_relay.mail.token import address_digest

__all__ = ["MOST_TIME", "Choice", "SuppressionList"]

_SNAPSHOT_LOOK_S: Final = 30.0
_AT_ONCE: Final = 1000
"""Words between two fsyncs."""
_LATELY_S: Final = 600
_CLOCKS_S: Final = 24 * 3600
"""By as much, at most, a word that others bring may be later than our clock."""
_NAMED_FROM_S: Final = 7 * 24 * 3600
"""A hard bounce that lasts shorter does not say its site, which would make it last some hours longer."""
MOST_TIME: Final = 2**32 - 1
"""Unix seconds; rows have no later time."""


class Choice(Struct, frozen=True):
    """Words that are meant by what they say, whomever they are about; those that count no more are none of them."""

    reason: Reason
    site: str = ""
    """Of hard bounces and those held back; empty: whatever site."""
    since: int = 0
    until: int = MOST_TIME
    """Unix seconds, both included: when they were said."""

    def fits(self, word: Suppressed, now: float) -> bool:
        """It is one of them."""
        return (
            word.reason is self.reason
            and self.since <= word.created <= self.until
            and word.is_in_force(now)
            and (not self.site or _is_of(word, self.site))
        )


class SuppressionList:
    """Who is not mailed again, in one slot."""

    def __init__(
        self,
        config: Suppression,
        traffic_class: TrafficClass,
        key: bytes,
        store: SuppressionStore,
        clock: Clock,
        earlier: bytes = b"",
    ) -> None:
        """`key` is that of the scope in force, `earlier` that of the other one, or empty."""
        self._store = store
        self._clock = clock
        self._class = traffic_class
        self._room = Room(store.table, clock)
        self._ends = {"": store.end}
        """By the slot that words were copied from, empty for all others: the place behind the last that was news."""
        self._read: dict[str, tuple[int, int]] = {}
        """By sibling: the place up to which it has every word."""
        self.apply(config, key, earlier)

    def apply(self, config: Suppression, key: bytes, earlier: bytes = b"") -> None:
        """Another scope with its key, and other bounds; what is known stays, and counts under either key."""
        self._config, self._key, self._earlier = config, key, earlier
        self._store.apply(config.max_entries)

    @property
    def rows(self) -> int:
        """Words known."""
        return self._store.table.rows

    @property
    def limit(self) -> int:
        """Words that it may have."""
        return self._config.max_entries

    @property
    def displaced(self) -> int:
        """Words that still counted and went from a full list for newer ones."""
        return self._room.displaced

    @property
    def damaged(self) -> int:
        """Rows that the volume did not give back."""
        return self._store.damaged

    @property
    def failed(self) -> str:
        """Why it takes no more words, or empty."""
        return self._store.failed

    def rows_after(self, cursor: str, *, shared: bool = False) -> tuple[tuple[bytes, ...], str, bool]:
        """The rows behind a cursor for another list with this key, where to go on, whether there are more already.

        `shared`: for another lane of the namespace, which gets what was heard in the scope Namespace and no more.
        """
        page = self._store.page(cursor)
        rows = tuple(row for row in page.rows if _is_shared(row)) if shared else page.rows
        return rows, page.cursor, page.more

    async def copy(self, rows: list[bytes], source: str = "", *, shared: bool = False) -> int:
        """Takes in rows of another list with this key, the slot `source`'s; returns how many were news, when they are
        on the volume."""
        latest, now, known = self.latest, int(self._clock.now()), []
        for row in rows:
            word = unpack(row)
            if word is None or (shared and word.scope is not SuppressionScope.NAMESPACE):
                continue
            # said at a time to come, no word of the years before it would count any more
            known.append(row if word.created <= latest else pack(structs.replace(word, created=now)))
        return await self._add(known, source)

    @property
    def latest(self) -> int:
        """Unix seconds; what somebody brings was not said later than this, whoever's clock is right."""
        return min(int(self._clock.now()) + _CLOCKS_S, MOST_TIME)

    async def _add(self, rows: list[bytes], source: str = "") -> int:
        """See `SuppressionStore.add`; of a full list others go first where they may, see `room`."""
        table, most = self._store.table, self._config.max_entries
        if table.rows + len(rows) > most:
            await self._room.make(sum(not table.knows(row) for row in rows), most)
        before = self._store.end
        try:
            return await self._store.add(rows)
        finally:
            if self._store.end != before:
                self._ends[source] = self._store.end

    def read_by(self, sibling: str, cursor: str) -> None:
        """A sibling asks for what is behind this cursor: it has all that is before it on its volume."""
        place = self._store.place(cursor)
        if place is None:
            self._read.pop(sibling, None)
        else:
            self._read[sibling] = place

    def at_its_end(self, others: Collection[str]) -> list[str]:
        """Siblings that have every word, but for what came from one of these other lists, which have it themselves."""
        needed = max(end for source, end in self._ends.items() if source not in others)
        return sorted(sibling for sibling, place in self._read.items() if place >= needed)

    @property
    def end(self) -> tuple[int, int]:
        """Another one as soon as there are more words on the volume."""
        return self._store.end

    def page(self, cursor: str) -> tuple[list[Suppressed], str, bool]:
        """The words behind a cursor, where to go on, whether there are more already; see `SuppressionStore.page`."""
        page = self._store.page(cursor)
        return [word for row in page.rows if (word := unpack(row)) is not None], page.cursor, page.more

    # -- asking

    def is_suppressed(self, recipient: str, traffic_class: TrafficClass, from_domain: str = "") -> str:
        """Why mail of this class must not go to this recipient, or empty; some microseconds.

        Whatever the scope in force: words of all scopes come, by tokens from before a change, and count for whom they
        were said.
        """
        if not self._store.table.rows:
            return ""
        for digest in self._forms(recipient, from_domain):
            found = self._worst(digest, traffic_class)
            if found is not None:
                return found.reason.value
        return ""

    def _worst(self, digest: bytes, traffic_class: TrafficClass) -> Suppressed | None:
        now = self._clock.now()
        words = (
            word for word in self._store.table.about(digest) if word.is_in_force(now) and word.concerns(traffic_class)
        )
        return next(words, None)

    def digests(self, address: str, from_domain: str = "") -> list[bytes]:
        """What stands for an address in the list: by itself, and under a From domain; under each key."""
        return list(self._forms(address, from_domain))

    def _forms(self, address: str, from_domain: str) -> Iterator[bytes]:
        """Its digests, one at a time: most of those who are on the list are so by the first."""
        for key in (self._key, self._earlier) if self._earlier else (self._key,):
            yield address_digest(key, address)
            if from_domain:
                yield address_digest(key, address, from_domain)

    def words_about(self, address: str, from_domain: str = "") -> list[Suppressed]:
        """Every word about an address, those that count no more as well."""
        return [word for digest in self.digests(address, from_domain) for word in self._store.table.about(digest)]

    # -- telling

    def digest(self, address: str, from_domain: str = "") -> bytes:
        """The digest under which words about an address are kept, for the scope in force."""
        scoped = from_domain if self._config.scope is SuppressionScope.DOMAIN else ""
        return address_digest(self._key, address, scoped)

    def word(
        self, digest: bytes, reason: Reason, source: Source, *, domain_scoped: bool | None = None, site: str = ""
    ) -> Suppressed | None:
        """The word that this reason gives; None where the configuration lets it suppress nobody.

        `site`: who said so of a hard bounce; empty: it is not known.
        """
        now = int(self._clock.now())
        expires = 0
        if reason in (Reason.HARD_BOUNCE, Reason.HELD_BACK):
            if not self._config.hard_bounces:
                return None
            expires = min(now + int(self._config.hard_bounces), MOST_TIME)
            if site and now + _NAMED_FROM_S <= expires <= MOST_TIME - 2**16:
                expires = expiring(expires, site)
        scope = self._config.scope
        if domain_scoped is not None:
            scope = SuppressionScope.DOMAIN if domain_scoped else self._lane_scope()
        return Suppressed(digest, reason, self._class, source, now, expires, scope)

    def for_a_while(self, word: Suppressed, seconds: int) -> Suppressed | None:
        """The word, so that it runs out; None: one that lasts longer is there, and it would take its place."""
        ends = min(word.created + seconds, 2**32 - 1)
        for known in self._store.table.about(word.digest):
            same = known.reason is word.reason and known.about is word.about
            if same and known.is_in_force(self._clock.now()) and (not known.expires or known.expires > ends):
                return None
        return structs.replace(word, expires=ends)

    async def suppress(self, words: list[Suppressed]) -> int:
        """Keeps words; returns how many were news, when they are on the volume. Raises what `SuppressionStore` does."""
        return await self._add([pack(word) for word in words])

    async def lift(self, digest: bytes, source: Source = Source.PERSON) -> int:
        """Takes back every word about an address; returns how many counted."""
        now = self._clock.now()
        words = list(self._store.table.about(digest))
        lifted = [_taken_back(word, source, now) for word in words if word.is_in_force(now)]
        await self._add([pack(word) for word in lifted])
        return len(lifted)

    def held_back_since(self, digest: bytes) -> int:
        """When a hard bounce of this address was first held back, Unix seconds; 0: none is."""
        now = self._clock.now()
        words = (word for word in self._store.table.about(digest) if word.is_in_force(now))
        return min((word.created for word in words if word.reason is Reason.HELD_BACK), default=0)

    async def hold_back(
        self, digests: list[bytes], site: str, source: Source, *, domain_scoped: bool | None = None
    ) -> int:
        """Keeps hard bounces as words that do not count, those of the last minutes as well; returns how many
        are so now that were not."""
        now = self._clock.now()
        lately = Choice(Reason.HARD_BOUNCE, "", int(now) - _LATELY_S)
        words = []
        for digest in digests:
            about = list(self._store.table.about(digest))
            words += [
                _taken_back(known, source, now)
                for known in about
                if known.about is self._class and lately.fits(known, now)
            ]
            word = self.word(digest, Reason.HELD_BACK, source, domain_scoped=domain_scoped, site=site)
            if word is not None and not self.held_back_since(digest):
                words.append(word)
        await self._add([pack(word) for word in words])
        return sum(word.reason is Reason.HELD_BACK for word in words)

    async def chosen(self, choice: Choice) -> list[Suppressed]:
        """The words that a choice means; a million take 1.4 s of CPU (measured), some 2 ms at a time."""
        now, found = self._clock.now(), []
        for number in range(SHARDS):
            words = (word for word in self._store.table.words(number) if word is not None)
            found += [word for word in words if choice.fits(word, now)]
            await asyncio.sleep(0)
        return found

    async def take_back(self, words: list[Suppressed], source: Source = Source.PERSON) -> None:
        """Takes these words back."""
        now = self._clock.now()
        for at in range(0, len(words), _AT_ONCE):
            await self._add([pack(_taken_back(word, source, now)) for word in words[at : at + _AT_ONCE]])

    async def believe(self, words: list[Suppressed]) -> None:
        """Words that were held back count from now on, as hard bounces that end when they would have."""
        now = self._clock.now()
        for at in range(0, len(words), _AT_ONCE):
            some = words[at : at + _AT_ONCE]
            await self._add([pack(self._counting(word, now)) for word in some])
            await self._add([pack(_taken_back(word, Source.PERSON, now)) for word in some])

    def _counting(self, word: Suppressed, now: float) -> Suppressed:
        about = self._store.table.about(word.digest)
        same = (one for one in about if one.reason is Reason.HARD_BOUNCE and one.about is word.about)
        said = max((one.created for one in same), default=0)
        return structs.replace(word, reason=Reason.HARD_BOUNCE, created=_later(said, now))

    async def bring(self, lines: list[Brought]) -> int:
        """Takes in what somebody brought; returns how many words were news."""
        return await self.suppress([self._from(line) for line in lines])

    def _from(self, line: Brought) -> Suppressed:
        digest = line.digest or address_digest(self._key, line.address, line.domain)
        scope = line.scope or (SuppressionScope.DOMAIN if line.domain else self._lane_scope())
        created = line.created or int(self._clock.now())
        about = line.about or self._class
        return Suppressed(digest, line.reason, about, line.source, created, line.expires, scope, line.lifted)

    def _lane_scope(self) -> SuppressionScope:
        scope = self._config.scope
        return SuppressionScope.LANE if scope is SuppressionScope.DOMAIN else scope

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


def _is_shared(row: bytes) -> bool:
    word = unpack(row)
    return word is not None and word.scope is SuppressionScope.NAMESPACE


def _is_of(word: Suppressed, site: str) -> bool:
    """It says this site's mark; words that somebody brought with a time of his own say none, or any."""
    return bool(word.expires) and word.expires & 0xFFFF == site_mark(site)


def _taken_back(word: Suppressed, source: Source, now: float) -> Suppressed:
    later = _later(word.created, now)
    return Suppressed(word.digest, word.reason, word.about, source, later, 0, word.scope, lifted=True)


def _later(said: int, now: float) -> int:
    """When a word is said that is to count instead of one of that time, whatever the clock says."""
    return min(max(int(now), said + 1), MOST_TIME)
