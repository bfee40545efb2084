"""From DNS answers to the hosts and addresses that are tried, or to the reason why there are none; pure.

Rules: RFC 5321 section 5.1 (order, implicit MX, loops), RFC 7505 (null MX). Before it: answers of `cache`. After it:
`router`. Invariant: only definite answers make a permanent failure.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from itertools import groupby
from random import Random
from typing import Final

from lane_api.isppolicy import Category
from lane_relay.records import Hop, Reply, Unroutable
from lane_relay.resolve.answers import Answer, Family, MxRecord, Status

__all__ = ["MAX_HOSTS", "Ourselves", "choose_hosts", "make_hops", "other_family_only"]

MAX_HOSTS: Final = 20
"""MX hosts looked at; real sets have up to ten or so, and each costs lookups."""
_MAX_ADDRESSES: Final = 10
"""Addresses tried a host."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Ourselves:
    """How we recognise that a route leads back to us."""

    def __init__(self, hostname: str, addresses: Sequence[str] = ()) -> None:
        self.hostname = hostname.lower()
        self._own = frozenset(map(_plain, addresses))
        self.on_loopback = not addresses or any(address.is_loopback for address in self._own)
        """Loopback destinations make sense only for a relay that sends from there, or whose address is unknown."""

    def is_reached_at(self, address: str) -> bool:
        """True if the address is ours, or on this machine, however it is written."""
        parsed = _plain(address)
        if parsed in self._own:
            return True
        return parsed.is_unspecified or parsed.is_multicast or (parsed.is_loopback and not self.on_loopback)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that is meant: the IPv4 one inside, where an IPv6 one stands for it (RFC 4291 section 2.5.5.2, and
    RFC 6052 section 2.1 for the well-known prefix of NAT64)."""
    parsed = ipaddress.ip_address(text)
    if parsed.version == 4:
        return parsed
    if parsed in _NAT64:
        return ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.ipv4_mapped or parsed


def _is_mapped(address: str) -> bool:
    """An IPv4 address as an IPv6 one: no address of a host on any network, and a way around all that knows families."""
    return ":" in address and ipaddress.IPv6Address(address).ipv4_mapped is not None


def choose_hosts(domain: str, answer: Answer[MxRecord], random: Random, own_name: str) -> tuple[str, ...] | Unroutable:
    """The hosts to try, in order: by preference, equal ones shuffled; the domain itself where it has no MX."""
    match answer.status:
        case Status.NXDOMAIN:
            return _permanent(Reply(550, (f"5.1.2 Domain {domain} does not exist",)))
        case Status.NODATA:
            return (domain,)  # implicit MX (RFC 5321 section 5.1)
        case Status.SERVFAIL | Status.TIMEOUT:
            return _temporary(domain, answer.status)
        case Status.FOUND:
            return _order(domain, answer.records, random, own_name)


def make_hops(
    domain: str,
    hosts: Sequence[str],
    answers: Mapping[str, Sequence[Answer[str]]],
    ourselves: Ourselves,
    records: Sequence[MxRecord] = (),
) -> tuple[Hop, ...] | Unroutable:
    """The hosts with their addresses; `answers`: of each host, one answer an address family, in order of trying.

    `records`: where the hosts come from, for their preferences; none: the domain itself is the host.
    """
    hops: list[Hop] = []
    failure: Status | None = None
    for host in hosts:
        found = [address for answer in answers[host] for address in answer.records if not _is_mapped(address)]
        if any(ourselves.is_reached_at(address) for address in found):
            # RFC 5321 section 5.1: what is preferred no more than ourselves would come back to us
            equals = _no_better_than(host, records)
            hops = [hop for hop in hops if hop.host not in equals]
            break
        if found:
            hops.append(Hop(host, tuple(found[:_MAX_ADDRESSES])))
        else:
            failure = failure or next((answer.status for answer in answers[host] if not answer.is_definite), None)
    else:
        return tuple(hops) or _without_address(domain, hosts, failure)
    return tuple(hops) or _loop(domain)


def _order(domain: str, records: Sequence[MxRecord], random: Random, own_name: str) -> tuple[str, ...] | Unroutable:
    if all(not record.host for record in records):
        return _permanent(Reply(556, (f"5.1.10 Domain {domain} accepts no mail (null MX)",)))  # RFC 7505 section 4.2
    usable = sorted((record for record in records if _is_host(record.host)), key=lambda record: record.preference)
    if not usable:
        return _permanent(Reply(550, (f"5.4.4 The MX records of {domain} name no host",)))
    hosts: list[str] = []
    for _, group in groupby(usable, key=lambda record: record.preference):
        equal = list(dict.fromkeys(record.host for record in group))
        if own_name in equal:
            break
        random.shuffle(equal)
        hosts += equal
    return tuple(dict.fromkeys(hosts))[:MAX_HOSTS] or _loop(domain)


def _no_better_than(host: str, records: Sequence[MxRecord]) -> frozenset[str]:
    """The hosts whose best preference is this one's, or behind it."""
    best: dict[str, int] = {}
    for record in records:
        best[record.host] = min(record.preference, best.get(record.host, record.preference))
    return frozenset(other for other, preference in best.items() if preference >= best.get(host, preference))


def other_family_only(domain: str, family: Family) -> Unroutable:
    """The domain's hosts have addresses, but none of the family that this slot sends from: another slot's may do."""
    ours, theirs = ("IPv6", "IPv4") if family is Family.V4 else ("IPv4", "IPv6")
    text = f"4.4.4 The mail hosts of {domain} have {theirs} addresses only, and this slot sends by {ours}"
    return Unroutable(Reply(451, (text,)), Category.ROUTING_ERRORS)


def _is_host(name: str) -> bool:
    """A name, as RFC 5321 section 5.1 asks for; addresses in its place are met in the wild and never deliverable."""
    if not name:
        return False
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return True
    return False


def _without_address(domain: str, hosts: Sequence[str], failure: Status | None) -> Unroutable:
    if failure is not None:
        return _temporary(domain, failure)
    names = ", ".join(hosts[:3])
    return _permanent(Reply(550, (f"5.4.4 No mail host of {domain} has an address ({names})",)))


def _permanent(reply: Reply) -> Unroutable:
    return Unroutable(reply, Category.BAD_DOMAIN)


def _temporary(domain: str, status: Status) -> Unroutable:
    why = "the resolver did not answer in time" if status is Status.TIMEOUT else "the resolver answers SERVFAIL"
    return Unroutable(Reply(451, (f"4.4.3 DNS lookup of {domain} failed: {why}",)), Category.DNS_FAILURE)


def _loop(domain: str) -> Unroutable:
    return Unroutable(Reply(554, (f"5.4.6 Mail for {domain} would come back to this host",)), Category.ROUTING_ERRORS)
