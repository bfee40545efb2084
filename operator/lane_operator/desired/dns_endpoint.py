"""The records of a lane's domains as external-dns' DNSEndpoint: keys, and MX and SPF of return paths; pure.

It has no owner and stays when the lane goes, as the keys do: what was signed is verified later, and a lane of its name
goes on without waiting for DNS. What is published counts as published when DNS answers it, never before.
Source of the format: external-dns, docs/sources/{crd,txt-record,mx-record}.md.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from lane_api.domains import LaneDomain
from lane_operator.inputs import DkimKey, Lane, Manifest, References

__all__ = ["HOSTNAME_ANNOTATION", "dns_endpoint", "publishes"]

HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
"""On a Service of type LoadBalancer: external-dns publishes its address under this name."""
STRING_LIMIT = 255
"""Octets of one string of a TXT record (RFC 1035 section 3.3)."""
PREFERENCE = 10


def publishes(lane: Lane) -> tuple[LaneDomain, ...]:
    """The domains whose records external-dns is to publish."""
    return tuple(domain for domain in lane.spec.domains if domain.dns.provider == "ExternalDNS")


def dns_endpoint(lane: Lane, references: References) -> Manifest | None:
    """The DNSEndpoint; None where every domain's records are published by hand, or none is known yet."""
    rows = [row for domain in publishes(lane) for row in _records(lane, domain, references)]
    if not rows:
        return None
    return {
        "apiVersion": "externaldns.k8s.io/v1alpha1",
        "kind": "DNSEndpoint",
        "metadata": {"name": lane.name},
        "spec": {"endpoints": rows},
    }


def _records(lane: Lane, domain: LaneDomain, references: References) -> Iterator[Manifest]:
    for one in _keys(references.dkim.get(domain.name) if domain.dkim.mode == "Sign" else None):
        if one.public_record:
            yield _text(domain, f"{one.selector}._domainkey.{domain.name}", one.public_record)
    path = domain.return_path
    if path is None or path.mode != "Rewrite":
        return
    sources = _sources(references)
    if sources:
        yield _text(domain, path.domain, " ".join(("v=spf1", *sources, "-all")))
    host = lane.spec.feedback.service.hostname if lane.spec.feedback is not None else None
    if host:
        yield _record(domain, path.domain, "MX", f"{PREFERENCE} {host}")


def _keys(key: DkimKey | None) -> Iterator[DkimKey]:
    """The key that signs, the next one, and the one before while mail that it signed is under way."""
    turn = key.turn if key is not None else None
    for one in (key, turn.following if turn else None, turn.before if turn else None):
        if one is not None:
            yield one
        if one is not None and one.second is not None:
            yield one.second


def _sources(references: References) -> list[str]:
    """The pool's addresses as SPF spells them, those in standby and quarantine too; none where they are not known."""
    pool = references.pool
    found = [ip_address(ip) for address in pool.spec.addresses for ip in address.ips] if pool is not None else []
    return [f"ip{address.version}:{address}" for address in found]


def _text(domain: LaneDomain, name: str, text: str) -> Manifest:
    return _record(domain, name, "TXT", _quoted(text) if domain.dns.text == "Quoted" else text)


def _quoted(text: str) -> str:
    """As a zone file spells it: strings of at most 255 octets. Keys and SPF are ASCII, and hold nothing to escape."""
    parts = (text[at : at + STRING_LIMIT] for at in range(0, len(text), STRING_LIMIT))
    return " ".join(f'"{part}"' for part in parts)


def _record(domain: LaneDomain, name: str, kind: str, target: str) -> Manifest:
    return {"dnsName": name, "recordType": kind, "recordTTL": domain.dns.ttl, "targets": [target]}
