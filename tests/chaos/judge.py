"""What was promised against what the ISPs wrote down: pure, one recipient of one message at a time.

Invariants: only what got 250 or 200 can be lost; what a spool has after the drain is stranded; a second copy is
explained by the ISP's records, the time of a kill and the syncs before it alone; a report is one more recipient that
was promised.
Before: `traffic` (offers), the ISPs' records. After: the campaigns, which add the denominators.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Final, Literal

from e2e.internet.counting import open_at
from e2e.internet.records import Connection, Message, Record, Refusal
from e2e.load.ledger import FIRST_COPY_BEFORE_KILL_S, Kill

LANE_DOMAIN: Final = "brand.test"
ACTIVE_S: Final = 0.5
"""A connection that said or heard something so shortly before an instant has a delivery in flight."""
MAIL: Final = "mail"
REPORT: Final = "report"
REPORTED_AGAIN_S: Final = 3.0
"""After a refusal with a kill just after it: each kill in this time may come between report and settlement again."""
BEHIND_S: Final = 0.03
"""What the loop and the threads of a slot may be behind, on top of commits as long as the longest: 0.02 s was seen in
600 copies at a load of 17 on 2 cores."""
MESSAGE_TAKES_S: Final = 0.06
"""What the ISPs take for one message at least, by their round trips: a connection brings no more in that time."""
SETTLED_AFTER: Final = 2
"""Commits after an ISP's answer: the one that is being written, and the one that has the settlement."""
REFUSED_AFTER: Final = 4
"""The same for a refusal, whose report is on the disk before it is settled."""
Key = tuple[str, str]
"""(`mail`, recipient): each address is written to once; (`report`, sender) for the report about a message."""


@dataclass(frozen=True)
class TimedKill(Kill):
    """A kill, what it took until the process was gone, and what the longest sync of the time before it took."""

    sync_s: float = 0.005
    took_s: float = 0.0

    def unsettled_s(self, commits: int) -> float:
        """What was answered longer before this kill, and takes so many commits, was on the disk."""
        return commits * self.sync_s + BEHIND_S


@dataclass(frozen=True)
class Offer:
    """One recipient of one message that a client handed in."""

    recipient: str
    sender: str
    outcome: Literal["accepted", "refused", "in-doubt"]
    scheduled: float
    replied: float

    @property
    def expects(self) -> Key:
        """Where its end must be seen: at its recipient, or as a report at its sender."""
        return (REPORT, self.sender) if self.recipient.startswith("gone") else (MAIL, self.recipient)


@dataclass
class Findings:
    """What became of it all."""

    accepted: int = 0
    refused: int = 0
    in_doubt: int = 0
    reports: int = 0
    arrived: int = 0
    lost: list[Key] = field(default_factory=list)
    stranded: list[Key] = field(default_factory=list)
    """What the spools still had when all should have left: promised or in doubt, arrived or not."""
    duplicates: int = 0
    unexplained: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    """Of each that is unexplained: its copies, and the kills around them."""


def keys_of(message: Message) -> list[Key]:
    """Whom a message at an ISP satisfies."""
    if not message.sender:
        return [(REPORT, one) for one in message.recipients]
    return [(MAIL, one) for one in message.recipients]


def judge(
    offers: Iterable[Offer], records: Sequence[Record], kills: Sequence[TimedKill], queued: frozenset[Key] = frozenset()
) -> Findings:
    """`queued`: what the spools still owned at the end."""
    found = Findings(stranded=sorted(queued))
    messages = [one for one in records if isinstance(one, Message)]
    arrived = {key for message in messages for key in keys_of(message)}
    found.arrived = len(arrived)
    for offer in offers:
        match offer.outcome:
            case "refused":
                found.refused += 1
            case "in-doubt":
                found.in_doubt += 1
            case "accepted":
                found.accepted += 1
                found.reports += offer.expects[0] == REPORT
                if offer.expects in arrived:
                    continue
                if (MAIL, offer.recipient) not in queued and offer.expects not in queued:
                    found.lost.append(offer.expects)
    connections = [one for one in records if isinstance(one, Connection)]
    taken, refused = _repeated(messages), _refused_again(records, connections)
    repeated = [*taken, *refused]
    found.duplicates = sum(len(copies) - 1 for copies in repeated)
    found.unexplained = [
        *_unexplained(taken, kills, connections, SETTLED_AFTER),
        *_unexplained(refused, kills, connections, REFUSED_AFTER),
        *_reports_too_many(records, messages, kills),
    ]
    unexplained = set(found.unexplained)
    found.details = [_told(copies, kills) for copies in repeated if copies[0].message_id in unexplained]
    return found


def _unexplained(
    repeated: Iterable[Sequence[Message]],
    kills: Sequence[TimedKill],
    connections: Sequence[Connection],
    commits: int,
) -> list[str]:
    """Message ids of copies for which the kill that ended their first connection does not account.

    The first copy had not had the time for so many commits; no connection has more such copies than its ISP can have
    answered in that time; and the second is the same slot's own, over a connection made after the kill.
    """
    left: list[str] = []
    closed = {(one.isp, one.id): one.closed for one in connections}
    claimed: defaultdict[tuple[TimedKill, str, int], int] = defaultdict(int)
    in_order = sorted(kills, key=lambda one: one.at)
    for copies in repeated:
        for first, second in pairwise(copies):
            own = (
                one
                for one in in_order
                if one.source_ip == first.source_ip and one.at + one.took_s >= first.connection_opened
            )
            kill = next(own, None)
            if kill is not None and _is_due_to(kill, first, second, closed.get((first.isp, first.connection)), commits):
                share = (kill, first.isp, first.connection)
                claimed[share] += 1
                if claimed[share] <= 1 + int(kill.unsettled_s(commits) / MESSAGE_TAKES_S):
                    continue
            left.append(first.message_id)
    return left


def _is_due_to(kill: TimedKill, first: Message, second: Message, closed: float | None, commits: int) -> bool:
    """`closed`: when the connection of the first copy ended, None if it did not."""
    since = kill.at - kill.unsettled_s(commits)
    return (
        first.at >= since
        and (closed is None or closed >= since)
        and second.source_ip == kill.source_ip
        and second.connection_opened > kill.at
    )


def _told(copies: Sequence[Message], kills: Sequence[Kill]) -> str:
    """All that is known of a recipient's copies, in seconds since the first was taken."""
    began = copies[0].at
    seen = ", ".join(
        f"{one.at - began:+.2f} from {one.source_ip} at {one.isp}, connected {one.connection_opened - began:+.2f}"
        for one in copies
    )
    near = ", ".join(f"{kill.at - began:+.2f} {kill.source_ip}" for kill in kills if -2 < kill.at - began < 10)
    return f"{copies[0].message_id} to {copies[0].recipients}: {seen}; kills {near}"


def _repeated(messages: Sequence[Message]) -> list[list[Message]]:
    """Copies of one transaction, oldest first; recipients that travelled together both times count once."""
    copies: defaultdict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in messages:
        for recipient in message.recipients:
            # a request repeated under its key gets new ids for what it makes anew: only a report's id tells it apart
            copies["" if message.sender else message.message_id, recipient].append(message)
    found: dict[tuple[tuple[str, int, float], ...], list[Message]] = {}
    for several in copies.values():
        if len(several) > 1:
            several.sort(key=lambda one: one.at)
            found[tuple((one.isp, one.connection, one.at) for one in several)] = several
    return list(found.values())


def _refused_again(records: Sequence[Record], connections: Sequence[Connection]) -> list[list[Message]]:
    """Recipients that were refused for good more than once, as copies: a kill accounts for them in the same way."""
    opened = {(one.isp, one.id): one.opened for one in connections}
    seen: defaultdict[str, list[Message]] = defaultdict(list)
    for one in records:
        if isinstance(one, Refusal) and one.code >= 500 and (one.isp, one.connection) in opened:
            since = opened[one.isp, one.connection]
            seen[one.recipient].append(
                Message(
                    one.isp, one.at, one.at, True, one.source_ip, one.connection, since, one.sender, (one.recipient,),
                    f"refusal of {one.recipient}", "", False, False, 0, "",
                )
            )  # fmt: skip
    return [sorted(several, key=lambda one: one.at) for several in seen.values() if len(several) > 1]


def _reports_too_many(records: Sequence[Record], messages: Sequence[Message], kills: Sequence[Kill]) -> list[str]:
    """Senders that got more reports than ISPs refused their message, and than kills account for.

    A kill just after a refusal may come between the report and the settlement. The refused recipient is suppressed by
    then, so that the attempt is repeated as a report alone, which no ISP sees.
    """
    due: defaultdict[str, int] = defaultdict(int)
    for one in records:
        if isinstance(one, Refusal) and one.code >= 500:
            after = [kill.at - one.at for kill in kills if kill.source_ip == one.source_ip and kill.at >= one.at]
            again = sum(since <= REPORTED_AGAIN_S for since in after)
            due[_number(one.recipient)] += 1 + (again if min(after, default=inf) <= FIRST_COPY_BEFORE_KILL_S else 0)
    reports: defaultdict[str, set[str]] = defaultdict(set)
    for message in messages:
        if not message.sender:
            for recipient in message.recipients:
                reports[recipient].add(message.message_id)
    return [f"reports to {who}" for who, ids in reports.items() if len(ids) > max(1, due[_number(who)])]


def _number(address: str) -> str:
    """The digits of a local part: sender and recipient of a message that bounces have the same."""
    return "".join(one for one in address.partition("@")[0] if one.isdigit())


def in_flight(records: Sequence[Record], source_ip: str, at: float) -> int:
    """Connections of an address that were open and busy at an instant, by what the ISPs wrote down."""
    busy: set[tuple[str, int]] = set()
    for one in records:
        if isinstance(one, Message | Refusal) and one.source_ip == source_ip and abs(one.at - at) <= ACTIVE_S:
            busy.add((one.isp, one.connection))
    spans = [
        (one.opened, None if one.closed is None else one.closed + 1e-3)
        for one in records
        if isinstance(one, Connection)
        and one.source_ip == source_ip
        and ((one.isp, one.id) in busy or at - ACTIVE_S <= one.opened)
    ]
    return open_at(spans, at)
