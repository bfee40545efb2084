"""ISPPolicy: what one ISP tolerates, and what its replies mean.

Policies in the operator's namespace serve all lanes; those in a lane's own namespace serve its lanes and win.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from lane_api.conditions import Condition
from lane_api.model import ApiModel, DomainName, Label, cel, list_map
from lane_api.quantities import RateField, Span
from lane_api.sendinglane import Backoff, Count

__all__ = ["Action", "Category", "ISPPolicySpec", "ISPPolicyStatus", "Match", "ResponseRule", "Scope", "Stage"]


class Stage(StrEnum):
    """Where in the session the reply came."""

    CONNECT = "Connect"
    EHLO = "Ehlo"
    MAIL = "Mail"
    RCPT = "Rcpt"
    DATA = "Data"
    END_OF_DATA = "EndOfData"
    ANY = "Any"


class Category(StrEnum):
    """What a reply is about: PowerMTA's bounce categories, plus five."""

    BAD_MAILBOX = "bad-mailbox"
    INACTIVE_MAILBOX = "inactive-mailbox"
    BAD_DOMAIN = "bad-domain"
    QUOTA_ISSUES = "quota-issues"
    SPAM_RELATED = "spam-related"
    POLICY_RELATED = "policy-related"
    CONTENT_RELATED = "content-related"
    VIRUS_RELATED = "virus-related"
    ROUTING_ERRORS = "routing-errors"
    RELAYING_ISSUES = "relaying-issues"
    PROTOCOL_ERRORS = "protocol-errors"
    BAD_CONNECTION = "bad-connection"
    NO_ANSWER_FROM_HOST = "no-answer-from-host"
    BAD_CONFIGURATION = "bad-configuration"
    INVALID_SENDER = "invalid-sender"
    MESSAGE_EXPIRED = "message-expired"
    AUTH_FAILURE = "auth-failure"
    RATE_LIMITED = "rate-limited"
    GREYLISTED = "greylisted"
    DNS_FAILURE = "dns-failure"
    TLS_POLICY = "tls-policy"
    OTHER = "other"


class Action(StrEnum):
    """What the relay does about it."""

    BOUNCE = "Bounce"
    """Final: a DSN goes to the sender."""
    RETRY = "Retry"
    """The message waits for its next try."""
    BACKOFF = "Backoff"
    """Retry, and the site is slowed down."""


class Scope(StrEnum):
    """What the reply is about, so that the action reaches no further."""

    RECIPIENT = "Recipient"
    MESSAGE = "Message"
    SITE = "Site"


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

    mx: Annotated[tuple[DomainName, ...], Field(max_length=64)] = ()
    """Exact MX hosts or `*.example.com`."""
    domains: Annotated[tuple[DomainName, ...], Field(max_length=256)] = ()


class ResponseRule(ApiModel):
    """One reply of this ISP, and what to do about it."""

    id: Label
    stage: Stage = Stage.ANY
    pattern: Annotated[str, Field(min_length=1, max_length=512)]
    """RE2, searched in the reply: each line's code, separator and text joined by one space, repeated codes dropped."""
    category: Category
    action: Action
    scope: Scope = Scope.MESSAGE
    retry_after: Span | None = None
    """When the message is tried again. Default: the policy's, then the lane's schedule."""
    for_: Annotated[Span | None, Field(alias="for")] = None
    """Backoff: how long before the first step up. Default: the policy's `backoff.for`."""
    examples: Annotated[
        tuple[Annotated[str, Field(min_length=3, max_length=1024)], ...], Field(min_length=1, max_length=16)
    ]
    """Real replies that the rule is for; a rule that misses one, or that an earlier rule shadows, is refused."""


class ISPPolicySpec(ApiModel):
    """Limits and reply rules of one ISP."""

    match: Match
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher first among policies of one namespace; a tie on the same destination is a condition on both."""
    connections_per_ip: Count | None = None
    messages_per_connection: Count | None = None
    connect_rate: RateField | None = None
    """New connections per address."""
    message_rate: RateField | None = None
    """Messages per address, paced evenly."""
    retry_after: Span | None = None
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


class ISPPolicyStatus(ApiModel):
    """Whether the policy is in force."""

    observed_generation: int = -1
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
