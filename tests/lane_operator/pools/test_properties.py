"""What holds of every allocation, whatever happened before: three pools, five lanes, and days of changes at random.

The pools are served one at a time in any order, as the operator serves them, each beside the others' records. An
oracle of its own keeps who had which address until when, from the claims alone.
"""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import IPPoolSpec, PoolAddress
from lane_api.names import STANDBY_FROM
from lane_operator.inputs import Assignment, Demand, Key, Pool
from lane_operator.pools import AllocationResult, allocate

START = dt.datetime(2026, 11, 23, 8, 0, 0, tzinfo=dt.UTC)
POOLS: tuple[Key, ...] = (("mail", "a"), ("mail", "b"), ("pools", "c"))
LANES = ("a", "b", "c", "d", "e")
CLASSES = ("Transactional", "Notification", "Bulk")
LOUD = "Bulk"
COOLDOWN_S = 24 * 3600
NAMED = (*(f"203.0.113.{last}" for last in range(10, 17)), "2001:db8::1", "2001:db8::2", "none")


def each_once(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the API server takes them: a second is of the other family, and stands in a pool once."""
    met, kept = {one["ip"] for one in listed}, []
    for one in listed:
        second = one["second"]
        if second is not None and (second["ip"] in met or ":" in one["ip"]):
            one = {**one, "second": None}  # noqa: PLW2901
        met.add((one["second"] or one)["ip"])
        kept.append(one)
    return kept


addresses = st.builds(
    lambda last, **more: {"ip": last, "hostname": "out.example.com", **more},
    st.sampled_from([*(f"203.0.113.{last}" for last in range(10, 16)), "2001:db8::1"]),
    second=st.sampled_from([None, None, {"ip": "2001:db8::1"}, {"ip": "2001:db8::2"}]),
    role=st.sampled_from(["Active", "Active", "Standby"]),
    quarantined=st.sampled_from([False, False, False, True]),
    isps=st.sampled_from([[], [], ["gmail"], ["gmx", "web-de"]]),
    zone=st.sampled_from([None, "fra", "ams"]),
    releasedFrom=st.sampled_from([None, None, LOUD]),
)
pool_specs = st.builds(
    lambda classes, listed, names: {
        "classes": classes,
        "engine": "Multus",
        "addresses": listed,
        "allowedNamespaces": {"names": names},
    },
    st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True),
    st.lists(addresses, max_size=6, unique_by=lambda one: one["ip"]).map(each_once),
    st.lists(st.sampled_from(["mail", "shop"]), max_size=2, unique=True),
)
demands = st.lists(
    st.builds(
        lambda name, traffic_class, key, namespace, replicas, standby, kept, found: Demand(
            namespace, name, TrafficClass(traffic_class), key, replicas, standby, frozenset(kept | found.keys()), found
        ),
        st.sampled_from(LANES),
        st.sampled_from(CLASSES),
        st.sampled_from(POOLS),
        st.sampled_from(["mail", "mail", "shop"]),
        st.integers(0, 3),
        st.integers(0, 1),
        st.sets(st.integers(0, 3)),
        st.dictionaries(st.integers(0, 3), st.sampled_from(NAMED), max_size=2),  # what anybody may write on a claim
    ),
    max_size=5,
    unique_by=lambda one: one.key,
)
steps = st.lists(
    st.tuples(st.lists(pool_specs, min_size=3, max_size=3), demands, st.integers(0, 2 * COOLDOWN_S)),
    min_size=1,
    max_size=5,
)


@dataclass
class History:
    """Who has, and had, which address."""

    pools: dict[Key, Pool] = field(default_factory=dict)
    holder: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Address -> lane, class and slot that hold it, or did last."""
    until: dict[str, dt.datetime | None] = field(default_factory=dict)
    """When that gave it up; None: it has it."""

    def held(self) -> dict[str, tuple[str, str, str]]:
        """Address -> lane, class and slot, of those that are held now."""
        return {ip: who for ip, who in self.holder.items() if self.until[ip] is None}


def claims_of(result: AllocationResult, asked: list[Demand]) -> Iterator[tuple[Demand, str, int, PoolAddress]]:
    for demand in asked:
        for claim in result.assignments.get(demand.key, Assignment()).claims:
            if claim.address is not None:
                yield demand, claim.slot_name, claim.slot_index, claim.address


def held_by(result: AllocationResult, asked: list[Demand]) -> Iterator[tuple[str, tuple[str, ...]]]:
    return ((f"{demand.namespace}/{slot}", address.ips) for demand, slot, _, address in claims_of(result, asked))


def made(key: Key, spec: dict[str, Any], before: Pool | None) -> Pool:
    of = IPPoolSpec.model_validate(spec)
    return Pool(*key, "uid", 1, "1", of) if before is None else replace(before, spec=of)


@settings(max_examples=120, deadline=None)
@given(steps=steps, seed=st.integers())
def test_whatever_happens(steps: list[tuple[list[dict[str, Any]], list[Demand], int]], seed: int) -> None:
    chance, history, now = random.Random(seed), History(), START
    for specs, asked, seconds in steps:
        now += dt.timedelta(seconds=seconds)
        for key, spec in zip(POOLS, specs, strict=True):
            history.pools[key] = made(key, spec, history.pools.get(key))
        for key in chance.sample(POOLS, 3):
            step(history, key, [one for one in asked if one.pool == key], now, chance)


def step(history: History, key: Key, asked: list[Demand], now: dt.datetime, chance: random.Random) -> None:
    """One pool is served, as a pass does it, and everything is checked that must hold."""
    pool, beside = history.pools[key], [one for one in history.pools.values() if one.key != key]
    result = allocate([pool], asked, now, beside)
    before = history.held()
    new = [
        (demand, slot, index, address)
        for demand, slot, index, address in claims_of(result, asked)
        if before.get(address.ip) != ("/".join(demand.key), demand.traffic_class, slot)
    ]
    for demand, slot, index, address in new:
        check_given(history, pool, demand, slot, index, address, now)
    check_seconds(history, result, pool, asked, now)
    check_kept(history, result, pool, asked)
    waiting = allocate([pool], asked, now, beside, unseen=("somebody",))
    for demand, slot, _, address in claims_of(waiting, asked):
        who = ("/".join(demand.key), demand.traffic_class, slot)
        assert before.get(address.ip) == who, "nothing new is given while somebody may hold it"
    check_nothing_is_left_for_who_was_refused(history, result, pool, asked, now)
    settle(history, result, pool, asked, now)
    check_once(history)
    again = allocate([history.pools[key]], asked, now, beside)
    assert set(held_by(again, asked)) == set(held_by(result, asked)), "a second look gives and takes nothing"
    settled = replace(history.pools[key], status=again.statuses[key])  # what was given up may be another pool's by now
    assert allocate([settled], asked, now, beside) == again
    assert allocate([shuffled(pool, chance)], chance.sample(asked, len(asked)), now, beside[::-1]) == result


def check_given(
    history: History, pool: Pool, demand: Demand, slot: str, index: int, address: PoolAddress, now: dt.datetime
) -> None:
    """An address that a slot did not have: it was free to take, for this slot of this lane."""
    who, ip = ("/".join(demand.key), demand.traffic_class), address.ip
    listed = {one.ip: one for one in pool.spec.addresses}
    assert ip in listed
    assert not listed[ip].quarantined
    assert listed[ip].role == ("Active" if index < STANDBY_FROM else "Standby")
    assert demand.namespace in (pool.namespace, *pool.spec.allowed_namespaces.names)
    assert demand.traffic_class in pool.spec.classes
    lane, served, _ = history.holder.get(ip, ("", "", ""))
    if not lane:
        return
    until = history.until[ip]
    if (lane, served) == who:  # perhaps from another slot of it that has just given it up: nobody has it twice
        return
    assert until is not None, f"{slot} has got {ip}, which {lane} holds"
    recorded = any(one.ip == ip and one.lane == lane for one in pool.status.addresses)
    assert not recorded or (now - until).total_seconds() >= COOLDOWN_S
    assert served in (demand.traffic_class, listed[ip].released_from) or served != LOUD


def check_seconds(
    history: History, result: AllocationResult, pool: Pool, asked: list[Demand], now: dt.datetime
) -> None:
    """A second goes with the address beside which it is listed, and was free to take; what a slot had stays its own."""
    before, listed = history.held(), {one.ip: one for one in pool.spec.addresses}
    rows = {one.ip: one for one in result.statuses[pool.key].addresses}
    slots = set()
    for demand, slot, _, address in claims_of(result, asked):
        who = ("/".join(demand.key), str(demand.traffic_class), slot)
        slots.add(who)
        own = listed[address.ip].second if address.ip in listed else None
        second = address.second
        if second is None:
            is_open = demand.namespace in (pool.namespace, *pool.spec.allowed_namespaces.names)
            if own is None or not is_open or demand.traffic_class not in pool.spec.classes:
                continue
            row = rows[own.ip]
            lane, served, _ = history.holder.get(own.ip, ("", "", ""))
            is_bound = LOUD in (row.lane_class, served) or any(
                one.lane_class == LOUD for other in history.pools.values() for one in other.status.addresses
                if one.ip == own.ip
            )  # fmt: skip
            assert row.held_elsewhere or own.ip in before or row.released_at or is_bound or lane, "it was free"
            continue
        assert second == own
        assert (rows[second.ip].first, rows[second.ip].slot, rows[second.ip].released_at) == (address.ip, slot, None)
        held = before.get(second.ip, who)  # a slot of the same lane may have given it up in this look
        gone = held[2] not in {other for _, other, _, _ in claims_of(result, [demand])}
        assert held == who or (held[:2] == who[:2] and gone), f"{slot} has got {second.ip}, which {held} holds"
        lane, served, _ = history.holder.get(second.ip, ("", "", ""))
        if second.ip not in before and lane and (lane, served) != who[:2]:
            until = history.until[second.ip]
            recorded = any(one.ip == second.ip and one.lane == lane for one in pool.status.addresses)
            assert not recorded or (until is not None and (now - until).total_seconds() >= COOLDOWN_S)
            assert served in (demand.traffic_class, listed[address.ip].released_from) or served != LOUD
    for row in pool.status.addresses:
        if row.first and row.lane and not row.released_at:
            now_has, had = rows.get(row.ip), (row.lane, row.lane_class, row.slot)
            has = now_has is not None and not now_has.released_at
            holder = (now_has.lane, now_has.lane_class, now_has.slot) if now_has is not None and has else None
            assert holder == had if had in slots else holder is None or holder in slots, f"{row.ip} and its slot part"


def check_kept(history: History, result: AllocationResult, pool: Pool, asked: list[Demand]) -> None:
    """Who had an address of this pool and still wants one has the same."""
    found = {
        ("/".join(demand.key), str(demand.traffic_class), slot): address.ip
        for demand, slot, _, address in claims_of(result, asked)
    }
    recorded = {
        (one.lane, one.lane_class, one.slot): one.ip
        for one in pool.status.addresses
        if not one.released_at and not one.first
    }
    for demand in asked:
        standby = {STANDBY_FROM + number for number in range(demand.standby)}
        for index in {*range(demand.replicas), *standby, *demand.retained}:
            name = f"{demand.name}-{index}" if index < STANDBY_FROM else f"{demand.name}-s{index - STANDBY_FROM}"
            who = ("/".join(demand.key), str(demand.traffic_class), name)
            if who in recorded:
                assert found.get(who) == recorded[who]


def check_nothing_is_left_for_who_was_refused(
    history: History, result: AllocationResult, pool: Pool, asked: list[Demand], now: dt.datetime
) -> None:
    """Exhausted means exhausted: who lacks an address lacks it because there is none for it."""
    recorded = [row for other in history.pools.values() for row in other.status.addresses]
    held_now = {one.ip for one in result.statuses[pool.key].addresses if one.lane and not one.released_at}
    for demand in asked:
        assignment = result.assignments[demand.key]
        has = {claim.slot_index for claim in assignment.claims}
        wanted = {*range(demand.replicas), *(STANDBY_FROM + number for number in range(demand.standby))} - has
        if not wanted:
            assert assignment.refusal is None or assignment.refusal.reason is not Reason.POOL_EXHAUSTED
            continue
        assert assignment.refusal is not None
        if assignment.refusal.reason is not Reason.POOL_EXHAUSTED:
            assert assignment.refusal.reason in (Reason.POOL_CLOSED, Reason.CLASS_MISMATCH)
            continue
        roles = {"Active" if index < STANDBY_FROM else "Standby" for index in wanted}
        rows = {one.ip: one for one in result.statuses[pool.key].addresses}
        for one in pool.spec.addresses:
            if one.ip in held_now or one.quarantined or one.role not in roles or rows[one.ip].held_elsewhere:
                continue
            lane, served, _ = history.holder.get(one.ip, ("", "", ""))
            rests = (
                rows[one.ip].released_at is not None
                and (now - dt.datetime.fromisoformat(str(rows[one.ip].released_at))).total_seconds() < COOLDOWN_S
            )
            # what served since may be forgotten with its pool's spec, and then another pool's older record binds
            classes = {served} | {row.lane_class for row in recorded if row.ip == one.ip}
            is_bound = LOUD in classes and LOUD not in (demand.traffic_class, one.released_from)
            is_own = (lane, served) == ("/".join(demand.key), demand.traffic_class) and rows[one.ip].lane
            assert not is_own, f"{one.ip} was {demand.key}'s own"
            assert rests or is_bound, f"{one.ip} was free for {demand.key}"


def settle(history: History, result: AllocationResult, pool: Pool, asked: list[Demand], now: dt.datetime) -> None:
    """The record is committed, and the oracle notes who has what, from the claims."""
    found = {
        address.ip: ("/".join(demand.key), str(demand.traffic_class), slot)
        for demand, slot, _, address in claims_of(result, asked)
    }
    found |= {
        one.ip: (one.lane, one.lane_class, one.slot)
        for one in result.statuses[pool.key].addresses
        if one.first and one.lane and not one.released_at
    }
    for one in pool.status.addresses:
        if one.lane and not one.released_at and one.ip not in found:
            history.until[one.ip] = now
    for ip, who in found.items():
        history.holder[ip], history.until[ip] = who, None
    history.pools[pool.key] = replace(pool, status=result.statuses[pool.key])


def check_once(history: History) -> None:
    """No address is on record as held twice, in whichever pools."""
    held = [
        one.ip
        for pool in history.pools.values()
        for one in pool.status.addresses
        if one.lane and one.released_at is None
    ]
    assert len(held) == len(set(held))
    assert set(held) == set(history.held())


def shuffled(pool: Pool, chance: random.Random) -> Pool:
    listed, recorded = list(pool.spec.addresses), list(pool.status.addresses)
    chance.shuffle(listed)
    chance.shuffle(recorded)
    return replace(
        pool,
        spec=pool.spec.model_copy(update={"addresses": tuple(listed)}),
        status=pool.status.model_copy(update={"addresses": tuple(recorded)}),
    )
