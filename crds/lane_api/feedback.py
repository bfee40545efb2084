"""What comes back to a lane: return paths of its domains, feedback listeners, unsubscribing, whom not to mail again."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, MailDomain, Text, cel
from lane_api.quantities import Span

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
    """Where each bounce is posted as JSON, until it is answered with 2xx."""


class FeedbackService(ApiModel):
    """The Service `LANE-feedback`: port 25 for reports, 80 for unsubscribe links where `unsubscribe` is set."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """The MX of the return paths must lead to port 25 from outside. ClusterIP: something else of yours leads there.
    NodePort: a port of every node. LoadBalancer: an address that the cloud gives. Default ClusterIP."""
    annotations: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """Of the Service, such as a cloud asks for. Default: none."""


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
    """Act: as said above. Observe: an alert, and nothing is paused. Default Act."""


class SuppressionSpec(ApiModel):
    """Who is not mailed again: complaints, unsubscribes, mailboxes that do not exist. Asked at intake (550 5.7.1) and
    before each attempt; `GET /v1/suppressions` lists, imports and exports it."""

    scope: Literal["Lane", "Namespace", "Domain"] = "Lane"
    """Lane: for all mail of the lane. Namespace: also for mail of the namespace's other lanes with this scope, each by
    its class: a complaint about Bulk never suppresses Transactional. Domain: for mail of the From domain that it was
    about. What was heard before a change goes on counting in the lane. Default Lane."""
    hard_bounces: Span = 180 * 24 * 3600.0
    """How long a mailbox that does not exist is left alone. Default 4320h."""
    max_entries: Annotated[int, Field(ge=1000, le=50_000_000)] = 5_000_000
    """Words that the list may have, 30 bytes of memory each in every slot. In a full list hard bounces go for newer
    words, the first to run out first; without any, what comes is left out, counted, and alerted. Default 5000000."""


class FeedbackSpec(ApiModel):
    """The listeners for reports and for people who unsubscribe. Setting or taking it away restarts the slots."""

    service: FeedbackService = FeedbackService()
    addresses: Annotated[
        tuple[Mailbox, ...], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Taken beside postmaster@, abuse@ and fbl@ of the return paths: what is enrolled with ISPs' feedback loops.
    Default: none."""
    postmaster: Mailbox | None = None
    """Who gets mail to postmaster@ and abuse@ that is no report. Default: it is kept as a sample on the volume."""
    unsubscribe: UnsubscribeSpec | None = None
    """Default: mail keeps the List-Unsubscribe that it came with, or none."""
    complaints: ComplaintsSpec = ComplaintsSpec()
    suppression: SuppressionSpec = SuppressionSpec()
