"""The address plan of the internet: who answers at which 198.51.100.x, and which names lead there.

Invariant: every address and name that a test, the demo or the documentation uses stands here once. The cluster's own
ranges are `e2e.cluster.addresses`. ISPs live under .example, not .test: resolvers answer .test themselves (RFC 6761
section 6.2), and the one beside each relay must ask us. Before: nothing. After: `zones`, `internet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RESOLVER: Final = "198.51.100.2"  # unbound, for nodes and pods
NAMESERVER: Final = "198.51.100.3"  # bind9, authoritative for everything
REFLECTORS: Final = ("198.51.100.5", "198.51.100.6", "198.51.100.7")
LYING_REFLECTOR: Final = "198.51.100.8"  # sees every client at LIE
LIE: Final = "203.0.113.254"
SHARED_POSTFIX: Final = "198.51.100.50"  # the peer that both streams go through: where it listens, and its source
CLIENT: Final = "198.51.100.60"  # where load generators send from
OUTSIDE: Final = "198.51.100.97"  # where a test listens itself, to see who comes
ARCHIVE: Final = "198.51.100.70"  # an S3 server, where a test brings one
DEAD: Final = "198.51.100.99"  # packets to it vanish without a word
EGRESS_PREFIX: Final = "203.0.113."
INTERNET_PREFIX: Final = "198.51.100."
ROUTER_PREFIX: Final = "192.0.2."


@dataclass(frozen=True)
class MxSet:
    """Mail exchangers that belong together, and the domains whose mail they take.

    `bulk` is a zone in which every name is a mail domain: d1.BULK, d2.BULK and so on.
    """

    domains: tuple[str, ...]
    bulk: str
    hosts: tuple[tuple[str, str], ...]  # (host name, address), most preferred first


@dataclass(frozen=True)
class MailProvider:
    """One ISP of the internet: `kind` scripted (e2e.internet.isp) or postfix."""

    name: str
    mx_sets: tuple[MxSet, ...]
    kind: str = "scripted"

    @property
    def hosts(self) -> tuple[tuple[str, str], ...]:
        """All its mail exchangers."""
        return tuple(host for mx_set in self.mx_sets for host in mx_set.hosts)

    @property
    def domains(self) -> tuple[str, ...]:
        """Shell patterns of all domains whose mail it takes."""
        return tuple(
            pattern for mx_set in self.mx_sets for pattern in (*mx_set.domains, mx_set.bulk, f"*.{mx_set.bulk}")
        )


def _mx_set(domains: str, bulk: str, *hosts: tuple[str, int]) -> MxSet:
    return MxSet(tuple(domains.split()), bulk, tuple((name, f"{INTERNET_PREFIX}{last}") for name, last in hosts))


GMAIL = MailProvider(
    "gmail-like",
    (_mx_set("gmail-like.example", "bulk-g.example", ("mx1.gmail-like.example", 10), ("mx2.gmail-like.example", 11)),),
)
OUTLOOK = MailProvider(  # one policy over two MX sets: consumers and hosted companies
    "outlook-like",
    (
        _mx_set(
            "outlook-like.example", "bulk-o.example", ("mx1.outlook-like.example", 12), ("mx2.outlook-like.example", 13)
        ),
        _mx_set(
            "company.example",
            "bulk-c.example",
            ("mxa.protect.outlook-like.example", 14),
            ("mxb.protect.outlook-like.example", 15),
        ),
    ),
)
YAHOO = MailProvider(
    "yahoo-like",
    (
        _mx_set(
            "yahoo-like.example", "bulk-y.example", ("mta1.yahoo-like.example", 16), ("mta2.yahoo-like.example", 17)
        ),
    ),
)
GMX = MailProvider(
    "gmx-like",
    (_mx_set("gmx-like.example", "bulk-x.example", ("mx00.gmx-like.example", 18), ("mx01.gmx-like.example", 19)),),
)
FREEMAIL = MailProvider(
    "freemail",
    (_mx_set("freemail.example", "bulk-f.example", ("mx1.freemail.example", 20), ("mx2.freemail.example", 21)),),
)
PLAIN = MailProvider(
    "plain",
    (_mx_set("plain.example", "bulk-p.example", ("mx1.plain.example", 22), ("mx2.plain.example", 23)),),
    kind="postfix",
)
PROVIDERS: Final = (GMAIL, OUTLOOK, YAHOO, GMX, FREEMAIL, PLAIN)
SCRIPTED: Final = tuple(one for one in PROVIDERS if one.kind == "scripted")

# Domains with something peculiar about them; each has a test that needs it.
NULL_MX_DOMAIN: Final = "nullmx.example"
IMPLICIT_MX_DOMAIN: Final = "implicit.example"  # no MX, an address: FREEMAIL's first host
NXDOMAIN: Final = "no-such-domain.example"
SERVFAIL_DOMAIN: Final = "broken.example"
DEAD_DOMAIN: Final = "dead.example"
FIRST_MX_DEAD_DOMAIN: Final = "half-dead.example"  # its preferred host is DEAD, the next is FREEMAIL's first

SENDER_ZONES: Final = ("example.com", "example.net", "example.org")  # take updates: DKIM records, addresses
REVERSE_ZONES: Final = {
    "113.0.203.in-addr.arpa": EGRESS_PREFIX,
    "100.51.198.in-addr.arpa": INTERNET_PREFIX,
    "2.0.192.in-addr.arpa": ROUTER_PREFIX,
}


def egress_hostname(ip: str) -> str:
    """The name an egress address has unless somebody publishes another: out10.example.com for 203.0.113.10."""
    return f"out{ip.rpartition('.')[2]}.example.com"


def internet_addresses() -> tuple[str, ...]:
    """Every address that the place of the internet must have, resolver and router excepted."""
    mail = (address for provider in PROVIDERS for _, address in provider.hosts)
    return (NAMESERVER, *REFLECTORS, LYING_REFLECTOR, *mail, SHARED_POSTFIX, CLIENT)
