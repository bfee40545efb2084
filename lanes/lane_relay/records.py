"""The frozen records that stages hand on, one per arrow of the message's path.

accept -(Message)-> spool -(QueueEntry)-> schedule -(QueueEntry)-> resolve -(Route | Unroutable)-> deliver -(Attempt)->
account

Invariant: a record never changes after it is made, except QueueEntry, whose only writer is `account`.
"""

import re
from collections.abc import Iterable
from enum import IntFlag, StrEnum
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from lane_api.isppolicy import Action, Category, Scope, Stage

__all__ = [
    "ERA_SHIFT",
    "FOREIGN",
    "WAY_OUT",
    "Attempt",
    "Envelope",
    "Hop",
    "Message",
    "Notify",
    "Peer",
    "QueueEntry",
    "RecipientOptions",
    "RecipientResult",
    "Record",
    "Reply",
    "Route",
    "TlsDemand",
    "TlsFailure",
    "TlsPolicy",
    "TlsResult",
    "Tlsa",
    "TrackedRecord",
    "Unroutable",
    "Verdict",
    "age_key",
    "first_age_key",
    "message_id_text",
    "notify_words",
    "received_at",
]

_ID_TIME_SHIFT: Final = 48
ERA_SHIFT: Final = 90
"""Bits of a spool id below its era, which says how often the wall clock was set back; see spool.ids."""
_BELOW_ERA: Final = (1 << ERA_SHIFT) - 1
WAY_OUT: Final = "drain.to"
"""Site of a route whose host answers for what it takes (`handsOver`): mail is handed over there, not delivered."""
FOREIGN: Final = 1 << 23
"""The bit of a spool id's counter that says that another slot of the lane accepted the message and handed it over."""
_ENHANCED = re.compile(r"^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|$)")


def received_at(message_id: int) -> float:
    """Unix time, in seconds, at which the message of this spool id was accepted: the id's bits below its era, in ms."""
    return ((message_id & _BELOW_ERA) >> _ID_TIME_SHIFT) / 1000


def age_key(message_id: int) -> int:
    """The id without its era: of two, the message that was accepted at an earlier time has the smaller one."""
    return message_id & _BELOW_ERA


def first_age_key(unix: float) -> int:
    """The least `age_key` of what was accepted at this Unix time."""
    return int(unix * 1000) << _ID_TIME_SHIFT


def message_id_text(message_id: int) -> str:
    """The spool id as records, logs and `trace` show it: 24 hexadecimal digits."""
    return f"{message_id:024x}"


class Record(Struct, frozen=True, gc=False):
    """Base of records in modules that may be compiled, where only what a base says of a class holds (`compiled`)."""


class TrackedRecord(Struct, frozen=True):
    """The same of records that may be part of a cycle, or hold much."""


class Reply(Struct, frozen=True, gc=False):
    """One SMTP reply (RFC 5321 section 4.2): its code and the text of each line, without code and separator."""

    code: int
    lines: tuple[str, ...] = ()

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463) that begins the first line, or an empty string."""
        matched = _ENHANCED.match(self.lines[0]) if self.lines else None
        return matched[1] if matched else ""

    @property
    def text(self) -> str:
        """All lines joined by one space."""
        return " ".join(self.lines)

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz."""
        return 200 <= self.code < 400

    @property
    def is_permanent(self) -> bool:
        """5yz."""
        return self.code >= 500

    def __str__(self) -> str:
        """Code and text on one line, for records and DSNs."""
        return f"{self.code} {self.text}".rstrip()


class Notify(IntFlag):
    """Of what a recipient's sender wants to be told (RFC 3461 section 4.1); values are on disk for ever."""

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    DEFAULT = 8
    """NOTIFY was not given: failures, and delays as the lane has it."""


def notify_words(notify: Notify) -> str:
    """A NOTIFY value (RFC 3461 section 4.1); empty: it was not given."""
    if notify == Notify.DEFAULT:
        return ""
    return ",".join([word for wish, word in _NOTIFY_WORDS if wish & notify]) or "NEVER"


_NOTIFY_WORDS: Final = (
    (Notify.SUCCESS, "SUCCESS"),
    (Notify.FAILURE, "FAILURE"),
    (Notify.DELAY, "DELAY"),
)


class RecipientOptions(Struct, frozen=True, array_like=True, gc=False):
    """What was asked for one recipient beyond its address; fields are only ever added at the end, with defaults."""

    notify: Notify = Notify.DEFAULT
    orcpt: str = ""
    """The original recipient as `type;xtext`, as it was given (RFC 3461 section 4.2)."""


class Envelope(Struct, frozen=True, gc=False):
    """Who sent it and to whom; a recipient is known by its index everywhere downstream."""

    sender: str
    """Empty: the null sender (RFC 5321 section 4.5.5)."""
    recipients: tuple[str, ...]
    eight_bit: bool = False
    """BODY=8BITMIME was given (RFC 6152)."""
    smtp_utf8: bool = False
    """SMTPUTF8 was given (RFC 6531)."""
    ret: str = ""
    """FULL or HDRS: how much of the message a failure report returns (RFC 3461 section 4.3); empty: not given."""
    envid: str = ""
    """The sender's name for this transaction, in xtext as it was given (RFC 3461 section 4.4)."""
    options: tuple[RecipientOptions, ...] = ()
    """One for each recipient, or none at all where nobody asked for anything."""

    def options_of(self, index: int) -> RecipientOptions:
        """What was asked for this recipient."""
        return self.options[index] if self.options else _NO_OPTIONS

    def returning_to(self, sender: str, recipients: Iterable[int]) -> Self:
        """As a transaction for these recipients leaves whose reports come to us, and not to who sent it.

        Of them the peer is asked for reports of failure alone, with the header, also where the sender wants none: who
        reads them is us. What else the sender asked for (RFC 3461) is for us to tell him.
        """
        if not self.options and not self.ret:
            return replace(self, sender=sender)
        options = list(self.options)
        for index in recipients if options else ():
            if options[index].notify != Notify.DEFAULT:
                options[index] = replace(options[index], notify=Notify.FAILURE)
        return replace(self, sender=sender, ret="HDRS" if self.ret else "", options=tuple(options))


_NO_OPTIONS: Final = RecipientOptions()


class Message(Struct, frozen=True, gc=False):
    """One accepted message, ready to be put on disk."""

    id: int
    """Spool id, 96 bits: milliseconds since 1970 at which the lane accepted it (48), spool tag (24), counter (24)."""
    envelope: Envelope
    body: bytes
    """Header and content with CRLF line ends, trace fields added, not dot-stuffed, unsigned."""
    client: str = ""
    """Address of the submitting client; empty for our own DSNs."""
    user: str = ""
    """Authenticated user, or empty."""
    message_id: str = ""
    """The Message-ID header's value, with its angle brackets."""
    correlation_id: str = ""
    """X-Correlation-Id as the sending system gave it."""
    from_domain: str = ""
    """Domain of the header From, lower case: decides which key signs."""
    campaign: str = ""
    """The campaign it is part of, as its sender names it: the unit of fairness inside a lane, and of orders."""
    expires_at: float = 0.0
    """Unix time after which it is never attempted (X-Lane-Expires-In, DELIVERBY); 0: the lane's lifetime alone."""
    triggered_at: float = 0.0
    """Unix time at which its sender's system decided to send it (X-Lane-Triggered-At); 0: not given."""
    protocol: str = ""
    """How it came in, where that was not SMTP: HTTP or HTTPS."""
    notice_at: float = 0.0
    """Unix time at which its sender is to hear that it is late, whatever the lane has for that (DELIVERBY); 0: not
    asked for."""
    redirected_from: tuple[str, ...] = ()
    """Whom it was for before the lane's `delivery.mode: Redirect` sent it elsewhere; for its Reception record, and not
    on disk beside it: the message says it in a header field."""


class QueueEntry(Struct, gc=False):
    """Recipients of one message in one domain that wait for their next attempt; small, since a million may live."""

    id: int
    location: int
    """Where the spool finds the message; opaque elsewhere."""
    domain: str
    """Recipient domain, lower case A-labels, interned."""
    recipients: tuple[int, ...]
    """Indexes into the envelope that are not settled yet."""
    size: int
    """Bytes of the body; of equal ones one object (`spool.entries.shared_size`)."""
    due: float
    """Unix time of the next attempt, in seconds."""
    history: int = 0
    """`attempts` and `notified` in one field: with ten of them an entry is 16 bytes smaller than with eleven."""
    campaign: str = ""
    """Of the message; interned."""
    sender_domain: str = ""
    """Domain of the envelope sender as `domain` is written, interned; empty for the null sender."""
    expires_at: float = 0.0
    """Of the message."""

    @property
    def attempts(self) -> int:
        """How often its recipients were tried."""
        return self.history >> 1

    @attempts.setter
    def attempts(self, count: int) -> None:
        """For `account`, the spool and hand-over."""
        self.history = count << 1 | self.history & 1

    @property
    def notified(self) -> bool:
        """Its sender was told that it is late, or does not want to be."""
        return bool(self.history & 1)

    @notified.setter
    def notified(self, told: bool) -> None:
        """For the same."""
        self.history = self.history & ~1 | told


class TlsPolicy(StrEnum):
    """Who says what TLS with a host has to prove."""

    NONE = ""
    DANE = "dane"
    """The host's TLSA records (RFC 7672)."""
    MTA_STS = "mta-sts"
    """The recipient domain's policy (RFC 8461)."""


class TlsFailure(StrEnum):
    """What was wrong with TLS, in the result types of TLS reports (RFC 8460 section 4.3)."""

    NONE = ""
    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION = "validation-failure"
    """Any other, such as a key that no TLSA record names, or a handshake that broke off."""
    TLSA_INVALID = "tlsa-invalid"
    """There are TLSA records, and none of them can be used."""
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    """The lane asks for DANE where there is none."""
    STS_FETCH = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI = "sts-webpki-invalid"
    """The certificate of the policy's web server is not valid."""


class Tlsa(Struct, frozen=True, gc=False):
    """One TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class TlsDemand(Struct, frozen=True, gc=False):
    """What is published about TLS with one host, for mail to one domain; it binds over the lane's own mode."""

    policy: TlsPolicy
    enforced: bool = True
    """False (MTA-STS testing, or a policy that cannot be had): mail goes on, and the result says what failed."""
    tlsa: tuple[Tlsa, ...] = ()
    """The usable records; none with DANE: encrypted without authentication (RFC 7672 section 2.2)."""
    server_name: str = ""
    """The TLSA base domain, which is the SNI; empty: the host's name."""
    names: tuple[str, ...] = ()
    """Names one of which a certificate below a trust anchor (usage 2) must carry (RFC 7672 section 3.2.3)."""
    problem: TlsFailure = TlsFailure.NONE
    """What is wrong with the policy itself."""


class Hop(Struct, frozen=True, gc=False):
    """One host that may be tried, with its addresses in the order of trying."""

    host: str
    addresses: tuple[str, ...]
    demand: TlsDemand | None = None
    """None: nothing is published, and the lane's mode alone counts."""


class Route(Struct, frozen=True, gc=False):
    """Where mail for a domain goes."""

    site: str
    """The bucket of limits: a policy's name, a rolled-up MX set, or `route:HOST` for a fixed route without a policy."""
    policy: str
    """Name of the SitePolicy in force, or empty for the lane's own limits."""
    hops: tuple[Hop, ...]
    """In MX order; equal preferences shuffled."""
    port: int = 25
    tls: str = ""
    """Of a fixed route: None, Opportunistic, Required, Implicit. Empty: the lane's outboundTLS."""
    auth_dir: str = ""
    """Of a fixed route: the folder with `username` and `password`."""
    demands: str = ""
    """Stands for the kinds of demand on its hosts: what must be proved differently never shares a connection."""
    without: tuple[str, ...] = ()
    """Hosts of the domain that are left out, sorted: they cannot take what goes this way."""


class Unroutable(Struct, frozen=True, gc=False):
    """Why a domain has no route now or ever; a value, judged like a reply."""

    reply: Reply
    """Our own local reply, such as 556 5.1.10 for a null MX (RFC 7505)."""
    category: Category


class Peer(Struct, frozen=True, gc=False):
    """The far end of one connection, and our own."""

    host: str
    address: str
    port: int
    source: str
    """Our address as getsockname saw it, or a proxy says."""


class TlsResult(Struct, frozen=True, gc=False):
    """What TLS came to on one connection, or would have."""

    version: str = ""
    """Empty: there was none."""
    cipher: str = ""
    verified: bool = False
    """The certificate was what `how` asks for."""
    how: str = ""
    """What authenticated the peer, or failed to: `dane`, `mta-sts`, `pkix`; empty: nobody asked."""
    host: str = ""
    """The name that was asked for: the TLSA base domain, or the host."""
    failure: TlsFailure = TlsFailure.NONE
    resumed: bool = False
    """The session of an earlier connection went on: no certificate was sent again."""


class Verdict(Struct, frozen=True, gc=False):
    """What one reply means; delivered if `action` is None."""

    category: Category
    action: Action | None
    scope: Scope = Scope.MESSAGE
    retry_after: float | None = None
    """Seconds until the next attempt, where a rule or policy says so."""
    act_for: float | None = None
    """Seconds for which the site, the address or the domain is slowed down or stopped."""
    trigger: tuple[int, float] | None = None
    """(count, seconds): the act is done when so many of such replies came within so long; None: at the first."""
    rule: str = ""
    """`policy/rule-id`, `default/rule-id`, or empty."""


class RecipientResult(Struct, frozen=True, gc=False):
    """What became of one recipient in one attempt."""

    index: int
    stage: Stage
    reply: Reply
    verdict: Verdict
    ours: bool = False
    """Of our own making: a limit, an order, what we ask of TLS, our stop. It says nothing of how the peer likes us."""
    own_words: bool = False
    """Nobody at the peer said this reply: it did not answer, was not asked, or no connection was made."""


class Attempt(Struct, frozen=True, gc=False):
    """One attempt for one entry: every recipient of the entry has exactly one result."""

    entry: QueueEntry
    message: Message
    site: str
    started_at: float
    """Unix time, seconds: when the entry was given to the session (or when resolution failed)."""
    ended_at: float
    results: tuple[RecipientResult, ...]
    peer: Peer | None = None
    """Absent if no connection was made."""
    tls: TlsResult | None = None
    session: int = 0
    """Counts connections of this process, so that records show reuse."""
    passed_on: bool = False
    """What was asked about notifications was passed on to the peer, whose reports go to who sent the message: it offers
    DSN, and the return path is the sender's own (RFC 3461 section 5.2.1)."""
