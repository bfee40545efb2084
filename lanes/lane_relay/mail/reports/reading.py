"""What a piece of returned mail says, whoever wrote it and however badly."""

from enum import StrEnum

from msgspec import Struct

__all__ = ["Failure", "Kind", "Reading"]


class Kind(StrEnum):
    """What it is."""

    BOUNCE = "bounce"
    """For good: the mail will not reach the recipient."""
    DELAY = "delay"
    """The recipient's server still tries."""
    SUCCESS = "success"
    """Delivered, relayed or expanded (RFC 3464 section 2.3.3)."""
    COMPLAINT = "complaint"
    """Somebody called the mail unwanted."""
    NOT_SPAM = "not-spam"
    """Somebody called it wanted (RFC 6430), or it is about authentication (RFC 6591): nothing is to be done."""
    AUTOMATIC = "automatic"
    """An answer of a program for a person who is away; no bounce."""
    NOT_UNDERSTOOD = "not-understood"


class Failure(Struct, frozen=True, gc=False):
    """One recipient of a delivery report."""

    recipient: str = ""
    """As the report names it; empty where it names nobody."""
    original: str = ""
    """Original-Recipient, without its type."""
    status: str = ""
    """Enhanced code such as 5.1.1 (RFC 3463), or empty."""
    code: int = 0
    """SMTP reply code, or 0."""
    text: str = ""
    """What the server said, or the report's own words, on one line."""
    remote: str = ""
    """Host that said it."""


class Reading(Struct, frozen=True, gc=False):
    """All that is to be known of it."""

    kind: Kind
    dialect: str
    """Who wrote it or how it was found out: `rfc3464`, `qmail`, `arf`, ...; bounded, fit for a metric's label."""
    failures: tuple[Failure, ...] = ()
    feedback_type: str = ""
    """abuse, fraud, opt-out, virus, ... (RFC 5965 section 7.3)."""
    reporter: str = ""
    """Reporting-MTA or User-Agent."""
    tokens: tuple[str, ...] = ()
    """What may be tokens of ours, from the fields that carry them; nothing is proved yet."""
    message_id: str = ""
    """Message-ID of the mail that it is about."""
    returned: bytes = b""
    """Header of that mail, as far as it came back."""
    why: str = ""
    """Of what was not understood."""
