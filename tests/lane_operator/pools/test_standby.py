"""Which addresses standby slots get, and that nobody else does."""

from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.lane_status import SlotRole
from lane_api.names import slot_index, slot_name
from lane_operator.inputs import Pool
from lane_operator.pools import allocate
from tests.lane_operator.pools.test_allocate import NOW, POOL, after, demand, held, pool


def mixed(*addresses: str | dict[str, Any], **spec: Any) -> Pool:
    """A pool of addresses, each given by its last octet or with more."""
    rows = [{"ip": one} if isinstance(one, str) else one for one in addresses]
    named = [{"hostname": f"out{number}.example.com"} | row for number, row in enumerate(rows)]
    return pool(addresses=named, **spec)


SPARE = {"ip": "203.0.113.9", "role": "Standby"}


@pytest.mark.parametrize(("index", "name"), [(0, "otp-0"), (63, "otp-63"), (64, "otp-s0"), (71, "otp-s7")])
def test_a_slot_s_name_says_whether_it_stands_by(index: int, name: str) -> None:
    assert slot_name("otp", index) == name
    assert slot_index("otp", name) == index


@pytest.mark.parametrize("name", ["otp-s", "otp-sx", "otp", "mail-0", "otp-s-0", "otp-0s", "otp-²"])
def test_other_names_are_no_slot_s(name: str) -> None:
    assert slot_index("otp", name) is None


def test_each_kind_of_slot_gets_an_address_of_its_role() -> None:
    result = allocate([mixed(SPARE, "203.0.113.10")], [demand(standby=1)], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10", "mail/otp-s0": "203.0.113.9"}
    roles = [claim.role for claim in result.assignments["mail", "otp"].claims]
    assert roles == [SlotRole.ACTIVE, SlotRole.STANDBY]
    assert result.assignments["mail", "otp"].refusal is None
    capacity = result.statuses[POOL].capacity
    assert (capacity.total, capacity.assigned, capacity.standby, capacity.free) == (2, 1, 1, 0)


def test_a_lane_that_grows_does_not_use_up_what_stands_by() -> None:
    result = allocate([mixed(SPARE, "203.0.113.10")], [demand(replicas=2)], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}
    refusal = result.assignments["mail", "otp"].refusal
    assert refusal is not None
    assert refusal.reason is Reason.POOL_EXHAUSTED
    assert "1 free; 1 of 2 slots have none" in refusal.message


def test_a_standby_slot_without_address_is_refused_with_the_fix_and_the_active_ones_serve() -> None:
    result = allocate([mixed("203.0.113.10", "203.0.113.11")], [demand(standby=1)], NOW)

    assert held(result) == {"mail/otp-0": "203.0.113.10"}
    refusal = result.assignments["mail", "otp"].refusal
    assert refusal is not None
    assert refusal.spare
    assert "1 of 1 standby slots have none: add addresses with role: Standby" in refusal.message


def test_a_slot_keeps_its_address_when_that_changes_its_role() -> None:
    before = mixed(SPARE, "203.0.113.10")
    first = allocate([before], [demand(standby=1)], NOW)
    turned = mixed("203.0.113.9", {"ip": "203.0.113.10", "role": "Standby"}).spec.addresses

    again = allocate([after(first, before, addresses=turned)], [demand(standby=1)], NOW)

    assert held(again) == held(first)


def test_standby_slots_that_are_asked_for_no_more_drain() -> None:
    before = mixed(SPARE, "203.0.113.10")
    first = allocate([before], [demand(standby=1)], NOW)

    again = allocate([after(first, before)], [demand(retained=frozenset({0, 64}))], NOW)

    assert [claim.role for claim in again.assignments["mail", "otp"].claims] == [SlotRole.ACTIVE, SlotRole.DRAINING]


def test_a_quarantined_address_is_given_to_nobody_and_stays_with_whom_it_is() -> None:
    barred = {"ip": "203.0.113.10", "quarantined": True}
    nothing = allocate([mixed(barred)], [demand()], NOW)
    assert held(nothing) == {}
    assert nothing.statuses[POOL].capacity.quarantined == 1
    refusal = nothing.assignments["mail", "otp"].refusal
    assert refusal is not None
    assert "1 quarantined, 0 free" in refusal.message

    before = mixed("203.0.113.10")
    first = allocate([before], [demand()], NOW)
    again = allocate([after(first, before, addresses=mixed(barred).spec.addresses)], [demand()], NOW)
    assert held(again) == {"mail/otp-0": "203.0.113.10"}


def test_where_there_are_no_addresses_none_can_stand_by() -> None:
    result = allocate([pool(engine="ClusterDefault", addresses=[])], [demand(standby=1)], NOW)

    assignment = result.assignments["mail", "otp"]
    assert [claim.slot_name for claim in assignment.claims] == ["otp-0"]
    assert assignment.refusal is not None
    assert assignment.refusal.reason is Reason.ENGINE_LIMIT
    assert "set standbyReplicas to 0" in assignment.refusal.message
