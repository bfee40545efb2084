"""Varied legal messages, generated from seeds: MIME shapes, charsets, folding, white space, lists, attachments.

The same count gives the same messages. What each is made of stands in its X-Made-Of field. All are 7-bit or 8-bit text
in CRLF lines of at most 998 octets, from an address at brand.test.
"""

import base64
import quopri
import random
from collections.abc import Callable
from typing import Final

_WORDS: Final = (
    "order",
    "Ihre",
    "Rechnung",
    "café",
    "naïve",
    "Привет",
    "注文",
    "확인",
    "שלום",
    "🎉",
    "x" * 60,
    "a=b",
    "--",
)
_CHARSETS: Final = (
    "us-ascii",
    "utf-8",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1251",
    "koi8-r",
    "shift_jis",
    "gb18030",
    "utf-16",
)
Chance = random.Random


def messages(count: int) -> list[bytes]:
    """So many, each different."""
    return [_message(number, random.Random(number)) for number in range(count)]


def _text(chance: Chance, words: int = 40) -> str:
    lines, line = [], ""
    for _ in range(words):
        line += chance.choice(_WORDS) + chance.choice((" ", " ", "  ", "\t", ""))
        if len(line) > chance.choice((20, 72, 200)):
            lines.append(line)
            line = ""
    return "\r\n".join([*lines, line]) + "\r\n"


def _encoded(chance: Chance, text: str) -> tuple[list[str], bytes]:
    """Fields and body of one text part in some charset and encoding."""
    charset = chance.choice(_CHARSETS)
    content = text.encode(charset, "xmlcharrefreplace")
    encoding = "base64" if charset == "utf-16" else chance.choice(("base64", "quoted-printable", "8bit"))
    if encoding == "base64":
        body = base64.encodebytes(content).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        body = quopri.encodestring(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    else:
        body = content
        if charset == "us-ascii":
            encoding = "7bit"
    quote = chance.choice(("", '"'))
    return [
        f"Content-Type: text/plain; charset={quote}{charset}{quote}",
        f"Content-Transfer-Encoding: {encoding}",
    ], body


def _part(chance: Chance) -> bytes:
    fields, body = _encoded(chance, _text(chance))
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


def _attachment(chance: Chance) -> bytes:
    name = chance.choice(('"a b.pdf"', "data.bin", '"=?utf-8?B?w7wucGRm?="', "x.txt; size=12"))
    content = base64.encodebytes(chance.randbytes(chance.choice((0, 1, 300, 40_000)))).replace(b"\n", b"\r\n")
    head = f"Content-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n\tfilename={name}\r\n"
    return head.encode() + b"Content-Transfer-Encoding: base64\r\n\r\n" + content


def _multipart(chance: Chance, kind: str, depth: int = 0) -> tuple[list[str], bytes]:
    boundary = chance.choice(("b1", "=_x", "----=_Part_0_1.2", "a b", "'()+_,-./:=?"))[:70] + str(depth)
    parts = [_part(chance), chance.choice((_part, _attachment))(chance)]
    if depth < chance.choice((0, 1, 3)):
        fields, body = _multipart(chance, "mixed", depth + 1)
        parts.append("\r\n".join(fields).encode() + b"\r\n\r\n" + body)
    delimiter = b"--" + boundary.encode()
    prologue = chance.choice((b"", b"This is MIME.\r\n", b"\r\n\r\n"))
    epilogue = chance.choice((b"", b"\r\n", b"epilogue\r\n\r\n\r\n"))
    body = (
        prologue + b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n" + epilogue
    )
    return [f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"'], body


def _plain(chance: Chance) -> tuple[list[str], bytes]:
    return _encoded(chance, _text(chance))


def _alternative(chance: Chance) -> tuple[list[str], bytes]:
    return _multipart(chance, "alternative")


def _mixed(chance: Chance) -> tuple[list[str], bytes]:
    return _multipart(chance, "mixed")


def _empty(chance: Chance) -> tuple[list[str], bytes]:
    return [], chance.choice((b"", b"\r\n", b"\r\n\r\n\r\n", b" \r\n", b"\t\r\n\r\n"))


def _white_space(chance: Chance) -> tuple[list[str], bytes]:
    pieces = (b"a", b" ", b"  ", b"\t", b" \t ", b"\r\n", b"\r\n", b" \r\n", b"word")
    return [], b"".join(chance.choice(pieces) for _ in range(200)) + chance.choice(
        (b"\r\n", b" \r\n\r\n", b"\r\n \r\n")
    )


def _dotted(chance: Chance) -> tuple[list[str], bytes]:
    return [], b"".join(b"." * chance.randrange(5) + chance.choice((b"", b"x", b" ")) + b"\r\n" for _ in range(50))


def _long_lines(chance: Chance) -> tuple[list[str], bytes]:
    return [], b"".join(chance.choice((b"y", b" ", b".")) * chance.randrange(900, 999) + b"\r\n" for _ in range(5))


def _html(chance: Chance) -> tuple[list[str], bytes]:
    body = f"<html>\r\n <body>{_text(chance)}</body>\r\n</html>\r\n".encode()
    return ["Content-Type: TEXT/HTML ; charset = UTF-8", "Content-Transfer-Encoding: 8BIT"], body


_KINDS: Final[tuple[Callable[[Chance], tuple[list[str], bytes]], ...]] = (
    _plain, _alternative, _mixed, _empty, _white_space, _dotted, _long_lines, _html,
)  # fmt: skip
_FROMS: Final = (
    "From: otp@brand.test", "From: <otp@brand.test>", 'From: "Brand, Inc." <otp@brand.test>',
    "from:otp@brand.test", "FROM:  Brand\r\n <otp@brand.test>", "From: =?utf-8?Q?Br=C3=A4nd?= <otp@brand.test>",
    "From: Brand (a comment) <otp@brand.test>", "From:\totp@brand.test\t",
)  # fmt: skip
_SUBJECTS: Final = (
    "Subject: hello", "Subject:", "Subject: ", "Subject: a  b\t c ", "Subject: =?utf-8?B?8J+OiQ==?=\r\n =?utf-8?Q?_x?=",
    "Subject: " + "word " * 30, "Subject: folded\r\n\tonce\r\n  and twice  ", "subject: colon: in: it",
    "Subject: Grüße 🎉", "Subject:\r\n starts folded",
)  # fmt: skip
_LISTS: Final = (
    "List-Unsubscribe: <https://brand.test/u?t=1>,\r\n <mailto:u@brand.test>", "List-Id: News <news.brand.test>",
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click", "Feedback-ID: spring:brand:news:x", "Precedence: bulk",
)  # fmt: skip
_OTHERS: Final = (
    "X-A: 1", "X-A: 2", "x-a:3", "Reply-To: a@brand.test,\r\n b@brand.test", "Cc: c@isp.test", "X-Empty:", "X-Blank:  ",
    "References: <a@x>\r\n <b@x>\r\n <c@x>", "In-Reply-To: <c@x>", "Comments: one", "Comments: two",
    "Organization: Ä Ö", "Keywords: a,\r\n b", "X-Long: " + "z" * 900, "Sender: otp@brand.test", "X-Odd_Name!#$: y",
)  # fmt: skip


def _message(number: int, chance: Chance) -> bytes:
    make = _KINDS[number % len(_KINDS)]
    content_fields, body = make(chance)
    fields = [chance.choice(_FROMS), chance.choice(_SUBJECTS), "To: ann@isp.test"]
    fields += [f"X-Made-Of: {make.__name__} {number}", f"Message-ID: <corpus-{number}@brand.test>"]
    fields += chance.choice(([], ["Date: Sat, 28 Nov 2026 12:00:00 +0000"], ["Date: 28 Nov 2026 12:00 GMT"]))
    fields += ["MIME-Version: 1.0"] if content_fields else []
    fields += content_fields
    fields += chance.choice(([], list(_LISTS)))
    fields += chance.sample(_OTHERS, chance.randrange(5))
    chance.shuffle(fields)
    end = b"" if not body or body.endswith(b"\r\n") else b"\r\n"
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body + end
