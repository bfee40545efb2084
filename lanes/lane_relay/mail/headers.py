"""The header of a submitted message: what intake must know of it, and the trace fields that intake adds.

Before it: content as `smtp.server` hands it over (CRLF line ends, nothing bare); after it: `accept.policy`, the spool.
Invariant: one look at the header at `bytes.find` speed, the body is never looked at; no value that came from a peer
reaches a field of ours unless it is free of line ends and of characters that would change the field's meaning.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_tz
from functools import lru_cache
from typing import Final

from lane_relay.mail.author import Author, NoAuthor, parse_author
from lane_relay.mail.lane_fields import NO_LANE_FIELDS, PREFIX, LaneFields, read_lane_fields
from lane_relay.records import Record

__all__ = ["Header", "Trace", "add_trace", "read_header", "redirected_field", "rfc5322_date"]

_FIELD = re.compile(rb"\n([!-9;-~]+):")
"""A field's name (RFC 5322 section 2.2). Of its obsolete form, with blanks before the colon, no field is made: OpenDKIM
and dkimpy reject every signature of a message that has one (`make interop`), and nobody may send it (section 4)."""
_TAKEN_OUT = re.compile(
    rb"^(?:(?:Resent-)?Bcc|Return-Path|X-Lane-[!-9;-~]*)[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*(?:\r\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_TAKEN_OUT_NAMES: Final = frozenset({b"bcc", b"resent-bcc", b"return-path"})
"""Bcc would tell what it hides; Return-Path is the last host's to write (RFC 5321 section 4.4)."""
_SINGLE: Final = {
    name.lower().encode(): name
    for name in (
        "Date", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    )
}  # fmt: skip
"""Once at most (RFC 5322 section 3.6, RFC 2045 section 3): of two, one reader shows the first, another the last, and
DKIM signs one. From is judged by `mail.author`."""
_LOWER: Final = bytes(0 if octet < 32 and octet not in b"\t\r\n" else octet for octet in range(256)).lower()
"""In lower case, control characters as NUL: one pass makes what names are looked for in, and finds those."""
_MESSAGE_ID = re.compile(r"<[^\s<>]{1,996}>")
_DATE = re.compile(
    rb"\s*(?:[A-Za-z]{3},\s*)?[0-9]{1,2}\s+[A-Za-z]{3}\s+[0-9]{4}\s+[0-9]{2}:[0-9]{2}(?::[0-9]{2})?\s+[-+][0-9]{4}"
)
"""As nearly all write it, so that the library is asked about the rest alone."""
_MAX_DATE: Final = 200
_HELO = re.compile(r"[A-Za-z0-9._:-]{1,255}|\[[A-Za-z0-9.:]{1,64}\]")
_MAX_CORRELATION_ID: Final = 200
"""Characters kept of a correlation id; records are bounded."""
_MAX_REDIRECTED: Final = 50
"""Recipients named in the header; the record has all."""
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Header(Record, frozen=True, gc=False):
    """What intake needs to know of a message's header."""

    end: int
    """Where the header ends: behind the CRLF of its last field."""
    author: Author | NoAuthor
    """Of the single From field, or why there is none to speak of."""
    message_id: str
    """With its angle brackets; empty if it is missing or malformed."""
    has_message_id: bool
    has_date: bool
    has_private: bool
    """Fields that no receiver is to see."""
    correlation_id: str
    eight_bit: bool
    """Not ASCII: only SMTPUTF8 allows that (RFC 6532)."""
    hops: int
    """Received fields: how many servers it has passed."""
    begins_folded: bool
    """The first line is a continuation, which would become part of whatever we put before it."""
    repeated: str = ""
    """A field that stands there more often than it may."""
    stray_line: str = ""
    """The beginning of a line that is no field: some readers take the body to begin there, others go on."""
    malformed: str = ""
    """What is wrong with the Message-ID or Date that stands there or with a field's characters, and the fix."""
    lane: LaneFields = NO_LANE_FIELDS


class Trace(Record, frozen=True, gc=False):
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
    redirected_from: tuple[str, ...] = ()
    """Whom it was for, where it goes to somebody else."""


def read_header(
    content: bytes, correlation_field: str = "X-Correlation-Id", campaign_field: str = "X-Lane-Campaign"
) -> Header:
    """What the header says; fields are found whatever their case; what is no field by its form is a stray line."""
    found = 0 if content[:2] == b"\r\n" else content.find(b"\r\n\r\n") + 2
    end = len(content) if found == 1 else found
    head = b"\n" + content[:end]
    lower = head.translate(_LOWER)
    names = _FIELD.findall(lower)
    present = frozenset(names)
    message_ids = _values(head, lower, b"message-id") if b"message-id" in present else []
    asked = _in_lower_case(correlation_field)
    correlation = _values(head, lower, asked) if asked in present else []
    is_for_lane = b"\nx-lane-" in lower
    return Header(
        end=end,
        author=parse_author(_values(head, lower, b"from")),
        message_id=_first_message_id(message_ids),
        has_message_id=bool(message_ids),
        has_date=b"date" in present,
        has_private=is_for_lane or not present.isdisjoint(_TAKEN_OUT_NAMES),
        correlation_id=_printable(correlation[0])[:_MAX_CORRELATION_ID] if correlation else "",
        eight_bit=not head.isascii(),
        hops=lower.count(b"\nreceived:"),
        begins_folded=content[:1] in (b" ", b"\t"),
        repeated=_repeated(names) if len(present) != len(names) else "",
        stray_line=_stray_line(head, len(names)),
        malformed=_malformed(head, lower, present, message_ids),
        lane=_lane_fields(head, lower, present, campaign_field, is_for_lane=is_for_lane),
    )


@lru_cache(maxsize=8)
def _in_lower_case(field: str) -> bytes:
    """A configured field's name, as it is looked for in each message."""
    return field.lower().encode()


def _repeated(names: list[bytes]) -> str:
    """The first field that may stand once and stands more often, or an empty string."""
    return next((spelled for name, spelled in _SINGLE.items() if names.count(name) > 1), "")


def _malformed(head: bytes, lower: bytes, present: frozenset[bytes], message_ids: list[bytes]) -> str:
    """What large receivers refuse mail for, and what no trace could find: a Message-ID or Date that is none; and
    control characters."""
    if b"\0" in lower:
        return _control_character(head, lower.index(b"\0"))
    if message_ids and not _first_message_id(message_ids):
        fix = "write it as <unique@your.domain>, or leave it out and the lane makes one"
        return f"the Message-ID field has no identifier in angle brackets: {fix} (RFC 5322 section 3.6.4)"
    if b"date" in present and not any(map(_is_date, _values(head, lower, b"date"))):
        fix = "write it like Sun, 29 Nov 2026 10:00:00 +0000, or leave it out and the lane makes one"
        return f"the Date field is no date: {fix} (RFC 5322 section 3.3)"
    return ""


def _control_character(head: bytes, at: int) -> str:
    """What RFC 5322 section 2.2 has in no field; dkimpy takes VT and FF off a value's end, and rejects what we sign."""
    names = _FIELD.findall(head[:at])
    field = f"{_printable(names[-1])[:40]} field" if names else "header"
    fix = "take it out, or encode the value (RFC 2047)"
    signed = "for which some receivers reject its DKIM signature"
    return f"the {field} has a control character (0x{head[at]:02X}), {signed}: {fix}"


def _is_date(value: bytes) -> bool:
    """Obsolete and sloppy forms that readers understand are dates as well."""
    if _DATE.match(value):
        return True
    return len(value) <= _MAX_DATE and parsedate_tz(_printable(value)) is not None


def _stray_line(head: bytes, fields: int) -> str:
    """The first line that is neither a field nor the continuation of one, or an empty string."""
    lines = head.count(b"\r\n") + (head[-1:] != b"\n")
    if lines == fields + head.count(b"\n ") + head.count(b"\n\t"):
        return ""
    for line in head[1:].split(b"\r\n"):
        if line and line[:1] not in b" \t" and not _FIELD.match(b"\n" + line):
            return _printable(line)[:40] or repr(line[:10])
    return ""


def _lane_fields(
    head: bytes, lower: bytes, present: frozenset[bytes], campaign_field: str, *, is_for_lane: bool
) -> LaneFields:
    """What is said to the lane; one test where nothing is."""
    campaign = _in_lower_case(campaign_field)
    if not is_for_lane and campaign not in present:
        return NO_LANE_FIELDS
    names = sorted(name for name in present if name == campaign or name.startswith(PREFIX))
    return read_lane_fields(_said(head, lower, names), campaign_field)


def _said(head: bytes, lower: bytes, names: list[bytes]) -> Iterator[tuple[bytes, str]]:
    """One by one: the first that there is not ends it, else a header of nothing else would be read for each of them."""
    for name in names:
        for value in _values(head, lower, name):
            yield name, " ".join(_printable(value).split())


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
    """The message as it is stored, and its Message-ID: Received and what is missing before it, Bcc and its like
    taken out."""
    message_id = header.message_id
    added = [_received(trace)]
    if trace.redirected_from:
        added.append(redirected_field(trace.redirected_from))
    if not header.has_date:
        added.append(f"Date: {rfc5322_date(trace.now)}\r\n")
    if not header.has_message_id:
        message_id = f"<{trace.id}@{trace.hostname}>"
        added.append(f"Message-ID: {message_id}\r\n")
    if header.has_private:
        head = _TAKEN_OUT.sub(b"", content[: header.end])
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


def redirected_field(recipients: tuple[str, ...]) -> str:
    """The field that says whom a redirected message was for, with its line end; a bounded number of addresses."""
    lines = [address.encode("ascii", "backslashreplace").decode() for address in recipients[:_MAX_REDIRECTED]]
    if len(recipients) > _MAX_REDIRECTED:
        lines.append(f"and {len(recipients) - _MAX_REDIRECTED} more")
    return "X-Lane-Redirected-From: " + ",\r\n ".join(lines) + "\r\n"


def rfc5322_date(now: float) -> str:
    """A Unix time as a date field's value, in UTC."""
    return _date_of_second(int(now))


@lru_cache(maxsize=8)
def _date_of_second(second: int) -> str:
    moment = datetime.fromtimestamp(second, UTC)
    day = f"{_WEEKDAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day} {moment:%H:%M:%S} +0000"
