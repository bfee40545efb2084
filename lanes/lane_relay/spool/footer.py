"""The footer of a sealed segment: what recovery needs of all its records, by columns. Bytes in, bytes out.

A message whose recipients are in one domain is one place in some arrays, and so is what became of one: a million are
read in bulk steps. What is seldom (several domains, mail that a sibling had tried, flags, fields that this release
does not know) stays a *row*, which repeats the record's index part. The first releases wrote rows only; their footers
are read, and end with another seal. They in turn take a footer of columns for none and read the segment whole.

Invariant: within one segment the order of messages, of settlements and of deferrals is kept, and no order between the
kinds: a fact stands after its message, deferrals name nobody who is settled, and a settlement ends every deferral.
Before: `format`. After: `committer`, `cleaning` and `recovery` write it, `recovery` reads it.
"""

import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from struct import Struct as Layout
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.msgpack import Decoder

from lane_relay.errors import NOT_OURS
from lane_relay.spool.format import DeferredIndex, Kind, MessageIndex, Record, SettledIndex, encode, pack_index

__all__ = [
    "TRAILER_SIZE",
    "DeferredTag",
    "Footer",
    "FooterEntry",
    "MessageTag",
    "Placed",
    "SettledTag",
    "encode_footer",
    "footer_place",
    "read_footer",
    "split_ids",
]

K = TypeVar("K")
N = TypeVar("N", int, float)

_ROWS_SEAL: Final = b"LNWSEAL1"
_COLUMNS_SEAL: Final = b"LNWSEAL2"
_TRAILER: Final = Layout("<8sQI")
_ENTRY: Final = Layout("<BIII")
_CRC: Final = Layout("<I")
_ID: Final = Layout("12s")
_ID_SIZE: Final = _ID.size
_AT_ONCE: Final = 1024
"""Rows put into columns at a time, about a millisecond: at the end of a segment little is left to do."""
_MESSAGE: Final = int(Kind.MESSAGE)
_FIELDS: Final = {_MESSAGE: 0x97, int(Kind.SETTLED): 0x94, int(Kind.DEFERRED): 0x97}
"""First byte of an index part (a short array of msgpack) with all the fields that this release knows."""
TRAILER_SIZE: Final = _TRAILER.size


class FooterEntry(Struct, frozen=True, gc=False):
    """One record, without what recovery does not need."""

    kind: int
    offset: int
    length: int
    index: bytes


Placed = tuple[int, int, MessageIndex]
"""Offset and length of a message's record, and its index part."""
MessageTag = tuple[str, str, tuple[int, ...]]
"""What many messages of one domain each have in common: campaign, sender's domain, recipients' indexes."""
SettledTag = tuple[int, tuple[int, ...], bool]
"""What many settlements have in common: home, recipients, final; as in SettledIndex."""
DeferredTag = tuple[int, tuple[int, ...], int, bool]
"""What many deferrals have in common: home, recipients, attempts, notified; as in DeferredIndex."""


class _Packed(Struct, frozen=True, array_like=True):
    """A footer as it stands on disk: ids and little-endian numbers; fields are only ever added at the end."""

    ids: bytes
    offsets: bytes
    lengths: bytes
    sizes: bytes
    domains: bytes
    tags: bytes
    expires: bytes
    domain_names: list[str]
    message_tags: list[MessageTag]
    settled: bytes
    settled_by: bytes
    settled_tags: list[SettledTag]
    deferred: bytes
    deferred_by: bytes
    dues: bytes
    said: bytes
    deferred_tags: list[DeferredTag]
    rows: bytes


_unpack: Final = Decoder(_Packed).decode
_messages: Final = Decoder(list[MessageIndex]).decode
_settlements: Final = Decoder(list[SettledIndex]).decode
_deferrals: Final = Decoder(list[DeferredIndex]).decode


class _Numbers(dict[K, int]):
    """Numbers things in the order of their first appearance."""

    def __missing__(self, key: K) -> int:
        number = self[key] = len(self)
        return number


class Footer:
    """What one segment holds; all columns of a kind are equally long."""

    __slots__ = (
        "_deferred_numbers",
        "_domain_numbers",
        "_message_numbers",
        "_pending",
        "_placed",
        "_settled_numbers",
        "deferred",
        "deferred_by",
        "deferred_tags",
        "domain_names",
        "domains",
        "dues",
        "expires",
        "ids",
        "lengths",
        "message_tags",
        "offsets",
        "rows",
        "said",
        "settled",
        "settled_by",
        "settled_tags",
        "sizes",
        "tags",
    )

    def __init__(self) -> None:
        """Nothing written yet."""
        self.ids = bytearray()
        """Of the messages, 12 bytes each."""
        self.offsets, self.lengths, self.sizes = array("I"), array("I"), array("I")
        self.domains, self.tags = array("I"), array("I")
        """Places in `domain_names` and `message_tags`."""
        self.expires = array("d")
        self.domain_names: list[str] = []
        self.message_tags: list[MessageTag] = []
        self.settled, self.settled_by = bytearray(), array("I")
        """Ids, and places in `settled_tags`."""
        self.settled_tags: list[SettledTag] = []
        self.deferred, self.deferred_by = bytearray(), array("I")
        self.dues, self.said = array("d"), array("d")
        self.deferred_tags: list[DeferredTag] = []
        self.rows: list[FooterEntry] = []
        self._pending: list[FooterEntry] = []
        self._placed: list[Placed] = []
        self._domain_numbers: _Numbers[str] = _Numbers()
        self._message_numbers: _Numbers[MessageTag] = _Numbers()
        self._settled_numbers: _Numbers[SettledTag] = _Numbers()
        self._deferred_numbers: _Numbers[DeferredTag] = _Numbers()

    def add(self, entries: list[FooterEntry]) -> None:
        """Takes in records in the order in which they stand in the segment."""
        self._pending += entries
        if len(self._pending) >= _AT_ONCE:
            self.settle()

    def add_messages(self, messages: list[Placed]) -> None:
        """The same of messages whose index part is at hand."""
        self._placed += messages
        if len(self._placed) >= _AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """All that was added stands in columns and rows; DecodeError for an index part that cannot be read."""
        placed, self._placed = self._placed, []
        pending, self._pending = self._pending, []
        messages = self._known(pending, Kind.MESSAGE)
        for entry, index in zip(messages, _messages(_array_of(messages)), strict=True):
            placed.append((entry.offset, entry.length, index))
        if placed:
            self._add_messages(placed)
        if settled := self._known(pending, Kind.SETTLED):
            self._add_settled(_settlements(_array_of(settled)))
        if deferred := self._known(pending, Kind.DEFERRED):
            self._add_deferred(_deferrals(_array_of(deferred)))
        rest = len(pending) - len(messages) - len(settled) - len(deferred)
        if rest:
            self.rows += [one for one in pending if not _is_known(one)]

    @staticmethod
    def _known(entries: list[FooterEntry], kind: int) -> list[FooterEntry]:
        most = _FIELDS[int(kind)]
        return [one for one in entries if one.kind == kind and one.index[0] <= most]

    def _add_messages(self, placed: list[Placed]) -> None:
        odd = [one for one in placed if len(one[2].groups) != 1 or one[2].waiting is not None]
        if odd:
            self.rows += [FooterEntry(_MESSAGE, at, length, pack_index(index)) for at, length, index in odd]
            placed = [one for one in placed if len(one[2].groups) == 1 and one[2].waiting is None]
        indexes = [index for _, _, index in placed]
        groups = [one.groups[0] for one in indexes]
        names, tags = self._domain_numbers, self._message_numbers
        self.ids += b"".join([one.id for one in indexes])
        self.offsets.extend([at for at, _, _ in placed])
        self.lengths.extend([length for _, length, _ in placed])
        self.sizes.extend([one.size for one in indexes])
        self.expires.extend([one.expires_at for one in indexes])
        self.domains.extend([names[domain] for domain, _ in groups])
        pairs = zip(indexes, groups, strict=True)
        self.tags.extend([tags[one.campaign, one.sender_domain, recipients] for one, (_, recipients) in pairs])
        self.domain_names, self.message_tags = list(names), list(tags)

    def _add_settled(self, indexes: list[SettledIndex]) -> None:
        tags = self._settled_numbers
        self.settled += b"".join([one.id for one in indexes])
        self.settled_by.extend([tags[one.home, one.recipients, one.final] for one in indexes])
        self.settled_tags = list(tags)

    def _add_deferred(self, indexes: list[DeferredIndex]) -> None:
        tags = self._deferred_numbers
        self.deferred += b"".join([one.id for one in indexes])
        self.deferred_by.extend([tags[one.home, one.recipients, one.attempts, one.notified] for one in indexes])
        self.dues.extend([one.due for one in indexes])
        self.said.extend([one.said_at for one in indexes])
        self.deferred_tags = list(tags)

    @property
    def is_whole(self) -> bool:
        """Columns of a kind are equally long, and name tags that there are."""
        messages, settled, deferred = len(self.offsets), len(self.settled_by), len(self.deferred_by)
        return (
            len(self.ids) == messages * _ID_SIZE
            and {len(self.lengths), len(self.sizes), len(self.domains), len(self.tags)} == {messages}
            and len(self.expires) == messages
            and len(self.settled) == settled * _ID_SIZE
            and len(self.deferred) == deferred * _ID_SIZE
            and len(self.dues) == len(self.said) == deferred
            and max(self.domains, default=-1) < len(self.domain_names)
            and max(self.tags, default=-1) < len(self.message_tags)
            and max(self.settled_by, default=-1) < len(self.settled_tags)
            and max(self.deferred_by, default=-1) < len(self.deferred_tags)
        )


def split_ids(column: bytes | bytearray) -> list[bytes]:
    """The ids of a column, one by one."""
    return [one for (one,) in _ID.iter_unpack(column)]


def encode_footer(footer: Footer, *, seq: int, at: int, salt: int) -> list[bytes]:
    """The FOOTER record that seals a segment; `seq` is the next accounting record's number."""
    footer.settle()
    plain = _COLUMNS_SEAL + at.to_bytes(8, "little")
    trailer = plain + _CRC.pack(zlib.crc32(plain, salt))
    index = pack_index(
        _Packed(
            bytes(footer.ids),
            _bytes_of(footer.offsets),
            _bytes_of(footer.lengths),
            _bytes_of(footer.sizes),
            _bytes_of(footer.domains),
            _bytes_of(footer.tags),
            _bytes_of(footer.expires),
            footer.domain_names,
            footer.message_tags,
            bytes(footer.settled),
            _bytes_of(footer.settled_by),
            footer.settled_tags,
            bytes(footer.deferred),
            _bytes_of(footer.deferred_by),
            _bytes_of(footer.dues),
            _bytes_of(footer.said),
            footer.deferred_tags,
            b"".join(
                [_ENTRY.pack(one.kind, one.offset, one.length, len(one.index)) + one.index for one in footer.rows]
            ),
        )
    )
    return encode(Kind.FOOTER, index, b"", (trailer,), seq=seq, count=0, at=at, commit_at=at, salt=salt)[0]


def footer_place(tail: bytes, salt: int) -> int:
    """Where the footer begins, from the segment's last bytes; 0 if it is not sealed, or in a way not known here."""
    if len(tail) < TRAILER_SIZE:
        return 0
    seal, offset, crc = _TRAILER.unpack(tail[-TRAILER_SIZE:])
    sound = seal in (_ROWS_SEAL, _COLUMNS_SEAL) and crc == zlib.crc32(tail[-TRAILER_SIZE:-4], salt)
    return int(offset) if sound else 0


def read_footer(record: Record) -> Footer | None:
    """What a sound record says, of either form; None if it is no footer or makes no sense: the segment can be read."""
    if record.kind != Kind.FOOTER:
        return None
    try:
        if record.data.startswith(_ROWS_SEAL):
            footer = Footer()
            footer.add(list(_rows_of(record.index)))
            footer.settle()
            return footer
        footer = _footer_of(_unpack(record.index))
    except (*NOT_OURS, struct.error, ValueError):
        return None
    return footer if footer.is_whole else None


def _footer_of(packed: _Packed) -> Footer:
    footer = Footer()
    footer.ids = bytearray(packed.ids)
    footer.offsets, footer.lengths = _integers(packed.offsets), _integers(packed.lengths)
    footer.sizes, footer.expires = _integers(packed.sizes), _times(packed.expires)
    footer.domains, footer.tags = _integers(packed.domains), _integers(packed.tags)
    footer.domain_names, footer.message_tags = packed.domain_names, packed.message_tags
    footer.settled, footer.settled_by = bytearray(packed.settled), _integers(packed.settled_by)
    footer.settled_tags = packed.settled_tags
    footer.deferred, footer.deferred_by = bytearray(packed.deferred), _integers(packed.deferred_by)
    footer.dues, footer.said = _times(packed.dues), _times(packed.said)
    footer.deferred_tags = packed.deferred_tags
    footer.rows = list(_rows_of(packed.rows))
    return footer


def _rows_of(index: bytes) -> Iterator[FooterEntry]:
    at = 0
    while at < len(index):
        kind, offset, length, size = _ENTRY.unpack_from(index, at)
        at += _ENTRY.size
        if at + size > len(index):
            raise ValueError("the last row is cut off")
        yield FooterEntry(kind, offset, length, index[at : at + size])
        at += size


def _is_known(entry: FooterEntry) -> bool:
    """It has no fields but those that this release knows."""
    most = _FIELDS.get(int(entry.kind))
    return most is not None and entry.index[0] <= most


def _array_of(entries: list[FooterEntry]) -> bytes:
    """Their index parts as one array of msgpack (array 32), so that they are decoded in one step."""
    return b"\xdd" + len(entries).to_bytes(4, "big") + b"".join([one.index for one in entries])


def _bytes_of(numbers: "array[N]") -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _integers(column: bytes) -> "array[int]":
    return _read_into(array("I"), column)


def _times(column: bytes) -> "array[float]":
    return _read_into(array("d"), column)


def _read_into(numbers: "array[N]", column: bytes) -> "array[N]":
    numbers.frombytes(column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
