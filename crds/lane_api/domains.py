"""A lane's From domains and how each is signed."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.feedback import ReturnPathSpec
from lane_api.model import ApiModel, Label, MailDomain, ObjectName, cel
from lane_api.quantities import Duration, Span

__all__ = ["ROTATE_EVERY_S", "DkimSpec", "DnsSpec", "LaneDomain"]

ROTATE_EVERY_S = 2160 * 3600.0
"""A quarter of a year."""


class DkimSpec(ApiModel):
    """DKIM of one domain (RFC 6376): RSA-2048, relaxed/relaxed, and Ed25519 beside it (RFC 8463)."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.secretName) || has(self.selector)",
                "a given key (secretName) needs selector: the label under _domainkey that publishes its public half",
            ),
            (
                "!has(self.rotateEvery) || !(has(self.secretName) || has(self.selector))",
                "a key or selector that you give is yours to change: take out rotateEvery, or secretName and selector",
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

    Absent: a key is made once, in a Secret named in status; another one is made only by `rotateEvery`.
    """
    ed25519: bool = True
    """Sign with an Ed25519 key too, made beside the generated one; it joins in once DNS answers the second record in
    status, for which no mail waits. A given key (secretName) signs alone. Default true."""
    rotate_every: Span | None = None
    """How long a generated key signs before the next one is made. Its record is in status and, with ExternalDNS, in the
    DNSEndpoint; it signs when every slot has found it in DNS and `propagation` is over, and until then the present key
    goes on (docs/dns.md). Setting it first restarts the slots, one by one. Default 2160h with `dns.provider:
    ExternalDNS`, else never: where you publish, each new key asks you to."""
    propagation: Duration = 48 * 3600.0
    """How long DNS answers the next key before it signs: caches of receivers and secondary servers catch up meanwhile.
    Default 48h."""
    retire: Duration = 168 * 3600.0
    """How long the record of the key before stays, since mail that it signed is still under way, queued at receivers or
    verified late; then the operator forgets the key and says that the record may go. Default 168h."""


class DnsSpec(ApiModel):
    """Who publishes the domain's records: its keys, and of a return path that is rewritten MX and SPF."""

    provider: Literal["Manual", "ExternalDNS"] = "Manual"
    """Manual: you, from what status shows. ExternalDNS: the operator writes them into the DNSEndpoint `LANE`, which
    external-dns publishes (docs/dns.md). What counts either way is what DNS answers. Default Manual."""
    ttl: Annotated[int, Field(ge=60, le=86_400)] = 300
    """Of the records, in seconds, for ExternalDNS. Default 300."""
    text: Literal["Quoted", "Plain"] = "Quoted"
    """How the DNSEndpoint spells TXT records. Quoted: as a zone file does, in strings of 255 characters, for Route 53,
    Cloud DNS, Cloudflare and RFC 2136. Plain: as one bare text, for Azure DNS. Default Quoted."""


class LaneDomain(ApiModel):
    """A From domain of the lane."""

    name: MailDomain
    """Exactly what the header From has after its @; mail of another domain, or of one below it, is refused with 550
    5.7.1."""
    dkim: DkimSpec = DkimSpec()
    return_path: ReturnPathSpec | None = None
    """Needs `feedback` with mode Rewrite. Default: the sender's own envelope goes out."""
    dns: DnsSpec = DnsSpec()

    @property
    def signing(self) -> DkimSpec:
        """How it is signed, with the default that depends on who publishes: a key that is ours, and that another
        program publishes by itself, gives way by itself."""
        is_given = self.dkim.secret_name is not None or self.dkim.selector is not None
        if self.dkim.rotate_every is not None or is_given or self.dns.provider != "ExternalDNS":
            return self.dkim
        return self.dkim.model_copy(update={"rotate_every": ROTATE_EVERY_S})
