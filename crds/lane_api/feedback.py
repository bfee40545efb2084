"""What comes back to a lane: return paths of its domains, feedback listeners, unsubscribing, whom not to mail again."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, MailDomain, Port, Text, cel
from lane_api.quantities import Span
from lane_api.submission import IpFamilyPolicy, Network

__all__ = ["ComplaintsSpec", "FeedbackService", "FeedbackSpec", "ReturnPathSpec", "SuppressionSpec", "UnsubscribeSpec"]

_MAILBOX = "^[A-Za-z0-9._=+-]+@([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$"
_MAILBOX_HELP = "must be one mailbox, such as fbl@b.notify.example.com"
Mailbox = Annotated[str, Field(max_length=254, json_schema_extra=cel((f"self.matches('{_MAILBOX}')", _MAILBOX_HELP)))]
"""A mailbox."""
Rate = Annotated[float, Field(gt=0, lt=1)]


class ReturnPathSpec(ApiModel):
    """The envelope sender that mail of this domain leaves with, where bounces go."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.forward) && self.forward == 'Webhook') == has(self.webhook)",
                "forward: Webhook and webhook go together: set both or neither",
            ),
        )
    )

    domain: MailDomain
    """A domain of its own below the From domain, such as b.notify.example.com, so that SPF is aligned. Publish its MX
    (the feedback Service) and `v=spf1 ip4:... -all` with the pool's addresses, those in standby as well."""
    mode: Literal["Rewrite", "Keep"] = "Rewrite"
    """Rewrite: each message and recipient gets an address of its own (VERP), one recipient a transaction. Keep: the
    sender's own envelope goes out, and its bounces come back to him. Default Rewrite."""
    forward: Literal["None", "Sender", "Webhook"] = "None"
    """Who else hears of a bounce that comes in as a report. Sender: the original envelope sender, by a report of ours.
    Webhook: an HTTP address, at least once. Default None: records and the suppression list alone."""
    webhook: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra=cel(
                    (
                        "isURL(self) && url(self).getScheme() in ['http', 'https']",
                        "must be an http:// or https:// address, such as https://app.example.com/bounces",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Where each bounce is posted as JSON, until it is answered with 2xx, or was refused with 4xx for a day. Signed
    with `webhook.key` of the Secret LANE-feedback."""


class FeedbackService(ApiModel):
    """The Service `LANE-feedback`: a port for reports, and 80 for unsubscribe links where `unsubscribe` is set."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.externalTrafficPolicy) || self.?type.orValue('ClusterIP') != 'ClusterIP'",
                "externalTrafficPolicy is for type NodePort or LoadBalancer: set type, or leave it out",
            ),
            (
                "self.?loadBalancerClass.orValue('') == '' || self.?type.orValue('ClusterIP') == 'LoadBalancer'",
                "loadBalancerClass is for type LoadBalancer: set type, or leave it out",
            ),
        )
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """The MX of the return paths must lead to `port` from outside, as port 25. ClusterIP: something else of yours leads
    there. NodePort: a port of every node. LoadBalancer: an address that the cloud gives. Default ClusterIP."""
    port: Port = 25
    """For reports. Those who send them know port 25 alone: take another one only where something of yours in front
    leads there. Default 25."""
    annotations: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """Of the Service, such as a cloud asks for. Default: none."""
    load_balancer_class: Annotated[str, Field(max_length=253)] = ""
    """Who makes the load balancer. Default: the cluster's own."""
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    """Local: only nodes with a slot take connections, and each slot sees who brings a report: sessions and mails a
    minute are counted by client, and records name the reporter. Cluster: every node passes connections on, and all who
    come by one count as one client. Default Local for NodePort and LoadBalancer."""
    ip_family_policy: IpFamilyPolicy | None = None
    """SingleStack: one family, the cluster's first. PreferDualStack: both, where the cluster has both.
    RequireDualStack: both, or none is made. Default: SingleStack for LoadBalancer, since clouds may ask for another
    address, and with engine HostNetwork, whose slots listen on one; else PreferDualStack."""
    proxy_protocol: bool = False
    """The load balancer says on port 25 who the client is by the PROXY protocol, version 2; name its networks in
    `feedback.proxies`, and tell it to speak so (`annotations`). Default false."""
    hostname: MailDomain | None = None
    """The name that leads to port 25 from outside: the MX of return paths whose domain has `dns.provider: ExternalDNS`;
    of a Service of type LoadBalancer external-dns is then asked to publish the address too. Default: none, the MX is
    yours to publish."""


class UnsubscribeSpec(ApiModel):
    """One-click unsubscribing (RFC 8058): Bulk and Cold mail to one recipient without List-Unsubscribe gets it."""

    url: Annotated[
        str,
        Field(
            max_length=200,
            json_schema_extra=cel(
                (
                    "isURL(self) && url(self).getScheme() == 'https' && !self.contains('?')",
                    "must be an https:// address without query, such as https://u.notify.example.com",
                )
            ),
        ),
    ]
    """What leads to port 80 of the feedback Service: an Ingress that ends TLS. `/u/TOKEN` is added."""
    mailto: bool = True
    """Also name an address of the return path, for programs that only know RFC 2369. Default true."""


class ComplaintsSpec(ApiModel):
    """Complaints by delivered mail, as fractions: of each slot and ISP whose policy names `reporters`, over a day of
    500 deliveries or seven days with as many, and only as far as the counts prove them (95 %). `protection` says what
    is done about it; NeverPause: alerts."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("self.warn <= self.act && self.act <= self.stop", "warn, act and stop must rise: warn <= act <= stop"),
        )
    )

    warn: Rate = 0.0008
    """An alert. Default 0.0008."""
    act: Rate = 0.001
    """The slot sends nothing to the ISP for four hours; Conservative: for a day. Default 0.001: what Google asks
    senders to stay below."""
    stop: Rate = 0.003
    """The slot sends nothing to the ISP for a day; Conservative: to no ISP. Default 0.003: where Google and Yahoo begin
    to refuse."""
    automation: Literal["Act", "Observe"] = "Act"
    """Act: as said above, unless the lane's `automation` is Observe. Observe: an alert, and nothing is paused. Default
    Act."""


class SuppressionSpec(ApiModel):
    """Who is not mailed again: complaints, unsubscribes, mailboxes that do not exist. Asked at intake (550 5.7.1) and
    before each attempt; `GET /v1/suppressions` lists, imports and exports it."""

    scope: Literal["Lane", "Namespace", "Domain"] = "Lane"
    """Lane: for all mail of the lane. Namespace: also for mail of the namespace's other lanes with this scope, each by
    its class: a complaint about Bulk never suppresses Transactional. Domain: for mail of the From domain that it was
    about. What was heard before a change goes on counting in the lane. Default Lane."""
    hard_bounces: Span = 180 * 24 * 3600.0
    """How long a mailbox that does not exist is left alone, and up to 18 hours more. Default 4320h."""
    max_entries: Annotated[int, Field(ge=1000, le=50_000_000)] = 5_000_000
    """Words that the list may have, 30 bytes of memory each in every slot. In a full list hard bounces go for newer
    words, the first to run out first; without any, what comes is left out, counted, and alerted. Default 5000000."""


class FeedbackSpec(ApiModel):
    """The listeners for reports and for people who unsubscribe. Setting or taking it away restarts the slots."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.?service.?proxyProtocol.orValue(false) == (has(self.proxies) && size(self.proxies) > 0)",
                "service.proxyProtocol: true and proxies, the balancer's networks, go together: set both",
            ),
            (
                "!has(self.unsubscribe) || self.?service.?port.orValue(25) != 80",
                "service.port 80 is that of unsubscribe links: take another one for reports",
            ),
        )
    )

    service: FeedbackService = FeedbackService()
    addresses: Annotated[
        tuple[Mailbox, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Taken beside postmaster@, abuse@ and fbl@ of the return paths: what is enrolled with ISPs' feedback loops.
    Default: none."""
    proxies: Annotated[tuple[Network, ...], Field(max_length=16)] = ()
    """Networks of load balancers that speak the PROXY protocol, version 2, on port 25 (`service.proxyProtocol`): the
    client is who they say, in limits and records. A connection of theirs without it is refused, and so is one with it
    of anybody else. Port 80 is plain HTTP for everybody. Name no network that reporters are in. Default: none."""
    postmaster: Mailbox | None = None
    """Who gets mail to postmaster@ and abuse@ that is no report. Default: it is kept as a sample on the volume."""
    unsubscribe: UnsubscribeSpec | None = None
    """Default: mail keeps the List-Unsubscribe that it came with, or none."""
    complaints: ComplaintsSpec = ComplaintsSpec()
    suppression: SuppressionSpec = SuppressionSpec()
