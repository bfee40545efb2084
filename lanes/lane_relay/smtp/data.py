"""Message content on the wire: dot-stuffing both ways, the end of data, and the line ends that are refused.

Invariant: content ends at CRLF.CRLF and nowhere else, and holds CR and LF only as CRLF; two servers that read a
message differently let a sender smuggle a second one through the first (RFC 5321 section 2.3.8 forbids both bytes
alone). Its lines are such as every server takes. All of it runs at the speed of `bytes.find`, `count` and `replace`;
nothing goes line by line.
"""

from collections.abc import Sequence
from typing import Final

from lane_relay.records import Reply

__all__ = [
    "END_OF_DATA",
    "MAX_LINE",
    "has_bare_line_end",
    "has_long_line",
    "stuff",
    "too_big",
    "unfit_content",
    "unstuff",
]

END_OF_DATA: Final = b".\r\n"
"""The last line; a CRLF before it belongs to the content (RFC 5321 section 4.1.1.4)."""

MAX_LINE: Final = 998
"""Octets of a line before its CRLF (RFC 5321 section 4.5.3.1.6); a server after us that breaks a longer one breaks its
DKIM signature, too."""

_BARE_LINE_END: Final = Reply(
    550, ("5.6.0 The message has a CR or LF that is not part of a CRLF: end lines with CRLF",)
)
_NUL: Final = Reply(550, ("5.6.0 The message has a NUL octet: encode it (base64)",))
"""Servers that drop it make another message of what is left, such as one that ends at a dot behind it."""
_LONG_LINE: Final = Reply(
    550, (f"5.6.0 A line of the message is longer than {MAX_LINE} octets: encode it (quoted-printable or base64)",)
)


def unfit_content(content: bytes) -> Reply | None:
    """Why content, dots taken off, cannot be taken."""
    if has_bare_line_end(content):
        return _BARE_LINE_END
    if b"\0" in content:
        return _NUL
    return _LONG_LINE if has_long_line(content) else None


def too_big(limit: int) -> Reply:
    """The message is over the limit, in bytes (RFC 1870 section 6)."""
    return Reply(552, (f"5.3.4 The message is over the limit of {limit} bytes",))


def has_bare_line_end(content: bytes) -> bool:
    """A CR without LF or an LF without CR is in it."""
    # One pass; counting single bytes that come every 70 takes four times as long.
    rest = content.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def has_long_line(content: bytes) -> bool:
    """A line has more than MAX_LINE octets; content ends in CRLF."""
    # In leaps of a thousand octets, each back to its last line end: a fifth of what the pass above takes.
    start, last = 0, len(content) - MAX_LINE - 2
    while start < last:
        start = content.rfind(b"\n", start, start + MAX_LINE + 2) + 1
        if not start:
            return True
    return False


def unstuff(content: bytes) -> bytes:
    """Takes the dot off each line that begins with one (RFC 5321 section 4.5.2); content begins at a line's start."""
    if content[:1] == b".":
        content = content[1:]
    return content.replace(b"\r\n.", b"\r\n") if b"\r\n." in content else content


def stuff(chunks: Sequence[bytes]) -> tuple[bytes, ...]:
    """The chunks as they are sent, end of data included; CRLF is added where the content does not end in it.

    A chunk without a dot at a line's start is handed on uncopied. Chunks that do not end in CRLF are joined first.
    """
    if not all(chunk.endswith(b"\r\n") for chunk in chunks[:-1]):
        chunks = (b"".join(chunks),)
    sent = [_stuff_lines(chunk) for chunk in chunks if chunk]
    sent.append(END_OF_DATA if not sent or sent[-1].endswith(b"\r\n") else b"\r\n" + END_OF_DATA)
    return tuple(sent)


def _stuff_lines(chunk: bytes) -> bytes:
    if b"\r\n." in chunk:
        chunk = chunk.replace(b"\r\n.", b"\r\n..")
    return b"." + chunk if chunk[:1] == b"." else chunk
