"""The header of a submitted message: what intake must know of it, and the trace fields that intake adds.

Before it: content as `smtp.server` hands it over (CRLF line ends, nothing bare); after it: `accept.policy`, the spool.
Invariant: one look at the header at `bytes.find` speed, the body is never looked at; no value that came from a peer
reaches a field of ours unless it is free of line ends and of characters that would change the field's meaning.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from lane_relay.mail.author import Author, NoAuthor, parse_author

__all__ = ["Header", "Trace", "add_trace", "read_header", "rfc5322_date"]

_BCC = re.compile(rb"^(?:Resent-)?Bcc[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(r"<[^\s<>]{1,996}>")
_HELO = re.compile(r"[A-Za-z0-9._:-]{1,255}|\[[A-Za-z0-9.:]{1,64}\]")
_MAX_CORRELATION_ID: Final = 200
"""Characters kept of a correlation id; records are bounded."""
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Header(Struct, frozen=True, gc=False):
    """What intake needs to know of a message's header."""

    end: int
    """Where the header ends: behind the CRLF of its last field."""
    author: Author | NoAuthor
    """Of the single From field, or why there is none to speak of."""
    message_id: str
    """With its angle brackets; empty if it is missing or malformed."""
    has_message_id: bool
    has_date: bool
    has_bcc: bool
    correlation_id: str
    eight_bit: bool
    """Not ASCII: only SMTPUTF8 allows that (RFC 6532)."""
    hops: int
    """Received fields: how many servers it has passed."""
    begins_folded: bool
    """The first line is a continuation, which would become part of whatever we put before it."""


class Trace(Struct, frozen=True, gc=False):
    """What the Received field says, and what missing fields are made of."""

    hostname: str
    helo: str
    client: str
    """Address of the client."""
    protocol: str
    """ESMTP, with S for TLS and A for AUTH (RFC 3848); UTF8SMTP likewise (RFC 6531)."""
    id: str
    """The spool id."""
    now: float
    """Unix time, seconds."""


def read_header(content: bytes, correlation_field: str = "X-Correlation-Id") -> Header:
    """What the header says; fields are found whatever their case, also with blanks before the colon."""
    found = 0 if content[:2] == b"\r\n" else content.find(b"\r\n\r\n") + 2
    end = len(content) if found == 1 else found
    head = b"\n" + content[:end]
    lower = head.lower()
    authors = _values(head, lower, b"from")
    message_ids = _values(head, lower, b"message-id")
    correlation = _values(head, lower, correlation_field.lower().encode())
    return Header(
        end=end,
        author=parse_author(authors),
        message_id=_first_message_id(message_ids),
        has_message_id=bool(message_ids),
        has_date=bool(_values(head, lower, b"date")),
        has_bcc=b"bcc" in lower and _BCC.search(content, 0, end) is not None,
        correlation_id=_printable(correlation[0])[:_MAX_CORRELATION_ID] if correlation else "",
        eight_bit=not head.isascii(),
        hops=lower.count(b"\nreceived:"),
        begins_folded=content[:1] in (b" ", b"\t"),
    )


def _values(head: bytes, lower: bytes, name: bytes) -> list[bytes]:
    """The values of all fields of this name, still folded."""
    values: list[bytes] = []
    needle = b"\n" + name
    at = lower.find(needle)
    while at >= 0:
        colon = at + len(needle)
        while lower[colon : colon + 1] in (b" ", b"\t"):
            colon += 1
        if lower[colon : colon + 1] == b":":
            values.append(head[colon + 1 : _field_end(head, colon)])
        at = lower.find(needle, colon)
    return values


def _field_end(head: bytes, start: int) -> int:
    """Where the field that `start` is in ends, before its CRLF."""
    end = head.find(b"\r\n", start)
    while end >= 0 and head[end + 2 : end + 3] in (b" ", b"\t"):
        end = head.find(b"\r\n", end + 2)
    return len(head) if end < 0 else end


def _printable(value: bytes) -> str:
    text = value.decode("utf-8", "replace").strip()
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _first_message_id(values: list[bytes]) -> str:
    matched = _MESSAGE_ID.search(_printable(values[0])) if values else None
    return matched[0] if matched else ""


def add_trace(content: bytes, header: Header, trace: Trace) -> tuple[bytes, str]:
    """The message as it is stored, and its Message-ID: Received and what is missing before it, Bcc taken out."""
    message_id = header.message_id
    added = [_received(trace)]
    if not header.has_date:
        added.append(f"Date: {rfc5322_date(trace.now)}\r\n")
    if not header.has_message_id:
        message_id = f"<{trace.id}@{trace.hostname}>"
        added.append(f"Message-ID: {message_id}\r\n")
    if header.has_bcc:
        head = _BCC.sub(b"", content[: header.end])
        content = head + content[header.end :]
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return "".join(added).encode("ascii") + content, message_id


def _received(trace: Trace) -> str:
    """RFC 5321 section 4.4; the client's own name is a claim, and left out if it is no name."""
    helo = trace.helo if _HELO.fullmatch(trace.helo) else "unknown"
    client = f"IPv6:{trace.client}" if ":" in trace.client else trace.client
    return (
        f"Received: from {helo} ([{client}])\r\n"
        f"\tby {trace.hostname} with {trace.protocol} id {trace.id};\r\n"
        f"\t{rfc5322_date(trace.now)}\r\n"
    )


def rfc5322_date(now: float) -> str:
    """A Unix time as a date field's value, in UTC."""
    return _date_of_second(int(now))


@lru_cache(maxsize=8)
def _date_of_second(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    day = f"{_WEEKDAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day} {moment:%H:%M:%S} +0000"
