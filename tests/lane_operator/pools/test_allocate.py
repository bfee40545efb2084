"""Who gets which address, who keeps it, and who is told why not."""

import datetime as dt
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.classes import TrafficClass
from lane_api.conditions import Reason
from lane_api.ippool import IPPoolSpec, IPPoolStatus
from lane_api.lane_status import SlotRole
from lane_operator.inputs import Demand, Holding, Pool
from lane_operator.pools import AllocationResult, allocate

NOW = dt.datetime(2026, 11, 23, 8, 0, 0, tzinfo=dt.UTC)
POOL = ("mail-pools", "trans-pool")
TRANSACTIONAL = TrafficClass.TRANSACTIONAL


def pool(*ips: str, key: tuple[str, str] = POOL, status: IPPoolStatus | None = None, **spec: Any) -> Pool:
    engine = spec.get("engine", "Multus")
    addresses = [
        {"ip": ip, "hostname": f"out{number}.example.com"} | ({"node": "node-a"} if engine == "HostNetwork" else {})
        for number, ip in enumerate(ips)
    ]
    given_spec = {
        "classes": ["Transactional"],
        "engine": "Multus",
        "addresses": addresses,
        "allowedNamespaces": {"names": ["mail"]},
    }
    return Pool(*key, "uid", 1, "1", IPPoolSpec.model_validate(given_spec | spec), status or IPPoolStatus())


def demand(name: str = "otp", replicas: int = 1, **changes: Any) -> Demand:
    asked = Demand("mail", name, TRANSACTIONAL, POOL, replicas)
    return replace(asked, **changes)


def after(result: AllocationResult, before: Pool, **spec: Any) -> Pool:
    """The pool as the next allocation finds it."""
    changed = before.spec.model_copy(update=spec) if spec else before.spec
    return replace(before, spec=changed, status=result.statuses[before.key])


def held(result: AllocationResult) -> dict[str, str]:
    """Slot -> address."""
    return {
        f"{key[0]}/{claim.slot_name}": claim.address.ip
        for key, assignment in result.assignments.items()
        for claim in assignment.claims
        if claim.address
    }


def test_a_slot_gets_an_address_and_the_record_says_so() -> None:
    result = allocate([pool("203.0.113.10")], [demand()], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}
    record = result.statuses[POOL].addresses[0]
    assert (record.lane, record.slot, record.lane_class) == ("mail/otp", "otp-0", "Transactional")
    assert (record.hostname, record.released_at) == ("out0.example.com", None)
    assert result.statuses[POOL].capacity.model_dump() == {
        "total": 1,
        "assigned": 1,
        "standby": 0,
        "quarantined": 0,
        "cooling": 0,
        "free": 0,
    }


def test_an_assigned_address_stays_when_a_lane_that_sorts_before_comes() -> None:
    first = pool("203.0.113.10", "203.0.113.11")
    result = allocate([first], [demand("otp")], NOW)

    grown = allocate([after(result, first)], [demand("otp"), demand("aaa")], NOW)

    assert held(grown) == {"mail/otp-0": "203.0.113.10", "mail/aaa-0": "203.0.113.11"}


def test_exhaustion_is_refused_with_counts_and_the_slots_that_have_one_keep_it() -> None:
    result = allocate([pool("203.0.113.10")], [demand(replicas=3)], NOW)

    assignment = result.assignments["mail", "otp"]
    assert len(assignment.claims) == 1
    assert assignment.refusal is not None
    assert assignment.refusal.reason is Reason.POOL_EXHAUSTED
    assert assignment.refusal.waiting is Reason.POOL_EXHAUSTED
    assert not assignment.refusal.spare
    assert "has 1 addresses: 1 assigned, 0 cooling down, 0 free; 2 of 3 slots have none" in assignment.refusal.message


def test_a_released_address_cools_down_for_others() -> None:
    first = pool("203.0.113.10")
    released = allocate([after(allocate([first], [demand()], NOW), first)], [], NOW)
    rested = after(released, first)

    soon = allocate([rested], [demand("bulk")], NOW + dt.timedelta(hours=23))
    later = allocate([rested], [demand("bulk")], NOW + dt.timedelta(hours=24))

    assert held(soon) == {}
    refusal = soon.assignments["mail", "bulk"].refusal
    assert refusal is not None
    assert "1 cooling down (the next until 2026-11-24T08:00:00Z)" in refusal.message
    assert held(later) == {"mail/bulk-0": "203.0.113.10"}


def test_a_cool_down_beyond_the_calendar_is_a_long_one() -> None:
    first = pool("203.0.113.10", cooldown="99999999h")
    rested = after(allocate([after(allocate([first], [demand()], NOW), first)], [], NOW), first)

    assert held(allocate([rested], [demand("bulk")], NOW + dt.timedelta(days=3650))) == {}


def test_a_lane_made_again_gets_its_own_back_without_cool_down() -> None:
    first = pool("203.0.113.10", "203.0.113.11", "203.0.113.12")
    result = allocate([first], [demand(replicas=2)], NOW)
    rested = after(allocate([after(result, first)], [], NOW), first)

    again = allocate([rested], [demand("aaa"), demand(replicas=2)], NOW + dt.timedelta(days=9))

    assert held(again) == {
        "mail/otp-0": "203.0.113.10",
        "mail/otp-1": "203.0.113.11",
        "mail/aaa-0": "203.0.113.12",
    }


def test_a_lane_of_that_name_in_another_class_waits_like_any_other() -> None:
    first = pool("203.0.113.10", classes=["Transactional", "Bulk"])
    rested = after(allocate([after(allocate([first], [demand()], NOW), first)], [], NOW), first)

    again = allocate([rested], [demand(traffic_class=TrafficClass.BULK)], NOW)

    assert held(again) == {}


def test_a_draining_slot_keeps_its_claim_until_it_is_gone() -> None:
    first = pool("203.0.113.10", "203.0.113.11")
    two = after(allocate([first], [demand(replicas=2)], NOW), first)

    draining = allocate([two], [demand(replicas=1, retained=frozenset({0, 1}))], NOW)
    gone = allocate([after(draining, two)], [demand(replicas=1, retained=frozenset({0}))], NOW)

    assert [claim.role for claim in draining.assignments["mail", "otp"].claims] == [
        SlotRole.ACTIVE,
        SlotRole.DRAINING,
    ]
    assert held(gone) == {"mail/otp-0": "203.0.113.10"}
    assert gone.statuses[POOL].addresses[1].released_at == "2026-11-23T08:00:00Z"


def test_what_a_slot_has_given_up_is_another_slots_of_its_lane_in_the_same_look() -> None:
    lost = pool("203.0.113.10")
    asked = demand(replicas=0, retained=frozenset({1}), found={1: "203.0.113.10"})
    second = after(allocate([lost], [asked], NOW), lost)

    result = allocate([second], [demand(), demand("aaa")], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}
    assert allocate([after(result, second)], [demand(), demand("aaa")], NOW) == result


def test_a_slot_that_is_held_says_so() -> None:
    first = pool("203.0.113.10")
    one = after(allocate([first], [demand()], NOW), first)

    result = allocate([one], [demand(replicas=0, retained=frozenset({0}), held=True, deleting=True)], NOW)

    assert [claim.role for claim in result.assignments["mail", "otp"].claims] == [SlotRole.HELD]


def test_a_lost_status_is_rebuilt_from_what_the_slots_name() -> None:
    lost = pool("203.0.113.10", "203.0.113.11", "203.0.113.12")
    asked = demand(replicas=2, retained=frozenset({0, 1}), found={0: "203.0.113.12", 1: "203.0.113.10"})

    result = allocate([lost], [demand("aaa"), asked], NOW)

    assert held(result) == {
        "mail/otp-0": "203.0.113.12",
        "mail/otp-1": "203.0.113.10",
        "mail/aaa-0": "203.0.113.11",
    }


@pytest.mark.parametrize("said", [{"namespace": "stranger"}, {"traffic_class": TrafficClass.BULK}])
def test_what_a_namespace_or_class_says_that_the_pool_is_closed_to_reserves_nothing(said: dict[str, Any]) -> None:
    forged = demand("forged", 0, retained=frozenset({0}), found={0: "203.0.113.10"}, reserving=True, **said)

    result = allocate([pool("203.0.113.10")], [forged, demand()], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}


def test_what_the_record_names_already_stays_reserved_also_in_a_pool_that_has_closed() -> None:
    first = pool("203.0.113.10")
    closed = after(allocate([first], [demand()], NOW), first, classes=(TrafficClass.BULK,))
    kept = demand(replicas=0, retained=frozenset({0}), found={0: "203.0.113.10"}, reserving=True)

    record = allocate([closed], [kept], NOW).statuses[POOL].addresses[0]

    assert (record.lane, record.released_at) == ("mail/otp", None)


def test_what_a_slot_names_never_wins_over_the_record() -> None:
    first = pool("203.0.113.10", "203.0.113.11")
    recorded = after(allocate([first], [demand("aaa")], NOW), first)

    result = allocate([recorded], [demand("aaa"), demand(found={0: "203.0.113.10"})], NOW)

    assert held(result) == {"mail/aaa-0": "203.0.113.10", "mail/otp-0": "203.0.113.11"}


def test_an_address_taken_out_of_the_pool_stays_with_its_slot_until_that_has_drained() -> None:
    first = pool("203.0.113.10", "203.0.113.11")
    result = allocate([first], [demand()], NOW)
    removed = after(result, first, addresses=first.spec.addresses[1:])

    kept = allocate([removed], [demand()], NOW)
    drained = allocate([after(kept, removed)], [], NOW)

    claim = kept.assignments["mail", "otp"].claims[0]
    assert claim.address is not None
    assert (claim.address.ip, claim.address.hostname) == ("203.0.113.10", "out0.example.com")
    assert [record.ip for record in drained.statuses[POOL].addresses] == ["203.0.113.11"]


def test_a_slot_keeps_its_proxy_when_the_address_leaves_the_pool() -> None:
    proxies = [{"address": "192.0.2.80", "port": 1080 + number, "secretName": "socks"} for number in range(2)]
    addresses = [
        {"ip": f"203.0.113.{10 + number}", "hostname": "out.example.com", "proxy": proxy}
        for number, proxy in enumerate(proxies)
    ]
    first = pool(engine="Socks5", addresses=addresses)
    removed = after(allocate([first], [demand()], NOW), first, addresses=first.spec.addresses[1:])

    (claim,) = allocate([removed], [demand()], NOW).assignments["mail", "otp"].claims
    assert claim.address is not None
    assert claim.address.proxy is not None
    assert (claim.address.ip, claim.address.proxy.port) == ("203.0.113.10", 1080)


@pytest.mark.parametrize(
    ("asked", "reason", "fix"),
    [
        (demand(namespace="web"), Reason.POOL_CLOSED, "add it to the pool's allowedNamespaces.names"),
        (demand(traffic_class=TrafficClass.BULK), Reason.CLASS_MISMATCH, "name a pool of the lane's class"),
    ],
    ids=["namespace", "class"],
)
def test_a_closed_pool_gives_nothing_and_says_what_to_do(asked: Demand, reason: Reason, fix: str) -> None:
    refusal = allocate([pool("203.0.113.10")], [asked], NOW).assignments[asked.key].refusal

    assert refusal is not None
    assert refusal.reason is reason
    assert fix in refusal.message


def test_a_pool_that_closes_takes_nothing_away() -> None:
    first = pool("203.0.113.10", "203.0.113.11")
    closed = after(allocate([first], [demand()], NOW), first, classes=(TrafficClass.BULK,))

    result = allocate([closed], [demand(replicas=2)], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}
    refusal = result.assignments["mail", "otp"].refusal
    assert refusal is not None
    assert refusal.reason is Reason.CLASS_MISMATCH


def test_an_absent_pool_is_waited_for() -> None:
    refusal = allocate([], [demand()], NOW).assignments["mail", "otp"].refusal

    assert refusal is not None
    assert (refusal.reason, refusal.waiting) == (Reason.POOL_NOT_FOUND, Reason.WAITING_FOR_POOL)


def test_an_address_in_two_pools_is_assigned_by_one_however_it_is_spelled() -> None:
    one, other = pool("2001:db8::1"), pool("2001:DB8:0:0::1", key=("mail-pools", "zz"))
    asked = [demand("a"), demand("b", pool=other.key)]

    result = allocate([one, other], asked, NOW)

    assert held(result) == {"mail/a-0": "2001:db8::1"}
    assert result.statuses[other.key].addresses[0].held_elsewhere == "mail-pools/trans-pool"
    assert result.statuses[other.key].capacity.total == 0


def test_an_address_belongs_to_the_pool_that_holds_it_also_when_that_is_not_served_now() -> None:
    late = pool("203.0.113.10", key=("mail-pools", "zz"))
    holding = after(allocate([late], [demand("b", pool=late.key)], NOW), late)

    result = allocate([pool("203.0.113.10")], [demand("a")], NOW, beside=[holding])

    assert held(result) == {}


GONE = ("mail-pools", "gone")


def test_an_address_that_a_slot_carries_from_a_pool_that_is_gone_is_nobody_elses() -> None:
    carried = Holding("203.0.113.10", GONE, "mail")

    result = allocate([pool("203.0.113.10")], [demand("l2")], NOW, holdings=[carried])

    assert held(result) == {}
    assert result.statuses[POOL].addresses[0].held_elsewhere == "mail-pools/gone"


def test_an_address_carried_from_a_pool_that_lost_its_record_is_not_given_out_by_one_that_sorts_before() -> None:
    late = pool("203.0.113.10", key=("mail-pools", "zz"))
    carried = Holding("203.0.113.10", late.key, "mail")

    result = allocate([pool("203.0.113.10")], [demand("l2")], NOW, beside=[late], holdings=[carried])

    assert held(result) == {}


@pytest.mark.parametrize(("vouched", "kept_back"), [(False, False), (True, True)])
def test_what_a_namespace_says_that_may_not_draw_from_the_pool_counts_only_where_the_operator_said_so(
    *, vouched: bool, kept_back: bool
) -> None:
    carried = Holding("203.0.113.10", GONE, "elsewhere", vouched)

    result = allocate([pool("203.0.113.10")], [demand("l2")], NOW, holdings=[carried])

    assert (held(result) == {}) is kept_back


def test_hostnetwork_slots_on_one_node_get_blocks_of_their_own_across_pools() -> None:
    config: dict[str, Any] = {"engine": "HostNetwork", "engineConfig": {"portRange": "20000-20023"}}
    one = pool("203.0.113.10", "203.0.113.11", **config)
    other = pool("203.0.113.20", key=("mail-pools", "zz"), **config)

    result = allocate([one, other], [demand("a", 2), demand("b", pool=other.key)], NOW)

    blocks = [claim.port_block for one in result.assignments.values() for claim in one.claims]
    assert blocks == [20000, 20008, 20016]
    again = allocate([after(result, one), after(result, other)], [demand("a", 2), demand("b", pool=other.key)], NOW)
    assert again == result


def test_a_lost_status_gives_each_hostnetwork_slot_its_block_back() -> None:
    lost = pool("203.0.113.10", "203.0.113.11", engine="HostNetwork")
    running = demand(retained=frozenset({0}), found={0: "203.0.113.11"}, blocks={0: 20000})

    result = allocate([lost], [demand("aaa"), running], NOW)

    assert {key[1]: one.claims[0].port_block for key, one in result.assignments.items()} == {"otp": 20000, "aaa": 20008}


def test_a_block_that_is_another_slots_by_now_is_not_given_back() -> None:
    other = pool("203.0.113.20", engine="HostNetwork", key=("mail-pools", "zz"))
    taken = after(allocate([other], [demand("b", pool=other.key)], NOW), other)
    running = demand(retained=frozenset({0}), found={0: "203.0.113.10"}, blocks={0: 20000})

    result = allocate([pool("203.0.113.10", engine="HostNetwork")], [running], NOW, beside=[taken])

    assert [claim.port_block for claim in result.assignments["mail", "otp"].claims] == [20008]


def test_a_full_port_range_is_refused_with_the_fix() -> None:
    one = pool("203.0.113.10", "203.0.113.11", engine="HostNetwork", engineConfig={"portRange": "20000-20007"})

    assignment = allocate([one], [demand("a", 2)], NOW).assignments["mail", "a"]

    assert len(assignment.claims) == 1
    assert assignment.refusal is not None
    assert "widen engineConfig.portRange of IPPool mail-pools/trans-pool" in assignment.refusal.message


def test_slots_of_one_lane_spread_over_nodes() -> None:
    addresses = [
        {"ip": f"203.0.113.{number}", "hostname": "o.example.com", "node": node}
        for number, node in ((10, "a"), (11, "a"), (12, "b"))
    ]
    one = pool(engine="HostNetwork", addresses=addresses)

    claims = allocate([one], [demand("x", 2)], NOW).assignments["mail", "x"].claims

    assert {claim.address.node for claim in claims if claim.address} == {"a", "b"}


def test_clusterdefault_has_claims_without_addresses() -> None:
    shared = pool(engine="ClusterDefault")

    result = allocate([shared], [demand(replicas=2, retained=frozenset({0, 1, 2}))], NOW)

    assert [(claim.slot_name, claim.address) for claim in result.assignments["mail", "otp"].claims] == [
        ("otp-0", None),
        ("otp-1", None),
        ("otp-2", None),
    ]


NAMES = ["a", "b", "c", "d", "e"]
demands = st.lists(
    st.builds(
        lambda name, replicas, retained: demand(name, replicas, retained=frozenset(retained)),
        st.sampled_from(NAMES),
        st.integers(0, 3),
        st.sets(st.integers(0, 3)),
    ),
    max_size=5,
    unique_by=lambda one: one.name,
)
sizes = st.integers(0, 8)


def sized(count: int) -> Pool:
    return pool(*(f"203.0.113.{number + 10}" for number in range(count)))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(demands, sizes, st.integers(0, 200_000)), min_size=1, max_size=6), seed=st.integers())
def test_no_address_has_two_slots_and_none_moves_while_it_is_wanted(
    steps: list[tuple[list[Demand], int, int]], seed: int
) -> None:
    shuffle = random.Random(seed).shuffle
    current, now = sized(8), NOW
    before: dict[str, str] = {}
    for asked, size, seconds in steps:
        now += dt.timedelta(seconds=seconds)
        current = replace(current, spec=sized(size).spec)
        result = allocate([current], asked, now)

        addresses = list(held(result).values())
        assert len(addresses) == len(set(addresses))
        wanted = {f"mail/{one.name}-{index}" for one in asked for index in {*range(one.replicas), *one.retained}}
        assert {slot: ip for slot, ip in before.items() if slot in wanted}.items() <= held(result).items()

        mixed, listed, recorded = list(asked), list(current.spec.addresses), list(current.status.addresses)
        for some in (mixed, listed, recorded):
            shuffle(some)
        disordered = replace(
            current,
            spec=current.spec.model_copy(update={"addresses": tuple(listed)}),
            status=current.status.model_copy(update={"addresses": tuple(recorded)}),
        )
        assert allocate([disordered], mixed, now) == result

        current = replace(current, status=result.statuses[POOL])
        assert allocate([current], asked, now) == result, "a second look changes nothing"
        before = held(result)


@settings(max_examples=50, deadline=None)
@given(asked=demands, size=sizes)
def test_a_lost_record_comes_back_from_the_slots(asked: list[Demand], size: int) -> None:
    first = allocate([sized(size)], asked, NOW)
    named = [
        replace(
            one,
            retained=frozenset(claim.slot_index for claim in first.assignments[one.key].claims),
            found={
                claim.slot_index: claim.address.ip
                for claim in first.assignments[one.key].claims
                if claim.address is not None
            },
        )
        for one in asked
    ]

    assert held(allocate([sized(size)], named, NOW)) == held(first)
