"""What slots' own objects name, when the record does not know it: anybody may write them, so that they get no more."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import AddressStatus, IPPoolStatus
from lane_operator.pools import allocate
from tests.lane_operator.pools.test_allocate import NOW, POOL, demand, held, pool

LONG_AGO = "2026-10-01T00:00:00Z"
BURNT = {"ip": "203.0.113.10", "lane": "mail/gone", "lane_class": "Bulk", "slot": "gone-0", "released_at": LONG_AGO}
RESTING = BURNT | {"lane_class": "Transactional", "released_at": "2026-11-23T07:59:00Z"}
OF_ANOTHER = BURNT | {"ip": "203.0.113.11", "lane_class": "Transactional"}


@pytest.mark.parametrize(
    ("record", "address", "asks"),
    [
        (BURNT, {}, {}),
        (RESTING, {}, {}),
        (OF_ANOTHER, {"role": "Standby"}, {}),
        (OF_ANOTHER, {"quarantined": True}, {}),
        (BURNT | {"ip": "203.0.113.12"}, {}, {"found": {0: "203.0.113.12"}}),
        (OF_ANOTHER, {}, {"replicas": 0}),
        (OF_ANOTHER, {}, {"deleting": True, "replicas": 0, "reserving": True}),
    ],
    ids=["barred", "resting", "another role", "quarantined", "out of the spec", "not asked for", "lane gone"],
)
def test_what_a_slots_objects_alone_name_gets_it_no_more_than_is_there_for_everybody(
    record: dict[str, Any], address: dict[str, Any], asks: dict[str, Any]
) -> None:
    status = IPPoolStatus(addresses=(AddressStatus(**record),))
    listed = [
        {"ip": "203.0.113.10", "hostname": "out0.example.com", **address},
        {"ip": "203.0.113.11", "hostname": "out1.example.com"},
    ]
    forged = replace(demand(retained=frozenset({0}), found={0: "203.0.113.10"}), **asks)
    result = allocate([pool(status=status, addresses=listed)], [forged], NOW)
    named = forged.found[0]
    assert named not in held(result).values()
    assert not [one for one in result.statuses[POOL].addresses if (one.ip, one.lane) == (named, "mail/otp")]


def test_a_slot_that_its_lanes_status_vouches_for_keeps_what_the_pool_would_give_nobody_now() -> None:
    status = IPPoolStatus(addresses=(AddressStatus(**OF_ANOTHER),))
    for change in ({"role": "Standby"}, {"quarantined": True}):
        listed = [{"ip": "203.0.113.10", "hostname": "out0.example.com", **change}]
        lost = pool(status=status, addresses=listed)
        kept = demand(replicas=0, retained=frozenset({0}), found={0: "203.0.113.10"}, vouched=frozenset({0}))
        assert held(allocate([lost], [kept], NOW)) == {"mail/otp-0": "203.0.113.10"}


@pytest.mark.parametrize("record", [BURNT, RESTING])
def test_what_another_lane_had_since_is_not_given_back_though_the_status_vouches_for_it(record: dict[str, Any]) -> None:
    since = pool("203.0.113.10", status=IPPoolStatus(addresses=(AddressStatus(**record),)))
    kept = demand(retained=frozenset({0}), found={0: "203.0.113.10"}, vouched=frozenset({0}))
    assert held(allocate([since], [kept], NOW)) == {}


def test_of_a_lost_record_a_slot_that_is_vouched_for_comes_before_one_that_says_so_itself() -> None:
    forged = demand("aaa", retained=frozenset({0}), found={0: "203.0.113.11"})
    real = demand(retained=frozenset({0}), found={0: "203.0.113.11"}, vouched=frozenset({0}))
    result = allocate([pool("203.0.113.10", "203.0.113.11")], [forged, real], NOW)
    assert held(result) == {"mail/otp-0": "203.0.113.11", "mail/aaa-0": "203.0.113.10"}


def test_ten_claims_of_a_lane_of_one_slot_hold_one_address() -> None:
    ips = [f"203.0.113.{last}" for last in range(10, 20)]
    status = IPPoolStatus(addresses=(AddressStatus(**(OF_ANOTHER | {"ip": ips[9]})),))
    forged = demand(retained=frozenset(range(10)), found=dict(enumerate(ips)))
    assert held(allocate([pool(*ips, status=status)], [forged], NOW)) == {"mail/otp-0": ips[0]}


@pytest.mark.parametrize("block", [6443, 19999, 20001, 10**9])
def test_a_block_that_the_pool_does_not_offer_is_not_given_back(block: int) -> None:
    running = demand(retained=frozenset({0}), found={0: "203.0.113.10"}, blocks={0: block})
    offering = pool("203.0.113.10", engine="HostNetwork", engineConfig={"portRange": "20000-20007"})
    assert [one.port_block for one in allocate([offering], [running], NOW).assignments["mail", "otp"].claims] == [20000]
