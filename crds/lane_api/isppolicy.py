"""ISPPolicy: what one ISP tolerates, and what its replies mean.

Policies in the operator's namespace serve all lanes; those in a lane's own namespace serve its lanes and win.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from lane_api.conditions import Condition
from lane_api.model import ApiModel, Label, MailDomain, MxPattern, cel, list_map
from lane_api.outbound import Backoff, Count, DayCount
from lane_api.quantities import RateField, Span

__all__ = [
    "Action",
    "Category",
    "ISPPolicySpec",
    "ISPPolicyStatus",
    "Match",
    "ResponseRule",
    "Scope",
    "Stage",
    "Trigger",
]


class Stage(StrEnum):
    """Where in the session the reply came."""

    CONNECT = "Connect"
    """The greeting, or what came instead of one."""
    EHLO = "Ehlo"
    """The answer to EHLO, HELO, STARTTLS or AUTH."""
    MAIL = "Mail"
    """The answer to MAIL."""
    RCPT = "Rcpt"
    """The answer to RCPT, for one recipient."""
    DATA = "Data"
    """The answer to DATA, before the content."""
    END_OF_DATA = "EndOfData"
    """The answer to the whole message."""
    ANY = "Any"
    """Each of them."""


class Category(StrEnum):
    """What a reply is about: PowerMTA's bounce categories, plus five.

    Where two fit: the cause that is named beats what is done for it, the ISP's own page beats the words, the words beat
    the codes. docs/replies.md has the order, pair by pair.
    """

    BAD_MAILBOX = "bad-mailbox"
    """There is no such mailbox: unknown, misspelt, moved away."""
    INACTIVE_MAILBOX = "inactive-mailbox"
    """The mailbox is or was there, and is off: disabled, suspended, closed, expired, given up, never used."""
    BAD_DOMAIN = "bad-domain"
    """There is no such domain, or it takes no mail (RFC 7505)."""
    QUOTA_ISSUES = "quota-issues"
    """The mailbox is full."""
    SPAM_RELATED = "spam-related"
    """Unwanted mail: a message, link, address or domain is held for spam, complaints, reputation or a block list."""
    POLICY_RELATED = "policy-related"
    """A rule of the ISP or of one recipient that is none of the others, or a refusal without a cause."""
    CONTENT_RELATED = "content-related"
    """The form, the size or a part of the message, where spam or malware is not named."""
    VIRUS_RELATED = "virus-related"
    """The message is held for malware or phishing."""
    ROUTING_ERRORS = "routing-errors"
    """The host takes no mail (RFC 7504), knows no way on, or there is a loop."""
    RELAYING_ISSUES = "relaying-issues"
    """The host does not take mail for that domain, or from us for it."""
    PROTOCOL_ERRORS = "protocol-errors"
    """One end does not understand the other."""
    BAD_CONNECTION = "bad-connection"
    """The connection was refused, closed or broke, and nothing is said of why."""
    NO_ANSWER_FROM_HOST = "no-answer-from-host"
    """Nothing came in time."""
    BAD_CONFIGURATION = "bad-configuration"
    """Something is wrong on our side, such as a missing PTR record or a bad HELO."""
    INVALID_SENDER = "invalid-sender"
    """The sender's address or domain does not exist, or is not believed."""
    MESSAGE_EXPIRED = "message-expired"
    """The lifetime of the message is over."""
    AUTH_FAILURE = "auth-failure"
    """SPF, DKIM or DMARC did not pass."""
    RATE_LIMITED = "rate-limited"
    """Too much at a time or too fast, for a mailbox or for the host: also where that is busy."""
    GREYLISTED = "greylisted"
    """Refused at first sight, welcome later (RFC 6647)."""
    DNS_FAILURE = "dns-failure"
    """A lookup failed for now."""
    TLS_POLICY = "tls-policy"
    """One end asks for TLS that the other does not give."""
    OTHER = "other"
    """None of these, or a trouble of theirs."""


class Action(StrEnum):
    """What the relay does about it."""

    BOUNCE = "Bounce"
    """Final: a DSN goes to the sender."""
    RETRY = "Retry"
    """The message waits for its next try."""
    BACKOFF = "Backoff"
    """Retry, and what the reply is about is slowed down."""
    SUSPEND_SITE = "SuspendSite"
    """Retry, and nothing is sent to the ISP for a while."""
    QUARANTINE_IP = "QuarantineIP"
    """Retry, and this slot's address sends nothing to the ISP for a while; the slot reports it, so that another address
    may take over."""
    SUSPEND_DOMAIN = "SuspendDomain"
    """Retry, and mail from the message's From domain waits for a while."""
    ALERT = "Alert"
    """Retry, and a counter and a log line say so."""


class Scope(StrEnum):
    """What the reply is about."""

    RECIPIENT = "Recipient"
    """One mailbox; the connection goes on."""
    MESSAGE = "Message"
    """This message: a Bounce holds for all of its recipients that were not taken; the connection goes on."""
    SITE = "Site"
    """The ISP, or its host that said so, for whose next host the message is as good as before; the connection ends."""
    IP = "IP"
    """Our address, as this ISP sees it: its other hosts would say the same; the connection ends."""
    DOMAIN = "Domain"
    """The message's From domain, as this ISP sees it."""
    LANE = "Lane"
    """All that the slot sends, to every ISP; the connection ends."""


_SCOPES: dict[Action, tuple[Scope, ...]] = {
    Action.BACKOFF: (Scope.SITE, Scope.IP, Scope.DOMAIN, Scope.LANE),
    Action.SUSPEND_SITE: (Scope.SITE, Scope.IP, Scope.LANE),
    Action.QUARANTINE_IP: (Scope.IP, Scope.LANE),
    Action.SUSPEND_DOMAIN: (Scope.DOMAIN, Scope.LANE),
}
"""What an act can be about; the first is its default. Bounce, Retry and Alert take every scope."""


class Trigger(ApiModel):
    """How often a reply must come before its act is done; until then its messages are tried again."""

    count: Annotated[int, Field(ge=1, le=1000)]
    """So many replies that the rule matched, of one ISP (or one From domain there), ..."""
    per: Span
    """... within any such time."""


class Match(ApiModel):
    """Which destinations the policy is for: a domain named, or every MX host of a domain matching."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.mx) && size(self.mx) > 0) || (has(self.domains) && size(self.domains) > 0)",
                "match needs mx, such as ['*.google.com'], or domains, such as ['gmail.com']: else it is for nobody",
            )
        )
    )

    mx: Annotated[tuple[MxPattern, ...], Field(max_length=64)] = ()
    """Exact MX hosts or `*.example.com`; a domain with an MX host beside them is not matched. The host of
    a lane's fixed route is matched as if it were an MX host. Default: none."""
    domains: Annotated[tuple[MailDomain, ...], Field(max_length=256)] = ()
    """Recipient domains, exact, without patterns, whatever their MX; not those that a fixed route takes. Default:
    none."""


class ResponseRule(ApiModel):
    """One reply of this ISP, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            *(
                (
                    f"self.action != '{action}' || !has(self.scope) || self.scope in {[str(one) for one in scopes]}",
                    f"action {action} is about {' or '.join(scopes)}: set scope to that, or leave it out",
                )
                for action, scopes in _SCOPES.items()
            ),
            (
                "!has(self.trigger) || !(self.action in ['Bounce', 'Retry'])",
                "trigger counts replies before an act is done, and Bounce and Retry are no acts: leave it out",
            ),
        )
    )

    id: Label
    """Unique in the policy; accounting records name the rule as POLICY/ID."""
    stage: Stage = Stage.ANY
    """Where in the session the reply must come. Default Any."""
    pattern: Annotated[str, Field(min_length=1, max_length=512)]
    """RE2, searched in the reply: each line's code, separator and text joined by one space, repeated codes dropped."""
    category: Category
    """For accounting records and metrics; it decides nothing."""
    action: Action
    """What becomes of the recipients that the reply is for."""
    scope: Scope | None = None
    """What the reply is about, and so what is acted upon. Default: Site for Backoff and SuspendSite, IP for
    QuarantineIP, Domain for SuspendDomain, else Recipient."""
    trigger: Trigger | None = None
    """The act is done when the reply has come so often. Default: at the first."""
    retry_after: Span | None = None
    """When the message is tried again. Default: the policy's, then the lane's schedule."""
    for_: Annotated[Span | None, Field(alias="for")] = None
    """How long the act lasts. Default: for Backoff the policy's `backoff.for`, for SuspendSite and SuspendDomain 1h,
    for QuarantineIP 2h."""
    examples: Annotated[
        tuple[Annotated[str, Field(min_length=3, max_length=1024)], ...], Field(min_length=1, max_length=16)
    ]
    """Real replies that the rule is for; a rule that misses one, or that an earlier rule shadows, is refused."""

    @property
    def about(self) -> Scope:
        """The scope in force."""
        return self.scope or _SCOPES.get(self.action, (Scope.RECIPIENT,))[0]

    def mismatch(self) -> str:
        """Why action, scope and trigger do not go together, with the fix, or an empty string."""
        allowed = _SCOPES.get(self.action)
        if allowed is not None and self.about not in allowed:
            return f"action {self.action} is about {' or '.join(allowed)}: set scope to that, or leave it out"
        if self.trigger is not None and self.action in (Action.BOUNCE, Action.RETRY):
            return f"trigger counts replies before an act is done, and {self.action} is no act: leave it out"
        return ""


_REPORTER = "^([A-Za-z0-9._=+-]+@)?([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$"
Reporter = Annotated[
    str,
    Field(
        min_length=3,
        max_length=254,
        json_schema_extra=cel(
            (
                f"self.matches('{_REPORTER}') && self == self.lowerAscii()",
                "must be a mailbox or a domain in lower case, such as feedback@arf.mail.yahoo.com",
            )
        ),
    ),
]
"""Who reports complaints."""


class ISPPolicySpec(ApiModel):
    """Limits and reply rules of one ISP."""

    match: Match
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher first among policies of one namespace; a tie on the same destination is a condition on both.
    Default 0."""
    connections_per_ip: Count | None = None
    """Of one slot at a time, to all that the policy matches. Default: the lane's `limits.connectionsPerIP`."""
    messages_per_connection: Count | None = None
    """Transactions after which a connection is closed with QUIT. Default 100."""
    connect_rate: RateField | None = None
    """New connections per address, such as 60/m, never more in any such time. Default: no limit."""
    message_rate: RateField | None = None
    """Messages per address, such as 20/s, paced evenly, never more in any such time. Default: no limit."""
    messages_per_day: DayCount | None = None
    """Per address in any 24 hours, not paced: then its mail waits. Attempts count, delivered or not, also those before
    a restart but for the last 5 s before a crash; a slice of 15m counts until all of it is a day old. Default: no
    limit."""
    recipients_per_message: Count | None = None
    """Of one transaction; a message for more is sent again at once, on the same connection, to the others. Default
    100, which every server takes (RFC 5321 section 4.5.3.1.8)."""
    retry_after: Span | None = None
    """Wait after a temporary reply or a failed connection, where no rule of this policy says how long; up to a tenth
    longer. Default: the lane's `queue.retry`."""
    backoff: Backoff = Backoff()
    responses: Annotated[
        tuple[ResponseRule, ...],
        # atomic: the first match wins, so the order is the author's and never a merge's
        Field(
            max_length=64,
            json_schema_extra={
                "x-kubernetes-list-type": "atomic",
                **cel(("self.all(a, self.exists_one(b, b.id == a.id))", "each response rule needs an id of its own")),
            },
        ),
    ] = ()
    """The first that matches decides; where none does, the relay's own table. Default: none."""
    reporters: Annotated[
        tuple[Reporter, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Who reports complaints about mail to this ISP: mailboxes such as feedback@arf.mail.yahoo.com, or domains for all
    of their mailboxes. Only with their DKIM signature a complaint counts towards `feedback.complaints`; never name a
    domain in which users have mailboxes. Default: none, so that its complaints suppress and count in no rate."""


class ISPPolicyStatus(ApiModel):
    """Whether the policy is in force."""

    observed_generation: int = -1
    """The `metadata.generation` that this status is about; -1: none yet."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
    """Ready: the rules match their examples. Valid: also, no policy of the same priority has its destinations."""
