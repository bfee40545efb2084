"""Addresses with a second of the other family: one slot has both, nobody else gets either."""

import datetime as dt
from dataclasses import replace
from typing import Any

from lane_api.classes import TrafficClass
from lane_api.conditions import ConditionType
from lane_api.ippool import IPPoolSpec, IPPoolStatus
from lane_operator.inputs import Demand, Holding, Pool
from lane_operator.pools import AllocationResult, allocate
from lane_operator.status import pool_status

NOW = dt.datetime(2026, 11, 23, 8, 0, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=2)
KEY = ("mail", "pool")
SIX, OTHER = "2001:db8::10", "2001:db8::11"


def listed(**seconds: str) -> list[dict[str, Any]]:
    """Addresses 203.0.113.10 and 11, called `a` and `b`, with these seconds."""
    return [
        {"ip": ip, "hostname": f"{name}.example.com"} | ({"second": {"ip": seconds[name]}} if name in seconds else {})
        for name, ip in (("a", "203.0.113.10"), ("b", "203.0.113.11"))
    ]


def pool(addresses: list[dict[str, Any]], key: tuple[str, str] = KEY, **spec: Any) -> Pool:
    given = {"classes": ["Transactional", "Bulk"], "engine": "Multus", "addresses": addresses}
    return Pool(*key, "uid", 1, "1", IPPoolSpec.model_validate(given | spec), IPPoolStatus())


def demand(name: str = "otp", replicas: int = 1, **changes: Any) -> Demand:
    return replace(Demand("mail", name, TrafficClass.TRANSACTIONAL, KEY, replicas), **changes)


def after(result: AllocationResult, before: Pool, addresses: list[dict[str, Any]] | None = None) -> Pool:
    """The pool as the next allocation finds it, perhaps with other addresses in its spec."""
    spec = before.spec if addresses is None else pool(addresses).spec
    return replace(before, spec=spec, status=result.statuses[before.key])


def pairs(result: AllocationResult) -> dict[str, tuple[str, ...]]:
    """Slot -> its addresses."""
    return {
        claim.slot_name: claim.address.ips
        for assignment in result.assignments.values()
        for claim in assignment.claims
        if claim.address is not None
    }


def rows(result: AllocationResult) -> dict[str, tuple[str, str, bool]]:
    """Address -> what it stands beside, whose it is or was, and whether it is held."""
    found = {}
    for row in result.statuses[KEY].addresses:
        found[row.ip] = (row.first, row.slot, bool(row.lane) and row.released_at is None)
    return found


def test_a_slot_gets_both_and_each_has_a_record_of_its_own() -> None:
    result = allocate([pool(listed(a=SIX))], [demand(replicas=2)], NOW)

    assert pairs(result) == {"otp-0": ("203.0.113.10", SIX), "otp-1": ("203.0.113.11",)}
    assert rows(result) == {
        "203.0.113.10": ("", "otp-0", True),
        SIX: ("203.0.113.10", "otp-0", True),
        "203.0.113.11": ("", "otp-1", True),
    }
    assert result.statuses[KEY].capacity.assigned == result.statuses[KEY].capacity.total == 2


def test_a_second_that_comes_later_is_the_slots_at_once() -> None:
    before = pool(listed())
    first = allocate([before], [demand()], NOW)
    result = allocate([after(first, before, listed(a=SIX))], [demand()], NOW)

    assert pairs(result) == {"otp-0": ("203.0.113.10", SIX)}


def test_one_that_is_taken_out_is_used_no_more_and_nobody_elses_until_the_slot_has_drained() -> None:
    before = pool(listed(a=SIX), cooldown="0s")
    first = allocate([before], [demand()], NOW)
    moved = replace(after(first, before, listed(b=SIX)), spec=pool(listed(b=SIX), cooldown="0s").spec)
    both = [demand(), demand("sms")]
    second = allocate([moved], both, NOW)

    assert pairs(second) == {"otp-0": ("203.0.113.10",), "sms-0": ("203.0.113.11",)}
    assert rows(second)[SIX] == ("203.0.113.10", "otp-0", True)
    status = pool_status(moved, second.statuses[KEY], NOW)
    assert {one.type: one.status for one in status.conditions}[ConditionType.READY] == "True"

    third = allocate([replace(moved, status=second.statuses[KEY])], [demand(replicas=0), demand("sms")], NOW)
    fourth = allocate([replace(moved, status=third.statuses[KEY])], [demand("sms")], LATER)
    assert pairs(fourth) == {"sms-0": ("203.0.113.11", SIX)}


def test_the_pool_says_which_one_left_it_and_is_held() -> None:
    before = pool(listed(a=SIX))
    first = allocate([before], [demand()], NOW)
    bare = after(first, before, listed())
    result = allocate([bare], [demand()], NOW)
    valid = next(
        one for one in pool_status(bare, result.statuses[KEY], NOW).conditions if one.type == ConditionType.VALID
    )

    assert valid.status == "False"
    assert f"{SIX} by slot otp-0 of lane mail/otp" in valid.message


def test_both_rest_when_the_slot_gives_them_up_and_come_back_to_its_lane() -> None:
    before = pool(listed(a=SIX)[:1])
    first = allocate([before], [demand()], NOW)
    gone = allocate([after(first, before)], [], NOW)
    assert rows(gone) == {"203.0.113.10": ("", "otp-0", False), SIX: ("203.0.113.10", "otp-0", False)}

    assert pairs(allocate([after(gone, before)], [demand("sms")], NOW)) == {}
    assert pairs(allocate([after(gone, before)], [demand()], NOW)) == {"otp-0": ("203.0.113.10", SIX)}


def test_a_second_that_served_bulk_comes_to_no_other_class() -> None:
    before = pool(listed(a=SIX)[:1])
    bulk = demand("news", traffic_class=TrafficClass.BULK)
    gone = allocate([after(allocate([before], [bulk], NOW), before)], [], NOW)
    moved = after(gone, before, listed(b=SIX)[1:])

    assert pairs(allocate([moved], [demand()], LATER)) == {"otp-0": ("203.0.113.11",)}
    assert pairs(allocate([moved], [replace(bulk, name="more")], LATER)) == {"more-0": ("203.0.113.11", SIX)}


def test_a_slot_keeps_as_its_only_one_what_is_to_be_anothers_second() -> None:
    before = pool([{"ip": SIX, "hostname": "six.example.com"}])
    first = allocate([before], [demand()], NOW)
    turned = after(first, before, listed(a=SIX)[:1])
    result = allocate([turned], [demand(), demand("sms")], NOW)

    assert pairs(result) == {"otp-0": (SIX,), "sms-0": ("203.0.113.10",)}
    (claim,) = result.assignments["mail", "otp"].claims
    assert claim.address is not None
    assert claim.address.hostname == "six.example.com"


def test_what_another_pools_slot_has_stays_there() -> None:
    theirs = pool(listed(a=SIX)[:1], ("mail", "theirs"))
    held = allocate([theirs], [demand("sms", pool=theirs.key)], NOW)
    mine = pool(listed(b=SIX)[1:])
    result = allocate([mine], [demand()], NOW, [after(held, theirs)])

    assert pairs(result) == {"otp-0": ("203.0.113.11",)}
    assert next(one for one in result.statuses[KEY].addresses if one.ip == SIX).held_elsewhere == "mail/theirs"


def test_one_that_a_slot_carries_from_a_pool_that_is_gone_is_nobody_elses() -> None:
    carried = Holding(SIX, ("mail", "gone"), "mail", vouched=True)
    result = allocate([pool(listed(a=SIX))], [demand()], NOW, holdings=[carried])

    assert pairs(result) == {"otp-0": ("203.0.113.10",)}


def test_a_lost_status_gives_the_pair_back() -> None:
    result = allocate([pool(listed(a=SIX, b=OTHER))], [demand(found={0: "203.0.113.11"})], NOW)

    assert pairs(result) == {"otp-0": ("203.0.113.11", OTHER)}


def test_while_slots_may_run_that_nobody_knows_no_second_is_given_and_none_is_taken() -> None:
    before = pool(listed(b=OTHER))
    held = allocate([before], [demand(), demand("sms")], NOW)
    more = after(held, before, listed(a=SIX, b=OTHER))
    result = allocate([more], [demand(), demand("sms")], NOW, unseen=("node n2",))

    assert pairs(result) == {"otp-0": ("203.0.113.10",), "sms-0": ("203.0.113.11", OTHER)}
