"""What a run has shown: pure arithmetic over what ledger, ISPs, witnesses and door have seen.

Invariant: every zero stands beside its denominator, and what could not be looked at counts as broken.
Before: `witness`, `door`, `e2e.load.ledger`. After: `build/figures/chaos_operator.json`.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from e2e.internet.counting import max_in_any_window
from e2e.internet.records import Record
from e2e.load.ledger import Entry, Kill, compare

__all__ = [
    "MOST_REQUESTS",
    "SETTLED_WITHIN_S",
    "STORM_S",
    "Act",
    "Evidence",
    "Figure",
    "Released",
    "Sighting",
    "Verdict",
    "figures_of",
    "judge",
    "told",
]

STORM_S: Final = 10.0
MOST_REQUESTS: Final = 500
"""In any STORM_S: two cold starts (a list of some fifteen kinds and a pass of each lane, 150 requests each) and half
as much again for the passes of what is changed meanwhile."""
MOST_RSS_MIB: Final = 256.0
"""Half of the limit that the chart gives the operator."""
SETTLED_WITHIN_S: Final = 180.0
_MIB: Final = 2**20


@dataclass(frozen=True)
class Sighting:
    """One look at all relays that run: which slot's process has which egress address in which network namespace."""

    at: float
    holders: frozenset[tuple[str, str, int]]
    """(address, slot, inode of the network namespace)"""


@dataclass(frozen=True)
class Released:
    """A queue volume that lost its guard: the finalizer came off its claim, or the claim went."""

    at: float
    claim: str
    uid: str
    live: int | None
    """Recipients that waited on it then; None where its folder was gone before anybody could look."""


@dataclass(frozen=True)
class Act:
    """One thing that was done: when, and seconds from its end until every lane was as asked for; infinite if never."""

    name: str
    began: float
    ended: float
    settled_s: float


@dataclass(frozen=True)
class Evidence:
    """All that was seen."""

    entries: Sequence[Entry] = ()
    records: Sequence[Record] = ()
    expected_ips: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Stream -> the addresses of its lane's pool."""
    relay_kills: Sequence[Kill] = ()
    sightings: Sequence[Sighting] = ()
    released: Sequence[Released] = ()
    foreign_before: Mapping[str, str] = field(default_factory=dict)
    """Object that is nobody's of ours -> `uid resourceVersion`."""
    foreign_after: Mapping[str, str] = field(default_factory=dict)
    requests: Sequence[float] = ()
    """When each request of the operator came to the door."""
    broken: int = 0
    """Those that the door refused, cut, kept or slowed down."""
    rss: Sequence[int] = ()
    """Resident bytes of an operator's process, look by look."""
    acts: Sequence[Act] = ()
    kills: int = 0
    """Operators that were killed."""
    kills_between_requests: int = 0
    """Those among them that died just before or just after a write of a pass."""


@dataclass(frozen=True)
class Verdict:
    """What it comes to."""

    accepted: int
    lost: tuple[str, ...]
    unexplained: tuple[str, ...]
    wrong_ip: tuple[str, ...]
    altered: tuple[str, ...]
    address_in_two_slots: tuple[str, ...]
    sightings: int
    volumes_deleted_with_mail: tuple[str, ...]
    volumes_released: int
    foreign_touched: tuple[str, ...]
    foreign: int
    requests: int
    broken: int
    most_requests: int
    most_rss_mib: float
    not_settled: tuple[str, ...]
    most_settled_s: float
    acts: int
    kills: int
    kills_between_requests: int


@dataclass(frozen=True)
class Figure:
    """One row of the file."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"


def judge(seen: Evidence) -> Verdict:
    """Counts everything."""
    mail = compare(seen.entries, seen.records, seen.expected_ips, seen.relay_kills)
    return Verdict(
        accepted=mail.accepted,
        lost=tuple(mail.lost),
        unexplained=tuple(mail.unexplained),
        wrong_ip=tuple(mail.wrong_ip),
        altered=(*mail.altered, *mail.misdirected),
        address_in_two_slots=tuple(_held_twice(seen.sightings)),
        sightings=sum(bool(one.holders) for one in seen.sightings),
        volumes_deleted_with_mail=tuple(
            f"{one.claim} {one.uid}: {_live(one)}" for one in seen.released if one.live != 0
        ),
        volumes_released=len(seen.released),
        foreign_touched=tuple(sorted(_changed(seen.foreign_before, seen.foreign_after))),
        foreign=len(seen.foreign_before),
        requests=len(seen.requests),
        broken=seen.broken,
        most_requests=max_in_any_window(seen.requests, STORM_S),
        most_rss_mib=max(seen.rss, default=math.inf) / _MIB,
        not_settled=tuple(one.name for one in seen.acts if one.settled_s > SETTLED_WITHIN_S),
        most_settled_s=max((one.settled_s for one in seen.acts), default=math.inf),
        acts=len(seen.acts),
        kills=seen.kills,
        kills_between_requests=seen.kills_between_requests,
    )


def _held_twice(sightings: Iterable[Sighting]) -> list[str]:
    """Each address that two slots, or two pods of one, had at one instant, once for each pair of them."""
    found: dict[str, None] = {}
    for one in sightings:
        by_address: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        for address, slot, space in one.holders:
            by_address[address].add((slot, space))
        for address, holders in sorted(by_address.items()):
            if len({space for _, space in holders}) > 1:
                slots = ", ".join(f"{slot} in {space}" for slot, space in sorted(holders))
                found.setdefault(f"{address}: {slots}")
    return list(found)


def _live(one: Released) -> str:
    return "gone before it could be looked at" if one.live is None else f"{one.live} recipients waited"


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name, version in before.items() if after.get(name) != version]


def figures_of(found: Verdict, kills_asked: int) -> list[Figure]:
    """The rows, those of the promises first."""
    return [
        Figure("kills", found.kills, "kills", kills_asked, "higher"),
        Figure("kills_between_requests", found.kills_between_requests, "kills"),
        Figure("lost", len(found.lost), "messages", 0.0),
        Figure("accepted", found.accepted, "messages", 1.0, "higher"),
        Figure("twice_unexplained", len(found.unexplained), "messages", 0.0),
        Figure("altered", len(found.altered), "messages", 0.0),
        Figure("wrong_ip", len(found.wrong_ip), "messages", 0.0),
        Figure("volumes_deleted_with_mail", len(found.volumes_deleted_with_mail), "volumes", 0.0),
        Figure("volumes_released", found.volumes_released, "volumes", 1.0, "higher"),
        Figure("address_in_two_slots", len(found.address_in_two_slots), "addresses", 0.0),
        Figure("sightings", found.sightings, "looks", 1.0, "higher"),
        Figure("foreign_touched", len(found.foreign_touched), "objects", 0.0),
        Figure("foreign_objects", found.foreign, "objects", 1.0, "higher"),
        Figure("requests_most_10s", found.most_requests, "requests", MOST_REQUESTS),
        Figure("requests", found.requests, "requests", 1.0, "higher"),
        Figure("requests_broken", found.broken, "requests", 1.0, "higher"),
        Figure("rss_most_mib", round(found.most_rss_mib, 1), "MiB", MOST_RSS_MIB),
        Figure("acts", found.acts, "acts", 1.0, "higher"),
        Figure("acts_not_settled", len(found.not_settled), "acts", 0.0),
        Figure("settled_most_s", round(found.most_settled_s, 1), "s", SETTLED_WITHIN_S),
    ]


def told(found: Verdict) -> list[str]:
    """What was broken, by name."""
    named = {
        "lost": found.lost,
        "twice, and no kill explains it": found.unexplained,
        "from a wrong address": found.wrong_ip,
        "altered or misdirected": found.altered,
        "address in two slots": found.address_in_two_slots,
        "volume let go with mail": found.volumes_deleted_with_mail,
        "touched, and not ours": found.foreign_touched,
        "not as asked for in time after": found.not_settled,
    }
    return [f"{what}: {one}" for what, ones in named.items() for one in ones[:20]]
