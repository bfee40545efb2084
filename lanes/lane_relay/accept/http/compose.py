"""From the fields of a request to the bytes of a message (RFC 5322, RFC 2045 to 2047, RFC 2231, RFC 2387).

Invariants: every line ends in CRLF and has at most 998 octets; no value of a request begins a field or a line of the
header, whatever it holds; the same arguments give the same bytes. It is our own because the standard library's takes
some milliseconds a message and a personalised campaign makes thousands. Before it: `injection` has rendered and judged
the parts. After it: `accept.message`, which judges the header as it does with what came in by SMTP.
"""

import binascii
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from lane_relay.accept.http.request import Attachment
from lane_relay.records import Reply

__all__ = ["Content", "Sealed", "compose", "mailbox_field", "refuse_header", "seal"]

_FOLD_AT: Final = 76
_BLOCK: Final = 57 * 2**10
"""Bytes that make whole lines of base64."""
_MAX_LINE: Final = 998
_ENCODED_WORD_BYTES: Final = 45
"""Base64 makes 60 characters of them; an encoded word has 75 at most (RFC 2047 section 2)."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~A-Za-z0-9-]{1,76}")
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNFIT_PLAIN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|[^\n]{991}")
"""What text is encoded for: control characters, and lines that no server need take."""
_OURS: Final = {
    "from": "the field from",
    "sender": "from",
    "subject": "the field subject",
    "to": "recipients",
    "reply-to": "the field replyTo",
    "bcc": "recipients: nobody sees another",
    "mime-version": "nothing",
    "return-path": "the field envelopeSender",
    "received": "nothing",
    "dkim-signature": "nothing: the lane signs",
}
"""Fields that a request cannot set by name, and what it sets instead."""


class Sealed(Struct, frozen=True, gc=False):
    """An attachment as it stands in every recipient's message: its fields and its base64, made once a request."""

    content: bytes
    inline: bool


class Content(Struct, frozen=True, gc=False):
    """What one message says; all of it rendered."""

    sender: str
    """The From field's value."""
    to: str
    """The To field's value."""
    subject: str | None
    reply_to: str
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    attachments: tuple[Sealed, ...] = ()


def refuse_header(name: str, value: str) -> Reply | None:
    """Why a request cannot set this field to this value."""
    lower = name.lower()
    if not _TOKEN.fullmatch(name) or lower.startswith(("content-", "resent-")):
        text = f"5.6.0 {name[:76]!r} cannot be set as a header: it is no field name, or made from the parts"
        return Reply(550, (text,))
    if lower in _OURS:
        return Reply(550, (f"5.6.0 {name} cannot be set as a header: use {_OURS[lower]} instead",))
    return refuse_value(name, value)


def refuse_value(name: str, value: str) -> Reply | None:
    """Why a value cannot stand in a header field; a line end in it would begin a field of its own."""
    if _CONTROL.search(value):
        return Reply(550, (f"5.6.0 {name} has a line end or control character in it: take it out",))
    if any(len(word) > _MAX_LINE - 80 for word in value.split(" ")) and value.isascii():
        return Reply(550, (f"5.6.0 {name} has a word of more than {_MAX_LINE - 80} characters: shorten it",))
    return None


def mailbox_field(address: str, name: str) -> str:
    """An address with the name that is shown, as it stands in From or To (RFC 5322 section 3.4)."""
    if not name:
        return address
    if not name.isascii() or "=?" in name:
        return f"{_encoded(name)} <{address}>"
    if not _PLAIN_PHRASE.fullmatch(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    return f"{name} <{address}>"


def _encoded(text: str) -> str:
    """Encoded words (RFC 2047), none of which cuts a character in two."""
    words, piece = [], b""
    for char in text:
        octets = char.encode("utf-8", "replace")
        if len(piece) + len(octets) > _ENCODED_WORD_BYTES:
            words.append(piece)
            piece = b""
        piece += octets
    words.append(piece)
    return " ".join(f"=?utf-8?B?{b64encode(word).decode()}?=" for word in words)


def _unstructured(value: str) -> str:
    return value if value.isascii() and "=?" not in value else _encoded(value)


def _field(name: str, value: str) -> str:
    """One field, folded at blanks where it is long."""
    line = f"{name}: {value}"
    if len(line) <= _FOLD_AT:
        return line + "\r\n"
    lines, current = [], f"{name}:"
    for word in value.split(" "):
        # a line of blanks alone would be the obsolete syntax: blanks stay with the word before them
        if word and current.strip(" ") and not current.endswith(":") and len(current) + 1 + len(word) > _FOLD_AT:
            lines.append(current)
            current = ""
        current += f" {word}"
    lines.append(current)
    return "\r\n".join(lines) + "\r\n"


def seal(attachment: Attachment) -> Sealed:
    """The attachment's part, ready to be put into any number of messages."""
    disposition = "attachment" if attachment.cid is None else "inline"
    fields = (
        f"Content-Type: {attachment.type}\r\n"
        f"Content-Disposition: {disposition};\r\n {_file_name(attachment.name)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
    )
    if attachment.cid is not None:
        fields += f"Content-ID: <{attachment.cid}>\r\n"
    return Sealed(fields.encode() + b"\r\n" + _base64_lines(attachment.content), attachment.cid is not None)


def _file_name(name: str) -> str:
    if name.isascii():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'filename="{escaped}"'
    return f"filename*=utf-8''{quote(name, safe='')}"  # RFC 2231 section 4


def _base64_lines(content: bytes) -> bytes:
    """In blocks: a list of all its lines would take more than what comes of it."""
    if len(content) <= _BLOCK:
        return _folded(b64encode(content))
    return b"".join([_folded(b64encode(content[at : at + _BLOCK])) for at in range(0, len(content), _BLOCK)])


def _folded(encoded: bytes) -> bytes:
    return b"\r\n".join([encoded[at : at + _FOLD_AT] for at in range(0, len(encoded), _FOLD_AT)]) + b"\r\n"


def _text_part(kind: str, text: str) -> bytes:
    """A text with its fields: as it is where every server takes it so, else encoded by what makes it shorter."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    plain = text.isascii()
    if plain and not _UNFIT_PLAIN.search(text):
        encoding, body = "7bit", text.replace("\n", "\r\n").encode()
    else:
        octets = text.encode("utf-8", "replace")
        if not plain and len(octets) - octets.translate(None, _HIGH).__len__() > len(octets) // 3:
            encoding, body = "base64", _base64_lines(octets.replace(b"\n", b"\r\n"))
        else:
            encoding, body = "quoted-printable", binascii.b2a_qp(octets, istext=True).replace(b"\n", b"\r\n")
    charset = "us-ascii" if plain else "utf-8"
    fields = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return fields.encode() + body


_HIGH: Final = bytes(range(128, 256))


def _together(kind: str, parts: Sequence[bytes], boundary: str) -> bytes:
    """A multipart of parts that have their own fields."""
    if len(parts) == 1:
        return parts[0]
    mark = f"--{boundary}".encode()
    head = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"\r\n\r\n'.encode()
    return head + b"".join([mark + b"\r\n" + part + b"\r\n" for part in parts]) + mark + b"--\r\n"


def compose(content: Content, boundary: str) -> bytes:
    """The message; `boundary` must be unknown to whoever wrote the content, so that no text of it can end a part."""
    fields = [_field("From", content.sender), _field("To", content.to)]
    if content.reply_to:
        fields.append(_field("Reply-To", content.reply_to))
    if content.subject is not None:
        fields.append(_field("Subject", _unstructured(content.subject)))
    fields += [_field(name, _unstructured(value)) for name, value in content.headers]
    fields.append("MIME-Version: 1.0\r\n")
    texts = [] if content.text is None else [_text_part("plain", content.text)]
    if content.html is not None:
        inline = [one.content for one in content.attachments if one.inline]
        texts.append(_together("related", [_text_part("html", content.html), *inline], f"{boundary}.r"))
    parts = [_together("alternative", texts, f"{boundary}.a")]
    parts += [one.content for one in content.attachments if not one.inline]
    return "".join(fields).encode() + _together("mixed", parts, f"{boundary}.m")
