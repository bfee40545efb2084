"""The parts of RelayConfig about what comes back: return paths, reports, unsubscribing, and whom not to mail again."""

from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, IPvAnyNetwork, StringConstraints, model_validator

from lane_api.listening import Endpoint, TlsFiles
from lane_api.model import ConfigModel
from lane_api.quantities import Duration

__all__ = [
    "ComplaintRates",
    "Feedback",
    "Forward",
    "NeighbourSlot",
    "ReturnPath",
    "Suppression",
    "SuppressionScope",
    "Unsubscribe",
]

DAY_S = 24 * 3600.0


def _https_url(text: str) -> str:
    """An address that a mail program may post to; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or not text.isascii():
        raise ValueError("must be an https:// address without query, such as https://u.notify.example.com")
    return text.rstrip("/")


def _http_url(text: str) -> str:
    """An address that we post to; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address, such as https://app.example.com/bounces")
    return text


class Forward(StrEnum):
    """Who else hears of a bounce that came in as a report."""

    NONE = "None"
    SENDER = "Sender"
    """The envelope sender that the message was submitted with, as a report of ours (RFC 3464)."""
    WEBHOOK = "Webhook"


class ReturnPath(ConfigModel):
    """The envelope sender that one From domain's mail leaves with."""

    domain: Annotated[str, StringConstraints(to_lower=True)]
    """Its MX is the feedback listener, its SPF record names the lane's addresses."""
    mode: Literal["Rewrite", "Keep"] = "Rewrite"
    """Rewrite: an address of its own for each message and recipient. Keep: the sender's own, whose bounces are his."""
    forward: Forward = Forward.NONE
    webhook: Annotated[str, AfterValidator(_http_url)] | None = None

    @model_validator(mode="after")
    def _has_a_webhook(self) -> Self:
        if (self.forward is Forward.WEBHOOK) != (self.webhook is not None):
            raise ValueError("forward: Webhook and webhook go together: give both or neither")
        return self


class Unsubscribe(ConfigModel):
    """What is added to mail of one recipient that has no List-Unsubscribe."""

    url: Annotated[str, AfterValidator(_https_url)]
    """Where the feedback listener's HTTP port is reached from outside; `/u/TOKEN` is added."""
    mailto: bool = True
    """Name an address of the return path as well."""


class ComplaintRates(ConfigModel):
    """Complaints by delivered mail, as fractions, and what is done at them."""

    warn: Annotated[float, Field(gt=0, lt=1)] = 0.0008
    act: Annotated[float, Field(gt=0, lt=1)] = 0.001
    stop: Annotated[float, Field(gt=0, lt=1)] = 0.003
    automation: Literal["Act", "Observe"] = "Act"
    """Observe: an alert instead of a pause."""

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if not self.warn <= self.act <= self.stop:
            raise ValueError("warn, act and stop must rise: warn <= act <= stop")
        return self


class Feedback(ConfigModel):
    """The listeners for reports and for people who unsubscribe."""

    key_file: str
    """Signs and checks what return paths and links carry; at least 16 octets, the same in every slot of the lane."""
    webhook_key_file: str | None = None
    """Signs the bounces that go to a webhook, read anew for each; absent: they are not signed."""
    smtp: Endpoint | None = None
    http: Endpoint | None = None
    tls: TlsFiles | None = None
    """For both. Absent: self-signed for SMTP, and plain HTTP behind whatever ends TLS."""
    proxies: tuple[IPvAnyNetwork, ...] = ()
    """Networks of load balancers, for SMTP alone: each connection of theirs must begin with the PROXY protocol, version
    2, and its client is who that says. Nobody else is believed."""
    addresses: tuple[Annotated[str, StringConstraints(to_lower=True)], ...] = ()
    """Taken beside postmaster@, abuse@ and fbl@ of the return paths: what is enrolled with ISPs' feedback loops."""
    postmaster: str = ""
    """Who gets mail to postmaster@ and abuse@ that is no report, at most 100 an hour; empty: it is kept as a sample."""
    unsubscribe: Unsubscribe | None = None
    complaints: ComplaintRates = ComplaintRates()


class SuppressionScope(StrEnum):
    """For whose mail a recipient is suppressed."""

    LANE = "Lane"
    NAMESPACE = "Namespace"
    """All lanes of the namespace that share the key."""
    DOMAIN = "Domain"
    """Mail of the From domain that the complaint was about."""


class NeighbourSlot(ConfigModel):
    """A slot of another lane, as this one reaches it to read on in its suppression list."""

    slot: str
    host: str
    """Where it is reached."""
    name: str = ""
    """The subject alternative name of its certificate; empty: `host`."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Of its admin API."""


class Suppression(ConfigModel):
    """Who is not mailed again."""

    path: str
    """Folder of the list, on the slot's volume."""
    key_file: str
    """Keys the digests that stand for addresses; at least 16 octets, the same wherever lists are to be merged."""
    scope: SuppressionScope = SuppressionScope.LANE
    hard_bounces: Duration = 180 * DAY_S
    """How long a mailbox that does not exist is left alone; 0: hard bounces suppress nobody."""
    max_entries: Annotated[int, Field(ge=1, le=50_000_000)] = 5_000_000
    """30 bytes of memory each, measured with five million."""
    namespace_key_file: str | None = None
    """Keys the digests that all lanes of the namespace share; what was heard under it counts in every scope."""
    neighbours: tuple[NeighbourSlot, ...] = ()
    """Slots of other lanes that share the scope Namespace; `handover.caFile` has their authorities as well."""

    @model_validator(mode="after")
    def _has_the_key_of_its_scope(self) -> Self:
        if self.scope is SuppressionScope.NAMESPACE and self.namespace_key_file is None:
            raise ValueError("scope: Namespace needs namespaceKeyFile, the key that all lanes of the namespace have")
        return self
