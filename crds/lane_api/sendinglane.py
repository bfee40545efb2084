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
    """Of the IPPool; while there is none the lane waits, after 5m it is Stalled."""
    namespace: Label | None = None
    """Default: the lane's own. The pool must allow the lane's namespace and class."""


class Limits(ApiModel):
    """Connection limits of one slot address."""

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
    """To one ISP at a time, where its ISPPolicy names none (PowerMTA's max-smtp-out); what no policy matches is counted
    by its set of MX hosts. Default 10."""
    total_connections_per_ip: Count = 200
    """Over all ISPs; none takes more than is still free, which is half of it for one alone, so that a stalled ISP never
    uses up the others'. Default 200."""


class BackoffRecovery(ApiModel):
    """How a site climbs back after back-off."""

    every: Span = 600.0
    """One step up after so long without another trigger. Default 10m."""
    factor: Annotated[float, Field(gt=1, le=10)] = 1.5
    """Each step multiplies the limits by this, up to the full ones. Default 1.5."""


class Backoff(ApiModel):
    """What a slot does to a site that asks it to slow down."""

    connections_per_ip: Count = 1
    """While backed off, of one slot; never more than the full limit. Default 1."""
    message_rate: RateField | None = None
    """Pace while backed off. Default: one tenth of the full rate, or 1/s where there is none."""
    for_: Annotated[Span, Field(alias="for")] = 1800.0
    """At least so long before the first step up. Default 30m."""
    recover: BackoffRecovery = BackoffRecovery()


class IspOverride(ApiModel):
    """Single values over the ISPPolicy of this name, for this lane only."""

    name: ObjectName
    """Of the ISPPolicy, in the lane's namespace or the operator's; while there is none the lane waits, after 5m it is
    Stalled, and mail flows by the others."""
    connections_per_ip: Count | None = None
    """Of one slot at a time, to all that the policy matches. Default: the policy's."""
    messages_per_connection: Count | None = None
    """Transactions after which a connection is closed with QUIT. Default: the policy's."""
    connect_rate: RateField | None = None
    """New connections per address, such as 60/m. Default: the policy's."""
    message_rate: RateField | None = None
    """Messages per address, such as 20/s, paced evenly. Default: the policy's."""
    retry_after: Span | None = None
    """Wait after a temporary reply or a failed connection, where no rule of the policy says how long. Default: the
    policy's."""
    backoff: Backoff | None = None
    """Stands for the policy's as a whole: what it leaves out has the defaults below. Default: the policy's."""


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
    """Name, of which A and AAAA are asked and no MX, or address. It is an ISP of its own, held to `limits`: no
    ISPPolicy is for it."""
    port: Port | None = None
    """Default 25; 465 with tls Implicit (RFC 8314)."""
    tls: Literal["None", "Opportunistic", "Required", "Implicit"] | None = None
    """None: plain text. Opportunistic: TLS where offered, with any certificate. Required: STARTTLS with a certificate
    of the host's name, or the mail waits. Implicit: such a certificate, and TLS from the first byte. Absent: as
    `outboundTLS` says for the lane; with `authSecret`, Required."""
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
    """Sign: mail waits until DNS answers the selector with the key. Off: mail leaves unsigned, as it does in no
    other way; quote it in YAML, which reads a bare Off as false. Default Sign."""
    selector: Label | None = None
    """Default: made with the key and shown in status."""
    secret_name: ObjectName | None = None
    """An existing key: Secret with `tls.key` or `private.key` in PEM; then `selector` is required.

    Absent: a key is made once, in a Secret named in status, and never made again.
    """


class LaneDomain(ApiModel):
    """A From domain of the lane."""

    name: MailDomain
    """Exactly what the header From has after its @; mail of another domain, or of one below it, is refused with 550
    5.7.1."""
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
    """Wait after the first failure, up to a tenth more or less. Default 30s for Transactional, 1m Notification, 15m
    Bulk, 30m Cold; `max` if that is shorter."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Each wait is the one before times this. Default 2."""
    max: Span | None = None
    """The longest wait. Default 15m for Transactional, 30m Notification, 4h Bulk, 8h Cold; `first` if that is more."""


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
    """Of the slots' volume claims; it cannot change. Default: the cluster's."""
    lifetime: Span | None = None
    """From acceptance; then the message is bounced as expired (RFC 5321 section 4.5.4.1). Default 4h for Transactional,
    24h Notification, 72h Bulk, 48h Cold."""
    retry: Retry = Retry()
    reclaim_policy: Literal["Retain", "Delete"] = "Retain"
    """Of a slot given up and proven empty. Retain: the claim stays, with its records, and a new slot adopts it. Delete:
    the claim is deleted, with its records. Default Retain."""


class Audit(ApiModel):
    """Per-message records on the queue volume; their budget is never the spool's."""

    max_size: ByteSize = 2**30
    """Of each slot, out of `queue.size`; beyond it the oldest records go. Default 1Gi."""
    retention: Span = 90 * 24 * 3600.0
    """Older records go, an eighth of it late at most; beyond `maxSize` they go earlier. Default 2160h, 90 days."""


class DrainPolicy(StrEnum):
    """What happens to mail in a slot that is to go."""

    WAIT = "Wait"
    """Intake stops, delivery goes on until the slot is empty."""
    HOLD = "Hold"
    """Intake and delivery stop; the volume stays as it is, for a slot of its name to send."""


class Drain(ApiModel):
    """What happens to mail in a slot that is to go: scale-in, delete."""

    policy: DrainPolicy = DrainPolicy.WAIT
    """Default Wait; it may be changed while a slot drains."""
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
    """Default 60s for Transactional, 30m Notification, none for Bulk and Cold. `p95Alert` guards it."""
    p95_alert: Span | None = None
    """The alert fires when the 95th percentile passes this, before the promise is broken. Default: a third of
    `latency`; where that is none either, nothing alerts on latency."""


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
    """Sidecar: a validating unbound in the pod, so that DNS is not shared between lanes either. Cluster: what the pod's
    /etc/resolv.conf names. Addresses: those in `addresses`. Default Sidecar."""
    addresses: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Addresses: `ip` or `ip:port`."""
    forward_to: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Sidecar: forward there instead of asking the root servers, and leave validation to it; for networks
    where port 53 is closed."""


class PodSettings(ApiModel):
    """Handed on to the slots' pods, which a change restarts one at a time."""

    resources: FreeForm = {}
    """Of the relay container, in place of all of the default: requests of 500m and 512Mi with limits of the same for
    Transactional, of 100m and 256Mi for Notification and Bulk, of 50m and 128Mi for Cold."""
    node_selector: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """Labels that the node must carry. Default: none."""
    tolerations: Annotated[tuple[FreeForm, ...], Field(max_length=32)] = ()
    """Taints that the slots tolerate. Default: none."""
    topology_spread_constraints: Annotated[tuple[FreeForm, ...], Field(max_length=16)] = ()
    """Beside the preference, always there, for a node of its own for each slot. Default: none."""
    priority_class_name: Annotated[str, Field(max_length=253)] = ""
    """Default: the cluster's."""


class Monitoring(ApiModel):
    """Which monitoring objects are made, where their kinds exist."""

    pod_monitor: bool = True
    """A PodMonitor that has each slot scraped every 15s. Default true."""
    rules: bool = True
    """A PrometheusRule with the lane's alerts. Default true."""
    dashboard: bool = True
    """A ConfigMap with a dashboard, labelled for Grafana's sidecar. Default true."""


class SendingLaneSpec(ApiModel):
    """What the lane is to be."""

    model_config = ConfigDict(json_schema_extra=cel(*LANE_SPEC_RULES))

    traffic_class: TrafficClass
    """Fills in retry, lifetime, promise and resources where they are not given; it cannot change."""
    suspend: bool = False
    """Stops delivery; intake goes on."""
    replicas: Annotated[int, Field(ge=0, le=64)] = 1
    """Slots, each one relay, one volume and one address; those of higher numbers are drained. Default 1."""
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
    outbound_tls: Literal["Opportunistic", "Required"] = "Opportunistic"
    """With any certificate (RFC 7435), where no route says otherwise. Opportunistic: where offered, else plain text.
    Required: STARTTLS, or the mail waits. Default Opportunistic."""
    resolver: Resolver = Resolver()
    pod: PodSettings = PodSettings()
    monitoring: Monitoring = Monitoring()


class SlotRole(StrEnum):
    """What a slot does at present."""

    ACTIVE = "Active"
    """Takes mail and sends it."""
    DRAINING = "Draining"
    """Takes none, sends what it has, and goes when it is empty."""
    HELD = "Held"
    """Takes none and sends none, by drain.policy Hold."""


class SlotStatus(ApiModel):
    """One slot, as last seen."""

    name: str
    """Of the slot, its StatefulSet and, behind `queue-`, its volume claim: LANE-0, LANE-1, …"""
    ip: str = ""
    """The address the world sees; `shared` with engine ClusterDefault."""
    hostname: str = ""
    """HELO name; empty with engine ClusterDefault."""
    role: SlotRole = SlotRole.ACTIVE
    """What it does at present."""
    ready: bool = False
    """Its pod is Ready."""
    egress_verified: bool = False
    """Mail may leave: its address is proved, or shared with nothing to prove."""
    message: str = ""
    """Why it is not ready or not verified."""
    queued: int = 0
    """Messages, rounded to two significant digits."""
    oldest_since: str | None = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
    config_generation: int = 0
    """The lane's generation that its relay runs on; a newer one is on its way, or was refused."""


class DkimStatus(ApiModel):
    """The DKIM key of one domain."""

    mode: str = "Sign"
    """Sign or Off, as the spec says; all else is empty with Off, and before there is a key."""
    selector: str = ""
    """The one given, or made with the key."""
    record_name: str = ""
    """Where to publish it: SELECTOR._domainkey.DOMAIN."""
    record: str = ""
    """The TXT record to publish, in one string; split it at 255 characters where your DNS host asks for it."""
    published: bool = False
    """DNS answers the name with this key, as every slot that looked says; until then the domain's mail waits."""
    secret_name: str = ""
    """Secret with the private key, in the lane's namespace."""


class DomainStatus(ApiModel):
    """One From domain."""

    name: str
    """As in the spec."""
    dkim: DkimStatus = DkimStatus()


class LaneStatus(ApiModel):
    """What the lane is."""

    observed_generation: int = -1
    """The `metadata.generation` that this status is about; -1: none yet."""
    replicas: int = 0
    """Slots that there are, also those that drain or are held."""
    selector: str = ""
    """Labels of the slots' pods, for the scale subresource."""
    queued: int = 0
    """Messages in all slots, rounded to two significant digits."""
    oldest_since: str | None = None
    """When the oldest of them was accepted (RFC 3339, UTC); absent where there is none."""
    ips: str = ""
    """Of all slots, for the printer column, which shows one value only."""
    slots: Annotated[
        tuple[SlotStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    """Each slot, as last seen."""
    domains: Annotated[
        tuple[DomainStatus, ...],
        Field(json_schema_extra=list_map("name")),
    ] = ()
    """The From domains, each with the record to publish."""
    effective: FreeForm = {}
    """What the spec comes to with the class's defaults (`pod` is the class's, also beside `spec.pod.resources`), and
    what the pool's engine cannot do."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
    """Ready, and why not; Reconciling, Stalled, Draining and Suspended stand here only while they are true."""
