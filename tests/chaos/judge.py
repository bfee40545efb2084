"""What was promised against what the ISPs wrote down: pure, one recipient of one message at a time.

Invariants: only what got 250 or 200 can be lost; what a spool has after the drain is stranded; a second copy is
explained by the ISP's records, the time of a kill and the syncs before it alone; one that the other slot brought means
that both owned it, unless that slot took it over from the restarted one after the kill; a report is one more recipient
that was promised.
Before: `traffic` (offers), the ISPs' records. After: the campaigns, which add the denominators.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from types import MappingProxyType
from typing import Final, Literal

from e2e.internet.counting import open_at
from e2e.internet.records import Connection, Message, Record, Refusal
from e2e.load.ledger import FIRST_COPY_BEFORE_KILL_S, Kill
from tests.chaos.lateness import Waits, window_s

LANE_DOMAIN: Final = "brand.test"
ACTIVE_S: Final = 0.5
"""A connection that said or heard something so shortly before an instant has a delivery in flight; what comes after it
says nothing."""
MAIL: Final = "mail"
REPORT: Final = "report"
REPORTED_AGAIN_S: Final = 3.0
"""After a refusal with a kill just after it: each kill in this time may come between report and settlement again."""
BEHIND_S: Final = 0.03
"""What the loop and the threads of a slot may be behind, on top of commits as long as the longest and of what they
waited for a processor."""
MESSAGE_TAKES_S: Final = 0.06
"""What the ISPs take for one message at least, by their round trips: a connection brings no more in that time."""
REFUSAL_TAKES_S: Final = 0.045
"""The same for a refusal, which comes with the first round trip: the one before it may have been answered so much
earlier, over the same connection."""
SETTLED_AFTER: Final = 2
"""Commits after an ISP's answer: the one that is being written, and the one that has the settlement."""
REFUSED_AFTER: Final = 4
"""The same for a refusal, whose report is on the disk before it is settled."""
TAKES_UP_AFTER_S: Final = 0.05
"""Of a slot that was killed the next process has not read its spool sooner: what its sibling takes over from it before
that, the dead one gave."""
Key = tuple[str, str]
"""(`mail`, recipient): each address is written to once; (`report`, sender) for the report about a message."""


@dataclass(frozen=True)
class TimedKill(Kill):
    """A kill, what it took until the process was gone, and what the longest sync of the time before it took."""

    sync_s: float = 0.005
    took_s: float = 0.0
    waits: Waits = ()
    """What the slot and the ISPs had waited for a processor: a busy machine makes all of it slower."""

    def unsettled_s(self, commits: int) -> float:
        """What was answered longer before this kill, and takes so many commits, was on the disk."""
        return window_s(commits * self.sync_s + BEHIND_S, self.waits, FIRST_COPY_BEFORE_KILL_S)


@dataclass(frozen=True)
class TakenOver:
    """One recipient that a slot took over from its sibling, by its own record of it."""

    recipient: str
    from_ip: str
    to_ip: str
    at: float


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
    moved: int = 0
    """Of the duplicates those that a kill accounts for and the other slot brought, which took them over after it."""
    two_owners: list[str] = field(default_factory=list)
    """Of the unexplained those that both slots brought."""
    details: list[str] = field(default_factory=list)
    """Of each that is unexplained: its copies, and the kills around them."""


def keys_of(message: Message) -> list[Key]:
    """Whom a message at an ISP satisfies."""
    if not message.sender:
        return [(REPORT, one) for one in message.recipients]
    return [(MAIL, one) for one in message.recipients]


def judge(
    offers: Iterable[Offer],
    records: Sequence[Record],
    kills: Sequence[TimedKill],
    queued: frozenset[Key] = frozenset(),
    taken_over: Iterable[TakenOver] = (),
    brought: Mapping[str, int] = MappingProxyType({}),
) -> Findings:
    """`queued`: what the spools still owned at the end; `taken_over`: what slots gave each other; `brought`: how often
    a bounce of a sender's mail came from outside, each of which is passed on."""
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
    _judge_copies(found, records, messages, kills, taken_over)
    too_many = _reports_too_many(records, messages, kills, brought)
    found.unexplained += [f"reports to {who}" for who in too_many]
    found.details += [_told_of_reports(who, records, messages, kills) for who in too_many]
    return found


def _judge_copies(
    found: Findings,
    records: Sequence[Record],
    messages: Sequence[Message],
    kills: Sequence[TimedKill],
    taken_over: Iterable[TakenOver],
) -> None:
    connections = [one for one in records if isinstance(one, Connection)]
    taken, refused = _repeated(messages), _refused_again(records, connections)
    repeated = [*taken, *refused]
    found.duplicates = sum(len(copies) - 1 for copies in repeated)
    reasons = _Reasons(kills, connections, taken_over)
    left = [
        *reasons.miss(taken, SETTLED_AFTER, MESSAGE_TAKES_S),
        *reasons.miss(refused, REFUSED_AFTER, REFUSAL_TAKES_S),
    ]
    found.moved = reasons.moved
    found.two_owners = [
        f"{', '.join(first.recipients)}: {first.message_id} from {first.source_ip} and {second.source_ip}"
        for first, second in left
        if first.source_ip != second.source_ip
    ]
    found.unexplained = [first.message_id for first, _ in left]
    missed = {id(first) for first, _ in left}
    found.details = [_told(copies, kills) for copies in repeated if any(id(one) in missed for one in copies)]


class _Reasons:
    """What accounts for second copies.

    The first copy had not had the time for so many commits when its slot was killed; no connection has more such copies
    than its ISP can have answered in that time; and the second is the same slot's own, over a connection made after the
    kill, or its sibling's, which took it over from the restarted one.
    """

    def __init__(
        self, kills: Sequence[TimedKill], connections: Sequence[Connection], taken_over: Iterable[TakenOver]
    ) -> None:
        self._kills = sorted(kills, key=lambda one: one.at)
        self._closed = {(one.isp, one.id): one.closed for one in connections}
        self._claimed: defaultdict[tuple[TimedKill, str, int], int] = defaultdict(int)
        self._taken_over: defaultdict[str, list[TakenOver]] = defaultdict(list)
        for one in taken_over:
            self._taken_over[one.recipient].append(one)
        self.moved = 0

    def miss(
        self, repeated: Iterable[Sequence[Message]], commits: int, takes_s: float
    ) -> list[tuple[Message, Message]]:
        """The copies, with the one before each, for which the kill that ended that one's connection does not account.

        `commits` it takes until what an ISP said is on the disk; `takes_s`: in less an ISP says no two such things.
        """
        pairs = sorted((pair for copies in repeated for pair in pairwise(copies)), key=lambda pair: pair[0].at)
        return [(first, second) for first, second in pairs if not self._account_for(first, second, commits, takes_s)]

    def _account_for(self, first: Message, second: Message, commits: int, takes_s: float) -> bool:
        own = (
            one
            for one in self._kills
            if one.source_ip == first.source_ip and one.at + one.took_s >= first.connection_opened
        )
        kill = next(own, None)
        if kill is None:
            return False
        since = kill.at - kill.unsettled_s(commits)
        closed = self._closed.get((first.isp, first.connection))
        if first.at < since or (closed is not None and closed < since):
            return False
        is_own = second.source_ip == kill.source_ip and second.connection_opened > kill.at
        if not is_own and not self._has_moved(kill, first, second):
            return False
        share = (kill, first.isp, first.connection)
        # the last of them may have been on its way when the slot died, and is read by a busy ISP somewhat later
        accounted = self._claimed[share] < 1 + int((first.at - since) / takes_s)
        self._claimed[share] += accounted
        self.moved += accounted and not is_own
        return accounted

    def _has_moved(self, kill: TimedKill, first: Message, second: Message) -> bool:
        """Each of its recipients was the killed slot's alone until that ran again, and then the other's."""
        since = kill.at + kill.took_s + TAKES_UP_AFTER_S
        return second.source_ip != kill.source_ip and all(
            any(
                since <= one.at <= second.at and (one.from_ip, one.to_ip) == (kill.source_ip, second.source_ip)
                for one in self._taken_over[recipient]
            )
            for recipient in set(first.recipients) & set(second.recipients)
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


def _reports_too_many(
    records: Sequence[Record], messages: Sequence[Message], kills: Sequence[Kill], brought: Mapping[str, int]
) -> list[str]:
    """Senders that got more reports than ISPs refused or returned their message, and than kills account for.

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
    return [who for who, ids in reports.items() if len(ids) > max(1, due[_number(who)] + brought.get(who, 0))]


def _told_of_reports(who: str, records: Sequence[Record], messages: Sequence[Message], kills: Sequence[Kill]) -> str:
    """All that is known of a sender's reports, in seconds since the first refusal."""
    refusals = [one for one in records if isinstance(one, Refusal) and _number(one.recipient) == _number(who)]
    began = min((one.at for one in refusals), default=0.0)
    said = ", ".join(f"{one.at - began:+.2f} {one.code} to {one.source_ip}" for one in refusals)
    seen = ", ".join(
        f"{one.at - began:+.2f} {one.message_id} from {one.source_ip}"
        for one in sorted(messages, key=lambda message: message.at)
        if not one.sender and who in one.recipients
    )
    near = ", ".join(f"{kill.at - began:+.2f} {kill.source_ip}" for kill in kills if -1 < kill.at - began < 15)
    return f"reports to {who}: refused {said}; reported {seen}; kills {near}"


def _number(address: str) -> str:
    """The digits of a local part: sender and recipient of a message that bounces have the same."""
    return "".join(one for one in address.partition("@")[0] if one.isdigit())


def in_flight(records: Sequence[Record], source_ip: str, at: float) -> int:
    """Connections of an address that were open at an instant and had just been busy, by what the ISPs wrote down."""
    busy: set[tuple[str, int]] = set()
    for one in records:
        if isinstance(one, Message | Refusal) and one.source_ip == source_ip and 0 <= at - one.at <= ACTIVE_S:
            busy.add((one.isp, one.connection))
    spans = [
        (one.opened, None if one.closed is None else one.closed + 1e-3)
        for one in records
        if isinstance(one, Connection)
        and one.source_ip == source_ip
        and ((one.isp, one.id) in busy or at - ACTIVE_S <= one.opened)
    ]
    return open_at(spans, at)
