"""What one scripted ISP promises, refuses and breaks: frozen models, read from JSON at start and changed live.

Invariant: a policy holds no state. Who came when is kept by `enforcement` (to refuse) and, independently, by
`counting` and `wire` (to prove), so that a limit broken while nobody enforces it is still seen.
Before: the configuration file or the control port. After: `enforcement.Enforcer` and `smtp_session.SmtpSession`.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ROUND_TRIP_S = 0.05  # a path over a continent; a pipelined group of commands pays it once


class Stage(StrEnum):
    """A point of the SMTP dialogue at which an ISP may be slow, fall silent or hang up."""

    CONNECT = "connect"  # nothing at all is sent after the TCP handshake
    BANNER = "banner"  # half a banner is sent, then nothing more
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end-of-data"


class Model(BaseModel):
    """Base of every model here: frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(Model):
    """At most `messages` in any window of `seconds`, for each source IP."""

    messages: int = Field(ge=1)
    seconds: float = Field(default=1.0, gt=0)


class Greylist(Model):
    """First tries of (source IP, sender, recipient) get 450 until `delay_s` seconds have passed."""

    delay_s: float = Field(ge=0)


class Reply(Model):
    """An SMTP reply: three-digit code and text (with its enhanced status code)."""

    code: int = Field(ge=200, le=599)
    text: str

    def encoded(self) -> bytes:
        """The reply as one line on the wire."""
        return b"%d %s\r\n" % (self.code, self.text.encode())


class Fault(Model):
    """What happens at a stage instead of the normal answer.

    stall: accept and never answer; drop: close without an answer; reply: answer this (a 421 also closes).
    Hits each `every`-th time the stage is reached, at most `times` times in all (None: always).
    """

    action: Literal["stall", "drop", "reply"]
    reply: Reply | None = None
    every: int = Field(default=1, ge=1)
    times: int | None = Field(default=None, ge=0)


class RecipientRule(Model):
    """The reply to every recipient that matches `match` (a shell pattern), the first `times` tries of each one."""

    match: str
    reply: Reply
    times: int | None = Field(default=None, ge=1)

    def matches(self, recipient: str) -> bool:
        """True if this rule speaks about that recipient."""
        return fnmatchcase(recipient.lower(), self.match.lower())


class Capabilities(Model):
    """The extensions that the EHLO reply names."""

    pipelining: bool = True
    eight_bit_mime: bool = True
    enhanced_status_codes: bool = True
    starttls: bool = True
    smtputf8: bool = True
    chunking: bool = False


class Policy(Model):
    """All that can be said about one ISP; the defaults are an ISP without limits, 50 ms away."""

    enforce: Literal["refuse", "observe"] = "refuse"
    max_connections_per_ip: int | None = Field(default=None, ge=1)
    message_rate: Rate | None = None
    greylist: Greylist | None = None
    domains: tuple[str, ...] = ()  # shell patterns of the domains whose mail is taken; none given: of every domain
    recipients: tuple[RecipientRule, ...] = ()
    max_size: int = 35_882_577  # octets; what Gmail announces
    round_trip_s: float = Field(default=ROUND_TRIP_S, ge=0)
    delays: dict[Stage, float] = {}  # seconds on top of the round trip
    faults: dict[Stage, Fault] = {}
    blocked: dict[str, Reply] = {}  # source IP -> the answer to each MAIL from it
    unavailable: Reply | None = None  # the answer to everything, from the banner on
    capabilities: Capabilities = Capabilities()
