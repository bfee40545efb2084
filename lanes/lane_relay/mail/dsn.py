"""Delivery status notifications: the report that tells a sender what became of its message.

RFC 3464 (the report), 3461 (what was asked for), 3834 (it answers nobody), 6533 (addresses beyond ASCII).

Before it: `account`, which decides when a report is due. After it: the spool, as a message of the null sender.
Invariants: the same request gives the same bytes; there is no report to the null sender; nothing of a peer's words or
of the returned header can end a line, a part or the header early; its own header is ASCII but for its sender's address,
so that nothing but that address asks for SMTPUTF8.
"""

import re
from collections.abc import Iterator
from email.header import Header
from enum import StrEnum
from typing import Final

from msgspec import Struct

from lane_relay.mail.headers import rfc5322_date
from lane_relay.records import Reply

__all__ = ["News", "ReportRequest", "ReportedRecipient", "status_report"]

_MAX_RETURNED: Final = 64 * 1024
"""Bytes of the original that are returned. Each domain of a message has its own report: forty whole copies of 24 MB
would be a gigabyte. RET is a wish (RFC 3461 section 4.3): of a longer message the header comes back alone."""
_WIDTH: Final = 78
_LONGEST: Final = 998
"""Octets of a line (RFC 5322 section 2.1.1); many servers refuse a message with a longer one."""
_LONGEST_WORD: Final = 200
"""Characters before a word is cut in two: of four octets each, with indent, they stay below the former."""
_MAX_REPLY: Final = 1000
"""Characters of a peer's reply that are repeated, twice for each recipient; a peer may send 32 KiB."""


_XTEXT = re.compile(rb"\+([0-9A-F]{2})")


class News(StrEnum):
    """What a report says of its recipients."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    """Handed to a host that will not tell what becomes of it."""
    UNKNOWN = "unknown"
    """It may have been delivered, may be yet, and may never be."""

    @property
    def action(self) -> str:
        """The value of the Action field (RFC 3464 section 2.3.3), which has no word for what nobody knows."""
        return "delayed" if self is News.UNKNOWN else self.value


class ReportedRecipient(Struct, frozen=True, gc=False):
    """One recipient that there is news of."""

    recipient: str
    reply: Reply
    """The peer's last word, or our own."""
    remote: str = ""
    """Host that said it; empty: we did."""
    last_attempt: float = 0.0
    """Unix time in seconds; 0: there was none."""
    expired: bool = False
    """It was given up because its lifetime had passed."""
    orcpt: str = ""
    """The original recipient as `type;xtext`, as it was given."""


class ReportRequest(Struct, frozen=True, gc=False):
    """What a report is about."""

    id: str
    """Unique: Message-ID and MIME boundary are made of it. Letters, digits and hyphens."""
    now: float
    """Unix time, seconds."""
    hostname: str
    """Reporting-MTA."""
    author: str
    """Address of the report's From, such as MAILER-DAEMON@<hostname>."""
    sender: str
    """Envelope sender of the message, who gets the report; not empty."""
    arrived: float
    """Unix time, seconds."""
    content: bytes
    """The message; its header is returned."""
    message_id: str = ""
    recipients: tuple[ReportedRecipient, ...] = ()
    news: News = News.FAILED
    """Of all recipients."""
    envid: str = ""
    """The sender's name for the transaction, in xtext as it was given."""
    full: bool = False
    """RET=FULL: a report of failure returns the whole message, if it is short (RFC 3461 section 4.3)."""
    retry_until: float = 0.0
    """Unix time until which a late message is tried; 0: not said."""


def status_report(request: ReportRequest) -> bytes | None:
    """The report as a whole message, or None if nobody may get one (RFC 3464 section 2: never to the null sender)."""
    if not request.sender:
        return None
    header = _returned_header(request.content)
    texts = [
        request.sender,
        *[one.recipient for one in request.recipients],
        *[_from_xtext(one.orcpt) for one in request.recipients],
    ]
    utf8 = not header.isascii() or not all(text.isascii() for text in texts)
    full = _is_whole(request)
    returned = request.content if full else header
    if full:
        content_type, described = "message/global" if utf8 else "message/rfc822", "The message"
    else:
        content_type, described = "message/global-headers" if utf8 else "text/rfc822-headers", "Header of the message"
    boundary = f"=_{request.id}"
    while boundary.encode() in returned:  # only a returned report of ours could hold it
        boundary += "_"
    status = _delivery_status(request, utf8=utf8)
    kind = "global-delivery-status" if utf8 else "delivery-status"
    parts = [
        _part(boundary, "text/plain; charset=utf-8", "Notification", _explanation(request).encode()),
        _part(boundary, f"message/{kind}", "Delivery report", status.encode()),
        _part(boundary, content_type, described, returned),
        f"--{boundary}--\r\n".encode(),
    ]
    body = b"".join(parts)
    return _report_header(request, boundary, kind, eight_bit=not body.isascii()).encode() + body


def _report_header(request: ReportRequest, boundary: str, kind: str, *, eight_bit: bool) -> str:
    count = len(request.recipients)
    subject = request.recipients[0].recipient if count == 1 else f"{count} recipients"
    fields = [
        f"Date: {rfc5322_date(request.now)}",
        f"From: Mail Delivery System <{request.author}>",
        f"To: <{_one_line(request.sender)}>",
        f"Subject: {_in_ascii(f'Mail to {_one_line(subject)} {_SUBJECTS[request.news]}')}",
        f"Message-ID: <dsn-{request.id}@{request.hostname}>",
    ]
    named = request.message_id
    if named.isascii() and named and len(named) + len("In-Reply-To: ") <= _LONGEST:
        fields.append(f"In-Reply-To: {_one_line(request.message_id)}")
    fields += [
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"',
    ]
    if eight_bit:  # no less than its parts' (RFC 2045 section 6.4)
        fields.append("Content-Transfer-Encoding: 8bit")
    return "\r\n".join(fields) + "\r\n\r\n"


def _part(boundary: str, content_type: str, description: str, content: bytes) -> bytes:
    encoding = "7bit" if content.isascii() else "8bit"
    head = (
        f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Description: {description}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + content + (b"" if content.endswith(b"\r\n") else b"\r\n")


_SUBJECTS: Final = {
    News.FAILED: "was not delivered",
    News.DELAYED: "is late",
    News.RELAYED: "was handed on",
    News.UNKNOWN: "may not have been delivered",
}
_OPENINGS: Final = {
    News.FAILED: "Your message could not be delivered to the recipients below. It will not be tried again.",
    News.DELAYED: "Your message could not be delivered to the recipients below so far. You need not send it again.",
    News.RELAYED: "Your message was taken by the hosts of the recipients below. They will not tell what becomes of it.",
    News.UNKNOWN: "It is not known whether your message was delivered to the recipients below, or will be. Ask them, "
    "or send it again if it does no harm twice.",
}


def _explanation(request: ReportRequest) -> str:
    lines = [f"This is the mail system of {request.hostname}.", "", _OPENINGS[request.news], ""]
    for one in request.recipients:
        said_by = f"{_one_line(one.remote)} said" if one.remote else "The reason"
        lines.append(f"<{_one_line(one.recipient)}>")
        lines += _wrap(f"{said_by}: {_one_line(_repeated(one.reply))}")
        if request.news is News.FAILED:
            lines += _wrap(_advice(one))
        lines.append("")
    if request.news is News.DELAYED and request.retry_until:
        lines += [f"It is tried until {rfc5322_date(request.retry_until)}.", ""]
    attached = "Your message" if _is_whole(request) else "The header of your message"
    lines.append(f"{attached} is attached, and a report for machines.")
    return "\r\n".join(lines) + "\r\n"


def _advice(failed: ReportedRecipient) -> str:
    """What the reader may do about it."""
    if failed.expired:
        return (
            "It was tried until its time was over. Find out whether the recipient's server is in order and send again."
        )
    subject = _status(failed, News.FAILED).split(".")[1]
    advice = {
        "1": "Check the address: it does not exist there, or not any more.",
        "2": "The mailbox is full or closed. Reach the recipient in another way.",
        "3": "The recipient's server cannot take this message. Make it smaller or simpler.",
        "4": "The recipient's server could not be reached. Send again later.",
        "6": "The recipient's server cannot take this message's content. Change its encoding or its attachments.",
        "7": "The recipient's server refused it by its policy. Its words above may say what to do.",
    }
    return advice.get(subject, "The words above may say what to do; the recipient's postmaster can tell more.")


def _delivery_status(request: ReportRequest, *, utf8: bool) -> str:
    """RFC 3464 section 2: one block for the message, one for each recipient, an empty line between them."""
    message = _wrap(f"Original-Envelope-Id: {_ascii(_from_xtext(request.envid))}", "\t") if request.envid else []
    message.append(f"Reporting-MTA: dns; {request.hostname}")
    message.append(f"Arrival-Date: {rfc5322_date(request.arrived)}")
    blocks = [message, *[_recipient_fields(request, one, utf8=utf8) for one in request.recipients]]
    return "\r\n".join(["\r\n".join(block) + "\r\n" for block in blocks])


def _recipient_fields(request: ReportRequest, one: ReportedRecipient, *, utf8: bool) -> list[str]:
    fields = _original(one.orcpt) if one.orcpt else []
    kind = "utf-8" if utf8 and not one.recipient.isascii() else "rfc822"
    fields += [
        f"Final-Recipient: {kind}; {_one_line(one.recipient)}",
        f"Action: {request.news.action}",
        f"Status: {_status(one, request.news)}",
    ]
    if one.remote:
        fields.append(f"Remote-MTA: dns; {_one_line(one.remote)}")
    source = "smtp" if one.remote else "x-lanewright"
    fields += _wrap(f"Diagnostic-Code: {source}; {_ascii(_repeated(one.reply))}", "\t")
    if one.last_attempt:
        fields.append(f"Last-Attempt-Date: {rfc5322_date(one.last_attempt)}")
    if request.news is News.DELAYED and request.retry_until:
        fields.append(f"Will-Retry-Until: {rfc5322_date(request.retry_until)}")
    return fields


def _original(orcpt: str) -> list[str]:
    """The recipient as the sender knew it (RFC 3464 section 2.3.1); of a form that nobody gave us nothing is made."""
    kind, _, address = orcpt.partition(";")
    decoded = _one_line(_from_xtext(address))
    if not decoded.isascii():
        kind = "utf-8"  # RFC 6533 section 3: rfc822 is ASCII, whatever the sender called it
    return _wrap(f"Original-Recipient: {_ascii(kind)}; {decoded}", "\t") if kind and decoded else []


def _from_xtext(text: str) -> str:
    """RFC 3461 section 4: `+` and two hexadecimal digits stand for an octet; beyond ASCII they are UTF-8's."""
    return _XTEXT.sub(lambda found: bytes([int(found[1], 16)]), text.encode()).decode(errors="replace")


def _status(one: ReportedRecipient, news: News) -> str:
    """A status code (RFC 3463) of the news' own class, whatever class the last reply had."""
    if one.expired:
        return "5.4.7"
    first = {News.FAILED: "5", News.RELAYED: "2"}.get(news, "4")
    enhanced = one.reply.enhanced
    return f"{first}{enhanced[1:]}" if enhanced else f"{first}.0.0"


def _is_whole(request: ReportRequest) -> bool:
    """The report returns the whole message."""
    return request.full and request.news is News.FAILED and len(request.content) <= _MAX_RETURNED


def _returned_header(content: bytes) -> bytes:
    """RET=HDRS (RFC 3461 section 4.3): the header alone, cut between lines if it is huge, and in lines too long."""
    end = 0 if content[:2] == b"\r\n" else content.find(b"\r\n\r\n") + 2
    header = content if end == 1 else content[:end]
    if len(header) > _MAX_RETURNED:
        header = header[: header.rfind(b"\r\n", 0, _MAX_RETURNED) + 2]
    return b"\r\n".join([line[:_LONGEST] for line in header.split(b"\r\n")])


def _repeated(reply: Reply) -> str:
    """A reply as it is repeated, cut short if it goes on for ever."""
    text = str(reply)
    return text if len(text) <= _MAX_REPLY else f"{text[:_MAX_REPLY].rstrip()} [...]"


def _in_ascii(text: str) -> str:
    """A field's text, beyond ASCII in encoded words (RFC 2047), so that a host without SMTPUTF8 takes the report."""
    return text if text.isascii() else Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _ascii(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)


def _wrap(text: str, indent: str = "    ") -> list[str]:
    """Lines of bearable length; all but the first are indented, which folds a field."""
    lines, line = [], ""
    for word in _words(text):
        if line.strip() and len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return lines


def _words(text: str) -> Iterator[str]:
    """Between blanks; a word that no line holds comes in pieces."""
    for word in text.split(" "):
        for at in range(0, max(len(word), 1), _LONGEST_WORD):
            yield word[at : at + _LONGEST_WORD]
