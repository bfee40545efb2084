"""The records of a lane's domains as external-dns' DNSEndpoint: keys, and MX and SPF of return paths; pure.

It has no owner and stays when the lane goes, as the keys do: what was signed is verified later, and a lane of its name
goes on without waiting for DNS. What is published counts as published when DNS answers it, never before. What is not
known now, as of a key that cannot be read, stays as it is in the object: external-dns takes out of DNS what leaves it.
Invariant: a lane's writer chooses names, and external-dns may write more zones than are his, so that a record of a name
that the installation does not give his namespace is not made; one that stands there is neither changed nor withdrawn.
Source of the format: external-dns, docs/sources/{crd,txt-record,mx-record}.md.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address

from lane_api.domains import LaneDomain
from lane_operator.inputs import DkimKey, Lane, Manifest, Pool, References
from lane_operator.organizations import is_below

__all__ = ["HOSTNAME_ANNOTATION", "dns_endpoint", "publishes", "unpublishable"]

HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
"""On a Service of type LoadBalancer: external-dns publishes its address under this name."""
STRING_LIMIT = 255
"""Octets of one string of a TXT record (RFC 1035 section 3.3)."""
PREFERENCE = 10
SHOWN = 5


def publishes(lane: Lane) -> tuple[LaneDomain, ...]:
    """The domains whose records external-dns is to publish."""
    return tuple(domain for domain in lane.spec.domains if domain.dns.provider == "ExternalDNS")


def dns_endpoint(lane: Lane, references: References, signing: Collection[str] = ()) -> Manifest | None:
    """The DNSEndpoint; None where every domain's records are published by hand, or none is known yet.

    `signing` are names of the records of keys that slots sign with: what stands of them stays, also where the key is to
    be another.
    """
    standing = _standing(references)
    rows = []
    for domain in publishes(lane):
        for row in _records(lane, domain, references, standing, signing):
            allowed = row if is_below(row["dnsName"], references.publishable) else standing.get(_identity(row))
            if allowed is not None:
                rows.append(allowed)
    if not rows:
        return None
    return {
        "apiVersion": "externaldns.k8s.io/v1alpha1",
        "kind": "DNSEndpoint",
        "metadata": {"name": lane.name},
        "spec": {"endpoints": rows},
    }


def unpublishable(lane: Lane, references: References) -> str:
    """Which names external-dns is not asked for, with the fix; empty where there are none."""
    asked = (name for domain in publishes(lane) for name in _names(domain))
    names = [name for name in dict.fromkeys(asked) if not is_below(name, references.publishable)]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"external-dns is asked for no records of {', '.join(names[:SHOWN])}{more}: the chart's value dns.domains does "
        f"not list them, or a domain above, for namespace {lane.namespace}. List them there, or publish the records "
        "yourself and set domains[].dns.provider to Manual"
    )


def _names(domain: LaneDomain) -> Iterator[str]:
    """What a domain's records are of."""
    if domain.dkim.mode == "Sign":
        yield domain.name
    if domain.return_path is not None and domain.return_path.mode == "Rewrite":
        yield domain.return_path.domain


def _standing(references: References) -> dict[tuple[str, str], Manifest]:
    """The records of the object as it is."""
    rows = ((references.dns_endpoint or {}).get("spec") or {}).get("endpoints") or ()
    return {_identity(row): row for row in rows}


def _identity(row: Manifest) -> tuple[str, str]:
    return (row.get("dnsName", ""), row.get("recordType", ""))


def _records(
    lane: Lane,
    domain: LaneDomain,
    references: References,
    standing: Mapping[tuple[str, str], Manifest],
    signing: Collection[str],
) -> Iterator[Manifest]:
    if domain.dkim.mode == "Sign":
        yield from _of_keys(domain, references.dkim.get(domain.name), standing, signing)
    path = domain.return_path
    if path is None or path.mode != "Rewrite":
        return
    sources = _sources(lane, references.pool)
    if sources:
        yield _text(domain, path.domain, " ".join(("v=spf1", *sources, "-all")))
    elif references.pool is None and (path.domain, "TXT") in standing:  # its slots send on
        yield standing[path.domain, "TXT"]
    host = lane.spec.feedback.service.hostname if lane.spec.feedback is not None else None
    if host:
        yield _record(domain, path.domain, "MX", f"{PREFERENCE} {host}")


def _of_keys(
    domain: LaneDomain,
    key: DkimKey | None,
    standing: Mapping[tuple[str, str], Manifest],
    signing: Collection[str],
) -> Iterator[Manifest]:
    suffix = f"._domainkey.{domain.name}"
    known = {f"{one.selector}{suffix}": one.public_record for one in _keys(key) if one.public_record}
    for name, record in known.items():
        yield _text(domain, name, record)
    for (name, kind), row in standing.items():
        if kind == "TXT" and name.endswith(suffix) and name not in known and (not known or name in signing):
            yield row


def _keys(key: DkimKey | None) -> Iterator[DkimKey]:
    """The key that signs, the next one, and the one before while mail that it signed is under way."""
    turn = key.turn if key is not None else None
    for one in (key, turn.following if turn else None, turn.before if turn else None):
        if one is not None:
            yield one
        if one is not None and one.second is not None:
            yield one.second


def _sources(lane: Lane, pool: Pool | None) -> list[str]:
    """The pool's addresses as SPF spells them, those in standby and quarantine too; of a pool that is closed to the
    lane what it still has; none where they are not known."""
    if pool is None:
        return []
    if pool.is_open_to(lane):
        found = [ip for address in pool.spec.addresses for ip in address.ips]
    else:
        name = "/".join(lane.key)
        found = [one.ip for one in pool.status.addresses if one.lane == name and one.released_at is None]
    return [f"ip{address.version}:{address}" for address in map(ip_address, found)]


def _text(domain: LaneDomain, name: str, text: str) -> Manifest:
    return _record(domain, name, "TXT", _quoted(text) if domain.dns.text == "Quoted" else text)


def _quoted(text: str) -> str:
    """As a zone file spells it: strings of at most 255 octets. Keys and SPF are ASCII, and hold nothing to escape."""
    parts = (text[at : at + STRING_LIMIT] for at in range(0, len(text), STRING_LIMIT))
    return " ".join(f'"{part}"' for part in parts)


def _record(domain: LaneDomain, name: str, kind: str, target: str) -> Manifest:
    return {"dnsName": name, "recordType": kind, "recordTTL": domain.dns.ttl, "targets": [target]}
