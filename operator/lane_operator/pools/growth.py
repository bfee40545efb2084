"""A lane that grows sends from its standby slots first: `with_growth`, pure and stable.

Comes after the stand-ins for quarantined addresses, which have the first choice, and before the record is committed.
A new slot is no help at once: its pod starts, its address is to be proved, and where it warms up it may send little for
weeks. A standby slot is warm and runs, so it takes mail in the new one's place until that is as good.

Rules, in order:
1. A slot that was added to a lane with active slots joins (`joining` in the pool's record) until it is up, proved and,
   where its address warms up, warm. It does not join again when its pod restarts later.
2. Each slot that joins, and each that is asked for and that the pool has nothing for, has one standby slot that takes
   mail in its place: the lowest that can send, stands in for nobody and is not refused itself.
When the lane shrinks, what leaves are its latest slots; the standby slot is one again in the same look.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from lane_api.ippool import AddressStatus, IPPoolStatus, PoolAddress
from lane_api.lane_status import SlotRole
from lane_operator.inputs import Assignment, Claim, Key, SlotObservation
from lane_operator.pools.allocate import AllocationResult
from lane_operator.pools.quarantine import Sighted

__all__ = ["with_growth"]

WarmsUp = Callable[[PoolAddress], bool]


def with_growth(result: AllocationResult, sighted: Sighted, warms_up: WarmsUp) -> AllocationResult:
    """The allocation with who joins, in the pools' records, and with standby slots that take mail meanwhile."""
    joining: set[tuple[str, str]] = set()
    rows = {(row.lane, row.slot): row for status in result.statuses.values() for row in status.addresses if _joins(row)}
    assignments = {}
    for lane, assignment in result.assignments.items():
        name = "/".join(lane)
        waited_for = [
            claim.slot_name
            for claim in assignment.claims
            if (row := rows.get((name, claim.slot_name))) is not None
            and claim.role is SlotRole.ACTIVE
            and not _is_there(claim, row, sighted(lane, claim.slot_name), warms_up)
        ]
        joining |= {(name, slot) for slot in waited_for}
        assignments[lane] = _promoted(lane, assignment, [*waited_for, *assignment.lacking], sighted)
    settled = {key: _recorded(status, joining, result.assignments) for key, status in result.statuses.items()}
    return AllocationResult(assignments, settled)


def _joins(row: AddressStatus) -> bool:
    return row.joining and row.released_at is None


def _is_there(claim: Claim, row: AddressStatus, seen: SlotObservation | None, warms_up: WarmsUp) -> bool:
    """It sends as the lane's others do. One that was never seen warming up has sent nothing yet."""
    if seen is None or not (seen.reachable and seen.pod_ready and seen.may_send):
        return False
    cold = claim.address is not None and warms_up(claim.address)
    return not cold or (row.warmup is not None and seen.warmup is None)


def _promoted(lane: Key, assignment: Assignment, waited_for: list[str], sighted: Sighted) -> Assignment:
    """Rule 2."""
    able = [claim.slot_name for claim in assignment.claims if _is_spare(claim, sighted(lane, claim.slot_name))]
    duties = dict(zip(able, waited_for, strict=False))
    if not duties:
        return assignment
    claims = tuple(
        replace(claim, role=SlotRole.PROMOTED, stands_in_for=(duties[claim.slot_name],), replaces=True)
        if claim.slot_name in duties
        else claim
        for claim in assignment.claims
    )
    return replace(assignment, claims=claims)


def _is_spare(claim: Claim, seen: SlotObservation | None) -> bool:
    free = claim.role is SlotRole.STANDBY and claim.quarantine is None and not claim.moves
    return free and seen is not None and seen.reachable and seen.may_send


def _recorded(
    status: IPPoolStatus, joining: set[tuple[str, str]], assignments: Mapping[Key, Assignment]
) -> IPPoolStatus:
    """Who is there joins no more; of a lane that nobody is handed the claims of the record stays."""
    decided = {"/".join(lane) for lane in assignments}
    rows = tuple(
        row.model_copy(update={"joining": (row.lane, row.slot) in joining})
        if row.joining and row.lane in decided
        else row
        for row in status.addresses
    )
    return status if rows == status.addresses else status.model_copy(update={"addresses": rows})
