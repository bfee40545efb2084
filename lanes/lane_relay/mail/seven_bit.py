"""A message in 7-bit form, for a host that does not offer 8BITMIME (RFC 6152 section 3). Bytes in, bytes out.

Only bodies that hold 8-bit bytes are encoded anew, and only their Content-Transfer-Encoding is changed: all other bytes
of headers, of other parts and between the parts stay as they are. Invariants: the result is ASCII, and decodes to what
was there; what must not be changed (RFC 1847: signed and encrypted parts; RFC 2046 5.2.2: fragments) is not; nor is
what mail programs may read in more than one way (`entity_header`). Parts are walked by their positions, and all that
is made goes into one buffer: besides the message it takes `MOST_LONGER` times its size at most, however it is nested.
It takes a second or two for the largest messages, so it belongs in a thread; `pause` is called after each piece.
Before: `deliver` has a message that a host cannot take as it is. After: it is signed, and sent.
"""

import re
from base64 import encodebytes
from binascii import a2b_qp, b2a_qp
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Final

from lane_relay.mail.entity_header import EntityHeader, read_entity_header

__all__ = ["MOST_LONGER", "is_signed", "seven_bit"]

_ENCODING = re.compile(rb"^content-transfer-encoding:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", re.IGNORECASE | re.MULTILINE)
_SIGNED = re.compile(rb"^dkim-signature[ \t]*:", re.IGNORECASE | re.MULTILINE)
_REST_OF_DELIMITER = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")
_PLAIN: Final = frozenset({"", "7bit", "8bit", "binary"})
"""Encodings that encode nothing; none is 7bit (RFC 2045 section 6.1)."""
_UNTOUCHED: Final = frozenset({"multipart/signed", "multipart/encrypted"})
_MOST_LEVELS: Final = 10
"""A mail that was forwarded as an attachment four times, with its text in two forms. Each level is looked through once
more for its delimiters."""
_MOST_PARTS: Final = 10_000
_MOST_HEADER: Final = 256 * 1024
_PIECE: Final = 288 * 57
"""Bytes between two pauses, less than a millisecond; whole lines of base64."""
_LONGER: Final = 1.5
"""Text that stays legible may take so many times as much: filters look askance at text in base64."""
MOST_LONGER: Final = 2.1
"""Times of the message's size: `_LONGER` times base64 with its line ends; a few fields a part come on top."""
_MIME: Final = b"MIME-Version: 1.0\r\n"
_UNKNOWN: Final = b"Content-Type: text/plain; charset=unknown-8bit\r\n"
"""RFC 1428 section 3: what to call text whose charset nobody named."""


def seven_bit(content: bytes, pause: Callable[[], None] = lambda: None) -> bytes | None:
    """The message without a byte above 127; None if that cannot be without breaking it."""
    if content.isascii():
        return content
    ends = content.count(b"\r\n")
    if content.count(b"\r") != ends or content.count(b"\n") != ends:
        return None  # some programs would take it for another end of a line
    made = _Making(content, pause)
    return made.out.getvalue() if made.message(0, len(content), 0, ()) else None


def is_signed(content: bytes) -> bool:
    """It has a DKIM signature of its own, which a change of its body breaks."""
    if content.startswith(b"\r\n"):
        return False
    end = content.find(b"\r\n\r\n")
    return _SIGNED.search(content, 0, len(content) if end < 0 else end) is not None


class _Making:
    """Walks the message and writes its other form; each step says False if there is none."""

    def __init__(self, content: bytes, pause: Callable[[], None]) -> None:
        self.out = BytesIO()
        self._content = content
        self._pause = pause
        self._parts = 0

    def message(self, start: int, end: int, level: int, inside: tuple[bytes, ...]) -> bool:
        """The whole message, or one that is attached. `inside`: the delimiters around it."""
        return self._entity(start, end, level, inside, "text/plain", is_message=True)

    def _entity(
        self, start: int, end: int, level: int, inside: tuple[bytes, ...], default: str, *, is_message: bool = False
    ) -> bool:
        self._parts += 1
        if level > _MOST_LEVELS or self._parts > _MOST_PARTS:
            return False
        if self._is_ascii(start, end):
            return self._copy(start, end)
        found = self._split(start, end)
        if found is None:
            return False
        text, body = found
        header = read_entity_header(text, default)
        if header is None or header.kind in _UNTOUCHED or header.encoding not in _PLAIN:
            return False
        added = b""
        if is_message and not header.is_mime:
            added = _MIME if header.has_type else _MIME + _UNKNOWN
        if header.kind.startswith(("multipart/", "message/")):
            self._head(text, b"7bit", added)
            return self._nested(body, end, level, inside, header)
        return self._leaf(text, added, body, end, inside, is_text=header.kind.startswith("text/"))

    def _split(self, start: int, end: int) -> tuple[bytes, int] | None:
        """The header with its last line end, and where the body begins behind the empty line."""
        if self._content.startswith(b"\r\n", start, end):
            return b"", start + 2
        found = self._content.find(b"\r\n\r\n", start, min(end, start + _MOST_HEADER))
        return (self._content[start : found + 2], found + 4) if found >= 0 else None

    def _nested(self, body: int, end: int, level: int, inside: tuple[bytes, ...], header: EntityHeader) -> bool:
        if header.kind == "message/rfc822":
            return self.message(body, end, level + 1, inside)
        if not header.boundary:
            return False
        delimiter = b"--" + header.boundary
        default = "message/rfc822" if header.kind == "multipart/digest" else "text/plain"  # RFC 2046 section 5.1.5
        at = body
        for start, stop in self._between(body, end, delimiter):
            if not self._copy(at, start) or not self._entity(start, stop, level + 1, (*inside, delimiter), default):
                return False
            at = stop
        return self._copy(at, end)

    def _between(self, body: int, end: int, delimiter: bytes) -> Iterator[tuple[int, int]]:
        """Where each part begins and ends; the line end before a delimiter is the delimiter's (RFC 2046 5.1.1)."""
        line = b"\r\n" + delimiter
        start, at = -1, body - 2  # the empty line before the body ends in one
        while (found := self._content.find(line, at, end)) >= 0:
            at = found + len(line)
            rest = _REST_OF_DELIMITER.match(self._content, at, end)
            if rest is None:
                continue
            if start >= 0:
                yield start, max(start, found)
            if rest[1]:
                return
            start = rest.end()
            at = start - 2 if rest[0].endswith(b"\r\n") else start
        if start >= 0:  # the last delimiter is missing: what follows is a part all the same
            yield start, end

    def _is_ascii(self, start: int, end: int) -> bool:
        return all(self._content[at : min(end, at + _PIECE)].isascii() for at in range(start, end, _PIECE))

    def _copy(self, start: int, end: int) -> bool:
        for at in range(start, end, _PIECE):
            piece = self._content[at : min(end, at + _PIECE)]
            if not piece.isascii():
                return False
            self.out.write(piece)
            self._pause()
        return True

    def _head(self, text: bytes, encoding: bytes, added: bytes) -> None:
        field = b"Content-Transfer-Encoding: %b\r\n" % encoding
        changed, count = _ENCODING.subn(field, text)
        self.out.write(b"%b%b%b\r\n" % (changed, b"" if count else field, added))
        self._pause()

    def _leaf(
        self, text: bytes, added: bytes, body: int, end: int, inside: tuple[bytes, ...], *, is_text: bool
    ) -> bool:
        before = self.out.tell()
        if is_text:
            self._head(text, b"quoted-printable", added)
            if self._quoted(body, end, inside):
                return True
            self.out.seek(before)
            self.out.truncate()
        self._head(text, b"base64", added)
        for at in range(body, end, _PIECE):
            self.out.write(encodebytes(self._content[at : min(end, at + _PIECE)]).replace(b"\n", b"\r\n"))
            self._pause()
        return True

    def _quoted(self, at: int, end: int, inside: tuple[bytes, ...]) -> bool:
        """False: it would be too long, would not decode to the same, or read as a delimiter around it."""
        size = end - at
        most = self.out.tell() + int(_LONGER * (4 * ((size + 2) // 3) + 2 * ((size + 56) // 57)))
        while at < end:
            stop = end if end - at <= _PIECE else self._content.rfind(b"\r\n", at, at + _PIECE) + 2
            if stop <= at:  # no text has such lines
                return False
            made = _quoted(self._content[at:stop])
            if not made or self.out.tell() + len(made) > most:
                return False
            if any(made.startswith(one) or b"\r\n" + one in made for one in inside):
                return False
            self.out.write(made)
            self._pause()
            at = stop
        return True


def _quoted(lines: bytes) -> bytes:
    """Quoted-printable; empty if it would not decode to the same."""
    text = b2a_qp(lines, istext=True)
    text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # within a piece without a line end it used \n
    return text if a2b_qp(text) == lines else b""
