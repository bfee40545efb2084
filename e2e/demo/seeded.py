"""Proves that the demo's counting counts: known faults are put into a copy of the records and must be found.

Invariant: the run's own records are not touched; each fault changes the one count that it is meant for, by one.
Before: the ISPs' records of this run. After: `report`, which prints both numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from e2e.demo.measure import Way
from e2e.internet.records import Message, Record
from e2e.load.ledger import Comparison, Entry, compare


@dataclass(frozen=True)
class Counts:
    """What must be zero."""

    wrong_ip: int
    lost: int
    duplicated: int

    @classmethod
    def of(cls, found: Comparison) -> Counts:
        """As this comparison has counted."""
        return cls(len(found.wrong_ip), len(found.lost), sum(found.duplicated.values()))


def altered(records: Sequence[Record], streams: Iterable[str], elsewhere: str) -> list[Record]:
    """A copy in which one message of these streams is lost, one came twice and one came from `elsewhere`.

    Raises ValueError if there are fewer than three.
    """
    own = tuple(f"<{stream}." for stream in streams)
    mine = (one for one in records if isinstance(one, Message) and one.message_id.startswith(own))
    lost, twice, strayed = itertools.islice(mine, 3)
    copy = [one for one in records if one is not lost and one is not strayed]
    return [*copy, twice, msgspec.structs.replace(strayed, source_ip=elsewhere)]


def delayed(records: Sequence[Record], message_ids: frozenset[str], by: float) -> list[Record]:
    """A copy in which each of these messages arrived so many seconds later."""
    return [
        msgspec.structs.replace(one, at=one.at + by)
        if isinstance(one, Message) and one.message_id in message_ids
        else one
        for one in records
    ]


def seeded_counts(entries: Sequence[Entry], records: Sequence[Record], way: Way) -> tuple[Counts, Counts]:
    """(what the run's records give, what the altered copy gives): each count must differ by exactly one."""
    expected = way.expected_ips()
    copy = altered(records, [way.stream("bulk")], min(way.otp_ips))
    return Counts.of(compare(entries, records, expected)), Counts.of(compare(entries, copy, expected))


def found_all(before: Counts, after: Counts) -> bool:
    """The counting has found every seeded fault, and nothing else."""
    return after == Counts(before.wrong_ip + 1, before.lost + 1, before.duplicated + 1)
