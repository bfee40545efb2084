"""The ledger of what was offered, and its comparison with what the ISPs wrote down: pure.

Invariant: only a message that got 250 can be lost; one that is nowhere has infinite latency; every zero comes with
its denominator. A duplicate is explained by the ISP's records and the time of a kill alone (`Kill`).
Before: `generate` (writes the ledger) and `e2e.internet.records`. After: tests, demo, `build/figures`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from e2e.internet.counting import open_at
from e2e.internet.records import Connection, Message, Record

FIRST_COPY_BEFORE_KILL_S = 1.0  # a copy accepted longer before the kill had time to be journalled


class Entry(msgspec.Struct, frozen=True):
    """One message that was offered: `scheduled`, `sent`, `replied` in seconds of the wall clock."""

    stream: str
    message_id: str
    correlation_id: str
    sender: str
    recipient: str
    body_sha256: str
    scheduled: float
    sent: float
    replied: float
    outcome: Literal["accepted", "refused", "in-doubt"]
    code: int
    text: str
    tries: int


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def read(file: Path) -> list[Entry]:
    """The entries of a ledger file; none if it does not exist."""
    return [_decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []


@dataclass(frozen=True)
class Kill:
    """A relay that was killed: when, and the address of its slot."""

    at: float
    source_ip: str


@dataclass(frozen=True)
class Latency:
    """Scheduled time to the ISP's 250, in seconds; the undelivered count as infinite."""

    count: int
    delivered: int
    p50: float
    p99: float
    most: float


def percentile(values: Iterable[float], share: float) -> float:
    """The exact value that `share` (0 to 1) of all values do not exceed (nearest rank); infinite if there are none."""
    ordered = sorted(values)
    if not ordered:
        return math.inf
    # the product of two decimals may land a hair above the whole number that it means
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


@dataclass
class Comparison:
    """What became of the accepted messages of all streams."""

    accepted: int = 0
    refused: int = 0
    in_doubt: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: dict[str, int] = field(default_factory=dict)  # message id -> copies beyond the first
    unexplained: list[str] = field(default_factory=list)  # duplicated, and no kill accounts for it
    wrong_ip: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)  # arrived with another body
    misdirected: list[str] = field(default_factory=list)  # arrived for another recipient than it was sent to
    unknown: list[str] = field(default_factory=list)  # at an ISP, in no ledger
    source_ips: dict[str, Counter[str]] = field(default_factory=dict)  # stream -> address -> messages
    latency: dict[str, Latency] = field(default_factory=dict)  # by stream


def compare(
    entries: Iterable[Entry],
    records: Iterable[Record],
    expected_ips: Mapping[str, frozenset[str]],
    kills: Sequence[Kill] = (),
) -> Comparison:
    """Compares ledgers with ISP records; `expected_ips` names each stream's own source addresses."""
    everything = list(records)
    arrived: defaultdict[str, list[Message]] = defaultdict(list)
    for record in everything:
        if isinstance(record, Message):
            arrived[record.message_id].append(record)
    for copies in arrived.values():
        copies.sort(key=lambda message: message.at)
    result = Comparison()
    ledger = list(entries)
    for entry in ledger:
        _judge(entry, arrived.get(entry.message_id, []), expected_ips.get(entry.stream), result)
    result.unknown = sorted(arrived.keys() - {entry.message_id for entry in ledger})
    duplicates = [arrived[message_id] for message_id in result.duplicated]
    connections = [record for record in everything if isinstance(record, Connection)]
    result.unexplained = unexplained_duplicates(duplicates, kills, connections)
    for stream in {entry.stream for entry in ledger}:
        result.latency[stream] = latency(latencies((one for one in ledger if one.stream == stream), arrived))
    return result


def _judge(entry: Entry, copies: list[Message], own_ips: frozenset[str] | None, result: Comparison) -> None:
    match entry.outcome:
        case "accepted":
            result.accepted += 1
            if not copies:
                result.lost.append(entry.message_id)
        case "refused":
            result.refused += 1
        case "in-doubt":
            result.in_doubt += 1
    if len(copies) > 1:
        result.duplicated[entry.message_id] = len(copies) - 1
    seen = result.source_ips.setdefault(entry.stream, Counter())
    for copy in copies:
        seen[copy.source_ip] += 1
        if own_ips is not None and copy.source_ip not in own_ips:
            result.wrong_ip.append(entry.message_id)
        if copy.body_sha256 != entry.body_sha256:
            result.altered.append(entry.message_id)
        if entry.recipient not in copy.recipients:
            result.misdirected.append(entry.message_id)


def latencies(entries: Iterable[Entry], arrived: Mapping[str, Sequence[Message]]) -> list[float]:
    """Seconds from scheduled time to the first copy's 250, for every message offered; infinite if there is none."""
    return [
        arrived[entry.message_id][0].at - entry.scheduled if arrived.get(entry.message_id) else math.inf
        for entry in entries
    ]


def latency(values: Sequence[float]) -> Latency:
    """Exact percentiles of latencies."""
    return Latency(
        count=len(values),
        delivered=sum(1 for value in values if math.isfinite(value)),
        p50=percentile(values, 0.50),
        p99=percentile(values, 0.99),
        most=max(values, default=math.inf),
    )


def unexplained_duplicates(
    duplicates: Iterable[Sequence[Message]], kills: Sequence[Kill], connections: Sequence[Connection]
) -> list[str]:
    """The message ids of duplicates that no kill accounts for.

    A kill accounts for a second copy if the first came from the killed slot's address over a connection opened before
    the kill, at most 1 s before it, and the second from the same address over one opened after it; and for no more
    copies than the slot had connections open at that moment. A second copy from another address is never explained.
    """
    budget = {kill: _open_connections(kill, connections) for kill in kills}
    left = []
    for copies in duplicates:
        for first, second in itertools.pairwise(copies):
            kill = next((one for one in kills if budget[one] > 0 and _accounts_for(one, first, second)), None)
            if kill is None:
                left.append(first.message_id)
            else:
                budget[kill] -= 1
    return left


def _accounts_for(kill: Kill, first: Message, second: Message) -> bool:
    return (
        first.source_ip == second.source_ip == kill.source_ip
        and first.connection_opened <= kill.at
        and first.at >= kill.at - FIRST_COPY_BEFORE_KILL_S
        and second.connection_opened > kill.at
    )


def _open_connections(kill: Kill, connections: Sequence[Connection]) -> int:
    spans = [(one.opened, one.closed) for one in connections if one.source_ip == kill.source_ip]
    # the kill itself closes them: those that ended at that very instant were open
    return open_at([(opened, None if closed is None else closed + 1e-6) for opened, closed in spans], kill.at)
