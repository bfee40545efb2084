"""Replies (RFC 5321 section 4.2): built for our server, parsed bit by bit for our client.

Invariant: the parser's memory is bounded whatever the peer sends; what breaks the bounds or the grammar ends the
stream with a text in `broken`, never with an exception. Before it: bytes from a peer; after it: `smtp.client`.
"""

from functools import lru_cache
from typing import Final

from lane_relay.records import Reply

__all__ = ["MAX_REPLY_BYTES", "MAX_REPLY_LINES", "ReplyParser", "format_reply"]

MAX_REPLY_LINES: Final = 128
"""RFC 5321 names no limit; large ISPs send up to 10 lines, EHLO answers up to 30."""
MAX_REPLY_BYTES: Final = 32 * 1024
"""RFC 5321 section 4.5.3.1.5 allows 512 octets a line; some peers send 2,000, so the whole reply is bounded instead."""
_CACHED_LINES: Final = 512
"""Most replies of one ISP are the same few lines; those with a queue id pass through."""


def format_reply(code: int, *lines: str) -> bytes:
    """The bytes of a reply; text that is not printable ASCII is replaced, so that no peer's words can forge a line."""
    texts = [line if line.isascii() and line.isprintable() else _printable_ascii(line) for line in lines] or [""]
    parts = [f"{code}-{text}\r\n" for text in texts[:-1]]
    return ("".join(parts) + f"{code} {texts[-1]}".rstrip() + "\r\n").encode("ascii")


def _printable_ascii(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


@lru_cache(maxsize=_CACHED_LINES)
def _parse_line(line: bytes) -> tuple[int, bool, str] | None:
    """(code, is the last line, text), or None if it is no reply line; a bare code is a last line without text."""
    digits, separator = line[:3], line[3:4]
    if len(digits) != 3 or not digits.isdigit() or not 200 <= int(digits) <= 599 or separator not in (b"", b" ", b"-"):
        return None
    text = line[4:].decode("utf-8", "replace")
    if not text.isprintable():  # control characters would reach logs and DSNs
        text = "".join(char if char.isprintable() else "?" for char in text)
    return int(digits), separator != b"-", text


class ReplyParser:
    """Cuts a stream into replies. A line may end in LF alone, as some old servers send it; we only ever read here."""

    __slots__ = ("_buffer", "_lines", "_size", "broken")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._size = 0
        self.broken = ""
        """Why nothing more is read, or empty."""

    @property
    def is_pending(self) -> bool:
        """Part of a reply has come and the rest has not."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete with these bytes; stops for good once `broken` is set."""
        if self.broken:
            return []
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        replies: list[Reply] = []
        for line in lines:
            if not self._take_line(line[:-1] if line[-1:] == b"\r" else line, replies):
                return replies
        if self._size + len(self._buffer) > MAX_REPLY_BYTES:
            self.broken = f"a reply longer than {MAX_REPLY_BYTES} bytes"
        return replies

    def _take_line(self, line: bytes, replies: list[Reply]) -> bool:
        parsed = _parse_line(line) if len(line) <= MAX_REPLY_BYTES else None
        self._size += len(line)
        if parsed is None or self._size > MAX_REPLY_BYTES or len(self._lines) >= MAX_REPLY_LINES:
            self.broken = _describe_broken(line, parsed is not None)
            return False
        code, is_last, text = parsed
        if not is_last:
            self._lines.append(text)
            return True
        # A code that changes within a reply is an error of the peer; the last line's counts (as with Postfix).
        replies.append(Reply(code, (*self._lines, text)) if self._lines else Reply(code, (text,)))
        self._size = 0
        if self._lines:
            self._lines = []
        return True


def _describe_broken(line: bytes, is_reply: bool) -> str:
    if is_reply:
        return f"a reply of more than {MAX_REPLY_LINES} lines or {MAX_REPLY_BYTES} bytes"
    shown = _printable_ascii(line[:80].decode("ascii", "replace"))
    return f"not an SMTP reply: {shown!r}"
