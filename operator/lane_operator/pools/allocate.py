"""Which slot has which address: `allocate(pools, demands, now)`, pure and stable.

The pools' status is the only record. An assigned address stays where it is until its lane gives it up; nothing
depends on the order of lists. Comes before desired state; the caller commits the statuses before it uses a claim.

Rules, in order:
1. A slot keeps what the record says it holds, also when its pool is closed to it later, and also when the address
   leaves the pool's spec: it would otherwise send queued mail from another address. The pool says so until the slot
   has drained; then the address is forgotten.
2. A slot that exists but is not in the record gets back the address that its own objects name (a lost status), where
   the pool is open to it. First those that the lane's status vouches for. Whoever can make a claim in some namespace
   can write any address on it: else it gets no more than rules 3 and 4 could give it, and a slot that is not asked for
   only where the whole record is lost.
3. A lane of the same namespace, name and class gets back its own, the slot's own first, without cool-down.
4. Any other slot gets a free address of its role (those with `role: Standby` are for standby slots), in this order:
   for all mail until the lane has two of those, then for ISPs that it has none for; in the zone, then on the node,
   where it has fewest; one that was never used; the lowest.
5. A slot has the second of its address (`addresses[].second`) as well, as soon as nobody else has it and it is not
   barred or resting; one that it had and that the spec lists no more it keeps from others until it has drained, unused.
6. What served Bulk or Cold last comes to no other class before its owner releases it, by whatever pool it comes.
7. While slots may run that nobody knows any more (`held_back`) rules 3 to 5 give nothing new, and rule 2 only what is
   vouched for.
No slot gets an address that is quarantined; what becomes of one that a slot holds says `quarantine`.
What no slot holds rests for the pool's cool-down. An address that stands in several pools belongs to the pool that
holds it, else to the first by name; the others never assign it. What a live slot carries from a pool that is gone
belongs to that pool still.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lane_api.conditions import Reason
from lane_api.ippool import Engine, IPPoolStatus, PoolAddress
from lane_api.lane_status import SlotRole
from lane_api.names import STANDBY_FROM, slot_name
from lane_operator.inputs import Assignment, Claim, Demand, Holding, Key, Pool, Refusal
from lane_operator.pools.held_back import held_back
from lane_operator.pools.ledger import Entry, Ledger, owners, served_elsewhere
from lane_operator.pools.ports import NodePorts, is_offered
from lane_operator.pools.refusals import closed, exhausted, going, no_pool, no_ports

__all__ = ["AllocationResult", "allocate"]

_NO_ADDRESS: PoolAddress | None = None
ENOUGH_FOR_ALL_MAIL = 2
"""Addresses without `isps` that a lane gets before any with."""


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """Claims by lane, and the status of each pool that was allocated from: addresses and capacity are new."""

    assignments: Mapping[Key, Assignment]
    statuses: Mapping[Key, IPPoolStatus]


@dataclass(slots=True)
class _Asking:
    """One lane's demand while it is served."""

    demand: Demand
    refusal: Refusal | None
    """Why it gets nothing new."""
    got: dict[int, Entry] = field(default_factory=dict)
    grows: bool = False
    """It had an active slot before this look, and standby slots that may take mail while a new one joins."""
    pairs: dict[int, Entry] = field(default_factory=dict)
    """The seconds that go with those."""

    @property
    def wanted(self) -> list[int]:
        """Slots that are to be and have nothing yet."""
        return [index for index in self.asked if index not in self.got]

    @property
    def asked(self) -> list[int]:
        """Slots that are to be, whether they have something or not."""
        return [index for index in _indices(self.demand) if index not in self.demand.withheld]

    def slot(self, index: int) -> str:
        return slot_name(self.demand.name, index)


def allocate(
    pools: Iterable[Pool],
    demands: Iterable[Demand],
    now: dt.datetime,
    beside: Iterable[Pool] = (),
    holdings: Iterable[Holding] = (),
    unseen: tuple[str, ...] = (),
) -> AllocationResult:
    """Serves all demands on these pools; `beside` are pools that are not served now, whose records count.

    `holdings` is what live slots carry: it counts where a pool is gone and took its record along. `unseen` is what is
    waited for (`held_back.unseen`): with any nobody gets an address that he does not have.
    """
    served = {pool.key: pool for pool in pools}
    others = [pool for pool in beside if pool.key not in served]
    everywhere = [*served.values(), *others]
    ports = NodePorts(
        (record.node, record.port_block)
        for pool in everywhere
        for record in pool.status.addresses
        if record.node and record.port_block and record.released_at is None
    )
    belongs = owners(everywhere, holdings)
    by_pool: dict[Key, list[Demand]] = {}
    for demand in sorted(demands, key=lambda one: one.key):
        by_pool.setdefault(demand.pool, []).append(demand)
    assignments: dict[Key, Assignment] = {}
    statuses: dict[Key, IPPoolStatus] = {}
    for key in sorted(served.keys() | by_pool.keys()):
        asked = by_pool.get(key, [])
        if key not in served:
            assignments |= {one.key: Assignment(refusal=no_pool(one)) for one in asked if not one.reserving}
        elif served[key].spec.engine is Engine.CLUSTER_DEFAULT:
            assignments |= {demand.key: _shared(demand, served[key]) for demand in asked if not demand.reserving}
            statuses[key] = IPPoolStatus()
        else:
            ledger = Ledger(served[key])
            elsewhere = served_elsewhere(served[key], everywhere)
            for entry in ledger.entries:
                owner = belongs.get(entry.value, key)  # nobody's: out of every spec, and held by no slot
                entry.held_elsewhere = "" if owner == key else "/".join(owner)
                entry.class_elsewhere = elsewhere.get(entry.value, "")
            assignments |= _served(ledger, asked, ports, now, unseen)
            statuses[key] = IPPoolStatus(capacity=ledger.capacity(now), addresses=ledger.records())
    return AllocationResult(assignments, statuses)


def _served(
    ledger: Ledger, demands: list[Demand], ports: NodePorts, now: dt.datetime, unseen: tuple[str, ...]
) -> dict[Key, Assignment]:
    """The claims on one pool."""
    asking = [_Asking(demand, closed(demand, ledger.pool)) for demand in demands]
    holders = ledger.holders()
    for one in asking:
        _keep(one, holders)
    kept = {entry.value for one in asking for entry in one.got.values()}
    # what this look drops is no record either, or the next one would find it lost as a whole and give what this did not
    is_lost = not any(entry.lane and (entry.listed or entry.value in kept) for entry in ledger.entries)
    for one in asking:
        _restore(ledger, one, one.demand.vouched, partial(_may_keep, ledger, now))
    for one in () if unseen else asking:
        lost = one.demand.retained.union(one.asked) if is_lost else one.asked
        _restore(ledger, one, lost, partial(_may_get, ledger, now))
    for one in asking:
        one.grows = one.demand.standby > 0 and any(not _is_standby(index) for index in one.got)
    # before anything is given: what a slot gives up is there for its lane's others now, and nobody has to look again
    moved = [entry.value for entry in ledger.entries if entry.class_elsewhere and entry.held_elsewhere]
    slots = {("/".join(one.demand.key), one.slot(index)) for one in asking for index in one.got}
    seconds = [entry for entry in ledger.entries if entry.is_second and (entry.lane, entry.slot) in slots]
    ledger.release_all_but([*seconds, *(entry for one in asking for entry in one.got.values())], now, moved)
    for give in () if unseen else (_give_back, _give):
        for one in asking:
            give(ledger, one, now)
    for one in asking:
        _pair(ledger, one, now, keeps_only=bool(unseen))
    for one in asking:
        for entry in one.got.values():
            _keep_ports(ledger, entry, ports)
    return {one.demand.key: _assignment(ledger, one, ports, now, unseen) for one in asking if not one.demand.reserving}


def _keep(one: _Asking, holders: Mapping[tuple[str, str, str], Entry]) -> None:
    """Rule 1."""
    lane = "/".join(one.demand.key)
    for index in sorted({*one.asked, *one.demand.retained}):
        slot = one.slot(index)
        entry = holders.get((lane, one.demand.traffic_class, slot))
        if entry is not None and not entry.held_elsewhere:
            entry.hold(one.demand, slot)
            one.got[index] = entry


def _restore(
    ledger: Ledger, one: _Asking, slots: Iterable[int], may_have: Callable[[Entry, int, Demand], bool]
) -> None:
    """Rule 2 for these of the lane's slots."""
    if one.refusal is not None:
        return
    for index in sorted(set(slots).intersection({*one.asked, *one.demand.retained}) - one.got.keys()):
        entry = ledger.entry(one.demand.found.get(index, ""))
        if entry is None or entry.is_held or entry.held_elsewhere or entry.is_second:
            continue
        if not may_have(entry, index, one.demand):
            continue
        block, offered = one.demand.blocks.get(index), ledger.pool.spec.engine_config.port_range
        entry.port_block = block if block is not None and is_offered(block, offered) else None
        entry.hold(one.demand, one.slot(index))
        one.got[index] = entry


def _may_keep(ledger: Ledger, now: dt.datetime, entry: Entry, _: int, demand: Demand) -> bool:
    """Whether an address is still the slot's that had it once: no other lane's that had it since."""
    return entry.was_of(demand) or not (ledger.is_cooling(entry, now) or entry.is_barred_to(demand.traffic_class))


def _may_get(ledger: Ledger, now: dt.datetime, entry: Entry, index: int, demand: Demand) -> bool:
    """Whether a slot could get an address also if it had never had it: what rules 3 and 4 give."""
    return entry.may_be_given and _suits(entry, index) and _may_keep(ledger, now, entry, index, demand)


def _give_back(ledger: Ledger, one: _Asking, _: dt.datetime) -> None:
    """Rule 3: the slot's own address first, then any that was the lane's."""
    if one.refusal or ledger.pool.deleting:
        return
    for same_slot in (True, False):
        for index in one.wanted:
            slot = one.slot(index)
            resting = (
                entry
                for entry in ledger
                if entry.may_be_given and not entry.is_held and entry.was_of(one.demand) and _suits(entry, index)
            )
            entry = next((entry for entry in resting if entry.slot == slot or not same_slot), None)
            if entry is not None:
                entry.hold(one.demand, slot)
                entry.joining = one.grows and not _is_standby(index)
                one.got[index] = entry


def _give(ledger: Ledger, one: _Asking, now: dt.datetime) -> None:
    """Rule 4."""
    if one.refusal or ledger.pool.deleting:
        return
    for index in one.wanted:
        beside = [entry.address for other, entry in one.got.items() if _is_standby(other) == _is_standby(index)]
        free = [
            entry
            for entry in ledger
            if ledger.is_free(entry, now) and _suits(entry, index) and not entry.is_barred_to(one.demand.traffic_class)
        ]
        if not free:
            continue
        best = min(free, key=lambda entry: (*_fit(entry.address, beside), bool(entry.lane)))  # the first of equals
        best.port_block = None
        best.hold(one.demand, one.slot(index))
        best.joining = one.grows and not _is_standby(index)
        one.got[index] = best


def _pair(ledger: Ledger, one: _Asking, now: dt.datetime, *, keeps_only: bool) -> None:
    """Rule 5; `keeps_only`: nothing new is given."""
    for index, first in one.got.items():
        second, slot = ledger.second_of(first), one.slot(index)
        if second is None or second.held_elsewhere:
            continue
        has_it = second.is_held and (second.lane, second.slot) == ("/".join(one.demand.key), slot)
        is_resting = ledger.is_cooling(second, now) and not second.was_of(one.demand)
        is_barred = second.is_barred_to(one.demand.traffic_class)
        if has_it or not (
            second.is_held or is_resting or is_barred or one.refusal or ledger.pool.deleting or keeps_only
        ):
            second.hold(one.demand, slot)
            one.pairs[index] = second


def _fit(address: PoolAddress, beside: Sequence[PoolAddress]) -> tuple[int, int, int]:
    """How well an address goes with those of the lane's other slots of the role; the least is the best."""
    general = sum(not one.isps for one in beside)
    covered = {isp for one in beside for isp in one.isps}
    if address.isps:
        order = 3 if covered.issuperset(address.isps) else 1
    else:  # two, since what only one may send waits while that one is away
        order = 0 if general < ENOUGH_FOR_ALL_MAIL else 2
    zones, nodes = [one.zone for one in beside], [one.node for one in beside]
    return order, zones.count(address.zone), nodes.count(address.node)


def _assignment(
    ledger: Ledger, one: _Asking, ports: NodePorts, now: dt.datetime, unseen: tuple[str, ...]
) -> Assignment:
    claims, refusal = [], one.refusal or one.demand.objection
    for index, entry in sorted(one.got.items()):
        if ledger.pool.spec.engine is Engine.HOST_NETWORK and not _has_ports(ledger, entry, ports):
            refusal = refusal or no_ports(ledger.pool, entry)
            continue
        second = entry.address.second if index in one.pairs else None
        address = (
            entry.address if entry.address.second is second else entry.address.model_copy(update={"second": second})
        )
        claims.append(_claim(one.demand, index, address, entry.port_block, ledger.pool))
    if one.wanted and refusal is None:
        if ledger.pool.deleting:
            refusal = going(ledger.pool)
        elif unseen:
            refusal = held_back("/".join(ledger.pool.key), len(one.wanted), unseen)
        else:
            refusal = exhausted(ledger, one.demand, one.wanted, now)
    lacking = tuple(one.slot(index) for index in one.wanted if not _is_standby(index))
    return Assignment(tuple(claims), refusal, lacking)


def _keep_ports(ledger: Ledger, entry: Entry, ports: NodePorts) -> None:
    """Holds the block that a slot has, before any other slot takes one; where it is another's by now it is given up."""
    node = entry.address.node or ""
    recorded = next((one.node for one in ledger.pool.status.addresses if one.ip == entry.address.ip), None)
    if entry.port_block is None or recorded == node:
        return
    if ports.is_free(node, entry.port_block):  # the address moved to this node, or the record was lost
        ports.hold(node, entry.port_block)
    else:
        entry.port_block = None


def _has_ports(ledger: Ledger, entry: Entry, ports: NodePorts) -> bool:
    """Sees to the slot's block: the one that it has, else the lowest free one on its node."""
    if entry.port_block is None:
        entry.port_block = ports.take(entry.address.node or "", ledger.pool.spec.engine_config.port_range)
    return entry.port_block is not None


def _shared(demand: Demand, pool: Pool) -> Assignment:
    """Claims without addresses: engine ClusterDefault has none to give."""
    refusal = closed(demand, pool)
    slots = demand.retained if refusal else demand.retained | set(range(demand.replicas)) - demand.withheld
    claims = tuple(_claim(demand, index, _NO_ADDRESS, None, pool) for index in sorted(slots))
    if demand.standby and refusal is None:
        refusal = Refusal(
            Reason.ENGINE_LIMIT,
            f"engine ClusterDefault of IPPool {'/'.join(pool.key)} has no addresses, so that none can stand by: set "
            "standbyReplicas to 0, or choose a pool of another engine",
        )
    return Assignment(claims, refusal or demand.objection)


def _indices(demand: Demand) -> list[int]:
    """Slots that are asked for: the active ones, then those in standby."""
    return [*range(demand.replicas), *range(STANDBY_FROM, STANDBY_FROM + demand.standby)]


def _suits(entry: Entry, index: int) -> bool:
    """An address is for slots of its role: what is kept warm in standby is not used up by a lane that grows."""
    return entry.address.role == ("Standby" if _is_standby(index) else "Active")


def _is_standby(index: int) -> bool:
    return index >= STANDBY_FROM


def _claim(demand: Demand, index: int, address: PoolAddress | None, port_block: int | None, pool: Pool) -> Claim:
    leaving = SlotRole.HELD if demand.held else SlotRole.DRAINING
    serves = SlotRole.ACTIVE if index < STANDBY_FROM else SlotRole.STANDBY
    role = serves if index in _indices(demand) else leaving
    return Claim(index, slot_name(demand.name, index), address, role, port_block, pool.key)
