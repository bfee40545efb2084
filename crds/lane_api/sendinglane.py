"""SendingLane: one stream of mail with its own processes, queues, addresses and limits.

What a lane leaves out its traffic class fills in (`lane_api.effective`); the values in force stand in status.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from lane_api.classes import TrafficClass
from lane_api.conditions import Condition
from lane_api.endpoints import Nameserver
from lane_api.model import ApiModel, DomainName, Label, MailDomain, ObjectName, Port, Text, cel, list_map
from lane_api.quantities import ByteSize, Duration, RateField, Span
from lane_api.rules import LANE_SPEC_RULES
from lane_api.submission import Submission

__all__ = [
    "Audit",
    "Backoff",
    "BackoffRecovery",
    "DkimSpec",
    "Drain",
    "DrainPolicy",
    "IspOverride",
    "LaneDomain",
    "LaneStatus",
    "Limits",
    "Monitoring",
    "PodSettings",
    "PoolRef",
    "Queue",
    "Resolver",
    "Retry",
    "Route",
    "SendingLaneSpec",
    "Slo",
    "SlotRole",
    "SlotStatus",
]

FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A part of a pod's own schema, handed on as it is and checked by the API server when the pod is made."""
Count = Annotated[int, Field(ge=1, le=100_000)]


class PoolRef(ApiModel):
    """The pool that this lane's addresses come from."""

    name: ObjectName
    namespace: Label | None = None
    """Default: the lane's own. The pool must allow the lane's namespace and class."""


class Limits(ApiModel):
    """Connection limits of one slot address, where no policy says more."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.?connectionsPerIP.orValue(10) <= self.?totalConnectionsPerIP.orValue(200)",
                (
                    "connectionsPerIP (default 10) is per ISP and cannot exceed totalConnectionsPerIP (default 200), "
                    "which is over all: raise the latter"
                ),
            )
        )
    )

    connections_per_ip: Count = 10
    """Per ISP (PowerMTA's max-smtp-out). Default 10."""
    total_connections_per_ip: Count = 200
    """Over all ISPs; a share is kept free for each, so that a stalled ISP never uses up the others'. Default 200."""


class BackoffRecovery(ApiModel):
    """How a site climbs back after back-off."""

    every: Span = 600.0
    """One step up after so long without another trigger. Default 10m."""
    factor: Annotated[float, Field(gt=1, le=10)] = 1.5
    """Each step multiplies the limits by this, up to the full ones. Default 1.5."""


class Backoff(ApiModel):
    """What a slot does to a site that asks it to slow down."""

    connections_per_ip: Count = 1
    message_rate: RateField | None = None
    """Pace while backed off. Default: one tenth of the full rate, or 1/s where there is none."""
    for_: Annotated[Span, Field(alias="for")] = 1800.0
    """At least so long before the first step up. Default 30m."""
    recover: BackoffRecovery = BackoffRecovery()


class IspOverride(ApiModel):
    """Single values over the ISPPolicy of this name, for this lane only."""

    name: ObjectName
    connections_per_ip: Count | None = None
    messages_per_connection: Count | None = None
    connect_rate: RateField | None = None
    message_rate: RateField | None = None
    retry_after: Span | None = None
    backoff: Backoff | None = None


class Route(ApiModel):
    """A fixed route (smart host): mail for these domains goes to this host instead of their MX."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.authSecret) || !has(self.tls) || self.tls in ['Required', 'Implicit']",
                "authSecret is sent only over TLS: set tls to Required (or Implicit for port 465), or leave it out",
            )
        )
    )

    domains: Annotated[tuple[DomainName, ...], Field(min_length=1, max_length=256)]
    """Exact domains, `*.example.com`, or `*` for all."""
    host: DomainName
    port: Port = 25
    tls: Literal["None", "Opportunistic", "Required", "Implicit"] | None = None
    """Required and Implicit also check the certificate against the host name. Absent: as `outboundTLS` says for the
    lane; with `authSecret`, Required."""
    auth_secret: ObjectName | None = None
    """Secret in the lane's namespace with `username` and `password`; sent only over TLS to a checked certificate."""


class DkimSpec(ApiModel):
    """DKIM of one domain (RFC 6376): RSA-2048, relaxed/relaxed."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.secretName) || has(self.selector)",
                "a given key (secretName) needs selector: the label under _domainkey that publishes its public half",
            ),
        )
    )

    mode: Literal["Sign", "Off"] = "Sign"
    """Off is the only way to send unsigned."""
    selector: Label | None = None
    """Default: made with the key and shown in status."""
    secret_name: ObjectName | None = None
    """An existing key: Secret with `tls.key` or `private.key` in PEM; then `selector` is required.

    Absent: a key is made once, in a Secret named in status, and never made again.
    """


class LaneDomain(ApiModel):
    """A From domain of the lane."""

    name: MailDomain
    dkim: DkimSpec = DkimSpec()


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
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    max: Span | None = None


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
    """Of each slot's volume, spool and records together; it may grow, never shrink. Default 10Gi."""
    storage_class_name: Annotated[str, Field(max_length=253)] | None = None
    lifetime: Span | None = None
    """Default by class. Then the message is bounced as expired."""
    retry: Retry = Retry()
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"
    """Of a slot given up and proven empty. Retain: the claim stays, with its records, and a new slot adopts it."""


class Audit(ApiModel):
    """Per-message records on the queue volume; their budget is never the spool's."""

    max_size: ByteSize = 2**30
    retention: Span = 90 * 24 * 3600.0


class DrainPolicy(StrEnum):
    """What happens to mail in a slot that is to go."""

    WAIT = "Wait"
    """Intake stops, delivery goes on until the slot is empty."""
    HOLD = "Hold"
    """Intake and delivery stop; the volume stays as it is."""


class Drain(ApiModel):
    """What happens to mail in a slot that is to go: scale-in, delete."""

    policy: DrainPolicy = DrainPolicy.WAIT
    deadline: Duration = 3600.0
    """Afterwards the lane is Stalled and says what is left; nothing is dropped and sending goes on. Default 1h."""


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
    """Default by class."""
    p95_alert: Span | None = None
    """The alert fires when the 95th percentile passes this, before the promise is broken. Default by class."""


class Resolver(ApiModel):
    """Which DNS resolver the slots ask."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "self.?mode.orValue('Sidecar') == 'Addresses' ? has(self.addresses) && size(self.addresses) > 0 "
                    ": !has(self.addresses) || size(self.addresses) == 0"
                ),
                "addresses goes with mode Addresses, and only with it: set mode: Addresses, or remove addresses",
            ),
            (
                "!has(self.forwardTo) || size(self.forwardTo) == 0 || self.?mode.orValue('Sidecar') == 'Sidecar'",
                "forwardTo is for mode Sidecar: with mode Addresses name the resolvers in addresses",
            ),
        )
    )

    mode: Literal["Sidecar", "Cluster", "Addresses"] = "Sidecar"
    """Sidecar: a validating unbound in the pod, so that DNS is not shared between lanes either."""
    addresses: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Addresses: `ip` or `ip:port`."""
    forward_to: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Sidecar: forward there instead of asking the root servers; for networks where port 53 is closed."""


class PodSettings(ApiModel):
    """Handed on to the slots' pods."""

    resources: FreeForm = {}
    """Of the relay container. Default by class."""
    node_selector: Annotated[dict[str, Text], Field(max_length=32)] = {}
    tolerations: Annotated[tuple[FreeForm, ...], Field(max_length=32)] = ()
    topology_spread_constraints: Annotated[tuple[FreeForm, ...], Field(max_length=16)] = ()
    priority_class_name: Annotated[str, Field(max_length=253)] = ""


class Monitoring(ApiModel):
    """Which monitoring objects are made, where their kinds exist."""

    pod_monitor: bool = True
    rules: bool = True
    dashboard: bool = True


class SendingLaneSpec(ApiModel):
    """What the lane is to be."""

    model_config = ConfigDict(json_schema_extra=cel(*LANE_SPEC_RULES))

    traffic_class: TrafficClass
    suspend: bool = False
    """Stops delivery; intake goes on."""
    replicas: Annotated[int, Field(ge=0, le=64)] = 1
    pool_ref: PoolRef
    limits: Limits = Limits()
    isps: Annotated[
        tuple[IspOverride, ...],
        Field(max_length=64, json_schema_extra=list_map("name")),
    ] = ()
    routes: Annotated[
        tuple[Route, ...], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    submission: Submission
    domains: Annotated[
        tuple[LaneDomain, ...],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra=list_map("name"),
        ),
    ]
    queue: Queue = Queue()
    audit: Audit = Audit()
    drain: Drain = Drain()
    slo: Slo = Slo()
    outbound_tls: Literal["Opportunistic", "Required"] = "Opportunistic"
    resolver: Resolver = Resolver()
    pod: PodSettings = PodSettings()
    monitoring: Monitoring = Monitoring()


class SlotRole(StrEnum):
    """What a slot does at present."""

    ACTIVE = "Active"
    DRAINING = "Draining"
    HELD = "Held"


class SlotStatus(ApiModel):
    """One slot, as last seen."""

    name: str
    ip: str = ""
    """The address the world sees; `shared` with engine ClusterDefault."""
    hostname: str = ""
    role: SlotRole = SlotRole.ACTIVE
    ready: bool = False
    egress_verified: bool = False
    message: str = ""
    """Why it is not ready or not verified."""
    queued: int = 0
    """Rounded to two significant digits."""
    oldest_since: str | None = None
    config_generation: int = 0


class DkimStatus(ApiModel):
    """The DKIM key of one domain."""

    mode: str = "Sign"
    selector: str = ""
    record_name: str = ""
    record: str = ""
    """The TXT record to publish, in one string; split it at 255 characters where your DNS host asks for it."""
    published: bool = False
    secret_name: str = ""


class DomainStatus(ApiModel):
    """One From domain."""

    name: str
    dkim: DkimStatus = DkimStatus()


class LaneStatus(ApiModel):
    """What the lane is."""

    observed_generation: int = -1
    replicas: int = 0
    selector: str = ""
    queued: int = 0
    oldest_since: str | None = None
    ips: str = ""
    """Of all slots, for the printer column, which shows one value only."""
    slots: Annotated[
        tuple[SlotStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    domains: Annotated[
        tuple[DomainStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    effective: FreeForm = {}
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
