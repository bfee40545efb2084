"""How a lane's mail leaves: limits for each ISP, back-off, values laid over policies, fixed routes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.model import ApiModel, DomainName, ObjectName, Port, cel
from lane_api.quantities import RateField, Span

__all__ = [
    "Backoff",
    "BackoffRecovery",
    "Count",
    "DayCount",
    "DeliveryMode",
    "IspOverride",
    "Limits",
    "Route",
    "SmartHost",
]


Count = Annotated[int, Field(ge=1, le=100_000)]
DayCount = Annotated[int, Field(ge=1, le=1_000_000_000)]


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
    uses up the others'. Those that have not answered for a message yet, or stall, have half of it together; while
    others wait for a place, one that says nothing for 20 s loses it. Default 200."""


class DeliveryMode(ApiModel):
    """Whether mail reaches its recipients; an installation may force another mode than Live on all its lanes (chart
    value `delivery.force`)."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.mode) && self.mode == 'Redirect') == has(self.to)",
                "to is the one address of mode Redirect: set it with Redirect, and only then",
            )
        )
    )

    mode: Literal["Live", "Redirect", "Discard"] = "Live"
    """Live: mail goes to its recipients. Redirect: all mail goes to `to`; the message says whom it was for in
    X-Lane-Redirected-From, and so does its Reception record. Discard: mail is accepted, recorded and never sent. What
    was queued before the mode changed is held with Redirect, and not sent with Discard. Default Live."""
    to: (
        Annotated[
            str,
            Field(
                max_length=254,
                json_schema_extra=cel(
                    (
                        "self.matches('^[A-Za-z0-9!#$%&*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]+[.][a-z0-9-]+$')",
                        "must be one address with its domain in lower case, such as staging@example.com",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Where redirected mail goes, as any other mail of the lane does."""


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
    messages_per_day: DayCount | None = None
    """Messages per address in any 24 hours. Default: the policy's."""
    recipients_per_message: Count | None = None
    """Recipients of one transaction. Default: the policy's."""
    retry_after: Span | None = None
    """Wait after a temporary reply or a failed connection, where no rule of the policy says how long. Default: the
    policy's."""
    backoff: Backoff | None = None
    """Stands for the policy's as a whole: what it leaves out has the defaults below. Default: the policy's."""


class SmartHost(ApiModel):
    """Any SMTP host that takes the lane's mail and answers for it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.authSecret) || !has(self.tls) || self.tls in ['Required', 'Implicit']",
                "authSecret is sent only over TLS: set tls to Required (or Implicit for port 465), or leave it out",
            )
        )
    )

    host: DomainName
    """Name, of which A and AAAA are asked and no MX, or address. The ISPPolicy whose `match.mx` it matches gives its
    pace, limits and reply rules, as for an MX set of one; without one it is an ISP of its own, held to `limits`."""
    port: Port | None = None
    """Default 25; 465 with tls Implicit (RFC 8314)."""
    tls: Literal["None", "Opportunistic", "Required", "Implicit"] | None = None
    """None: plain text. Opportunistic: TLS where offered, with any certificate. Required: STARTTLS with a certificate
    of the host's name, or the mail waits. Implicit: such a certificate, and TLS from the first byte. Absent: as
    `outboundTLS` says for the lane; with `authSecret`, Required."""
    auth_secret: ObjectName | None = None
    """Secret in the lane's namespace with `username` and `password`; sent only over TLS to a checked certificate."""


class Route(SmartHost):
    """A fixed route (smart host): mail for these domains goes to this host instead of their MX."""

    domains: Annotated[tuple[DomainName, ...], Field(min_length=1, max_length=256)]
    """Exact domains, `*.example.com`, or `*` for all."""
