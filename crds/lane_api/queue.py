"""A lane's queue: its volume, its retries, and what happens to it when a slot goes."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, cel
from lane_api.outbound import SmartHost
from lane_api.quantities import ByteSize, Duration, Span

__all__ = ["DelayNotice", "Drain", "DrainPolicy", "Queue", "Retry"]


class Retry(ApiModel):
    """When a deferred message is tried again: first, first x factor, … up to max, with jitter."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.first) || !has(self.max) || duration(self.first) <= duration(self.max)",
                "first is the shortest wait and max the longest: raise max or lower first",
            )
        )
    )

    first: Span | None = None
    """Wait after the first failure, up to a tenth more or less. Default 30s for Transactional, 1m Notification, 15m
    Bulk, 30m Cold; `max` if that is shorter."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Each wait is the one before times this. Default 2."""
    max: Span | None = None
    """The longest wait. Default 15m for Transactional, 30m Notification, 4h Bulk, 8h Cold; `first` if that is more."""


class DelayNotice(ApiModel):
    """The report that a message is late (RFC 3461, NOTIFY=DELAY)."""

    after: Duration = 4 * 3600.0
    """From acceptance; the report comes once, with the first failed attempt after it. 0s: none. Default 4h."""
    to: Literal["Asked", "Everybody"] = "Asked"
    """Asked: senders that gave NOTIFY=DELAY. Everybody: those that gave no NOTIFY, too. Default Asked."""


class Queue(ApiModel):
    """The queue volume and how long mail may stay in it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(self.lifetime) || !has(self.retry) || !has(self.retry.first) "
                    "|| duration(self.retry.first) < duration(self.lifetime)"
                ),
                "a message expires before its first retry: raise lifetime or lower retry.first",
            )
        )
    )

    size: Annotated[
        ByteSize,
        Field(
            json_schema_extra=cel(
                (
                    "quantity(self).compareTo(quantity('64Mi')) >= 0",
                    "must be at least 64Mi: the spool writes in pieces of megabytes and keeps some free; default 10Gi",
                )
            )
        ),
    ] = 10 * 2**30
    """Of each slot's volume, spool and records together; it may grow, never shrink (docs/queue.md). Default 10Gi."""
    storage_class_name: Annotated[str, Field(max_length=253)] | None = None
    """Of the slots' volume claims; it cannot change. Default: the cluster's."""
    lifetime: Span | None = None
    """From acceptance; then the message is bounced as expired (RFC 5321 section 4.5.4.1). Default 4h for Transactional,
    24h Notification, 72h Bulk, 48h Cold."""
    retry: Retry = Retry()
    delay_notice: DelayNotice = DelayNotice()
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"
    """Of a slot given up and proven empty. Retain: the claim stays, with its records, and a new slot adopts it. Delete:
    the claim is deleted once its records are in `audit.archive`, and its suppressions there or in a slot that stays;
    without an archive it stays. Default Retain."""


class DrainPolicy(StrEnum):
    """What happens to mail in a slot that is to go."""

    TRANSFER = "Transfer"
    """Intake stops; the lane's other slots take the mail over at once. Where none stays, or none can be reached, the
    slot sends on as with Wait."""
    WAIT = "Wait"
    """Intake stops, delivery goes on from the slot's own address until it is empty."""
    HOLD = "Hold"
    """Intake and delivery stop; the volume stays as it is, for a slot of its name to send. It still waits until no
    other slot may ask it what became of mail that it gave it."""


class Drain(ApiModel):
    """What happens to mail in a slot that is to go: scale-in, delete."""

    policy: DrainPolicy = DrainPolicy.TRANSFER
    """Default Transfer; it may be changed while a slot drains."""
    deadline: Duration = 3600.0
    """Afterwards the lane is Stalled and says what is left; nothing is dropped and sending goes on. Default 1h."""
    to: SmartHost | None = None
    """The way out, with policy Transfer: where a slot's mail goes that no other slot of the lane can take, since the
    lane is deleted or no slot stays. Taken with 250, it is on record as handed over, with its own envelope sender; what
    the host refuses for another reason than the recipient's own waits. Default: the slot sends it itself."""
