"""What `/v1/explain` and `/v1/queues` answer, as models. Before: `explain`. After: the document.

Invariant: tests hold the explanations of running relays against these.
"""

from typing import Literal

from pydantic import Field, JsonValue

from lane_relay.api.operation import AnswerModel
from lane_relay.deliver.pacing import Limit

__all__ = ["DomainExplained", "Held", "MessagesExplained", "Place", "Queues", "SiteExplained", "Waits"]

Place = Literal["Scheduled", "Ready", "Sending", "Held", "HandingOver", "InDoubt"]
"""Waits for its time, waits for a connection, a session has it, a person or its signature holds it, it goes to another
slot, or that slot has not said whether it has it."""


class Source(AnswerModel):
    """A value that lost."""

    source: str = Field(alias="from")
    value: str


class LimitRow(AnswerModel):
    """One limit of a site, by the name that it has in the resources."""

    field: str
    value: JsonValue
    in_force: JsonValue = None
    """As it is now, where back-off or fairness changes it."""
    source: str = Field(alias="from")
    over: list[Source]


class Held(AnswerModel):
    """What holds it."""

    limit: Limit
    detail: str
    since: str | None
    until: str | None
    """null: until something happens."""
    value: LimitRow | None = None
    rule: str | None = None
    reply: str | None = None


class Waits(AnswerModel):
    """Recipients of one message in one domain."""

    domain: str
    recipients: int
    campaign: str
    attempts: int
    state: Place
    site: str | None
    due_at: str
    held_by: Held | None = None


class WaitsOf(Waits):
    """The same, of a message that is not named around it."""

    id: str


class LastRecord(AnswerModel):
    """The latest record of a message, in the records' own names."""

    type: str | None = None
    timestamp: JsonValue = None
    recipient: JsonValue = None
    response: JsonValue = None
    bounce_classification: JsonValue = Field(default=None, alias="bounce_classification")
    rule: JsonValue = None


class MessageExplained(AnswerModel):
    """One message."""

    id: str
    received_at: str
    queued: list[Waits]
    last: LastRecord | None


class MessagesExplained(AnswerModel):
    """Every message of the name that was asked for."""

    messages: list[MessageExplained]


class HostSet(AnswerModel):
    """Hosts that serve the same domains, in the order of their MX records."""

    hosts: list[str]
    waiting: int
    campaigns: dict[str, int]
    connections: int
    held_by: Held | None
    failures: int
    passed_over: dict[str, str | None]
    """Addresses that failed, and until when."""


class SiteExplained(AnswerModel):
    """One site: its limits, what is used of them, what holds which hosts."""

    site: str
    policy: str | None
    limits: list[LimitRow]
    last_failure: str | None = None
    attempts: int | None = None
    delivered: int | None = None
    backed_off: str | None = None
    messages_of_the_day: int | None = None
    connections: int | None = None
    hosts: list[HostSet] | None = None


class TlsDemanded(AnswerModel):
    """What is published about TLS with a host."""

    by: str
    enforced: bool
    base: str | None = None
    usable_records: int | None = None
    problem: str | None = None


class Host(AnswerModel):
    """One host of a route."""

    host: str
    addresses: list[str]
    tls: TlsDemanded | None = None


class RouteExplained(AnswerModel):
    """Where a domain's mail goes."""

    site: str
    policy: str | None
    hosts: list[Host]


class Unroutable(AnswerModel):
    """Why a domain's mail goes nowhere."""

    reply: str
    category: str


class StsPolicy(AnswerModel):
    """The MTA-STS policy in force."""

    id: str
    mode: str
    mx: list[str]
    until: str


class DomainExplained(AnswerModel):
    """One recipient domain."""

    domain: str
    queued: dict[str, int]
    """By state."""
    entries: list[WaitsOf]
    """The first 100; `/v1/messages?domain=` has all."""
    route: RouteExplained | None = None
    site: SiteExplained | None = None
    unroutable: Unroutable | None = None
    mta_sts: StsPolicy | None = Field(default=None, alias="mtaSTS")
    looking_up: bool


class QueueRow(AnswerModel):
    """One domain's or campaign's queue."""

    name: str
    entries: int
    oldest_since: str
    next_at: str


class Queues(AnswerModel):
    """The longest first."""

    by: Literal["domain", "campaign"]
    total: int
    queues: list[QueueRow]
    next: int | None
    """`first` of the next page; null: this is the last one."""
