"""Content and envelope that came in become a Message, or the reply that says what to mend; the same for every protocol.

Before it: `accept.session` (and whatever else takes mail). After it: `deposit`. Pure but for the spool id it takes.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from lane_relay.accept.policy import Policy
from lane_relay.mail.author import Author
from lane_relay.mail.headers import Trace, add_trace, read_header, redirected_field
from lane_relay.mail.lane_fields import campaign_in
from lane_relay.records import Envelope, Message, Record, Reply, message_id_text

__all__ = ["LONG_HEADER", "MAX_HEADER", "Origin", "has_long_header", "make_message", "redirect"]

MAX_HEADER: Final = 256 * 1024
"""Octets; Exchange Online takes no more, and every look at a header takes the loop's time."""
LONG_HEADER: Final = Reply(
    552, (f"5.3.4 The header is larger than {MAX_HEADER} octets: take fields out, or make lists of addresses shorter",)
)
_CLOCK_SKEW_S: Final = 300.0
"""Of the sending system's clock against ours."""


class Origin(Record, frozen=True, gc=False):
    """Who hands a message in, and how."""

    hostname: str
    """Our own."""
    client: str
    """Address of the client."""
    helo: str
    user: str
    """Who authenticated, or empty."""
    protocol: str
    """The keyword of the Received field (RFC 3848, RFC 6531 section 4.3)."""


def has_long_header(content: bytes) -> bool:
    """The header has more than MAX_HEADER octets; no more of it is looked at."""
    return content[:2] != b"\r\n" and len(content) > MAX_HEADER and content.find(b"\r\n\r\n", 0, MAX_HEADER) < 0


def make_message(
    policy: Policy,
    content: bytes,
    envelope: Envelope,
    origin: Origin,
    *,
    new_id: Callable[[], int],
    now: float,
    expires_in: float = 0.0,
    notice_in: float | None = None,
) -> Message | Reply:
    """The message as it is to be stored, with its trace fields, or why it is refused.

    `now` in Unix seconds. `expires_in`, in seconds, is what its envelope says: of two times the sooner counts.
    `notice_in`: after so many seconds its sender is to hear that it is late.
    """
    if len(content) > MAX_HEADER and has_long_header(content):
        return LONG_HEADER
    header = read_header(content, policy.correlation_field, policy.campaign_field)
    refusal = policy.judge_content(header, smtp_utf8=envelope.smtp_utf8, user=origin.user)
    if refusal is not None:
        return refusal
    asked = header.lane
    if asked.triggered_at > now + _CLOCK_SKEW_S:
        return Reply(550, ("5.6.0 X-Lane-Triggered-At is in the future: write Unix seconds (not ms) or RFC 3339",))
    campaign = asked.campaign
    if not campaign and policy.campaign_tag is not None:
        campaign = campaign_in(envelope.sender, policy.campaign_tag.after, policy.campaign_tag.before)
    spool_id = new_id()
    redirected = envelope.recipients if policy.redirect_to else ()
    if redirected:  # what was asked for the recipients was asked for somebody else
        envelope = replace(envelope, recipients=(policy.redirect_to,), options=())
    trace = Trace(
        origin.hostname, origin.helo, origin.client, origin.protocol, message_id_text(spool_id), now, redirected
    )
    times = [seconds for seconds in (asked.expires_in, expires_in) if seconds]
    body, message_id = add_trace(content, header, trace)
    return Message(
        id=spool_id,
        envelope=envelope,
        body=body,
        client=origin.client,
        user=origin.user,
        message_id=message_id,
        correlation_id=header.correlation_id,
        from_domain=header.author.domain if isinstance(header.author, Author) else "",
        campaign=campaign,
        expires_at=now + min(times) if times else 0.0,
        triggered_at=asked.triggered_at,
        notice_at=now + notice_in if notice_in is not None else 0.0,
        redirected_from=redirected,
    )


def redirect(message: Message, to: str) -> Message:
    """A message of the relay's own, which no intake has seen, for this address alone where the lane redirects."""
    recipients = message.envelope.recipients
    if all(one.lower() == to.lower() for one in recipients):
        return message
    return replace(
        message,
        envelope=replace(message.envelope, recipients=(to,), options=()),
        body=redirected_field(recipients).encode() + message.body,
        redirected_from=recipients,
    )
