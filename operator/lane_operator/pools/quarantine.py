"""Which addresses are quarantined, and which standby slot sends in their place: `with_stand_ins`, pure and stable.

Comes after the allocation and before its record is committed: the record is the pool's status. The relay has stopped
what an ISP refused by then, and says so in its visits; nothing is stopped here but what the pool's owner quarantines,
by name or by what its blocklists have (`listings`).

Rules, in order:
1. `addresses[].quarantined` is about all mail and lasts until it is false. So is a listing, until it is over; where the
   lane is never paused, only while a standby slot sends instead (rule 3).
2. What a slot says of its address counts as it says it. While it cannot be asked, what is recorded counts to its end.
3. A quarantined slot that is to serve has at most one stand-in, of its own lane, in standby, whose own address none of
   these ISPs refuses. It keeps the one that it has, unless that one cannot send and another can: one cause is one
   promotion. Else the one with the fewest others to stand in for that can send, the lowest first.
4. A quarantine about all mail takes the slot out of intake, where another slot takes mail. One about some ISPs leaves
   it there: what goes to others leaves from its address as before.
When the quarantine is over, the stand-in is a standby slot again; it sends what it has taken over by then.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lane_api.ippool import QUARANTINED_BY_OWNER, AddressStatus, IPPoolStatus, Quarantine
from lane_api.lane_status import SlotRole
from lane_api.moment import moment
from lane_operator.deliverability.listings import Follows, listed_slots
from lane_operator.inputs import Claim, Key, SlotObservation
from lane_operator.pools.allocate import AllocationResult

__all__ = ["FollowsOf", "Sighted", "with_stand_ins"]

Sighted = Callable[[Key, str], SlotObservation | None]
"""(lane, slot) -> what the slot said last."""
FollowsOf = Callable[[Key], Follows]
"""lane -> what a listing of its addresses means."""


def _is_told(_: Key) -> Follows:
    return Follows.TOLD


def with_stand_ins(
    result: AllocationResult, sighted: Sighted, now: dt.datetime, follows: FollowsOf = _is_told
) -> AllocationResult:
    """The allocation with what is quarantined, in claims and in the pools' records."""
    listed = listed_slots(result.statuses.values())
    found: dict[tuple[str, str], Quarantine | None] = {}
    assignments = {}
    records: dict[str, dict[str, Quarantine | None]] = {}
    for one in (
        row for status in result.statuses.values() for row in status.addresses if _is_held(row) and not row.first
    ):
        records.setdefault(one.lane, {})[one.slot] = one.quarantine
    for lane, assignment in result.assignments.items():
        name = "/".join(lane)
        seen = {claim.slot_name: sighted(lane, claim.slot_name) for claim in assignment.claims}
        by_list = {slot: one for (of, slot), one in listed.items() if of == name}
        then = follows(lane) if by_list else Follows.TOLD
        found_listed = by_list if then is not Follows.TOLD else {}
        may_stop = then is Follows.STOPPED
        claims = _decided(assignment.claims, records.get(name, {}), seen, now, found_listed, may_stop=may_stop)
        found |= {(name, claim.slot_name): claim.quarantine for claim in claims}
        assignments[lane] = replace(assignment, claims=claims)
    statuses = {key: _recorded(status, found, now) for key, status in result.statuses.items()}
    return AllocationResult(assignments, statuses)


def _decided(
    claims: Sequence[Claim],
    recorded: Mapping[str, Quarantine | None],
    seen: Mapping[str, SlotObservation | None],
    now: dt.datetime,
    listed: Mapping[str, Quarantine],
    *,
    may_stop: bool,
) -> tuple[Claim, ...]:
    """One lane's claims, each with its quarantine, its stand-in, and for whom it stands in.

    `listed` are quarantines by slot that its listings mean; `may_stop`: also where nobody sends instead.
    """
    without = {
        claim.slot_name: _quarantine(claim, recorded.get(claim.slot_name), seen[claim.slot_name], now)
        for claim in claims
    }
    held = {slot: _of_list(own, listed.get(slot)) for slot, own in without.items()}
    spare = [claim for claim in claims if claim.role is SlotRole.STANDBY]
    duties: dict[str, list[str]] = {claim.slot_name: [] for claim in spare}
    for claim in claims:
        quarantine = held[claim.slot_name]
        if quarantine is not None and quarantine.is_by_dnsbl and claim.role.is_going and not may_stop:
            held[claim.slot_name] = without[claim.slot_name]  # nobody stands in for what drains
        if quarantine is None or claim.role is not SlotRole.ACTIVE:
            continue
        before = recorded.get(claim.slot_name)
        chosen = _stand_in(quarantine, before.stood_in_by if before is not None else "", spare, held, seen, duties)
        if quarantine.is_by_dnsbl and not may_stop and not (chosen and _may_send(seen[chosen])):
            quarantine = held[claim.slot_name] = without[claim.slot_name]
            if quarantine is None:
                continue
            chosen = _stand_in(quarantine, chosen, spare, held, seen, duties)
        held[claim.slot_name] = quarantine.model_copy(update={"stood_in_by": chosen})
        if chosen:
            duties[chosen].append(claim.slot_name)
    return tuple(_claim(claim, claims, held, duties) for claim in claims)


def _may_send(seen: SlotObservation | None) -> bool:
    """As far as it is known: one that was not asked yet, by an operator that has just begun, counts as it did."""
    return seen is None or (seen.reachable and seen.may_send)


def _of_list(own: Quarantine | None, listed: Quarantine | None) -> Quarantine | None:
    """What an ISP refuses is part of what a listing stops; its owner's word is about the same, and comes first."""
    return own if listed is None or (own is not None and own.is_by_owner) else listed


def _quarantine(
    claim: Claim, recorded: Quarantine | None, seen: SlotObservation | None, now: dt.datetime
) -> Quarantine | None:
    """Rules 1 and 2."""
    if claim.address is None:
        return None
    if claim.address.quarantined:
        is_known = recorded is not None and recorded.is_by_owner
        since = recorded.since if is_known and recorded is not None else ""
        return Quarantine(by=QUARANTINED_BY_OWNER, since=since or now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if seen is None or not seen.reachable:
        return recorded if recorded is not None and not _is_over(recorded, now) else None
    return _joined(seen.quarantines)


def _is_over(recorded: Quarantine, now: dt.datetime) -> bool:
    """One of the pool's owner that stands in the spec no more is, too, and one of which nobody can say when it ends."""
    until = moment(recorded.until)
    return until is None or until <= now


def _joined(found: Sequence[Quarantine]) -> Quarantine | None:
    """What a slot says of several ISPs as one; rule and reply are those of the first."""
    if not found:
        return None
    first = min(found, key=lambda one: (one.since, one.isps))
    of_all = any(not one.isps for one in found)
    isps = () if of_all else tuple(sorted({isp for one in found for isp in one.isps}))
    return first.model_copy(update={"isps": isps, "until": max(one.until or "" for one in found) or None})


def _stand_in(
    quarantine: Quarantine,
    before: str,
    spare: Iterable[Claim],
    held: Mapping[str, Quarantine | None],
    seen: Mapping[str, SlotObservation | None],
    duties: Mapping[str, Sequence[str]],
) -> str:
    """Rule 3; empty for none."""
    able = [one.slot_name for one in spare if not _overlap(quarantine, held[one.slot_name])]
    sending = [slot for slot in able if (said := seen[slot]) is not None and said.reachable and said.may_send]
    if before in able and (before in sending or not sending):
        return before
    return min(sending, key=lambda slot: len(duties[slot]), default="")


def _overlap(one: Quarantine, other: Quarantine | None) -> bool:
    if other is None:
        return False
    return not one.isps or not other.isps or not set(one.isps).isdisjoint(other.isps)


def _claim(
    claim: Claim,
    claims: Sequence[Claim],
    held: Mapping[str, Quarantine | None],
    duties: Mapping[str, Sequence[str]],
) -> Claim:
    """Rule 4, and the stand-in's side of it."""
    quarantine, stands_in_for = held[claim.slot_name], tuple(duties.get(claim.slot_name, ()))
    role = claim.role
    if quarantine is not None and not role.is_going and _is_out(claim, claims, held):
        role = SlotRole.QUARANTINED
    elif stands_in_for:
        role = SlotRole.PROMOTED
    replaces = any((mine := held[slot]) is not None and not mine.isps for slot in stands_in_for)
    return replace(claim, role=role, quarantine=quarantine, stands_in_for=stands_in_for, replaces=replaces)


def _is_out(claim: Claim, claims: Sequence[Claim], held: Mapping[str, Quarantine | None]) -> bool:
    """All its mail is to leave from elsewhere, and clients find another slot."""
    own = held[claim.slot_name]
    if own is None or own.isps:
        return False
    others = [one for one in claims if one is not claim and one.role is SlotRole.ACTIVE]
    # what an ISP says of a lane is not escaped by the lane's other addresses; what is the address's own is
    takes = own.is_of_address and any((its := held[one.slot_name]) is None or its.isps for one in others)
    return bool(own.stood_in_by) or takes


def _recorded(
    status: IPPoolStatus, found: Mapping[tuple[str, str], Quarantine | None], now: dt.datetime
) -> IPPoolStatus:
    """The record; of a lane that nobody is handed the claims of, what is recorded stays to its end."""
    rows = []
    for row in status.addresses:
        quarantine = row.quarantine
        if _is_held(row) and not row.first and (row.lane, row.slot) in found:
            quarantine = found[row.lane, row.slot]
        elif quarantine is not None and _is_over(quarantine, now):
            quarantine = None
        rows.append(row.model_copy(update={"quarantine": quarantine}))
    count = status.capacity.quarantined + sum(row.quarantine is not None for row in rows)
    capacity = status.capacity.model_copy(update={"quarantined": count})
    return status.model_copy(update={"addresses": tuple(rows), "capacity": capacity})


def _is_held(record: AddressStatus) -> bool:
    return bool(record.lane) and record.released_at is None
