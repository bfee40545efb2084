"""Message content on the wire: dot-stuffing both ways, the end of data, and the line ends that are refused.

Invariant: content ends at CRLF.CRLF and nowhere else, and holds CR and LF only as CRLF; two servers that read a
message differently let a sender smuggle a second one through the first (RFC 5321 section 2.3.8 forbids both bytes
alone). All of it runs at the speed of `bytes.find`, `count` and `replace`; nothing goes line by line.
"""

from collections.abc import Sequence
from typing import Final

__all__ = ["END_OF_DATA", "has_bare_line_end", "stuff", "unstuff"]

END_OF_DATA: Final = b".\r\n"
"""The last line; a CRLF before it belongs to the content (RFC 5321 section 4.1.1.4)."""


def has_bare_line_end(content: bytes) -> bool:
    """A CR without LF or an LF without CR is in it."""
    # One pass; counting single bytes that come every 70 takes four times as long.
    rest = content.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


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
