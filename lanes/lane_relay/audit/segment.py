"""One finished file of records: what its head says of it, and its index.

The index is for finding only: CRC-32 of every id, Message-ID, correlation id and recipient in the segment, sorted,
and one of every half a mebibyte of lines, so that `verify` can say where a byte was altered. The head names its digest,
and without that it is not believed: one that is missing or another costs a scan, never an answer. Pure: takes bytes,
gives values.
Before: `account.journal` finished the file. After: `chain`, `trace`, `verify`.
"""

import hashlib
import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Annotated, Final
from zlib import crc32

import msgspec

from lane_relay.errors import NOT_OURS

__all__ = ["Index", "Place", "Summary", "index_name", "load_index", "number_of", "segment_name", "summarise"]

BLOCK_BYTES: Final = 512 * 2**10
"""Decoded at one go, some 800 lines: about a millisecond in which nothing else of Python runs."""
_KEY_BYTES: Final = 4
_SEQ: Final = re.compile(rb'\{"seq":(\d{1,16}),')
_Number = Annotated[int, msgspec.Meta(ge=0, lt=10**16)]
"""A record's number fits into a file's name: what has more digits is damage, whatever number it would make."""


def segment_name(first_seq: int) -> str:
    """The file of records that begins with this number."""
    return f"records-{first_seq:016d}.jsonl"


def number_of(line: bytes) -> int:
    """The number that a record's line begins with; 0: it begins with none that a record can have."""
    found = _SEQ.match(line)
    return int(found[1]) if found else 0


def index_name(first_seq: int) -> str:
    """The index beside it."""
    return f"records-{first_seq:016d}.idx"


class _Keys(msgspec.Struct, gc=False):
    """What of a record is looked for."""

    seq: _Number = 0
    id: str = ""
    message_id: str = ""
    correlation_id: str = ""
    recipient: str | list[str] = ""


_LINES: Final = msgspec.json.Decoder(_Keys)


class Place(msgspec.Struct, frozen=True, array_like=True):
    """One run of lines."""

    first_seq: int
    offset: int
    check: int
    """CRC-32 of its bytes: only to find the place, for the segment's SHA-256 is what proves."""


class Index(msgspec.Struct, frozen=True):
    """See the module."""

    keys: bytes
    """Unsigned 32 bit, little-endian, sorted, each once."""
    places: tuple[Place, ...]

    def may_hold(self, key: str) -> bool:
        """Whether a record of the segment may carry this id, address or name; False is certain."""
        found = memoryview(self.keys).cast("I") if sys.byteorder == "little" else _swapped(self.keys)
        wanted = crc32(key.encode())
        at = bisect_left(found, wanted)
        return at < len(found) and found[at] == wanted

    def encode(self) -> bytes:
        """As it is kept."""
        return msgspec.msgpack.encode(self)

    @property
    def sha256(self) -> str:
        """Of its kept bytes, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()


def load_index(content: bytes, sha256: str) -> Index | None:
    """A kept index that has the digest which its segment's head names; None for any other, and without a digest."""
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    try:
        index = msgspec.msgpack.decode(content, type=Index)
    except NOT_OURS:
        return None
    return index if len(index.keys) % _KEY_BYTES == 0 else None


class Summary(msgspec.Struct, frozen=True):
    """What a finished segment holds."""

    sha256: str
    size: int
    last_seq: int
    gaps: tuple[tuple[int, int], ...]
    index: Index


def summarise(read: Callable[[int, int], bytes], first_seq: int) -> Summary:
    """Digest, numbers and index of a segment, in pieces of about a millisecond; memory holds one piece and the keys.

    `read` gives bytes from an offset, at most so many; fewer only at the end.
    """
    whole, keys, places, gaps = hashlib.sha256(), set[str](), list[Place](), list[tuple[int, int]]()
    last = first_seq - 1
    at = 0
    for block in _blocks(read):
        whole.update(block)
        numbers = _note(block, keys)
        places.append(Place(numbers[0] if numbers else last + 1, at, crc32(block)))
        at += len(block)
        if numbers and (numbers[0] != last + 1 or numbers[-1] - numbers[0] != len(numbers) - 1):
            gaps += [(one + 1, other - 1) for one, other in pairwise([last, *numbers]) if other > one + 1]
        last = numbers[-1] if numbers else last
    keys.discard("")
    sums = array("I", sorted({crc32(key.encode()) for key in keys}))
    if sys.byteorder != "little":
        sums.byteswap()
    return Summary(whole.hexdigest(), at, last, tuple(gaps), Index(sums.tobytes(), tuple(places)))


def _blocks(read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """Runs of whole lines; what stands after the last line end comes by itself."""
    at, rest = 0, b""
    while piece := read(at, BLOCK_BYTES):
        at += len(piece)
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
    if rest:
        yield rest


def _note(block: bytes, keys: set[str]) -> list[int]:
    """Adds what is looked for to `keys`; the numbers of the lines."""
    try:
        records = _LINES.decode_lines(block)
    except NOT_OURS:  # damaged before it was sealed: what can be read is noted
        records = [_read(line) for line in block.split(b"\n")]
    for record in records:
        keys.update((record.id, record.message_id, record.correlation_id))
        if isinstance(record.recipient, str):
            keys.add(record.recipient)
        else:
            keys.update(record.recipient)
    return [record.seq for record in records if record.seq]


def _read(line: bytes) -> _Keys:
    """Of a damaged line the number alone, where it has one."""
    try:
        return _LINES.decode(line)
    except NOT_OURS:
        return _Keys(number_of(line))


def _swapped(keys: bytes) -> "array[int]":
    found = array("I", keys)
    found.byteswap()
    return found
