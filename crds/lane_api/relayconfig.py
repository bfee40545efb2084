"""RelayConfig: the one file that the operator renders for a slot and the relay reads.

Written at the schema version of the slot's image. A relay that refuses a file keeps the last good one and says so.
Within a schema version what is absent means the same to every image, older or newer than the operator: a field that is
added has the default by which the relay did before; no default is changed, and no field taken away. What is to be
otherwise for all lanes is written out by the operator. tests/lane_api/relayconfig_defaults.yaml holds what was agreed.
It is also written by hand: `lane-relay --config relay.yaml` needs no Kubernetes.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    IPvAnyAddress,
    IPvAnyNetwork,
    StringConstraints,
    model_validator,
)

from lane_api.classes import Protection, TrafficClass
from lane_api.intake import CampaignTag, IntakeLimits, Neighbour, UserRights
from lane_api.isppolicy import ResponseRule
from lane_api.listening import Endpoint, HttpListener, TlsFiles
from lane_api.model import PLAIN_ADDRESS, ConfigModel
from lane_api.outbound import Backoff
from lane_api.quantities import ByteSize, Duration, RateField
from lane_api.relayfeedback import Feedback, Suppression
from lane_api.relayrecords import Archive, ArchiveS3, Records, Webhook
from lane_api.relaysigning import NextKey, SecondKey, SigningDomain
from lane_api.relayspool import Spool, SpoolClaim, SpoolMark

__all__ = [
    "SCHEMA_VERSION",
    "Admin",
    "Archive",
    "ArchiveS3",
    "DelayNotice",
    "Delivery",
    "Egress",
    "Endpoint",
    "HandOver",
    "Intake",
    "LaneIdentity",
    "NextKey",
    "Origin",
    "Origins",
    "Proof",
    "Records",
    "RelayConfig",
    "RelayRetry",
    "RelayRoute",
    "SecondAddress",
    "SecondKey",
    "Sibling",
    "SigningDomain",
    "SitePolicy",
    "SlotIdentity",
    "Socks5",
    "Spool",
    "SpoolClaim",
    "SpoolMark",
    "TlsFiles",
    "WarmUp",
    "Webhook",
]

SCHEMA_VERSION = 1
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class LaneIdentity(ConfigModel):
    """Whose relay this is."""

    namespace: str = "default"
    name: str
    traffic_class: TrafficClass = TrafficClass.TRANSACTIONAL


def _host_name(text: str) -> str:
    """A name that can stand in HELO, in header fields and in certificates; raises ValueError."""
    if len(text) > 253 or not _HOST_NAME.fullmatch(text):
        raise ValueError("must be a host name such as out1.example.com; other scripts as A-labels (xn--...)")
    return text


class SlotIdentity(ConfigModel):
    """Which slot of the lane."""

    name: str
    hostname: Annotated[str, AfterValidator(_host_name)]
    """HELO name, Received `by`, Reporting-MTA."""
    role: Literal["Active", "Standby"] = "Active"
    """Standby: takes no submissions, and is not ready for them; sends what the active slots hand over."""


FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,76}$")]
"""Name of a header field."""


class Intake(ConfigModel):
    """Who may hand in what."""

    state: Literal["Open", "Closed"] = "Open"
    """Closed: 421 to everybody; set before a slot is drained."""
    smtp: Endpoint | None = None
    """Submission with STARTTLS."""
    smtps: Endpoint | None = None
    """Submission with implicit TLS."""
    http: HttpListener | None = None
    """Submission as JSON; absent: none."""
    tls: TlsFiles | None = None
    """Absent: a self-signed certificate for the slot's hostname, made at start, in memory."""
    users_dir: str | None = None
    """Folder with one file a user: name -> password or its hash; reloaded when it changes."""
    clients: tuple[IPvAnyNetwork, ...] = ()
    """Networks whose clients may submit without AUTH."""
    proxies: tuple[IPvAnyNetwork, ...] = ()
    """Networks of load balancers: each connection of theirs must begin with the PROXY protocol, version 2, and its
    client is who that says. Nobody else is believed."""
    senders: tuple[str, ...] = ()
    """`@domain` or `local@domain`; empty admits every sender (only sensible by hand)."""
    users: tuple[UserRights, ...] = ()
    """Rights of single users; who is not named may use every sender of the lane, at any rate."""
    limits: IntakeLimits = IntakeLimits()
    neighbours: tuple[Neighbour, ...] = ()
    """Lanes that a foreign sender may be told of."""
    max_message_size: ByteSize = 25 * 2**20
    max_recipients: Annotated[int, Field(ge=1)] = 100
    correlation_field: FieldName = "X-Correlation-Id"
    """Header field whose value stands in each of the message's records."""
    campaign_field: FieldName = "X-Lane-Campaign"
    """Header field that names the message's campaign; of Feedback-ID, what stands before its first colon."""
    campaign_tag: CampaignTag | None = None
    """Where the envelope sender names the campaign of a message whose header does not. Absent: nowhere."""


class Proof(ConfigModel):
    """How the egress address is proved."""

    reflectors: tuple[str, ...]
    """`tcp://host:port`."""
    key_file: str
    every: Duration = 300.0


class Socks5(ConfigModel):
    """The SOCKS5 proxy that holds the slot's address (RFC 1928); it is handed addresses, never names."""

    host: IPvAnyAddress
    """An address: mail does not depend on one more name."""
    port: Annotated[int, Field(ge=1, le=65535)] = 1080
    auth_dir: str | None = None
    """Folder with `username` and `password` (RFC 1929), read for each connection. Absent: the proxy asks for none."""
    bound: IPvAnyAddress | None = None
    """What the proxy says that it leaves from; a connection for which it says something else is not used. Default:
    the egress address."""


class SecondAddress(ConfigModel):
    """An address of the other family; it is proved by itself, by reflectors that answer in its family."""

    address: IPvAnyAddress
    """What the world must see."""
    source: IPvAnyAddress | None = None
    """As of the first."""
    proxy: Socks5 | None = None
    """As of the first."""


class Egress(ConfigModel):
    """Which address mail leaves from."""

    address: IPvAnyAddress | None = None
    """What the world must see. Absent: shared, nothing to prove."""
    source: IPvAnyAddress | None = None
    """What every outbound connection binds. Absent: not bound (the engine translates)."""
    proof: Proof | None = None
    """Required with an address: a slot that cannot prove it sends nothing."""
    isps: tuple[str, ...] = ()
    """Names of the only policies whose mail may leave here; other mail goes to siblings. Empty: all may."""
    proxy: Socks5 | None = None
    """Through which everything leaves that is to leave from the address. Absent: none."""
    second: SecondAddress | None = None
    """Of the other family: hosts are tried by the first one's family first. Mail leaves by whichever is proved. Absent:
    one family alone."""
    ptr: Literal["Require", "Warn", "Off"] = "Warn"
    """Whether PTR records name the slot's hostname, which leads back: told (Warn), or else nothing leaves (Require)."""

    @model_validator(mode="after")
    def _proxy_binds(self) -> Self:
        for one in (self, self.second):
            if one is not None and one.proxy is not None and one.source is not None:
                raise ValueError("source is bound here, and with a proxy nothing is: write it as proxy.bound")
        if self.proxy is not None and self.address is None:
            raise ValueError("a proxy needs the address that it holds, to be proved: add address")
        return self

    @model_validator(mode="after")
    def _families_differ(self) -> Self:
        if self.second is not None and self.address is None:
            raise ValueError("second is an address beside the first: add address")
        if self.second is not None and self.address is not None and self.second.address.version == self.address.version:
            raise ValueError("second is of the same family as address: one is to be IPv4, the other IPv6")
        return self


class RelayRetry(ConfigModel):
    """The lane's retry schedule."""

    first: Duration = 60.0
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max: Duration = 1800.0


class DelayNotice(ConfigModel):
    """The report that a message is late; once for each recipient."""

    after: Duration = 4 * 3600.0
    """From acceptance; it comes with the first failed attempt after it, or within minutes where mail is not attempted.
    0: never."""
    unasked: bool = False
    """Also to senders that did not ask for it with NOTIFY=DELAY (RFC 3461)."""


class Origin(ConfigModel):
    """Where a value was given, and as what."""

    source: str
    """`isps`, `ISPPolicy NAMESPACE/NAME`, `limits` or `limits (the default)`."""
    value: str
    """As users write it; of `backoff` nothing."""


class Origins(ConfigModel):
    """Everybody who gives one value, in order of precedence: the first one's is in force."""

    field: str
    """As in ISPPolicy."""
    given: tuple[Origin, ...]


class SitePolicy(ConfigModel):
    """One ISPPolicy with the lane's own values laid over it, in order of precedence."""

    name: str
    mx: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    connections: Annotated[int, Field(ge=1)] = 10
    messages_per_connection: Annotated[int, Field(ge=1)] = 100
    connect_rate: RateField | None = None
    message_rate: RateField | None = None
    messages_per_day: Annotated[int, Field(ge=1)] | None = None
    """In any 24 hours, counted when an attempt begins; absent: no limit."""
    recipients_per_message: Annotated[int, Field(ge=1)] = 100
    """Recipients of one transaction; the others get the message in further ones, on the same connection."""
    retry_after: Duration | None = None
    backoff: Backoff = Backoff()
    responses: tuple[ResponseRule, ...] = ()
    reporters: tuple[str, ...] = ()
    """Mailboxes, and domains for all of theirs, whose complaints count towards the rate at this ISP."""
    origins: tuple[Origins, ...] = ()
    """Of the values that somebody gives. Decides nothing; for `explain`."""


class RelayRoute(ConfigModel):
    """A fixed route."""

    domains: tuple[str, ...]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    tls: Literal["None", "Opportunistic", "Required", "Implicit"] | None = None
    """Required and Implicit check the certificate; absent: as the lane's outboundTLS says."""
    auth_dir: str | None = None
    """Folder with `username` and `password`."""
    hands_over: bool = False
    """The way out of a slot that is to go: the host answers for what it takes, which is on record as handed over. What
    it refuses for another reason than the recipient's own waits, and what waited already goes at once."""

    @model_validator(mode="after")
    def _keeps_its_password(self) -> Self:
        if self.auth_dir and self.tls not in ("Required", "Implicit"):
            raise ValueError("a route with authDir needs tls: Required or Implicit, or whoever is on the way reads it")
        return self


class Delivery(ConfigModel):
    """How mail goes out."""

    state: Literal["Running", "Suspended", "Held", "Transferring", "TransferringSuspended"] = "Running"
    """Suspended by the lane's owner, Held by its drain policy, or Transferring: siblings get all mail while one can be
    reached, and the slot sends on while none can; in a suspended lane (TransferringSuspended) it does not send then.
    Intake is another matter."""
    mode: Literal["Live", "Redirect", "Discard"] = "Live"
    """Redirect: all mail goes to `redirect_to` instead of its recipients. Discard: it is accepted and never sent. Both
    hold for what is queued already."""
    redirect_to: str = ""
    """With Redirect, and only then: the one address that mail goes to."""
    lifetime: Duration = 4 * 3600.0
    retry: RelayRetry = RelayRetry()
    delay_notice: DelayNotice = DelayNotice()
    connections: Annotated[int, Field(ge=1)] = 10
    """Per site, where no policy matches."""
    total_connections: Annotated[int, Field(ge=1)] = 200
    protection: Protection = Protection.PAUSABLE
    """What reply rules may do to the lane."""
    automation: Literal["Act", "Observe"] = "Act"
    """Observe: what reply rules and complaint rates would do is told, and not done."""
    standby: bool = False
    """A warm slot takes over what this one must not send: then QuarantineIP stops a NeverPause lane's address, too."""
    policies: tuple[SitePolicy, ...] = ()
    routes: tuple[RelayRoute, ...] = ()
    outbound_tls: Literal["Opportunistic", "Required", "MTASTS", "DANE"] = "Opportunistic"
    """What is asked of hosts for which nothing is published; MTASTS and DANE send nothing to such."""
    resolvers: tuple[str, ...] = ()
    """`ip` or `ip:port`; empty: /etc/resolv.conf."""
    trust_ad: bool = False
    """The resolvers validate DNSSEC, and nobody can come between: their AD bit is believed, and DANE is used."""

    @model_validator(mode="after")
    def _says_where_to(self) -> Self:
        if (self.mode == "Redirect") != bool(self.redirect_to):
            raise ValueError("redirectTo names the one address of mode: Redirect, and stands there only")
        if self.redirect_to and not PLAIN_ADDRESS.fullmatch(self.redirect_to):
            raise ValueError("redirectTo must be one address, such as staging@example.com")
        return self

    @property
    def observes(self) -> bool:
        """Nothing is stopped or slowed down by itself."""
        return self.automation == "Observe"

    @property
    def hands_over(self) -> bool:
        """Mail goes to a host outside of the lane, which answers for it."""
        return any(route.hands_over for route in self.routes)

    @property
    def transfers(self) -> bool:
        """All mail goes to sibling slots, while one can be reached."""
        return self.state in {"Transferring", "TransferringSuspended"}


class Admin(ConfigModel):
    """The admin API `/v1`: TLS and a token; absent: none."""

    listen: Endpoint
    tls: TlsFiles
    token_file: str


class WarmUp(ConfigModel):
    """The address is new to the ISPs: each gets a daily amount, which grows on evidence.

    What is beyond it leaves from a sibling at once, or waits for the next twelfth of the amount or the next step.
    """

    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Recipients a step, at each ISP with a policy and at all others together. Empty: 50 (others 200), doubled up to
    5,000, by half up to 50,000, by a quarter up to 1,000,000."""
    step_every: Annotated[Duration, Field(gt=0)] = 24 * 3600.0
    connections: Annotated[int, Field(ge=1)] = 2
    """To one ISP at a time while the address is cold for it."""
    started_on: date | None = None
    """The day (UTC) since which its owner has sent from it: a spool that knows nothing of a warm-up begins it on the
    step that this gives, one for each `step_every`, at most the last. Absent: on the first one."""


class Sibling(ConfigModel):
    """Another slot of the lane, as this one reaches it."""

    slot: str
    host: str
    """Where it is reached."""
    name: str = ""
    """The subject alternative name of its certificate; empty: `host`."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Of its admin API."""
    role: Literal["Active", "Standby", "Leaving"] = "Active"
    """Leaving: it gives and takes nothing."""
    isps: tuple[str, ...] = ()
    """Its `egress.isps`."""
    warm: bool = True
    """Its address has no daily amounts: what is beyond ours may leave there."""
    stands_in: bool = False
    """What a quarantine of this slot's address stops here leaves from there."""


class HandOver(ConfigModel):
    """Mail goes to and comes from the lane's other slots, by mutual TLS on the admin port; needs `admin`."""

    ca_file: str
    """Whose certificates the slots trust, in PEM; read again when it changes."""
    siblings: tuple[Sibling, ...] = ()
    standby_share: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Part of an active slot's mail that each standby slot sends, so that ISPs know its address; half of it at most."""


def _active_bytes(earlier: dict[str, Any]) -> int:
    """Room for the largest message, from the fields before it."""
    intake: Intake = earlier["intake"]
    return max(64 * 2**20, intake.max_message_size)


class RelayConfig(ConfigModel):
    """Everything one relay process needs to know."""

    schema_version: Literal[1] = 1
    generation: int = 0
    """Of the lane; read back as the generation in force."""
    serial: int = 0
    """Rises with each other content of this slot's file, also under one generation; 0: by hand, the file counts."""
    lane: LaneIdentity
    slot: SlotIdentity
    intake: Intake = Intake()
    spool: Spool
    records: Records
    egress: Egress = Egress()
    delivery: Delivery = Delivery()
    domains: tuple[SigningDomain, ...] = ()
    feedback: Feedback | None = None
    """Absent: bounces and complaints are somebody else's business."""
    suppression: Suppression | None = None
    """Absent: nobody is suppressed."""
    health: Endpoint | None = None
    """`/metrics`, `/livez`, `/readyz`."""
    admin: Admin | None = None
    handover: HandOver | None = None
    warmup: WarmUp | None = None
    """Absent: the address is warm."""
    stop_grace: Annotated[Duration, Field(ge=10)] = 30.0
    """From SIGTERM until whoever runs the process kills it: a peer that has a whole message may answer until shortly
    before."""
    slo_latency: Duration | None = None
    """Shapes the latency histogram's buckets."""
    active_bytes: ByteSize = Field(default_factory=_active_bytes)
    """Message bodies held in memory at most; the rest waits on disk. Absent: 64Mi, or one message if that is more."""
