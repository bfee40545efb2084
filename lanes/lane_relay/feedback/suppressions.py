"""The suppression list in memory: who is not mailed again, why, and for which classes; addresses as digests only.

A row is 22 octets in one of 4,096 sorted byte arrays, so five million take 150 MB (measured), not the gigabyte that as
many Python objects would. A row's key is (digest, reason, class it was about), its value the last word about
that: two lists that have heard the same words in any order, some of them twice, are equal (tests prove it with
Hypothesis), which is what lets slots and lanes copy from one another without agreeing first.
Before it: reports, people, imports. After it: intake and delivery, which ask. Pure: `now` is an argument.

Whom a row concerns (docs/feedback.md has the same table for people)
    reason         about class X       concerns mail of class
    hard-bounce    any                 every class: there is no such mailbox
    manual         any                 every class: a person said so
    held-back      any                 none: a hard bounce of a site that was not believed (see `holding_back`)
    complaint      X                   X and what is less wanted than X
    unsubscribe    X                   the same, but never Transactional
    Classes from the most to the least wanted: Transactional, Notification, Bulk, Cold.
"""

import zlib
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Final

from msgspec import Struct

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import SuppressionScope
from lane_relay.mail.token import DIGEST_SIZE

__all__ = ["ROW_SIZE", "Reason", "Source", "Suppressed", "SuppressionTable", "expiring", "pack", "site_mark", "unpack"]

SHARDS: Final = 4096
KEY_SIZE: Final = DIGEST_SIZE + 1
ROW_SIZE: Final = KEY_SIZE + 4 + 4 + 1
TOMBSTONE_LIFE_S: Final = 400 * 24 * 3600
"""A word that counts no more is remembered so long: a list that was away for a year may bring back an older one."""
_LIFTED: Final = 0x80
_MARK: Final = 0xFFFF
_LAST_SECOND: Final = b"\xff" * 4
_CLASSES: Final = (TrafficClass.TRANSACTIONAL, TrafficClass.NOTIFICATION, TrafficClass.BULK, TrafficClass.COLD)
_RANK: Final = {one: rank for rank, one in enumerate(_CLASSES)}
_SCOPES: Final = (SuppressionScope.LANE, SuppressionScope.NAMESPACE, SuppressionScope.DOMAIN)


class Reason(StrEnum):
    """Why; the order is on disk for ever."""

    HARD_BOUNCE = "hard-bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"
    HELD_BACK = "held-back"
    """A hard bounce that does not count, until a person says so or the site says it again."""


_REASONS: Final = tuple(Reason)


class Source(IntEnum):
    """Who said so; values are on disk for ever."""

    DELIVERY = 0
    """The recipient's server, in the session."""
    BOUNCE_REPORT = 1
    COMPLAINT_REPORT = 2
    LINK = 3
    """One click, or the page's button."""
    MAIL = 4
    """A mail to the unsubscribe address."""
    IMPORT = 5
    PERSON = 6
    """Through `/v1`."""


class Suppressed(Struct, frozen=True, order=False, gc=False):
    """One word about one address."""

    digest: bytes
    reason: Reason
    about: TrafficClass
    """Class of the mail that it was about."""
    source: Source
    created: int
    """Unix time, seconds: of the last word."""
    expires: int = 0
    """Unix time, seconds; 0: never. Of a hard bounce its last 16 bits are its site's (`expiring`)."""
    scope: SuppressionScope = SuppressionScope.LANE
    lifted: bool = False
    """Taken back: the row says that there was a word, and that it counts no more."""

    def is_in_force(self, now: float) -> bool:
        """It counts at this time."""
        return not self.lifted and (not self.expires or self.expires > now)

    def concerns(self, traffic_class: TrafficClass) -> bool:
        """It is a word about mail of this class; see the table above."""
        if self.reason in (Reason.HARD_BOUNCE, Reason.MANUAL):
            return True
        if self.reason is Reason.HELD_BACK:
            return False
        if self.reason is Reason.UNSUBSCRIBE and traffic_class is TrafficClass.TRANSACTIONAL:
            return False
        return _RANK[traffic_class] >= _RANK[self.about]


def site_mark(site: str) -> int:
    """What stands for a site in 16 bits; of 65,536 sites two have the same."""
    return zlib.crc32(site.encode()) & _MARK


def expiring(at: int, site: str) -> int:
    """The first time from `at` on that ends in the site's mark, at most 18 hours later.

    So a row says whose word it was, in the place and the form that earlier releases know.
    """
    return at + ((site_mark(site) - at) & _MARK)


def pack(word: Suppressed) -> bytes:
    """The row of a word."""
    kind = _REASONS.index(word.reason) * 4 + _RANK[word.about]
    flags = word.source | _SCOPES.index(word.scope) << 4 | (_LIFTED if word.lifted else 0)
    return b"%b%c%b%b%c" % (
        word.digest, kind, word.created.to_bytes(4, "big"), word.expires.to_bytes(4, "big"), flags
    )  # fmt: skip


def unpack(row: bytes | bytearray) -> Suppressed | None:
    """The word in a row, or None for what no version of ours wrote."""
    kind, flags = row[DIGEST_SIZE], row[-1]
    scope, source = flags >> 4 & 0x07, flags & 0x0F
    if len(row) != ROW_SIZE or kind >= 4 * len(_REASONS) or scope >= len(_SCOPES) or source >= len(Source):
        return None
    return Suppressed(
        bytes(row[:DIGEST_SIZE]),
        _REASONS[kind // 4],
        _CLASSES[kind % 4],
        Source(source),
        int.from_bytes(row[13:17], "big"),
        int.from_bytes(row[17:21], "big"),
        _SCOPES[scope],
        bool(flags & _LIFTED),
    )


def _weight(row: bytes | bytearray) -> tuple[bytes, int, int, int]:
    """Of two words with one key the heavier stands: the later; of one second that which suppresses, and for longer.

    Of the last second that a row can say the one that takes back stands, for there is no later one to say it in.
    """
    flags, created = row[-1], bytes(row[13:17])
    expires = int.from_bytes(row[17:21], "big")
    return created, bool(flags & _LIFTED) == (created == _LAST_SECOND), expires or 2**32, flags


class SuppressionTable:
    """Rows by key. Invariants: each shard is sorted, and holds each key once."""

    __slots__ = ("_shards", "rows")

    def __init__(self) -> None:
        self._shards: list[bytearray | None] = [None] * SHARDS
        self.rows = 0
        """Words that are known, those taken back and run out as well."""

    def merge(self, row: bytes) -> bool:
        """Takes a word in; False if what is known is the same or weighs more."""
        index = row[0] << 4 | row[1] >> 4
        shard = self._shards[index]
        if shard is None:
            shard = self._shards[index] = bytearray()
        at = _find(shard, row[:KEY_SIZE])
        if shard[at : at + KEY_SIZE] != row[:KEY_SIZE]:
            shard[at:at] = row
            self.rows += 1
            return True
        if _weight(shard[at : at + ROW_SIZE]) >= _weight(row):
            return False
        shard[at : at + ROW_SIZE] = row
        return True

    def knows(self, row: bytes) -> bool:
        """There is a word with this row's key, whatever it says."""
        shard, key = self._shards[row[0] << 4 | row[1] >> 4], row[:KEY_SIZE]
        if shard is None:
            return False
        at = _find(shard, key)
        return shard[at : at + KEY_SIZE] == key

    def about(self, digest: bytes) -> Iterator[Suppressed]:
        """Every word about one address."""
        shard = self._shards[digest[0] << 4 | digest[1] >> 4]
        if shard is None:
            return
        at = _find(shard, digest)
        while shard[at : at + DIGEST_SIZE] == digest:
            word = unpack(shard[at : at + ROW_SIZE])
            if word is not None:
                yield word
            at += ROW_SIZE

    def words(self, number: int) -> list[Suppressed | None]:
        """The words of one shard, as of now; None for what no version of ours wrote."""
        rows = self.shard(number)
        return [unpack(rows[at : at + ROW_SIZE]) for at in range(0, len(rows), ROW_SIZE)]

    def shard(self, number: int) -> bytes:
        """The rows of one shard, as of now."""
        return bytes(self._shards[number] or b"")

    def load_shard(self, number: int, rows: bytes) -> None:
        """Puts back a shard that `shard` gave; only into an empty one."""
        self._shards[number] = bytearray(rows) if rows else None
        self.rows += len(rows) // ROW_SIZE

    def forget_dead(self, number: int, now: float) -> None:
        """Drops from one shard what ran out or was taken back long ago."""
        shard = self._shards[number]
        if shard is None:
            return
        rows = [bytes(shard[at : at + ROW_SIZE]) for at in range(0, len(shard), ROW_SIZE)]
        kept = [row for row in rows if not _is_dead(row, now)]
        if len(kept) < len(rows):
            self.replace_shard(number, b"".join(kept))

    def replace_shard(self, number: int, rows: bytes) -> None:
        """Puts these rows, a part of the shard's in their order, in its place."""
        self.rows += (len(rows) - len(self._shards[number] or b"")) // ROW_SIZE
        self._shards[number] = bytearray(rows) if rows else None


def _is_dead(row: bytes, now: float) -> bool:
    expires = int.from_bytes(row[17:21], "big")
    created = int.from_bytes(row[13:17], "big")
    ended = created if row[-1] & _LIFTED else expires
    return bool(ended) and ended + TOMBSTONE_LIFE_S <= now


def _find(shard: bytearray, key: bytes) -> int:
    """Where the first row is whose key is not below this one (or a beginning of a key)."""
    low, high, size = 0, len(shard) // ROW_SIZE, len(key)
    while low < high:
        middle = (low + high) >> 1
        start = middle * ROW_SIZE
        if shard[start : start + size] < key:
            low = middle + 1
        else:
            high = middle
    return low * ROW_SIZE
