"""Delivery status notifications: the report that tells a sender what became of its message (RFC 3464, 3461, 3834).

Before it: `account`, which decides when a report is due. After it: the spool, as a message of the null sender.
Invariants: the same request gives the same bytes; there is no report to the null sender; nothing of a peer's words or
of the returned header can end a line, a part or the header early.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from lane_relay.mail.headers import rfc5322_date
from lane_relay.records import Reply

__all__ = ["FailedRecipient", "ReportRequest", "failure_report"]

_MAX_RETURNED_HEADER: Final = 64 * 1024
"""Bytes of the original header that are returned; a report is no place for attachments in header fields."""
_WIDTH: Final = 78
_LONGEST: Final = 998
"""Octets of a line (RFC 5322 section 2.1.1); many servers refuse a message with a longer one."""
_LONGEST_WORD: Final = 200
"""Characters before a word is cut in two: of four octets each, with indent, they stay below the former."""
_MAX_REPLY: Final = 1000
"""Characters of a peer's reply that are repeated, twice for each recipient; a peer may send 32 KiB."""


class FailedRecipient(Struct, frozen=True, gc=False):
    """One recipient that the message did not reach."""

    recipient: str
    reply: Reply
    """The peer's last word, or our own."""
    remote: str = ""
    """Host that said it; empty: we did."""
    last_attempt: float = 0.0
    """Unix time in seconds; 0: there was none."""
    expired: bool = False
    """It was given up because its lifetime had passed."""


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
    recipients: tuple[FailedRecipient, ...] = ()


def failure_report(request: ReportRequest) -> bytes | None:
    """The report as a whole message, or None if nobody may get one (RFC 3464 section 2: never to the null sender)."""
    if not request.sender:
        return None
    header = _returned_header(request.content)
    texts = [request.sender, *[failed.recipient for failed in request.recipients]]
    utf8 = not header.isascii() or not all(text.isascii() for text in texts)
    boundary = f"=_{request.id}"
    while boundary.encode() in header:  # only a returned report of ours could hold it
        boundary += "_"
    status = _delivery_status(request, utf8=utf8)
    kind = "global-delivery-status" if utf8 else "delivery-status"
    parts = [
        _part(boundary, "text/plain; charset=utf-8", "Notification", _explanation(request).encode()),
        _part(boundary, f"message/{kind}", "Delivery report", status.encode()),
        _part(boundary, "message/global-headers" if utf8 else "text/rfc822-headers", "Header of the message", header),
        f"--{boundary}--\r\n".encode(),
    ]
    return _report_header(request, boundary, kind).encode() + b"".join(parts)


def _report_header(request: ReportRequest, boundary: str, kind: str) -> str:
    count = len(request.recipients)
    subject = _one_line(request.recipients[0].recipient) if count == 1 else f"{count} recipients"
    fields = [
        f"Date: {rfc5322_date(request.now)}",
        f"From: Mail Delivery System <{request.author}>",
        f"To: <{_one_line(request.sender)}>",
        f"Subject: Mail to {subject} was not delivered",
        f"Message-ID: <dsn-{request.id}@{request.hostname}>",
    ]
    if request.message_id and len(request.message_id) + len("In-Reply-To: ") <= _LONGEST:
        fields.append(f"In-Reply-To: {_one_line(request.message_id)}")
    fields += [
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"',
    ]
    return "\r\n".join(fields) + "\r\n\r\n"


def _part(boundary: str, content_type: str, description: str, content: bytes) -> bytes:
    encoding = "7bit" if content.isascii() else "8bit"
    head = (
        f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Description: {description}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + content + (b"" if content.endswith(b"\r\n") else b"\r\n")


def _explanation(request: ReportRequest) -> str:
    lines = [f"This is the mail system of {request.hostname}.", ""]
    lines += ["Your message could not be delivered to the recipients below. It will not be tried again.", ""]
    for failed in request.recipients:
        said_by = f"{_one_line(failed.remote)} said" if failed.remote else "The reason"
        lines.append(f"<{_one_line(failed.recipient)}>")
        lines += _wrap(f"{said_by}: {_one_line(_repeated(failed.reply))}")
        lines += _wrap(_advice(failed))
        lines.append("")
    lines.append("The header of your message is attached, and a report for machines.")
    return "\r\n".join(lines) + "\r\n"


def _advice(failed: FailedRecipient) -> str:
    """What the reader may do about it."""
    if failed.expired:
        return (
            "It was tried until its time was over. Find out whether the recipient's server is in order and send again."
        )
    subject = _status(failed).split(".")[1]
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
    blocks = [
        f"Reporting-MTA: dns; {request.hostname}\r\nArrival-Date: {rfc5322_date(request.arrived)}\r\n",
    ]
    for failed in request.recipients:
        kind = "utf-8" if utf8 and not failed.recipient.isascii() else "rfc822"
        fields = [
            f"Final-Recipient: {kind}; {_one_line(failed.recipient)}",
            "Action: failed",
            f"Status: {_status(failed)}",
        ]
        if failed.remote:
            fields.append(f"Remote-MTA: dns; {_one_line(failed.remote)}")
        source = "smtp" if failed.remote else "x-lanewright"
        fields += _wrap(f"Diagnostic-Code: {source}; {_ascii(_repeated(failed.reply))}", "\t")
        if failed.last_attempt:
            fields.append(f"Last-Attempt-Date: {rfc5322_date(failed.last_attempt)}")
        blocks.append("\r\n".join(fields) + "\r\n")
    return "\r\n".join(blocks)


def _status(failed: FailedRecipient) -> str:
    """A permanent status code (RFC 3463): what failed is final here, whatever class the last reply had."""
    if failed.expired:
        return "5.4.7"
    enhanced = failed.reply.enhanced
    return f"5{enhanced[1:]}" if enhanced else "5.0.0"


def _returned_header(content: bytes) -> bytes:
    """RET=HDRS (RFC 3461 section 4.3): the header alone, cut between lines if it is huge, and in lines too long."""
    end = 0 if content[:2] == b"\r\n" else content.find(b"\r\n\r\n") + 2
    header = content if end == 1 else content[:end]
    if len(header) > _MAX_RETURNED_HEADER:
        header = header[: header.rfind(b"\r\n", 0, _MAX_RETURNED_HEADER) + 2]
    return b"\r\n".join([line[:_LONGEST] for line in header.split(b"\r\n")])


def _repeated(reply: Reply) -> str:
    """A reply as it is repeated, cut short if it goes on for ever."""
    text = str(reply)
    return text if len(text) <= _MAX_REPLY else f"{text[:_MAX_REPLY].rstrip()} [...]"


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
