"""Tells whoever sent a message of the bounce that came in for it, and people of what is for people.

To the original sender goes a report of ours (RFC 3464), not the mail that came: that one's From is the peer's, which
our signature does not cover and DMARC would refuse, and every server words it in its own way. To a webhook goes JSON.
Before it: `desk`. After it: the spool, as any mail of ours; `outbox`. Invariants: what is sent has the null sender, and
none goes to an address of the return paths, so no report is ever about a report; nobody is told what is not proved; a
sender who asked not to hear of failures (RFC 3461) hears of none, while a webhook is told all, for it is the lane's.
Where records have digests of recipients, an address comes from the bounce alone, and no digest goes where one belongs.
"""

import asyncio
from base64 import encodebytes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import structs

from lane_api.quantities import Rate
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import Forward, ReturnPath
from lane_relay.accept.rates import Window
from lane_relay.clock import Clock
from lane_relay.errors import RelayError, SpoolError
from lane_relay.feedback.addresses import Addressee
from lane_relay.feedback.desk import TAKEN, Heard
from lane_relay.feedback.origin import Origin, find_origin, find_site
from lane_relay.feedback.outbox import Outbox
from lane_relay.mail.dsn import ReportedRecipient, ReportRequest, status_report
from lane_relay.mail.headers import rfc5322_date
from lane_relay.records import Envelope, Message, Reply, message_id_text, received_at
from lane_relay.smtp.address import BadAddress, Mailbox, parse_mailbox

__all__ = ["Forwarder"]

FOR_PEOPLE: Final = Rate(100, 3600.0)
"""Mail that is passed on to the postmaster, a large one counted once more a MiB; what is beyond is kept as a sample."""
MOST_FOR_PEOPLE: Final = 10 * 2**20
"""Bytes of one: whoever writes may be anybody, and what a person's host refuses for its size nobody hears of."""
_MESSAGE: Final = b"Content-Type: message/rfc822\r\n\r\n"
_MIB: Final = 2**20
_TOO_LARGE: Final = Reply(
    552, (f"5.3.4 The postmaster takes {MOST_FOR_PEOPLE // _MIB} MiB at most: leave attachments out, or send a link",)
)
NOBODY_KNOWN: Final = "unknown@invalid"
"""In a report, where neither the bounce nor the journal says the address (RFC 2606 section 2: nobody has it)."""
Deposit = Callable[[Message, Callable[[SpoolError | None], None]], None]
_log = structlog.get_logger("feedback")


class Forwarder:
    """Passes on."""

    def __init__(self, deposit: Deposit, new_id: Callable[[], int], outbox: Outbox, clock: Clock) -> None:
        self._deposit = deposit
        self._new_id = new_id
        self._outbox = outbox
        self._clock = clock
        self._for_people = Window()
        self._paths: dict[str, ReturnPath] = {}
        self.not_found = 0
        """Bounces whose message the journal does not know any more, or not its sender, so nobody was told."""

    def apply(self, config: RelayConfig) -> None:
        """A new configuration is in force."""
        self._config = config
        paths = (domain.return_path for domain in config.domains if domain.return_path is not None)
        self._paths = {path.domain: path for path in paths}

    async def forward(self, heard: Heard) -> None:
        """Tells whom the return path's configuration names; returns when that is on the volume. Raises RelayError."""
        path = self._paths.get(heard.domain)
        if path is None or path.forward is Forward.NONE:
            return
        origin = await asyncio.to_thread(find_origin, Path(self._config.records.path), heard.token.id)
        if origin is None:
            self.not_found += 1
        if origin is not None:
            origin = structs.replace(origin, sender=origin.submitted_by(heard.token.index, heard.finding.recipient))
        if path.webhook is not None:
            await self._outbox.put(path.webhook, self._event(heard, origin or Origin()))
        elif origin is not None and self._may_hear(origin.sender):
            if origin.wants_failures(heard.token.index):
                await self._store(self._report(heard, origin))
        elif origin is not None:
            self.not_found += not origin.sender

    async def site_of(self, message_id: int) -> str:
        """The site that this message was delivered to, as the journal knows it; empty: it does not any more."""
        return await asyncio.to_thread(find_site, Path(self._config.records.path), message_id)

    def _may_hear(self, sender: str) -> bool:
        mailbox = parse_mailbox(sender) if sender else BadAddress("")
        return isinstance(mailbox, Mailbox) and mailbox.domain not in self._paths

    async def to_people(self, addressee: Addressee, content: bytes) -> Reply | None:
        """Passes a mail to the postmaster on, as an attachment; returns when that is on the volume. Raises RelayError.

        None: there is no such person, or too much came for them lately: anybody may write to a postmaster. What goes is
        7-bit, byte for byte: the host of who gets it may take no other, and nobody would hear of a bounce.
        """
        postmaster = self._config.feedback.postmaster if self._config.feedback is not None else ""
        now = self._clock.monotonic()
        if not postmaster or not self._may_hear(postmaster):
            return None
        if len(content) > MOST_FOR_PEOPLE:
            return _TOO_LARGE
        weight = 1 + len(content) // _MIB
        if self._for_people.wait(FOR_PEOPLE, now, weight):
            return None
        self._for_people.add(FOR_PEOPLE, now, weight)
        attached = _MESSAGE + content if content.isascii() else await asyncio.to_thread(_as_file, content)
        number = self._new_id()
        head = (
            f"Date: {rfc5322_date(self._clock.now())}\r\n"
            f"From: Mail Delivery System <MAILER-DAEMON@{addressee.domain}>\r\n"
            f"To: <{postmaster}>\r\nSubject: Mail to the postmaster of {addressee.domain}\r\n"
            f"Message-ID: <post-{message_id_text(number)}@{self._config.slot.hostname}>\r\n"
            "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        )
        message = Message(
            number, Envelope("", (postmaster,)), head.encode("ascii") + attached, from_domain=addressee.domain
        )
        await self._store(message)
        return TAKEN

    async def _store(self, message: Message) -> None:
        stored = asyncio.get_running_loop().create_future()

        def answered(error: SpoolError | None) -> None:
            if not stored.done():
                stored.set_result(error)

        self._deposit(message, answered)
        error = await stored
        if error is not None:
            raise RelayError(f"mail of ours is not stored: {error}")

    def _report(self, heard: Heard, origin: Origin) -> Message:
        number = self._new_id()
        hostname = self._config.slot.hostname
        finding = heard.finding
        author = heard.domain
        request = ReportRequest(
            id=message_id_text(number),
            now=self._clock.now(),
            hostname=hostname,
            author=f"MAILER-DAEMON@{author}",
            sender=origin.sender,
            arrived=received_at(heard.token.id),
            content=_crlf(heard.reading.returned) or _crlf(f"Message-ID: {origin.message_id}\n".encode()),
            message_id=origin.message_id,
            recipients=(
                ReportedRecipient(
                    finding.recipient or origin.address_at(heard.token.index) or NOBODY_KNOWN,
                    finding.reply or Reply(550),
                    finding.remote,
                    self._clock.now(),
                    orcpt=origin.original_at(heard.token.index),
                ),
            ),
            envid=origin.envid,
        )
        body = status_report(request) or b""  # there is a sender: `_may_hear` says so
        return Message(
            number,
            Envelope("", (origin.sender,), eight_bit=not body.isascii(), smtp_utf8=not _header_of(body).isascii()),
            body,
            message_id=f"<dsn-{request.id}@{hostname}>",
            correlation_id=origin.correlation_id,
            from_domain=author,
        )

    def _event(self, heard: Heard, origin: Origin) -> dict[str, Any]:
        finding, lane = heard.finding, self._config.lane
        return {
            "type": "bounce",
            "at": round(self._clock.now(), 3),
            "lane": f"{lane.namespace}/{lane.name}",
            "id": message_id_text(heard.token.id),
            "recipientIndex": heard.token.index,
            "recipient": finding.recipient or origin.address_at(heard.token.index),
            "recipientDigest": origin.digest_at(heard.token.index),
            "sender": origin.sender,
            "messageId": origin.message_id or heard.reading.message_id,
            "correlationId": origin.correlation_id,
            "category": finding.category.value if finding.category is not None else "other",
            "reply": str(finding.reply) if finding.reply is not None else "",
            "remote": finding.remote,
            "suppressed": finding.suppress is not None,
        }


def _as_file(content: bytes) -> bytes:
    """Content fields and body. RFC 2046 section 5.2.1 has no base64 of a message, so one with 8-bit bytes is a file."""
    fields = (
        b'Content-Type: application/octet-stream; name="mail.eml"\r\n'
        b'Content-Disposition: attachment; filename="mail.eml"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    )
    return fields + encodebytes(content).replace(b"\n", b"\r\n")


def _crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _header_of(body: bytes) -> bytes:
    return body[: body.find(b"\r\n\r\n")]
