"""Where a slot's address is in warming up, in the lane's status."""

from lane_api.lane_status import SlotWarmUp
from lane_operator.inputs import Desired, Observation
from lane_operator.seen import WarmUpSeen
from lane_operator.status import lane_status
from tests.lane_operator import made


def test_each_slot_shows_the_step_of_the_isp_at_which_its_address_is_least_far() -> None:
    of = made.lane()
    seen = (made.seen(0, warmup=WarmUpSeen(9, "gmail", "2026-11-23T00:00:00Z")), made.seen(1))
    status = lane_status(
        of, made.references(of, made.pool()), made.assignment(), Desired(()), Observation(seen), made.NOW
    )

    assert [one.warmup for one in status.slots] == [SlotWarmUp(step=9, isp="gmail"), None]
    assert status.slots[0].model_dump(by_alias=True)["warmup"] == {"step": 9, "isp": "gmail"}
