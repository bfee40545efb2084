"""A pool's record in which a hand has written: it costs what it says, and no more."""

import pytest

from lane_api.ippool import IPPoolStatus
from lane_operator.pools import allocate
from tests.lane_operator.pools.test_allocate import NOW, POOL, after, demand, held, pool


@pytest.mark.parametrize("said", ["Loud", "²", "x" * 5000])
def test_a_class_that_there_is_not_keeps_no_other_lane_from_its_address(said: str) -> None:
    before = pool("203.0.113.10", "203.0.113.11")
    first = allocate([before], [demand(), demand("bank")], NOW)
    there = after(first, before)
    rows = [row.model_dump(by_alias=True) for row in there.status.addresses]
    rows[0]["laneClass"] = said
    status = IPPoolStatus.model_validate(there.status.model_dump(by_alias=True) | {"addresses": rows})
    damaged = pool("203.0.113.10", "203.0.113.11", status=status)

    carried = [demand(name, found={0: held(first)[f"mail/{name}-0"]}) for name in ("otp", "bank")]
    result = allocate([damaged], carried, NOW)

    assert held(result) == held(first)
    assert {row.lane_class for row in result.statuses[POOL].addresses} == {"Transactional"}
