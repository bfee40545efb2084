"""The fields of an accounting record, schema 1, as they are encoded.

Field names are those of KumoMTA's log record where one fits, so that its readers read ours; `lane`, `slot`,
`correlation_id`, `message_id`, `stage`, `rule`, `schema` and, first in every journal line, `seq` are ours.
Invariant: fields are only ever added; one that has no value is left out. Before: `records` fills them in. After:
`journal`.
"""

from enum import StrEnum

from msgspec import Struct

from lane_api.isppolicy import Category

__all__ = ["EnhancedCode", "LogRecord", "PeerAddress", "RecordType", "Response", "SourceAddress"]


class RecordType(StrEnum):
    """What happened."""

    RECEPTION = "Reception"
    DELIVERY = "Delivery"
    TRANSIENT_FAILURE = "TransientFailure"
    BOUNCE = "Bounce"
    EXPIRATION = "Expiration"
    REJECTION = "Rejection"
    """Intake refused a sender, a recipient or a message."""
    ADMIN_ACTION = "AdminAction"
    """Somebody, a person or a program, changed what the relay does; also what it dropped by such an order."""
    SUPPRESSION = "Suppression"
    """A recipient was not attempted: the address is suppressed."""
    HAND_OVER = "HandOver"
    """Another slot of the lane has the message on its disk."""
    OOB = "OOB"
    """A report of non-delivery came in after the peer had taken the message (KumoMTA's name)."""
    FEEDBACK = "Feedback"
    """A recipient complained (ARF, CFBL) or unsubscribed."""


class EnhancedCode(Struct, frozen=True, gc=False, rename={"code_class": "class"}):
    """An enhanced status code (RFC 3463)."""

    code_class: int
    subject: int
    detail: int


class Response(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the peer said, or what we say for it."""

    code: int
    enhanced_code: EnhancedCode | None = None
    content: str = ""
    command: str = ""


class PeerAddress(Struct, frozen=True, gc=False):
    """The far end: the client of a Reception, the server of an attempt."""

    name: str
    addr: str


class SourceAddress(Struct, frozen=True, gc=False):
    """Our end, as getsockname saw it."""

    address: str


class LogRecord(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One record."""

    type: RecordType
    schema: int
    lane: str
    """namespace/name."""
    slot: str
    timestamp: float
    """Unix time of the event, seconds, to the millisecond."""
    id: str = ""
    sender: str | None = None
    """Empty: the null sender."""
    recipient: str | tuple[str, ...] = ""
    """A list where one event is about several: the Reception of a message for many."""
    queue: str = ""
    """Recipient domain."""
    site: str = ""
    size: int = 0
    response: Response | None = None
    said_by: str = ""
    """`relay` where `response` is ours and nobody at the peer said it; else the peer did."""
    peer_address: PeerAddress | None = None
    created: float = 0.0
    """Unix time at which the message was accepted."""
    num_attempts: int = 0
    """Attempts before this one."""
    bounce_classification: Category | None = None
    egress_source: str = ""
    source_address: SourceAddress | None = None
    delivery_protocol: str = ""
    reception_protocol: str = ""
    tls_cipher: str = ""
    tls_protocol_version: str = ""
    tls_verified: bool = False
    tls_policy: str = ""
    """What authenticated the peer or was to: `dane`, `mta-sts`, `pkix`."""
    tls_policy_id: str = ""
    """Of the MTA-STS policy."""
    tls_host: str = ""
    """The name that the certificate was asked for, where one was."""
    tls_failure: str = ""
    """A result type of RFC 8460 section 4.3; with a delivery: what the policy, which is not enforced, would refuse."""
    tls_resumed: bool = False
    session_id: str = ""
    stage: str = ""
    rule: str = ""
    user: str = ""
    message_id: str = ""
    correlation_id: str = ""
    campaign: str = ""
    triggered: float | None = None
    """Unix time at which the sending system decided to send it (X-Lane-Triggered-At)."""
    meta: dict[str, str] = {}
