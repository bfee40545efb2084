"""What a peer offers in its EHLO answer, and what a message needs of it.

Before it: a reply of `smtp.reply`; after it: the commands that `smtp.client` sends, or our own refusal as a value.
"""

import re
from collections.abc import Sequence
from typing import Final

from lane_relay.records import Envelope, RecipientOptions, Record, Reply, notify_words

__all__ = ["NOT_EIGHT_BIT", "Extensions", "is_ascii", "needs_utf8", "read_extensions"]

_NUMBER = re.compile(r"[0-9]{1,20}")
"""Of ASCII digits: `isdigit` knows some that `int` does not read."""
NOT_EIGHT_BIT: Final = Reply(554, ("5.6.3 The host does not offer 8BITMIME, and the message is not 7-bit",))
"""Why a host cannot take a message that it could take in another form."""


class Extensions(Record, frozen=True, gc=False):
    """What the peer's EHLO answer offers; all absent after HELO."""

    host: str = ""
    pipelining: bool = False
    eight_bit: bool = False
    smtp_utf8: bool = False
    starttls: bool = False
    enhanced: bool = False
    dsn: bool = False
    """It takes over what was asked about notifications (RFC 3461)."""
    size: int | None = None
    """Largest message in bytes; None: not offered or without a fixed limit (RFC 1870)."""
    has_size: bool = False
    auth: tuple[str, ...] = ()
    """SASL mechanisms, upper case."""
    by_helo: bool = False
    """It refused EHLO: what it would offer is not known."""

    @property
    def auth_mechanism(self) -> str:
        """The mechanism that `auth` would use: PLAIN, LOGIN, or empty."""
        return next((name for name in ("PLAIN", "LOGIN") if name in self.auth), "")

    def unfit(self, envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]) -> Reply | None:
        """Why this peer cannot take the message, as our own local reply, or None."""
        size = sum(map(len, body))
        if self.size and size > self.size:
            return Reply(552, (f"5.3.4 Message of {size} bytes is over the host's limit of {self.size}",))
        if not self.smtp_utf8 and needs_utf8(envelope, recipients, body):
            return Reply(550, ("5.6.7 The host does not offer SMTPUTF8, which this message needs",))
        if not self.eight_bit and not is_ascii(body):
            return NOT_EIGHT_BIT
        return None

    def mail_parameters(self, envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]) -> bytes:
        """The parameters of MAIL, each with a leading blank."""
        parameters = b" SIZE=%d" % sum(map(len, body)) if self.has_size else b""
        if self.eight_bit and (envelope.eight_bit or not is_ascii(body)):
            parameters += b" BODY=8BITMIME"
        if self.smtp_utf8 and needs_utf8(envelope, recipients, body):
            parameters += b" SMTPUTF8"
        if self.dsn and (envelope.ret or envelope.envid):
            parameters += _given(b"RET", envelope.ret) + _given(b"ENVID", envelope.envid)
        return parameters

    def recipient_parameters(self, options: RecipientOptions) -> bytes:
        """The parameters of RCPT, each with a leading blank (RFC 3461 section 5.2.1)."""
        if not self.dsn:
            return b""
        parameters = _given(b"NOTIFY", notify_words(options.notify))
        if self.smtp_utf8 or options.orcpt.isascii():  # RFC 6533 section 3: utf-8 addresses only where they are taken
            parameters += _given(b"ORCPT", options.orcpt)
        return parameters


def _given(name: bytes, value: str) -> bytes:
    """A parameter with its value as it was given, in xtext; none if it has no value or could not stand there."""
    sound = value and value.isprintable() and " " not in value
    return b" %b=%b" % (name, value.encode()) if sound else b""


def is_ascii(chunks: Sequence[bytes]) -> bool:
    """No byte has its eighth bit set."""
    return all(map(bytes.isascii, chunks))


def needs_utf8(envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]) -> bool:
    """RFC 6531 section 3.4: an address or a header field is not ASCII."""
    if not envelope.smtp_utf8:
        return False
    if not envelope.sender.isascii() or not all(envelope.recipients[index].isascii() for index in recipients):
        return True
    return not b"".join(body).partition(b"\r\n\r\n")[0].isascii()


def read_extensions(reply: Reply) -> Extensions:
    """RFC 5321 section 4.1.1.1: one keyword a line with its parameters; old servers write `AUTH=` for AUTH."""
    offered: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        offered.setdefault(keyword, []).extend(parameters)
    size = next((word for word in offered.get("SIZE", []) if _NUMBER.fullmatch(word)), "0")
    return Extensions(
        host=reply.lines[0].split(" ", 1)[0],
        pipelining="PIPELINING" in offered,
        eight_bit="8BITMIME" in offered,
        smtp_utf8="SMTPUTF8" in offered,
        starttls="STARTTLS" in offered,
        enhanced="ENHANCEDSTATUSCODES" in offered,
        dsn="DSN" in offered,
        size=int(size) or None,
        has_size="SIZE" in offered,
        auth=tuple(dict.fromkeys(offered.get("AUTH", []))),
    )
