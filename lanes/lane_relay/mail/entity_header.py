"""What the header of a message or a part says of its body, read so strictly that nobody reads it otherwise.

Mail programs differ in what they make of a broken header: one takes the body to begin at a line that is no field,
another goes on; of two fields one takes the first, another the last. Who changes a body has to know what all of them
take it for, so of such a header nothing is read. Sans-I/O. Before: `seven_bit` has found the header. After: it changes
the body.
"""

import re
from typing import Final

from lane_relay.records import Record

__all__ = ["EntityHeader", "read_entity_header"]

_NAME = re.compile(rb"[!-9;-~]+")
_TOKEN: Final = rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_TYPE = re.compile(rb"[ \t]*(" + _TOKEN + rb")/(" + _TOKEN + rb")[ \t]*(?=;|\Z)")
_PARAMETER = re.compile(rb';[ \t]*(?:([^\s=;"]+)[ \t]*=[ \t]*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s;"()\\]*))[ \t]*)?')
"""Values without quotes are taken as many programs write them, with = or / inside, but for comments."""
_READ: Final = frozenset({b"content-type", b"content-transfer-encoding", b"mime-version"})
_NESTING: Final = (b"multipart", b"message")
_MOST_BOUNDARY: Final = 200
"""Bytes; RFC 2046 section 5.1.1 allows 70."""
_MOST_VALUE: Final = 4096


class EntityHeader(Record, frozen=True, gc=False):
    """Of a header that can be read in one way alone."""

    kind: str
    """Content type in lower case; its default where there is none."""
    encoding: str
    """Content-Transfer-Encoding in lower case; empty: none is given."""
    boundary: bytes
    """Of a multipart; empty where there is none or it can be read in more than one way."""
    has_type: bool
    is_mime: bool
    """It has a MIME-Version."""


def read_entity_header(header: bytes, default: str) -> EntityHeader | None:
    """The header's meaning (CRLF after each line); None if it has 8-bit bytes, defects, or two meanings."""
    values = _values(header)
    if values is None:
        return None
    value = values.get(b"content-type")
    kind: str | None = default
    if value is not None:
        kind = _kind(value)
    if kind is None:
        return None
    encoding = values.get(b"content-transfer-encoding", b"").partition(b";")[0].strip().lower().decode("ascii")
    boundary = _boundary(value) if value is not None and kind.startswith("multipart/") else b""
    return EntityHeader(kind, encoding, boundary, value is not None, b"mime-version" in values)


def _values(header: bytes) -> dict[bytes, bytes] | None:
    """Unfolded values of the fields that are read."""
    bare = header.replace(b"\r\n", b"")
    if not header.isascii() or b"\r" in bare or b"\n" in bare:
        return None
    values: dict[bytes, bytes] = {}
    for line in header.replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t").split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            return None
        if b"\n" in value and any(not part.strip() for part in value.split(b"\n")[1:]):
            return None  # to some programs a line of blanks ends the header
        name = name.lower()
        if name in _READ:
            if name in values or len(value) > _MOST_VALUE:
                return None
            values[name] = value.replace(b"\n", b"")
    return values


def _kind(value: bytes) -> str | None:
    """What cannot be read is text (RFC 2045 section 5.2), unless it may be meant to hold other entities."""
    found = _TYPE.match(value)
    if found is not None:
        return (found[1] + b"/" + found[2]).lower().decode("ascii")
    named = value.partition(b";")[0].lower()
    return None if any(word in named for word in _NESTING) else "text/plain"


def _boundary(value: bytes) -> bytes:
    """RFC 2046 section 5.1.1. What RFC 2231 would have in several pieces or in a charset is not read."""
    found = _TYPE.match(value)
    at = found.end() if found is not None else 0
    boundaries = []
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            return b""
        at = parameter.end()
        name = (parameter[1] or b"").lower()
        if name.partition(b"*")[0] == b"boundary":
            quoted = parameter[2]
            boundaries.append(b"" if b"*" in name else quoted if quoted is not None else parameter[3])
    boundary = boundaries[0] if len(boundaries) == 1 else b""
    sound = len(boundary) <= _MOST_BOUNDARY and boundary.rstrip() == boundary and b"\\" not in boundary
    return boundary if sound else b""
