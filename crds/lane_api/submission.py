"""How mail comes into a lane: the submission Service, its certificate, who may submit, and as whom."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.certificate import IssuerRef, ServerName
from lane_api.model import ApiModel, ObjectName, Port, Text, cel, list_map
from lane_api.quantities import ByteSize, Duration, RateField, Span

__all__ = [
    "Auth",
    "AuthUser",
    "CampaignTag",
    "ClientNamespaces",
    "Clients",
    "HttpListener",
    "IpFamilyPolicy",
    "Service",
    "SmtpListener",
    "Submission",
    "SubmissionLimits",
    "SubmissionTls",
    "Tarpit",
]

IpFamilyPolicy = Literal["SingleStack", "PreferDualStack", "RequireDualStack"]
"""Of a Service, as Kubernetes names them."""


class SmtpListener(ApiModel):
    """Ports of the submission Service for SMTP."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.?port.orValue(587) != self.?implicitTLSPort.orValue(465)",
                "port (STARTTLS) and implicitTLSPort must differ",
            )
        )
    )

    port: Port = 587
    """Submission with STARTTLS (RFC 6409). Default 587."""
    implicit_tls_port: Port = 465
    """Submission with TLS from the first byte (RFC 8314 section 3.3). Default 465."""


class HttpListener(ApiModel):
    """Submission as JSON, `POST /v1/messages`; `GET /v1/openapi.json` describes it. Setting, changing its `tls` or
    taking it away restarts the slots, one after another."""

    port: Port = 8025
    """Of the submission Service. Default 8025."""
    tls: Literal["Required", "None"] = "Required"
    """Required: HTTPS with the certificate of `submission.tls`. None: HTTP, for a service mesh that encrypts between
    pods; without one everybody on the way reads passwords and mail. Default Required."""
    max_recipients: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Of one request; each gets a message of their own. Default 1000."""


class Service(ApiModel):
    """The submission Service."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "self.?externalTrafficPolicy.orValue('Cluster') == 'Cluster' "
                    "|| self.?type.orValue('ClusterIP') != 'ClusterIP'"
                ),
                "externalTrafficPolicy Local is for type NodePort or LoadBalancer: set type, or leave it out",
            ),
            (
                "self.?loadBalancerClass.orValue('') == '' || self.?type.orValue('ClusterIP') == 'LoadBalancer'",
                "loadBalancerClass is for type LoadBalancer: set type, or leave it out",
            ),
        )
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """ClusterIP: clients inside the cluster. NodePort: also a port of every node. LoadBalancer: also an address that
    the cloud gives. Default ClusterIP."""
    annotations: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """Of the Service, such as a cloud asks for. Default: none."""
    load_balancer_class: Annotated[str, Field(max_length=253)] = ""
    """Who makes the load balancer. Default: the cluster's own."""
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    """Cluster: every node passes connections on, and `clients.cidrs` may see the node instead of the client. Local:
    only nodes with a slot take them, and the client's address stays. Default Cluster."""
    ip_family_policy: IpFamilyPolicy | None = None
    """SingleStack: one family, the cluster's first. PreferDualStack: both, where the cluster has both.
    RequireDualStack: both, or none is made. Default: SingleStack for LoadBalancer, since clouds may ask for another
    address, and with engine HostNetwork, whose slots listen on one; else PreferDualStack."""
    proxy_protocol: bool = False
    """The load balancer says who the client is by the PROXY protocol, version 2; name its networks in
    `clients.proxies`, and tell it to speak so (`annotations`). Default false."""


class SubmissionTls(ApiModel):
    """The certificate of the submission listeners. Neither Secret nor issuer: each slot makes a self-signed one, and
    CertificateReady says so."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.secretName) || !has(self.issuerRef)",
                "secretName is a certificate that you make, issuerRef one that cert-manager makes: set one of them",
            ),
            (
                "!has(self.dnsNames) || size(self.dnsNames) == 0 || has(self.issuerRef)",
                "dnsNames are asked of an issuer: set issuerRef, or leave them out",
            ),
        )
    )

    secret_name: ObjectName | None = None
    """kubernetes.io/tls Secret of yours; a renewed one is taken without a restart."""
    issuer_ref: IssuerRef | None = None
    """Who is to issue one: the operator makes cert-manager's Certificate `LANE`, whose Secret is `LANE-tls`. Slots
    wait for it before they start. Default: none."""
    dns_names: Annotated[
        tuple[ServerName, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """For issuerRef: what clients call the lane. Default: the Service's names within the cluster."""


Sender = Annotated[
    str,
    Field(
        min_length=3,
        max_length=254,
        json_schema_extra=cel(
            (
                "self.matches('^[^@ ]*@[^@ ]+[.][^@ ]+$')",
                "must be @domain for every sender of a domain, or local@domain for one",
            )
        ),
    ),
]
"""Senders as they are written in lists of them."""


class AuthUser(ApiModel):
    """What one user may do."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._@+-]*$")]
    """The user's entry in the Secret."""
    senders: Annotated[tuple[Sender, ...], Field(max_length=32)] = ()
    """`@domain` or `local@domain`, of the lane's `senders`: envelope sender and header From must both match one, else
    550 5.7.1. Default: all of the lane's."""
    rate: RateField | None = None
    """Messages, such as 600/m, over all sessions of one slot; beyond it 451 4.7.1 says when to come again. A slot that
    starts anew counts anew. Default: no limit."""
    recipient_rate: RateField | None = None
    """Recipients, likewise. Default: no limit."""


class Auth(ApiModel):
    """Who may authenticate."""

    secret_name: ObjectName | None = None
    """Secret with one entry a user: name -> password, or its hash (`$scrypt$…`, `$pbkdf2-sha256$…`).

    Absent: a Secret `LANE-users` is made once, with one random user.
    """
    users: Annotated[tuple[AuthUser, ...], Field(max_length=64, json_schema_extra=list_map("name"))] = ()
    """Rights of single users; one who is not named may use all of the lane's senders at any rate. A client of
    `clients.cidrs` that does not authenticate is nobody's user. Default: none."""


Network = Annotated[
    str,
    Field(
        max_length=49,
        json_schema_extra=cel(("isCIDR(self)", "must be a network such as 10.0.0.0/8 or 2001:db8::/32")),
    ),
]
"""A network by its prefix."""


class ClientNamespaces(ApiModel):
    """Namespaces of this cluster, by their labels."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]],
        Field(max_length=16),
    ]
    """A namespace has all of them; `kubernetes.io/metadata.name` is its name. `{}`: every namespace."""


class Clients(ApiModel):
    """Who may submit, and who of them without authentication."""

    cidrs: Annotated[tuple[Network, ...], Field(max_length=64)] = ()
    """Networks whose clients may submit without AUTH; everybody else must authenticate, under TLS."""
    auth_cidrs: Annotated[tuple[Network, ...], Field(max_length=64)] = ()
    """Networks whose clients reach the submission ports as well, and must authenticate. Default: none."""
    namespaces: ClientNamespaces | None = None
    """Pods of these namespaces reach the submission ports as well, and must authenticate. Where anybody is named, here,
    in `cidrs` or in `authCidrs`, nobody else but `proxies` reaches them; by the lane's NetworkPolicy, so only where the
    cluster's network enforces such, and not with HostNetwork (docs/network.md). Default: everybody reaches them."""
    proxies: Annotated[tuple[Network, ...], Field(max_length=16)] = ()
    """Networks of load balancers that speak the PROXY protocol, version 2 (`service.proxyProtocol`): the client is who
    they say, in policy, limits, Received and records. A connection of theirs without it is refused, and so is one with
    it of anybody else. It holds for the SMTP ports and the HTTP port. Name no network that clients are in. Default:
    none."""


class Tarpit(ApiModel):
    """How a session that errs is slowed down."""

    after: Annotated[int, Field(ge=0, le=100)] = 5
    """Errors since its last message that are answered at once; the 20th ends the session. Default 5."""
    first: Span = 1.0
    """How long the next one's answer takes; each further one takes twice as long. Default 1s."""
    max: Annotated[
        Duration,
        Field(
            json_schema_extra=cel(
                ("duration(self) <= duration('60s')", "must be at most 60s: a client that waits longer gives up")
            )
        ),
    ] = 15.0
    """None takes longer; 0s slows nothing down. Default 15s."""


class SubmissionLimits(ApiModel):
    """What one slot takes of all its clients, and of one client address; behind a Service of type NodePort or
    LoadBalancer with `externalTrafficPolicy: Cluster` many clients may show one address."""

    sessions: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """At a time; beyond them a silent stranger's makes room, or the connection gets 421. Default 1000."""
    sessions_per_client: Annotated[int, Field(ge=1, le=100_000)] = 500
    """At a time. Default 500."""
    connect_rate_per_client: RateField | None = None
    """New connections; beyond it 421 says when to come again. Default 6000/m."""
    message_rate_per_client: RateField | None = None
    """Messages; beyond it 451 4.7.1 says when to come again. Default: no limit."""
    error_rate_per_client: RateField | None = None
    """Refused commands and failed authentications, of strangers refused mail too; beyond it new connections get 421.
    Default 600/m."""
    tarpit: Tarpit = Tarpit()


_Mark = Annotated[str, Field(max_length=32, pattern=r"^[!-?A-~]*$")]


class CampaignTag(ApiModel):
    """Where the local part of an envelope sender (VERP) names the campaign: between these two, as soon as they come.

    `{after: "+", before: "-"}` finds `spring` in bounce+spring-4711@example.com.
    """

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.?after.orValue('') != '' || self.?before.orValue('') != ''",
                "set after, before or both: without either each sender would be a campaign",
            )
        )
    )

    after: _Mark = ""
    """What stands before the campaign. Default: nothing, it begins the local part."""
    before: _Mark = ""
    """What stands behind it. Default: nothing, it ends the local part."""


HeaderName = Annotated[str, Field(min_length=1, max_length=77, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Name of a header field."""


class Submission(ApiModel):
    """How mail comes in."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "(has(self.service) && has(self.service.proxyProtocol) && self.service.proxyProtocol) "
                    "== (has(self.clients) && has(self.clients.proxies) && size(self.clients.proxies) > 0)"
                ),
                "service.proxyProtocol: true and clients.proxies, the balancer's networks, go together: set both",
            ),
            (
                (
                    "!has(self.http) || !(self.http.?port.orValue(8025) in "
                    "[self.?smtp.?port.orValue(587), self.?smtp.?implicitTLSPort.orValue(465)])"
                ),
                "http.port must differ from the ports of smtp; leave it out for 8025",
            ),
        )
    )

    smtp: SmtpListener = SmtpListener()
    http: HttpListener | None = None
    """Write `http: {}` for submission by HTTP. An idempotency key is known to all slots of the lane: a request may be
    repeated to any of them. Default: none."""
    service: Service = Service()
    tls: SubmissionTls = SubmissionTls()
    auth: Auth = Auth()
    clients: Clients = Clients()
    limits: SubmissionLimits = SubmissionLimits()
    senders: Annotated[tuple[Sender, ...], Field(min_length=1, max_length=256)]
    """`@domain` or `local@domain`: envelope sender and the single header From must both match one, else 550 5.7.1. The
    header From's domain must be one of `domains` as well, so that of one sender at least is."""
    max_message_size: Annotated[
        ByteSize,
        Field(
            json_schema_extra=cel(
                (
                    "quantity(self).compareTo(quantity('64Ki')) >= 0",
                    "must be at least 64Ki, which RFC 5321 section 4.5.3.1.7 asks of every server; default 25Mi",
                )
            )
        ),
    ] = 25 * 2**20
    """Header and content, announced by SIZE (RFC 1870); a larger message is answered 552 5.3.4. Default 25Mi."""
    max_recipients: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Of one transaction; further ones are answered 452 4.5.3, for the client to send in another one (RFC 5321 section
    4.5.3.1.10). Default 100, the least that section 4.5.3.1.8 asks of a server."""
    correlation_header: HeaderName = "X-Correlation-Id"
    """Header field of the sending application's own number: its value stands in every record of the message, and is
    what `trace` finds it by. Default X-Correlation-Id."""
    campaign_header: HeaderName = "X-Lane-Campaign"
    """Header field that names a message's campaign, in at most 100 characters: campaigns share the lane fairly, and
    orders may name one. With Feedback-ID, what stands before its first colon. X-Lane- fields do not leave, others do.
    Default X-Lane-Campaign."""
    campaign_tag: CampaignTag | None = None
    """Where the envelope sender names the campaign of a message whose header does not. Default: nowhere."""
