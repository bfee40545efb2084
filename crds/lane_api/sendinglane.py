"""SendingLane: one stream of mail with its own processes, queues, addresses and limits.

What a lane leaves out its traffic class fills in (`lane_api.effective`); the values in force stand in status. Its parts
have modules of their own: `submission`, `domains`, `outbound`, `queue`, `pod`; what is said of it: `lane_status`.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.audit import Audit
from lane_api.classes import Protection, TrafficClass
from lane_api.domains import LaneDomain
from lane_api.feedback import FeedbackSpec
from lane_api.model import ApiModel, Label, ObjectName, cel, list_map
from lane_api.outbound import DeliveryMode, IspOverride, Limits, Route
from lane_api.pod import Monitoring, PodSettings, Resolver
from lane_api.quantities import Span
from lane_api.queue import Drain, Queue
from lane_api.rules import LANE_SPEC_RULES
from lane_api.submission import Submission

__all__ = ["PoolRef", "SendingLaneSpec", "Slo"]


class PoolRef(ApiModel):
    """The pool that this lane's addresses come from."""

    name: ObjectName
    """Of the IPPool; while there is none the lane waits, after 5m it is Stalled."""
    namespace: Label | None = None
    """Default: the lane's own. The pool must allow the lane's namespace and class."""


class Slo(ApiModel):
    """The promise that the alert guards: accepted -> 250 from the ISP."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.latency) || !has(self.p95Alert) || duration(self.p95Alert) <= duration(self.latency)",
                "p95Alert must not exceed latency: the alert comes before the breach",
            )
        )
    )

    latency: Span | None = None
    """Default 60s for Transactional, 30m Notification, none for Bulk and Cold. `p95Alert` guards it."""
    p95_alert: Span | None = None
    """The alert fires when the 95th percentile passes this, before the promise is broken. Default: a third of
    `latency`; where that is none either, nothing alerts on latency."""
    objective: Annotated[float, Field(ge=95, le=99.99)] = 99.7
    """Percent of recipients that are to get their mail within `latency`. What expires, bounces for another reason than
    its own mailbox or domain, or still waits by then counts against it; the alerts LaneErrorBudgetFast and
    LaneErrorBudgetSlow say when the rest is being used up. Means nothing without `latency`. Default 99.7."""


class SendingLaneSpec(ApiModel):
    """What the lane is to be."""

    model_config = ConfigDict(json_schema_extra=cel(*LANE_SPEC_RULES))

    traffic_class: TrafficClass
    """Fills in retry, lifetime, promise and resources where they are not given; it cannot change."""
    protection: Protection | None = None
    """What the relay may do to this lane by itself when an ISP refuses it. NeverPause: slow down, never stop. Pausable:
    as the ISPPolicies' rules say. Conservative: stop at the first sign. Default NeverPause for Transactional,
    Conservative for Cold, else Pausable."""
    suspend: bool = False
    """Stops delivery; intake goes on."""
    delivery: DeliveryMode = DeliveryMode()
    replicas: Annotated[int, Field(ge=0, le=64)] = 1
    """Active slots, each one relay, one volume and one address; those of higher numbers are drained. Default 1."""
    standby_replicas: Annotated[int, Field(ge=0, le=8)] = 0
    """Slots LANE-s0, LANE-s1, ... with addresses of `role: Standby`. They take no submissions; each sends 3 in 100 of
    the lane's messages, so that ISPs know its address. Where an ISP refuses an active slot's address (a reply rule's
    QuarantineIP), or you quarantine it in the pool, one sends that mail until it ends. Their pods are not Ready, which
    keeps them out of the submission Service. Default 0."""
    pool_ref: PoolRef
    limits: Limits = Limits()
    isps: Annotated[
        tuple[IspOverride, ...],
        Field(max_length=64, json_schema_extra=list_map("name")),
    ] = ()
    """Values for this lane laid over ISPPolicies. Default: none."""
    routes: Annotated[
        tuple[Route, ...], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    """Smart hosts: the first whose domains take the recipient's is used, else the MX. Default: none."""
    submission: Submission
    domains: Annotated[
        tuple[LaneDomain, ...],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra=list_map("name"),
        ),
    ]
    """From domains. A Cold lane delivers nothing while one of them, or one above or below, is another class's too."""
    queue: Queue = Queue()
    audit: Audit = Audit()
    drain: Drain = Drain()
    slo: Slo = Slo()
    feedback: FeedbackSpec | None = None
    """Write `feedback: {}` for return paths, reports and the suppression list. Default: none of it."""
    outbound_tls: Literal["Opportunistic", "Required", "MTASTS", "DANE"] = "Opportunistic"
    """For hosts that publish nothing; TLSA records (by a resolver with `trustAD`) and MTA-STS policies are always kept.
    Opportunistic: TLS where offered, with any certificate, else plain text. Required: STARTTLS, or the mail waits.
    MTASTS: only to domains with an MTA-STS policy in mode enforce, or DANE. DANE: only to hosts with usable TLSA
    records; needs `resolver.trustAD`. Fixed routes keep their own. Default Opportunistic."""
    resolver: Resolver = Resolver()
    automation: Literal["Act", "Observe"] = "Act"
    """What reply rules of ISPPolicies and `feedback.complaints` ask for. Act: it is done, as `protection` allows.
    Observe: nothing is slowed down, stopped or quarantined and no standby slot takes over; the condition ActsObserved,
    an event, the log and LaneReplyNeedsLook say what would be. A message is retried or bounces as its rule says. What
    is in force at a change runs out. Default Act."""
    pod: PodSettings = PodSettings()
    monitoring: Monitoring = Monitoring()
