"""The log's format, version 1: segment headers and CRC-framed records. Bytes in, bytes out.

A segment is a header and records. A record is a fixed header and three parts: the *index part* (what recovery needs),
the *accounting part* (JSON records on their way to the journal) and *data* (envelope and body). A sealed segment ends
with a FOOTER record that repeats all index parts (see `footer`) and whose last bytes say where it begins, so recovery
reads footers.

Invariants: a record's CRC covers everything after the CRC field, is seeded with the spool's identity, the segment's
number and the record's place, so that neither bytes copied from elsewhere nor a forged record inside a mail body
passes; `commit_at` is the place where the record's own commit began, so that a reader can tell a commit that was cut
off (nothing after it was ever written) from damage to what was once durable.
Before: `files`. After: `footer`; `committer` writes it, `recovery` and `cleaning` read it.
"""

import zlib
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct as Layout
from typing import Final

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from lane_relay.errors import NOT_OURS
from lane_relay.records import Envelope, Message, RecipientOptions
from lane_relay.spool.entries import Groups, Waiting

__all__ = [
    "FORMAT_VERSION",
    "HEADER_SIZE",
    "DeferredIndex",
    "FlagsIndex",
    "Gap",
    "Kind",
    "MessageIndex",
    "Record",
    "SegmentHeader",
    "SettledIndex",
    "accounting_records",
    "decode_message",
    "encode",
    "encode_accounting",
    "encode_message_data",
    "id_bytes",
    "pack_index",
    "parse_record",
    "salt_of",
    "scan",
    "unpack_deferred",
    "unpack_flags",
    "unpack_message",
    "unpack_settled",
]

FORMAT_VERSION: Final = 1
_MAGIC: Final = b"LNWSPOOL"
_MARKER: Final = b"\xf5LR\xfa"
"""Begins every record. 0xF5 and 0xFA never occur in UTF-8, so text does not look like it."""
_SEGMENT: Final = Layout("<8sHHI16sQQQQQI")
_RECORD: Final = Layout("<4sIBxxxIIIIIQ")
_AFTER_CRC: Final = 8
_LENGTH: Final = Layout("<I")
_MASK: Final = 0xFFFFFFFF
HEADER_SIZE: Final = _SEGMENT.size


class Kind(IntEnum):
    """What a record says. Values are on disk for ever."""

    MESSAGE = 1
    SETTLED = 2
    DEFERRED = 3
    RECORD = 4
    FLAGS = 5
    FOOTER = 6


class SegmentHeader(Struct, frozen=True):
    """The first bytes of a segment."""

    spool_id: bytes
    number: int
    created_ms: int
    first_seq: int
    """Sequence number of the next accounting record when the segment was begun."""
    journal_synced: int
    """Every accounting record up to this one was on stable storage in the journal when the segment was begun."""
    generation: int = 0
    """How often the segment was rewritten without what is dead."""
    cleaned_at: int = 0
    """Number of the segment that was being written when this one was rewritten; 0: never."""
    version: int = FORMAT_VERSION

    def encode(self) -> bytes:
        """The header as it stands in the file."""
        plain = _SEGMENT.pack(
            _MAGIC,
            self.version,
            HEADER_SIZE,
            self.generation,
            self.spool_id,
            self.number,
            self.created_ms,
            self.first_seq,
            self.journal_synced,
            self.cleaned_at,
            0,
        )
        return plain[:-4] + _LENGTH.pack(zlib.crc32(plain[:-4]))

    @classmethod
    def decode(cls, data: bytes) -> "SegmentHeader | None":
        """The header, or None if it is damaged. Version and identity are for the caller to judge."""
        if len(data) < HEADER_SIZE:
            return None
        magic, version, _size, generation, spool_id, *numbers, crc = _SEGMENT.unpack_from(data)
        if magic != _MAGIC or crc != zlib.crc32(data[: HEADER_SIZE - 4]):
            return None
        number, created_ms, first_seq, journal_synced, cleaned_at = numbers
        return cls(spool_id, number, created_ms, first_seq, journal_synced, generation, cleaned_at, version)


class MessageIndex(Struct, frozen=True, array_like=True, gc=False):
    """What recovery needs to know of a message; fields are only ever added at the end, with defaults."""

    id: bytes
    size: int
    groups: Groups
    campaign: str = ""
    sender_domain: str = ""
    expires_at: float = 0.0
    waiting: Waiting | None = None
    """Of mail that a sibling had tried before."""


class SettledIndex(Struct, frozen=True, array_like=True, gc=False):
    """Recipients that are done with."""

    id: bytes
    home: int
    """Number of the segment that holds the message."""
    recipients: tuple[int, ...]
    final: bool
    """No recipient is left."""


class DeferredIndex(Struct, frozen=True, array_like=True, gc=False):
    """When recipients of one domain are tried again; fields are only ever added at the end, with defaults."""

    id: bytes
    home: int
    recipients: tuple[int, ...]
    due: float
    attempts: int
    notified: bool = False
    said_at: float = 0.0
    """Unix time at which `due` was decided; 0: not known."""


class FlagsIndex(Struct, frozen=True, array_like=True, gc=False):
    """All flags in force; the last such record of the log holds."""

    flags: dict[str, str]


class _Meta(Struct, frozen=True, array_like=True, gc=False):
    """A message without its body; fields are only ever added at the end, with defaults."""

    sender: str
    recipients: tuple[str, ...]
    eight_bit: bool
    smtp_utf8: bool
    client: str
    user: str
    message_id: str
    correlation_id: str
    from_domain: str
    campaign: str = ""
    expires_at: float = 0.0
    triggered_at: float = 0.0
    ret: str = ""
    envid: str = ""
    options: tuple[RecipientOptions, ...] = ()
    protocol: str = ""
    notice_at: float = 0.0


class Record(Struct, frozen=True, gc=False):
    """One sound record."""

    offset: int
    length: int
    kind: int
    seq: int
    """Sequence number of its first accounting record, or of the next one if it has none."""
    count: int
    """Accounting records in it."""
    commit_at: int
    index: bytes
    accounting: bytes
    data: bytes


class Gap(Struct, frozen=True, gc=False):
    """Bytes in which no sound record was found."""

    offset: int
    end: int
    blank: bool
    """Nothing but zeros: room that was never written."""


_encoder: Final = Encoder()
pack_index: Final = _encoder.encode
unpack_message: Final = Decoder(MessageIndex).decode
unpack_settled: Final = Decoder(SettledIndex).decode
unpack_deferred: Final = Decoder(DeferredIndex).decode
unpack_flags: Final = Decoder(FlagsIndex).decode
_unpack_meta: Final = Decoder(_Meta).decode


def id_bytes(message_id: int) -> bytes:
    """A spool id as it stands on disk: 12 bytes, big-endian, so that they sort by time."""
    return message_id.to_bytes(12, "big")


def salt_of(spool_id: bytes, number: int) -> int:
    """The seed of all CRCs of one segment: unknown to whoever sends mail."""
    return zlib.crc32(number.to_bytes(8, "little"), zlib.crc32(spool_id))


def encode_accounting(records: tuple[bytes, ...]) -> bytes:
    """Accounting records, each with its length before it."""
    if len(records) == 1:
        return _LENGTH.pack(len(records[0])) + records[0]
    return b"".join([part for record in records for part in (_LENGTH.pack(len(record)), record)])


def accounting_records(part: bytes) -> Iterator[bytes]:
    """The records of an accounting part."""
    at = 0
    while at < len(part):
        (length,) = _LENGTH.unpack_from(part, at)
        yield part[at + 4 : at + 4 + length]
        at += 4 + length


def encode(
    kind: int,
    index: bytes,
    accounting: bytes,
    data: tuple[bytes, ...],
    *,
    seq: int,
    count: int,
    at: int,
    commit_at: int,
    salt: int,
) -> tuple[list[bytes], int]:
    """The parts of one record that will stand at `at`, and their length; bodies are not copied."""
    data_length = 0
    for part in data:
        data_length += len(part)
    head = (
        _RECORD.pack(_MARKER, 0, kind, count, len(index), len(accounting), data_length, commit_at, seq)[_AFTER_CRC:]
        + index
        + accounting
    )
    crc = zlib.crc32(head, (salt + at) & _MASK)
    for part in data:
        crc = zlib.crc32(part, crc)
    head = _MARKER + _LENGTH.pack(crc) + head
    return [head, *data], len(head) + data_length


def parse_record(data: bytes, at: int, salt: int, base: int = 0) -> Record | None:
    """The record at this place of `data`, whose first byte stands at `base` of the segment; None if it is not sound."""
    if at + _RECORD.size > len(data):
        return None
    marker, crc, kind, count, index_length, accounting_length, data_length, commit_at, seq = _RECORD.unpack_from(
        data, at
    )
    index_at = at + _RECORD.size
    accounting_at = index_at + index_length
    data_at = accounting_at + accounting_length
    end = data_at + data_length
    if marker != _MARKER or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[at + _AFTER_CRC : end], (salt + base + at) & _MASK) != crc:
        return None
    return Record(
        base + at,
        end - at,
        kind,
        seq,
        count,
        commit_at,
        data[index_at:accounting_at],
        data[accounting_at:data_at],
        data[data_at:end],
    )


def scan(data: bytes, salt: int) -> Iterator[Record | Gap]:
    """Everything after the header of a whole segment, in order; after damage it goes on at the next sound record."""
    at = HEADER_SIZE
    while at < len(data):
        record = parse_record(data, at, salt)
        if record is not None:
            yield record
            at += record.length
            continue
        following = _resync(data, at + 1, salt)
        yield Gap(at, following, not data[at:following].strip(b"\0"))
        at = following


def _resync(data: bytes, at: int, salt: int) -> int:
    while True:
        at = data.find(_MARKER, at)
        if at < 0:
            return len(data)
        if parse_record(data, at, salt) is not None:
            return at
        at += 1


def encode_message_data(message: Message) -> tuple[bytes, bytes]:
    """Envelope and body of a message."""
    envelope = message.envelope
    meta = _encoder.encode(
        _Meta(
            envelope.sender,
            envelope.recipients,
            envelope.eight_bit,
            envelope.smtp_utf8,
            message.client,
            message.user,
            message.message_id,
            message.correlation_id,
            message.from_domain,
            message.campaign,
            message.expires_at,
            message.triggered_at,
            envelope.ret,
            envelope.envid,
            envelope.options,
            message.protocol,
            message.notice_at,
        )
    )
    return _LENGTH.pack(len(meta)) + meta, message.body


def decode_message(record: Record) -> Message | None:
    """The message of a MESSAGE record; None if it is none."""
    if record.kind != Kind.MESSAGE:
        return None
    (length,) = _LENGTH.unpack_from(record.data)
    try:
        meta = _unpack_meta(record.data[4 : 4 + length])
        index = unpack_message(record.index)
    except NOT_OURS:
        return None
    return Message(
        int.from_bytes(index.id, "big"),
        Envelope(
            meta.sender,
            meta.recipients,
            meta.eight_bit,
            meta.smtp_utf8,
            meta.ret,
            meta.envid,
            meta.options,
        ),
        record.data[4 + length :],
        meta.client,
        meta.user,
        meta.message_id,
        meta.correlation_id,
        meta.from_domain,
        meta.campaign,
        meta.expires_at,
        meta.triggered_at,
        meta.protocol,
        meta.notice_at,
    )
