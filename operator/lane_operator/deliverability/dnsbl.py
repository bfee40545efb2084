"""Which of a pool's addresses are in which blocklist: from what DNS answered, and what was known; pure.

A list is believed while it works: it has its test address and not the one that no list has (RFC 5782, sections 5 and
2.1). Answers in 127.255.255.0/24 say that the list does not talk to whoever asks (too many queries, a public
resolver, a misspelt zone: docs.spamhaus.com), what is outside of 127.0.0.0/8 comes from a domain that was sold or a
resolver that answers everything. Neither lists anybody.
Invariants: one look changes nothing; a list that does not work neither lists nor frees an address; what it said last
counts for a day. Before it: `blocklists`, which asks. After it: the pool's status, and `pools.quarantine`.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address

from lane_api.dnsbl import Listing, shown

__all__ = ["LOOKS", "Answer", "Known", "Standing", "ZoneLook", "decide", "probes", "query_name", "remembered"]

LOOKS = 2
"""So many in a row that say the same until it counts."""
BELIEVED_FOR = dt.timedelta(days=1)
"""How long a listing counts that its list, which does not work, neither confirms nor denies."""
_CODES = IPv4Network("127.0.0.0/8")
_ERRORS = IPv4Network("127.255.255.0/24")
_BLOCKED = IPv4Address("127.0.0.1")  # "access blocked" at SURBL and URIBL; RFC 5782 section 2.1 has no list answer it
_ERROR_MEANINGS = {
    "127.255.255.252": "the zone is misspelt",
    "127.255.255.254": "the resolver is public or has no name of its own: name one of yours in dnsbl.resolvers",
    "127.255.255.255": "too many queries: it wants to be paid, or asked less often",
}
"""Spamhaus' (docs.spamhaus.com); others have taken them over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says at one name."""

    codes: tuple[str, ...] = ()
    """Addresses; none: there is no such name."""
    failure: str = ""
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class ZoneLook:
    """One look at one list, for the addresses of one family."""

    zone: str
    family: int
    """4 or 6."""
    listed: Answer
    """At the test address that every list has."""
    unlisted: Answer
    """At the one that none has."""
    addresses: Mapping[str, Answer] = field(default_factory=dict)
    """By address, as the pool spells it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one address in one list."""

    listing: Listing
    counts: bool
    """It has been found often enough, and not been missed as often."""
    contrary: int
    """Looks on end that said otherwise: found, where it does not count yet; not found, where it does."""
    confirmed_at: dt.datetime
    """When it was found last."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of all addresses of a pool; the key is (address, list as it is shown)."""

    known: Mapping[tuple[str, str], Known] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """Lists that do not work, and why; one that works for a single family names the other."""
    without_ipv6: tuple[str, ...] = ()
    """Lists that work, and have no IPv6 address, as many: they say nothing of those of the pool."""

    def listings(self, ip: str) -> tuple[Listing, ...]:
        """The lists that have an address, in order of name."""
        found = (one.listing for (of, _), one in sorted(self.known.items()) if of == ip and one.counts)
        return tuple(found)

    @property
    def is_in_doubt(self) -> bool:
        """A look has said otherwise than what counts: the next decides."""
        return any(one.contrary for one in self.known.values())


def remembered(listings: Mapping[str, Iterable[Listing]], now: dt.datetime) -> Standing:
    """What a pool's status says, as after a restart: it counts until two looks say otherwise."""
    known = {
        (ip, one.list): Known(one, counts=True, contrary=0, confirmed_at=now)
        for ip, its in listings.items()
        for one in its
    }
    return Standing(known)


def decide(before: Standing, looks: Iterable[ZoneLook], now: dt.datetime) -> Standing:
    """What is known after a look at every list; what is in none of the looks is asked for no more, and forgotten."""
    known: dict[tuple[str, str], Known] = {}
    troubles: dict[str, dict[int, str]] = {}
    families: dict[str, set[int]] = {}
    for look in looks:
        name = shown(look.zone)
        families.setdefault(name, set()).add(look.family)
        wrong = trouble = _trouble(look)
        for ip, answer in look.addresses.items():
            its = _unusable(answer)
            wrong = wrong or its
            old = before.known.get((ip, name))
            new = _unheard(old, now) if its or trouble else _heard(old, name, answer.codes, now)
            if new is not None:
                known[ip, name] = new
        if wrong:
            troubles.setdefault(name, {})[look.family] = wrong
    ipv4_alone = tuple(name for name in sorted(troubles) if 4 in families[name] and troubles[name] == _NO_IPV6)
    broken = {name: _told(found, families[name]) for name, found in sorted(troubles.items()) if name not in ipv4_alone}
    return Standing(known, broken, ipv4_alone)


def query_name(ip: str, zone: str) -> str:
    """Where a list has an address: octets or nibbles, reversed (RFC 5782 sections 2.1, 2.4)."""
    reverse = ip_address(ip).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def probes(family: int) -> tuple[str, str]:
    """The address that every working list has, and the one that none has (RFC 5782 section 5)."""
    return ("127.0.0.2", "127.0.0.1") if family == 4 else ("::ffff:7f00:2", "::ffff:7f00:1")


def _heard(old: Known | None, name: str, codes: tuple[str, ...], now: dt.datetime) -> Known | None:
    """After a look that may be believed."""
    codes = tuple(sorted(codes, key=ip_address))
    if old is None:
        since = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Known(Listing(list=name, codes=codes, since=since), False, 1, now) if codes else None
    if old.counts and not codes:
        return replace(old, contrary=old.contrary + 1) if old.contrary + 1 < LOOKS else None
    if not codes:
        return None
    looks = 0 if old.counts else old.contrary + 1
    counts = old.counts or looks >= LOOKS
    listing = old.listing.model_copy(update={"codes": codes})
    return Known(listing, counts, 0 if counts else looks, now)


def _unheard(old: Known | None, now: dt.datetime) -> Known | None:
    """After one that says nothing: what does not count yet has to be found twice in a row, all the same."""
    if old is None or not old.counts or now - old.confirmed_at > BELIEVED_FOR:
        return None
    return old


def _trouble(look: ZoneLook) -> str:
    """Why the list cannot be believed; empty where it can."""
    _, unlisted = probes(look.family)
    wrong = _unusable(look.listed) or _unusable(look.unlisted)
    if wrong:
        return wrong
    if not look.listed.codes:
        return _missing(look.family)
    return f"has {unlisted}, so it has every address" if look.unlisted.codes else ""


def _missing(family: int) -> str:
    return f"does not have its test address {probes(family)[0]}"


_NO_IPV6 = {6: _missing(6)}


def _unusable(answer: Answer) -> str:
    """Why an answer says nothing of an address; empty where it does."""
    if answer.failure:
        return f"does not answer: {answer.failure}"
    for code in answer.codes:
        value = IPv4Address(code)
        if value in _ERRORS:
            return f"answers {code}: {_ERROR_MEANINGS.get(code, 'an error')}"
        if value not in _CODES:
            return f"answers {code}, which is no list's answer: its domain was sold, or the resolver makes answers up"
        if value == _BLOCKED:
            return f"answers {code}: it does not talk to the resolver"
    return ""


def _told(troubles: Mapping[int, str], families: set[int]) -> str:
    if len(troubles) < len(families):
        ((family, text),) = troubles.items()
        return f"{text} (for IPv{family} alone)"
    return next(iter(troubles.values()))
