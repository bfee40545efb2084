"""The content of the internet's DNS as zone files; pure text.

Invariant: times to live are short (a record published by a test counts at once), every zone has its SOA and NS, and
each peculiar domain is exactly as peculiar as its name in `addresses` says.
Before: `addresses`. After: `dns`, which gives the files to bind9.
"""

from __future__ import annotations

from e2e.internet.addresses import (
    DEAD,
    DEAD_DOMAIN,
    EGRESS_PREFIX,
    FIRST_MX_DEAD_DOMAIN,
    FREEMAIL,
    IMPLICIT_MX_DOMAIN,
    NAMESERVER,
    NULL_MX_DOMAIN,
    PROVIDERS,
    REVERSE_ZONES,
    SENDER_ZONES,
    SERVFAIL_DOMAIN,
    MxSet,
    egress_hostname,
)

TTL_S = 60
NEGATIVE_TTL_S = 5  # how long a missing record may be believed missing (RFC 2308)
NS_NAME = "ns1.example.net."
DYNAMIC = (*SENDER_ZONES, "113.0.203.in-addr.arpa")  # zones that take updates
TLDS = ("example", "com", "net", "org", "arpa")


def _head(minimum: int = NEGATIVE_TTL_S) -> list[str]:
    return [
        f"$TTL {TTL_S}",
        f"@ IN SOA {NS_NAME} hostmaster.example.net. 1 3600 600 86400 {minimum}",
        f"@ IN NS {NS_NAME}",
    ]


def _mx(domain: str, mx_set: MxSet) -> list[str]:
    return [f"{domain}. IN MX {10 * (index + 1)} {host}." for index, (host, _) in enumerate(mx_set.hosts)]


def _root() -> list[str]:
    lines = _head()
    lines += [f"{tld}. IN NS {NS_NAME}" for tld in TLDS]
    return [*lines, f"{NS_NAME} IN A {NAMESERVER}"]


def _tld(tld: str) -> list[str]:
    children = [zone for zone in (*SENDER_ZONES, *REVERSE_ZONES) if zone.endswith(f".{tld}")]
    glue = [f"{NS_NAME} IN A {NAMESERVER}"] if NS_NAME.endswith(f".{tld}.") else []
    return [*_head(), *(f"{zone}. IN NS {NS_NAME}" for zone in children), *glue]


def _isps() -> list[str]:
    lines = _head()
    for provider in PROVIDERS:
        for mx_set in provider.mx_sets:
            for domain in (*mx_set.domains, mx_set.bulk, f"*.{mx_set.bulk}"):
                lines += _mx(domain, mx_set)
            lines += [f"{host}. IN A {address}" for host, address in mx_set.hosts]
    first_of_freemail, its_address = FREEMAIL.hosts[0]
    return [
        *lines,
        f"{NULL_MX_DOMAIN}. IN MX 0 .",
        f"{IMPLICIT_MX_DOMAIN}. IN A {its_address}",
        f"{DEAD_DOMAIN}. IN MX 10 mx1.{DEAD_DOMAIN}.",
        f"mx1.{DEAD_DOMAIN}. IN A {DEAD}",
        f"{FIRST_MX_DEAD_DOMAIN}. IN MX 10 mx1.{DEAD_DOMAIN}.",
        f"{FIRST_MX_DEAD_DOMAIN}. IN MX 20 {first_of_freemail}.",
        f"{SERVFAIL_DOMAIN}. IN NS {NS_NAME}",
    ]


def _sender(zone: str) -> list[str]:
    lines = _head()
    if zone == "example.net":
        lines.append(f"{NS_NAME} IN A {NAMESERVER}")
    if zone == "example.com":
        addresses = [f"{EGRESS_PREFIX}{last}" for last in range(1, 255)]
        lines += [f"{egress_hostname(address)}. IN A {address}" for address in addresses]
    return lines


def _reverse(zone: str) -> list[str]:
    lines = _head()
    if REVERSE_ZONES[zone] == EGRESS_PREFIX:
        lines += [f"{last} IN PTR {egress_hostname(f'{EGRESS_PREFIX}{last}')}." for last in range(1, 255)]
    for provider in PROVIDERS:
        for host, address in provider.hosts:
            if address.startswith(REVERSE_ZONES[zone]):
                lines.append(f"{address.rpartition('.')[2]} IN PTR {host}.")
    return lines


def zone_files() -> dict[str, str]:
    """Zone name -> content of its file, for every zone but the one that is broken on purpose."""
    zones = {".": _root(), "example": _isps()}
    zones |= {tld: _tld(tld) for tld in TLDS if tld not in zones}
    zones |= {zone: _sender(zone) for zone in SENDER_ZONES}
    zones |= {zone: _reverse(zone) for zone in REVERSE_ZONES}
    return {zone: "\n".join(lines) + "\n" for zone, lines in zones.items()}
