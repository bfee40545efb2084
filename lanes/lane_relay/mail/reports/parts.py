"""A mail taken apart, within bounds: its header, its leaf parts, the header of the mail that it returns.

The parser is the standard library's, which reads what is broken; what is bounded is what it is given and what is taken
from it. Looked at instead: flufl.bounce (addresses only, no texts and no complaints), mail-parser and parsedmarc (other
jobs). Invariants: nothing that a peer sends raises; time and memory are those of 256 KiB and 64 parts.
"""

import re
from contextlib import suppress
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from typing import Final

from msgspec import Struct

__all__ = ["LOOKED_AT", "Block", "Mail", "Part", "take_apart", "unfolded"]

LOOKED_AT: Final = 256 * 1024
"""Octets of a report that are read: reports come first, the mail that they return last."""
_MAX_PARTS: Final = 64
_MAX_TEXT: Final = 64 * 1024
_MAX_VALUE: Final = 2000
_MAX_BLOCKS: Final = 100
"""Recipients of one report that are read; a transaction of ours has one."""
_TAG = re.compile(r"<(?:br|/p|/div|/tr|/li|/h\d)[^<>]{0,200}>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<(?![^\s<>@]{1,64}@)[^<>]{0,500}>")
_MIME_FIELD = re.compile(rb"^content-[a-z-]{1,40}:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb"boundary\s{0,8}=", re.IGNORECASE)
_LONGEST_MIME_FIELD: Final = 4096
_MOST_BOUNDARIES: Final = 40
_MOST_DIVIDERS: Final = 1000
"""Lines that may begin a part, and empty lines, behind which nothing is looked at: the library takes time for each."""
_NO_CHARSET = re.compile(r"puny|idna|undefined|(?:raw[-_ ]?)?unicode[-_ ]", re.IGNORECASE)
"""Codecs that Python has and mail has not; the first takes the square of the time for twice the text."""
_SPACES = re.compile(r"\s+")
_FIELD = re.compile(r"^([!-9;-~]{1,70})[ \t]*:(.*)$")

Block = dict[str, str]
"""Fields of one group of a report, by lower-case name; of several with one name the first."""


class Part(Struct, frozen=True, gc=False):
    """One leaf, or one enclosed report or message, as text."""

    kind: str
    """Content-Type in lower case."""
    text: str


class Mail(Struct, frozen=True, gc=False):
    """What there is to look at."""

    fields: Block
    kind: str
    report_type: str
    parts: tuple[Part, ...]
    returned: bytes
    """The returned mail's header, or empty."""
    truncated: bool


def take_apart(content: bytes) -> Mail | str:
    """The mail's parts, or in words why it cannot be taken apart."""
    looked = _up_to(_up_to(content[:LOOKED_AT].replace(b"\r\n", b"\n"), b"\n--"), b"\n\n")
    if len(_BOUNDARY.findall(looked)) > _MOST_BOUNDARIES:
        return "it has more parts within parts than any report"
    if any(len(field[0]) > _LONGEST_MIME_FIELD for field in _MIME_FIELD.finditer(looked)):
        # the library takes the square of the time for twice the parameters
        return f"a Content field of it is longer than {_LONGEST_MIME_FIELD} octets"
    try:
        message = message_from_bytes(looked, policy=policy.compat32)
        parts: list[Part] = []
        returned: list[bytes] = []
        _collect(message, parts, returned, 0)
        return Mail(
            _fields_of(message), message.get_content_type(), str(message.get_param("report-type", "") or "").lower(),
            tuple(parts), returned[0] if returned else b"", len(content) > LOOKED_AT,
        )  # fmt: skip
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as broken:
        return f"it cannot be taken apart: {type(broken).__name__}"


def _up_to(content: bytes, divider: bytes) -> bytes:
    """The beginning of it that has no more than so many of these."""
    if content.count(divider) <= _MOST_DIVIDERS:
        return content
    at = -1
    for _ in range(_MOST_DIVIDERS):
        at = content.find(divider, at + 1)
    return content[:at]


def _collect(message: "Message[str, str]", parts: list[Part], returned: list[bytes], depth: int) -> None:
    """Leaves in their order; reports as the text of their blocks; of an enclosed mail the header alone."""
    if len(parts) >= _MAX_PARTS or depth > 10:
        return
    kind = message.get_content_type()
    payload = message.get_payload()
    if kind in ("message/delivery-status", "message/global-delivery-status", "message/feedback-report"):
        parts.append(Part(kind, _report_text(message)))
    elif kind in ("message/rfc822", "message/global", "message/partial") and isinstance(payload, list):
        for enclosed in payload[:1]:
            if not isinstance(enclosed, Message):
                continue
            header = _header_bytes(enclosed)
            returned.append(header)
            parts.append(Part("message/rfc822", header.decode("utf-8", "replace")[:_MAX_TEXT]))
            if enclosed.get_content_type() == "multipart/report":  # a gateway has wrapped a report into a mail
                _collect(enclosed, parts, returned, depth + 1)
    elif kind in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers", "message/rfc822"):
        text = _text(message)
        returned.append(text.replace("\r\n", "\n").split("\n\n")[0].encode("utf-8", "replace"))
        parts.append(Part("text/rfc822-headers", text))
    elif isinstance(payload, list):
        for part in payload:
            if isinstance(part, Message):
                _collect(part, parts, returned, depth + 1)
    elif kind.startswith(("text/", "multipart/")) or kind in ("application/octet-stream", "message/external-body"):
        text = _text(message)
        parts.append(Part(kind, _without_tags(text) if kind == "text/html" else text))


def _report_text(message: "Message[str, str]") -> str:
    """A report's groups of fields as text: the library may have taken them apart already, or left them encoded."""
    payload = message.get_payload()
    if not isinstance(payload, list):
        return _text(message)
    encoding = str(message.get("content-transfer-encoding", "")).strip().lower()
    blocks = "\n".join(_block_text(block) for block in payload[: _MAX_BLOCKS + 1] if isinstance(block, Message))
    whole = blocks.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if encoding in ("base64", "quoted-printable"):  # RFC 3464 forbids it; some do it
        from_text = message_from_bytes(f"Content-Transfer-Encoding: {encoding}\n\n{whole}".encode("utf-8", "replace"))
        decoded = from_text.get_payload(decode=True)
        return decoded.decode("utf-8", "replace")[:_MAX_TEXT] if isinstance(decoded, bytes) else whole
    return whole[:_MAX_TEXT]


def _block_text(block: "Message[str, str]") -> str:
    fields = "".join(f"{name}: {value}\n" for name, value in block.raw_items())
    rest = block.get_payload(decode=True)  # else what is not ASCII would be replaced
    return f"{fields}\n{rest.decode('utf-8', 'replace')}" if isinstance(rest, bytes) and rest.strip() else f"{fields}\n"


def _text(message: "Message[str, str]") -> str:
    raw = message.get_payload(decode=True)
    if not isinstance(raw, bytes):
        return ""
    raw = raw[:_MAX_TEXT]
    charset = str(message.get_content_charset("utf-8") or "utf-8")
    try:
        return raw.decode("utf-8" if _NO_CHARSET.match(charset) else charset)
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("utf-8", "replace")


def _without_tags(html: str) -> str:
    """Text of a page, roughly: line ends where blocks end."""
    plain = _ANY_TAG.sub(" ", _TAG.sub("\n", html))
    for entity, character in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&nbsp;", " "),
        ("&#64;", "@"),
        ("&quot;", '"'),
        ("&amp;", "&"),
    ):
        plain = plain.replace(entity, character)
    return plain


def _header_bytes(message: "Message[str, str]") -> bytes:
    text = "".join(f"{name}: {value}\n" for name, value in message.raw_items())
    return text.encode("utf-8", "surrogateescape")[:_MAX_TEXT]


def _fields_of(message: "Message[str, str]") -> Block:
    found: Block = {}
    for name, value in message.raw_items():
        found.setdefault(name.lower(), _readable(str(value)))
    return found


def _readable(value: str) -> str:
    """A field's value unfolded and decoded (RFC 2047)."""
    plain = _SPACES.sub(" ", value[:_MAX_VALUE]).strip()
    if "=?" in plain:
        with suppress(MessageError, ValueError, LookupError, AssertionError):  # MessageError: a charset not in ASCII
            return str(make_header(decode_header(plain)))
    return plain.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def unfolded(text: str) -> list[Block]:
    """The groups of fields in a report's text: groups end at empty lines, what is no field is left out."""
    blocks: list[Block] = []
    current: Block = {}
    last = ""
    for line in text.splitlines():
        if not line.strip():
            if current:
                blocks.append(current)
                current, last = {}, ""
            if len(blocks) > _MAX_BLOCKS:
                break
        elif line[0] in " \t" and last:
            current[last] = f"{current[last]} {line.strip()}"[:_MAX_VALUE]
        elif matched := _FIELD.match(line):
            last = matched[1].lower()
            if last in current:
                last = f"{last}+" if f"{last}+" not in current else last  # a second one is not the first's going on
            current.setdefault(last, matched[2].strip()[:_MAX_VALUE])
    if current:
        blocks.append(current)
    return blocks
