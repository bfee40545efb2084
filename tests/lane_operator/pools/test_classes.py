"""What served Bulk or Cold comes to another class by its owner's word alone, whichever way it goes."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.classes import TrafficClass
from lane_api.ippool import AddressStatus, IPPoolSpec, IPPoolStatus
from lane_operator.inputs import Demand, Pool, Refusal
from lane_operator.pools import allocate
from lane_operator.pools.ledger import REMEMBERED

NOW = dt.datetime(2026, 11, 23, 8, 0, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=30)
IP = "203.0.113.10"
SHARED, LOUD, QUIET = ("mail", "shared"), ("mail", "loud"), ("mail", "quiet")


def pool(key: tuple[str, str], *classes: str, ips: tuple[str, ...] = (IP,), **address: Any) -> Pool:
    spec = {
        "classes": classes,
        "engine": "Multus",
        "addresses": [{"ip": ip, "hostname": "out.example.com", **address} for ip in ips],
    }
    return Pool(*key, "uid", 1, "1", IPPoolSpec.model_validate(spec))


def demand(traffic_class: str, key: tuple[str, str] = SHARED, name: str = "lane", replicas: int = 1) -> Demand:
    return Demand("mail", name, TrafficClass(traffic_class), key, replicas)


def served(traffic_class: str, on: Pool) -> Pool:
    """The pool after a lane of that class had its addresses and went."""
    asked = demand(traffic_class, on.key, "before", len(on.spec.addresses))
    result = allocate([on], [asked], NOW)
    assert len(result.assignments[asked.key].claims) == len(on.spec.addresses)
    held = replace(on, status=result.statuses[on.key])
    return replace(held, status=allocate([held], [], NOW).statuses[on.key])


def given(on: Pool, asked: Demand, beside: tuple[Pool, ...] = ()) -> tuple[list[str], Refusal | None]:
    assignment = allocate([on], [asked], LATER, beside).assignments[asked.key]
    return [claim.address.ip for claim in assignment.claims if claim.address], assignment.refusal


@pytest.mark.parametrize(
    ("before", "after", "is_given"),
    [
        ("Bulk", "Transactional", False),
        ("Bulk", "Notification", False),
        ("Bulk", "Bulk", True),
        ("Transactional", "Bulk", True),
        ("Notification", "Transactional", True),
    ],
)
def test_an_address_that_served_bulk_serves_no_other_class_by_itself(before: str, after: str, is_given: bool) -> None:
    found, refusal = given(served(before, pool(SHARED, before, after)), demand(after))

    assert bool(found) is is_given
    assert (refusal is None) is is_given


def test_the_refusal_names_the_addresses_and_what_lets_them_go() -> None:
    _, refusal = given(served("Bulk", pool(SHARED, "Bulk", "Transactional")), demand("Transactional"))

    assert refusal is not None
    assert (
        f"1 free (1 of them last served Bulk: {IP}. Such an address goes to a Transactional lane only once "
        "releasedFrom: Bulk on the address in the pool says so, and warms up again then); 1 of 1 slots have none"
    ) in refusal.message
    assert "releasedFrom: Bulk on the address in the pool" in refusal.message


def test_its_owners_word_lets_it_go() -> None:
    rested = served("Bulk", pool(SHARED, "Bulk", "Transactional"))
    released = replace(rested, spec=pool(SHARED, "Bulk", "Transactional", releasedFrom="Bulk").spec)

    assert given(released, demand("Transactional")) == ([IP], None)


def test_a_release_from_another_class_than_it_served_is_none() -> None:
    rested = served("Bulk", pool(SHARED, "Bulk", "Transactional"))
    released = replace(rested, spec=pool(SHARED, "Bulk", "Transactional", releasedFrom="Cold").spec)

    assert given(released, demand("Transactional"))[0] == []


def test_no_time_makes_up_for_it() -> None:
    rested = served("Cold", pool(LOUD, "Cold"))
    turned = replace(rested, spec=pool(LOUD, "Transactional").spec)
    asked = demand("Transactional", LOUD)

    assert allocate([turned], [asked], NOW + dt.timedelta(days=3_650)).assignments[asked.key].claims == ()


def test_one_that_moves_to_another_pool_takes_its_class_along() -> None:
    loud = served("Bulk", pool(LOUD, "Bulk"))
    left = replace(loud, spec=pool(LOUD, "Bulk", ips=()).spec)
    left = replace(left, status=allocate([left], [], NOW).statuses[LOUD])
    quiet = pool(QUIET, "Transactional")

    assert [one.lane_class for one in left.status.addresses] == ["Bulk"], "the pool remembers what it lists no more"
    assert left.status.capacity.model_dump() == IPPoolStatus().capacity.model_dump()
    assert given(quiet, demand("Transactional", QUIET), (left,))[0] == []
    assert given(pool(QUIET, "Transactional", releasedFrom="Bulk"), demand("Transactional", QUIET), (left,))[0] == [IP]


def test_what_serves_elsewhere_by_now_is_remembered_there() -> None:
    loud = served("Bulk", pool(LOUD, "Bulk"))
    left = replace(loud, spec=pool(LOUD, "Bulk", ips=()).spec)
    quiet = pool(QUIET, "Transactional", releasedFrom="Bulk")
    asked = demand("Transactional", QUIET)
    taken = replace(quiet, status=allocate([quiet], [asked], LATER, (left,)).statuses[QUIET])

    assert allocate([left], [], LATER, (taken,)).statuses[LOUD].addresses == ()


def test_one_that_comes_back_is_what_it_was() -> None:
    loud = served("Bulk", pool(LOUD, "Bulk"))
    left = replace(loud, spec=pool(LOUD, "Bulk", ips=()).spec)
    left = replace(left, status=allocate([left], [], NOW).statuses[LOUD])
    back = replace(left, spec=pool(LOUD, "Bulk", "Transactional").spec)

    assert given(back, demand("Transactional", LOUD))[0] == []
    assert given(back, demand("Bulk", LOUD))[0] == [IP]


def test_what_served_quietly_is_forgotten_with_its_entry() -> None:
    quiet = served("Transactional", pool(QUIET, "Transactional"))
    left = replace(quiet, spec=pool(QUIET, "Transactional", ips=()).spec)

    assert allocate([left], [], NOW).statuses[QUIET].addresses == ()


def test_no_more_is_remembered_than_a_pool_may_list() -> None:
    moment = "2026-11-23T08:00:{:02}Z"
    records = tuple(
        AddressStatus(ip=f"198.51.{number // 200}.{number % 200}", lane="mail/x", lane_class="Bulk", slot="x-0",
                      released_at=moment.format(number // 10))
        for number in range(2 * REMEMBERED)
    )  # fmt: skip
    left = replace(pool(LOUD, "Bulk", ips=()), status=IPPoolStatus(addresses=records))

    kept = allocate([left], [], NOW).statuses[LOUD]

    assert len(kept.addresses) == REMEMBERED
    assert {one.ip for one in kept.addresses} >= {one.ip for one in records[-REMEMBERED + 10 :]}, "the latest"
    assert allocate([replace(left, status=kept)], [], NOW).statuses[LOUD] == kept


def test_the_same_lane_made_again_in_its_class_has_its_own_back_at_once() -> None:
    on = pool(SHARED, "Bulk", "Transactional")
    rested = served("Bulk", on)
    again = demand("Bulk", name="before")

    claims = allocate([rested], [again], NOW).assignments[again.key].claims

    assert [claim.address.ip for claim in claims if claim.address] == [IP]
