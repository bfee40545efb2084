"""What `smtp.server` offers, asks and tells: its options, the policy it consults, and its events."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.address import Mailbox

__all__ = ["AuthAttempt", "Closed", "Event", "MessageReceived", "Options", "Pause", "SessionPolicy", "StartTls"]


class Options(Struct, frozen=True, gc=False):
    """What a server offers, and its limits."""

    hostname: str
    max_size: int = 25 * 2**20
    """Bytes of content."""
    max_recipients: int = 100
    """Per transaction; RFC 5321 section 4.5.3.1.8 asks for 100 at least."""
    starttls: bool = True
    auth: bool = True
    """AUTH is offered, inside TLS only."""
    max_errors: int = 20
    """Refused commands in one session before it is closed (Postfix: smtpd_hard_error_limit)."""
    max_commands: int = 400
    """Commands without an accepted message in between, recipients not counted."""
    max_auth_failures: int = 3
    errors_at_once: int = 5
    """Errors since the last message that are answered at once; the answers to further ones take time."""
    first_pause: float = 1.0
    """Seconds; each further one takes twice as long."""
    longest_pause: float = 0.0
    """Seconds; 0: nothing takes time."""

    def pause(self, errors: int) -> float:
        """Seconds that the answer to this error takes."""
        grown = self.first_pause * 2.0 ** min(errors - self.errors_at_once - 1, 16)
        return min(grown, self.longest_pause) if errors > self.errors_at_once else 0.0

    def ehlo_lines(self, *, tls: bool) -> tuple[str, ...]:
        """The answer to EHLO; AUTH is offered inside TLS only, STARTTLS outside only."""
        lines = (
            self.hostname,
            "PIPELINING",
            f"SIZE {self.max_size}",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "SMTPUTF8",
            "CHUNKING",
            "DSN",
            "DELIVERBY",
        )
        if tls:
            return (*lines, "AUTH PLAIN LOGIN") if self.auth else lines
        return (*lines, "STARTTLS") if self.starttls else lines


class SessionPolicy(Protocol):
    """What the server asks its driver synchronously; None admits, a Reply refuses."""

    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        """May this envelope sender (None: the null sender) send, with this declared size (0: not declared)."""

    def recipient(self, recipient: Mailbox, count: int) -> Reply | None:
        """May mail go to this recipient, beside so many."""

    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> bool:
        """Mail was refused, by the policy or by the protocol; told once for each refusal, for counters and records.

        Is it the peer's error? Of who may send it is not: a list with suppressed recipients is no misconduct.
        """


class StartTls(Struct, frozen=True, gc=False):
    """220 is in the output: write it, do the handshake, call tls_started."""


class AuthAttempt(Struct, frozen=True, gc=False):
    """Credentials to check; answered by auth_result."""

    username: str
    password: str


class MessageReceived(Struct, frozen=True, gc=False):
    """A message to be judged and stored; answered by reply."""

    envelope: Envelope
    content: bytes
    """Unstuffed, with CRLF line ends."""
    expires_in: int = 0
    """Seconds after which it is not to be delivered any more (BY with R); 0: not asked for."""
    notice_in: int | None = None
    """Seconds after which its sender is to hear that it is late (BY with N); None: not asked for."""


class Pause(Struct, frozen=True, gc=False):
    """The peer errs too often: nothing is written nor read for so many seconds; then resume."""

    seconds: float


class Closed(Struct, frozen=True, gc=False):
    """Nothing more will be read: write the output and close."""


Event = StartTls | AuthAttempt | MessageReceived | Pause | Closed
