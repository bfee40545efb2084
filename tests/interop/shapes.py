"""Messages that transports get wrong, and the comparison of what was handed in with what arrived.

Invariant: a message arrived whole if it ends with the bytes that were handed in and nothing but trace fields stands
before them. Peers that keep files with LF line ends are compared in CRLF; no shape has a lone CR or LF.
"""

import random
import re
from dataclasses import dataclass
from typing import Final

SENDER: Final = "otp@brand.test"
TRACE: Final = frozenset(
    (b"received", b"return-path", b"delivered-to", b"x-original-to", b"envelope-to", b"delivery-date")
)
_FIELD: Final = re.compile(rb"([!-9;-~]+):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_MARK: Final = re.compile(rb"^X-Shape: (\S+)\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Shape:
    """One message and who gets it."""

    name: str
    content: bytes
    """With CRLF line ends."""
    locals: tuple[str, ...] = ("ann",)
    """Local parts of the recipients."""
    eight_bit: bool = False
    utf8: bool = False

    def recipients(self, domain: str) -> list[str]:
        """Their addresses at a domain."""
        return [f"{local}@{domain}" for local in self.locals]


def _message(name: str, body: bytes, *fields: str) -> bytes:
    head = [
        f"From: App <{SENDER}>", "To: Ann <ann@isp.test>", "Date: Sat, 28 Nov 2026 12:00:00 +0000",
        f"Message-ID: <{name}@brand.test>", f"Subject: shape {name}", f"X-Shape: {name}", "MIME-Version: 1.0",
        *(fields or ("Content-Type: text/plain; charset=us-ascii",)),
    ]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def shapes() -> list[Shape]:
    """All of them, the same bytes at each call."""
    chance = random.Random(4)
    line = b"0123456789abcdef" * 4 + b"\r\n"
    eight = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    dots = b".\r\n..\r\n...\r\n.x\r\n. \r\nx.\r\n.\r\n" + b"".join(b"." * n + b"\r\n" for n in range(20))
    random_dots = b"".join(chance.choice((b".", b"..", b"a.", b"", b"x" * 70)) + b"\r\n" for _ in range(3000))
    folded = "X-Folded: " + "\r\n ".join(f"word{n}" for n in range(60))
    everybody = tuple(f"r{n}" for n in range(90))
    return [
        Shape("small", _message("small", b"Your code is 123456.\r\n")),
        Shape("no-body", _message("no-body", b"")),
        Shape("blank-lines", _message("blank-lines", b"\r\n\r\nx\r\n\r\n\r\n\r\n")),
        Shape("blanks-at-ends", _message("blanks-at-ends", b"a \r\n\tb\t\r\n   \r\nc  d\r\n")),
        Shape("dots", _message("dots", dots)),
        Shape("many-dots", _message("many-dots", random_dots)),
        Shape("long-lines", _message("long-lines", b"".join(b"x" * n + b"\r\n" for n in (996, 997, 998, 998, 1, 998)))),
        Shape("dot-and-long", _message("dot-and-long", b"." + b"y" * 996 + b"\r\n" + b"." * 997 + b"\r\n")),
        Shape("eight-bit", _message("eight-bit", "Grüße, Ωμέγα, 漢字, 😀\r\n".encode() * 40, *eight), eight_bit=True),
        Shape("latin1", _message("latin1", bytes(range(0xA0, 0x100)) + b"\r\n",
              "Content-Type: text/plain; charset=iso-8859-1", "Content-Transfer-Encoding: 8bit"), eight_bit=True),
        Shape("folded", _message("folded", b"x\r\n", folded, "Content-Type: text/plain")),
        Shape("from-line", _message("from-line", b"From here\r\n>From there\r\nFrom \r\n")),
        Shape("many-recipients", _message("many-recipients", b"to all\r\n"), everybody),
        Shape("large", _message("large", line * (5 * 2**20 // len(line)))),
        Shape("utf8", _message("utf8", "Grüße\r\n".encode(), "X-Name: Jürgen Grün", *eight), ("jürgen",),
              eight_bit=True, utf8=True),
    ]  # fmt: skip


def difference(sent: bytes, arrived: bytes) -> str:
    """How they differ, or an empty string."""
    if not arrived.endswith(sent):
        return f"{len(sent)} bytes were sent, {_where(sent, arrived)}"
    before = arrived[: len(arrived) - len(sent)]
    at = 0
    while at < len(before):
        found = _FIELD.match(before, at)
        if found is None or found[1].lower() not in TRACE:
            return f"before it stands {before[at : at + 80]!r}"
        at = found.end()
    return ""


def _where(sent: bytes, arrived: bytes) -> str:
    """Where the first difference is, counted from the end."""
    pairs = zip(reversed(sent), reversed(arrived), strict=False)
    same = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(sent), len(arrived)))
    return (
        f"of {len(arrived)} bytes the last {same} are the same: "
        f"{sent[len(sent) - same - 40 :][:60]!r} became {arrived[len(arrived) - same - 40 :][:60]!r}"
    )


def mark(content: bytes) -> str:
    """Which shape this is; empty: none."""
    found = _MARK.search(content)
    return found[1].decode() if found else ""


def crlf(content: bytes) -> bytes:
    """A file's line ends as they travel."""
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
