"""What must hold of a message's 7-bit form: its parts are the same to a parser that is not ours, at a bounded cost.

`composed` makes mail of pieces that programs stumble over, chosen by the bytes it is given: bytes at random would
hardly ever be MIME. Before: `targets`. After it: `lane_relay.mail.seven_bit`.
"""

from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from typing import Final

from lane_relay.mail.seven_bit import MOST_LONGER, is_signed, seven_bit

__all__ = ["check_seven_bit", "composed"]

_A_PART: Final = 400
"""Bytes that the fields of a part, or a short line, may add."""
_PARAMETERS: Final = (
    "; boundary=b", '; boundary="b b"', "; boundary*=utf-8''b%20b", "; boundary*0=b; boundary*1=c", "", "; x=y",
    "; boundary*0*=us-ascii'en'b; boundary*1=c", "; boundary*=x'y", "; boundary*0*=zz'en'%ff", "; boundary",
    "; boundary=", '; boundary="b\\"x"', "; boundary*1=c", "; boundary=(c)b", '; boundary="=?utf-8?q?b?="',
    "; boundary=b boundary=c", ';\r\n\tboundary="b"; charset=utf-8', "; boundary=z;", '; boundary="b=3D"',
)  # fmt: skip
_TYPES: Final = (
    "multipart/mixed", "multipart/alternative", "multipart/digest", "multipart/signed", "text/plain", "text/html",
    "message/rfc822", "message/global", "message/partial", "application/octet-stream", "x", "multipart", "/",
    "text/plain/x", "", "multipart/mixed (c)", "Multipart / Mixed", "message/rfc822 x",
)  # fmt: skip
_ENCODINGS: Final = ("8bit", "7bit", "binary", "base64", "quoted-printable", "8bit (c)", '"8bit"', "x-uu", "", "8BIT")
_FIELDS: Final = (
    "", "", "", "garbage line\r\n", "Content-Type: multipart/mixed; boundary=z\r\n", "X-Mailer : php\r\n",
    " folded\r\n",
    "X: a\r\n \r\n", "Subject: \u00fc\r\n", "Mime-Version: 1.0\r\n", "X: a\r\n\tb\r\n", "From x\r\n",
)  # fmt: skip
_NAMES: Final = (
    "Content-Transfer-Encoding: ",
    "content-transfer-encoding :",
    "Content-Transfer-Encoding:\r\n ",
    "",
    "",
)
_TEXTS: Final = (
    "\u00e9 text =3D .\r\n \t\r\nFrom x\r\n", "text\r\n", "\u00e9" * 60 + "\r\n", "\u00e9\r\n" + "x" * 75 + "--b",
    "\u00e9\r\n--b=\r\n--b b  x\r\n.\r\n", "\u00e9 \t", "\r\n\r\n\u00e9", "\u00e9\r\n" + "y" * 75 + "--b b--\r\nz\r\n",
    "",
)  # fmt: skip
_BOUNDARIES: Final = ("b", "b b", "bc", "c", "b%20b", "z", "b=3D", "b=")
_MOST_LEVELS: Final = 5


class _Chooser:
    """Choices by the bytes in their order; the first of each when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """One of so many."""
        self._at += 1
        return self._data[self._at - 1] % count if self._at <= len(self._data) else 0

    def one(self, choices: tuple[str, ...]) -> str:
        """One of these."""
        return choices[self.below(len(choices))]


def composed(data: bytes) -> bytes:
    """A message made of such pieces."""
    chooser = _Chooser(data)
    head = "From: a@b.example\r\n" + ("MIME-Version: 1.0\r\n" if chooser.below(4) else "")
    return (head + _entity(chooser, 0)).encode()


def _entity(chooser: _Chooser, level: int) -> str:
    header = chooser.one(_FIELDS)
    if chooser.below(8):
        header += f"Content-Type: {chooser.one(_TYPES)}{chooser.one(_PARAMETERS)}\r\n"
    name = chooser.one(_NAMES)
    if name:
        header += f"{name}{chooser.one(_ENCODINGS)}\r\n"
    body = chooser.one(_TEXTS)
    if level < _MOST_LEVELS and chooser.below(4):
        line = "--" + chooser.one(_BOUNDARIES)
        parts = "".join([f"{line}\r\n{_entity(chooser, level + 1)}\r\n" for _ in range(chooser.below(4))])
        body = chooser.one(("", "pre\r\n", "pr\u00e9\r\n")) + parts + chooser.one((f"{line}--\r\n", f"{line}--", ""))
    return f"{header}\r\n{body}"


def check_seven_bit(content: bytes, convert: Callable[[bytes, Callable[[], None]], bytes | None] = seven_bit) -> bool:
    """Raises where the 7-bit form is not the same mail; True: it was changed."""
    steps = 0

    def pause() -> None:
        nonlocal steps
        steps += 1

    made = convert(content, pause)
    assert isinstance(is_signed(content), bool)
    parts = 1 + content.count(b"\r\n--") + content.count(b"\r\n\r\n")
    assert steps <= 3 * parts + len(content) // 2**12
    if made is None:
        return False
    assert made.isascii()
    assert seven_bit(made) is made
    assert len(made) <= MOST_LONGER * len(content) + parts * _A_PART
    assert _leaves(made) == _leaves(content)
    return made is not content


def _leaves(content: bytes) -> list[tuple[str, bytes | None]]:
    """The type of each part, and the decoded body of those that hold no others, without its last line ends.

    Where the last delimiter is missing, that parser takes the line end before it away all the same, once a level.
    """
    return [
        (one.get_content_type(), None if one.is_multipart() else _decoded(one).rstrip(b"\r\n"))
        for one in message_from_bytes(content).walk()
    ]


def _decoded(part: Message) -> bytes:
    body = part.get_payload(decode=True)
    assert isinstance(body, bytes)
    return body
