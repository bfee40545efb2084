"""An SMTP session as its client sees it: what it sent, beside what it heard, read without the relay's code.

Each unit that was sent (a command line, an answer of SASL, content, a chunk) has one reply, in order; so the client
knows what was agreed to. Whoever drives a server asks it, at each event, whether its client could have
brought it about.
"""

import re
from base64 import b64decode
from enum import Enum

__all__ = ["Claim", "Transcript"]

Claim = tuple[str, list[str], bytes]
"""A message by its client: arguments of MAIL and of each RCPT that got a 250, and the content."""

_CHUNK = re.compile(rb" *([0-9]{1,19})(?: +(LAST))? *", re.IGNORECASE)
_LONE_DOT = b"\r\n.\r\n"


class _Next(Enum):
    COMMAND = 0
    SASL = 1
    CONTENT = 2


class Transcript:
    """`sent` and `heard` in the order of the wire; broken if a reply answers nothing."""

    def __init__(self, *, tls: bool) -> None:
        self.tls = tls
        self.knows_helo = self.is_authenticated = self.is_closed = self.awaits_handshake = False
        self.sender: str | None = None
        self.recipients: list[str] = []
        self._chunks = b""
        self._unread = bytearray()
        self._next = _Next.COMMAND

    def sent(self, data: bytes) -> None:
        """The client wrote this; what follows STARTTLS in plain text is not the session's."""
        if not self.is_closed and not self.awaits_handshake:
            self._unread += data

    def handshake(self) -> None:
        """TLS began: nothing that was agreed to before counts."""
        assert self.awaits_handshake, "a handshake that nobody asked for"
        self.__init__(tls=True)  # type: ignore[misc]  # it is a new session

    def heard(self, output: bytes) -> None:
        """The server's replies."""
        for line in output.split(b"\r\n")[:-1]:
            if line[3:4] != b"-":
                self._reply(int(line[:3]))

    def _reply(self, code: int) -> None:
        assert not self.is_closed, "a reply after the last one"
        if code in (221, 421):
            self.is_closed = True
        elif self._next is _Next.CONTENT:
            self._cut(self._content_end())
            self._next = _Next.COMMAND
            self._end()
        else:
            line = self._cut(self._unread.find(b"\n") + 1)
            if self._next is _Next.SASL:
                self._authenticating(code)
            else:
                self._command(line, code)

    def _cut(self, end: int) -> bytes:
        assert 0 < end <= len(self._unread), "a reply to what has not been sent"
        unit = bytes(self._unread[:end])
        del self._unread[:end]
        return unit

    def _content_end(self) -> int:
        if self._unread.startswith(_LONE_DOT[2:]):
            return len(_LONE_DOT) - 2
        found = self._unread.find(_LONE_DOT)
        return found + len(_LONE_DOT) if found >= 0 else 0

    def _end(self) -> None:
        self.sender, self.recipients, self._chunks = None, [], b""

    def _authenticating(self, code: int) -> None:
        self._next = _Next.SASL if code == 334 else _Next.COMMAND
        if code == 235:
            self.is_authenticated = True

    def _command(self, line: bytes, code: int) -> None:
        verb, _, argument = _words(line)
        if verb == "BDAT":
            self._chunk(line, code)
        elif verb == "AUTH":
            self._authenticating(code)
        elif code >= 400:
            pass
        elif verb in ("EHLO", "HELO"):
            self.knows_helo = True
            self._end()
        elif verb == "RSET":
            self._end()
        elif verb == "MAIL":
            self.sender, self.recipients = argument, []
        elif verb == "RCPT":
            self.recipients.append(argument)
        elif verb == "DATA":
            assert code == 354
            self._next = _Next.CONTENT
        elif verb == "STARTTLS":
            self.awaits_handshake = True
            self._unread.clear()

    def _chunk(self, line: bytes, code: int) -> None:
        announced = _CHUNK.fullmatch(line.removesuffix(b"\r\n").partition(b" ")[2])
        if announced is None or code == 500:
            return  # no command, or the session's last: nobody knows where the chunk ends
        size = int(announced[1])
        self._chunks += self._cut(size) if size else b""
        if code != 250 or announced[2]:
            self._end()

    # -- what an event must have behind it

    def message(self) -> Claim:
        """The message whose content is there and has no reply yet."""
        assert self.knows_helo, "mail without EHLO in this session"
        assert self.sender is not None, "mail without a 250 to MAIL"
        assert self.recipients, "mail without a 250 to any RCPT"
        return self.sender, self.recipients, self._claimed_content()

    def _claimed_content(self) -> bytes:
        if self._next is _Next.CONTENT:
            end = self._content_end()
            assert end, "content that has not ended"
            lines = bytes(self._unread[: end - 3]).split(b"\r\n")
            return b"\r\n".join(line.removeprefix(b".") for line in lines)
        line, _, rest = bytes(self._unread).partition(b"\n")
        verb, _, _ = _words(line)
        announced = _CHUNK.fullmatch(line.removesuffix(b"\r").partition(b" ")[2])
        assert verb == "BDAT", "content without DATA or BDAT"
        assert announced is not None
        assert announced[2], "more chunks are to come"
        assert len(rest) >= int(announced[1]), "a chunk that is not whole"
        content = self._chunks + rest[: int(announced[1])]
        return content if content.endswith(b"\r\n") or not content else content + b"\r\n"

    def credentials(self) -> bytes:
        """What the client said last of who it is, decoded; only inside TLS, once, and outside of transactions."""
        assert self.tls, "AUTH in plain text"
        assert self.knows_helo, "AUTH without EHLO in this session"
        assert not self.is_authenticated, "AUTH twice"
        assert self.sender is None, "AUTH inside a transaction"
        line = bytes(self._unread[: self._unread.find(b"\n")])
        answer = line.removesuffix(b"\r").strip(b" \t").rpartition(b" ")[2]
        return b"" if answer == b"=" else b64decode(answer, validate=True)


def _words(line: bytes) -> tuple[str, str, str]:
    verb, blank, argument = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace").partition(" ")
    return verb.upper(), blank, argument
