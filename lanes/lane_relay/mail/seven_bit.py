"""A message in 7-bit form, for a host that does not offer 8BITMIME (RFC 6152 section 3). Bytes in, bytes out.

Only bodies that hold 8-bit bytes are encoded anew, and only their Content-Transfer-Encoding is changed: all other bytes
of headers, of other parts and between the parts stay as they are. Invariants: the result is ASCII, and decodes to what
was there; what must not be changed (RFC 1847: signed and encrypted parts; RFC 2046 5.2.2: fragments) is not.
Before: `deliver` has a message that a host cannot take as it is. After: it is signed, and sent.
"""

import re
from base64 import b64encode
from binascii import a2b_qp, b2a_qp
from collections.abc import Iterator
from email.message import Message as Fields
from email.parser import BytesHeaderParser
from typing import Final

__all__ = ["is_signed", "seven_bit"]

_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", re.IGNORECASE | re.MULTILINE
)
_SIGNED = re.compile(rb"^dkim-signature[ \t]*:", re.IGNORECASE | re.MULTILINE)
_PLAIN: Final = frozenset({"", "7bit", "8bit", "binary"})
"""Encodings that encode nothing; none is 7bit (RFC 2045 section 6.1)."""
_UNTOUCHED: Final = frozenset({"multipart/signed", "multipart/encrypted", "message/partial", "message/external-body"})
_MOST_LEVELS: Final = 20
_LINE: Final = 76
_LONGER: Final = 1.5
"""Text that stays legible may take so many times as much: filters look askance at text in base64."""
_MIME: Final = b"MIME-Version: 1.0\r\n"
_UNKNOWN: Final = b"Content-Type: text/plain; charset=unknown-8bit\r\n"
"""RFC 1428 section 3: what to call text whose charset nobody named."""


def seven_bit(content: bytes) -> bytes | None:
    """The message (CRLF line ends) without a byte above 127; None if that cannot be without breaking it."""
    return _message(content, 0)


def is_signed(content: bytes) -> bool:
    """It has a DKIM signature of its own, which a change of its body breaks."""
    return _SIGNED.search(_split(content)[0]) is not None


def _message(content: bytes, level: int) -> bytes | None:
    if content.isascii():
        return content
    header, body = _split(content)
    if not header.isascii():
        return None
    fields = _fields(header)
    added = b"" if "mime-version" in fields else _MIME
    if added and "content-type" not in fields:
        added += _UNKNOWN
    made = _entity(header, body, fields, level)
    return None if made is None else made[0] + added + b"\r\n" + made[1]


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Header with its last line end, and body; the empty line is in neither."""
    if content.startswith(b"\r\n"):
        return b"", content[2:]
    header, empty, body = content.partition(b"\r\n\r\n")
    return (header + b"\r\n", body) if empty else (content, b"")


def _fields(header: bytes) -> Fields:
    return BytesHeaderParser().parsebytes(header)


def _entity(header: bytes, body: bytes, fields: Fields, level: int) -> tuple[bytes, bytes] | None:
    """Header and body of an entity that holds 8-bit bytes, made 7-bit."""
    kind = fields.get_content_type()
    encoding = str(fields.get("content-transfer-encoding", "")).partition(";")[0].strip().lower()
    if kind in _UNTOUCHED or encoding not in _PLAIN or level > _MOST_LEVELS:
        return None
    if kind.startswith("multipart/"):
        parts = _multipart(body, _boundary(fields), level)
        return None if parts is None else (_encoded(header, b"7bit"), parts)
    if kind == "message/rfc822":
        inner = _message(body, level + 1)
        return None if inner is None else (_encoded(header, b"7bit"), inner)
    if kind.startswith("message/"):
        return None
    quoted = _quoted(body) if kind.startswith("text/") else b""
    based = _based(body)
    if quoted and len(quoted) <= _LONGER * len(based):
        return _encoded(header, b"quoted-printable"), quoted
    return _encoded(header, b"base64"), based


def _boundary(fields: Fields) -> str:
    """Empty if there is none that can be read: the standard library stumbles over some forms of RFC 2231."""
    try:
        return fields.get_boundary() or ""
    except (TypeError, ValueError, LookupError):
        return ""


def _multipart(body: bytes, boundary: str, level: int) -> bytes | None:
    if not boundary or not boundary.isascii():
        return None
    made, at = [], 0
    for start, end in _parts(body, boundary.encode("ascii")):
        part = body[start:end]
        if part.isascii():
            continue
        header, content = _split(part)
        if not header.isascii():
            return None
        found = _entity(header, content, _fields(header), level + 1)
        if found is None:
            return None
        made += [body[at:start], found[0], b"\r\n", found[1]]
        at = end
    whole = b"".join([*made, body[at:]])
    return whole if whole.isascii() else None


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends; the line end before a delimiter is the delimiter's (RFC 2046 section 5.1.1)."""
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    start = -1
    for found in delimiter.finditer(body):
        if start >= 0:
            yield start, max(start, found.start())
        if found[1]:
            return
        start = min(found.end() + 2, len(body))
    if start >= 0:  # the last delimiter is missing: what follows is a part all the same
        yield start, len(body)


def _encoded(header: bytes, encoding: bytes) -> bytes:
    field = b"Content-Transfer-Encoding: %b\r\n" % encoding
    changed, count = _ENCODING.subn(field, header)
    return changed if count else header + field


def _quoted(body: bytes) -> bytes:
    """Quoted-printable; empty if it would not decode to the same."""
    text = b2a_qp(body, istext=True)
    text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text if a2b_qp(text) == body else b""


def _based(body: bytes) -> bytes:
    text = b64encode(body)
    return b"".join([text[at : at + _LINE] + b"\r\n" for at in range(0, len(text), _LINE)])
