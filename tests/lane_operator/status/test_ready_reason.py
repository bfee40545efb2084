"""What `kubectl get lanes` shows under REASON of a lane that is not ready: the cause, and never that there is one."""

from lane_api.conditions import Reason
from lane_operator.inputs import Assignment, Refusal
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import INVALID, LATER, WAITING, message, settled, status, verdict


def test_the_reason_of_a_lane_that_is_not_ready_is_the_cause_itself_from_the_first_look_on() -> None:
    for refusal in (
        WAITING,
        INVALID,
        Refusal(Reason.POOL_EXHAUSTED, "no address is free", waiting=Reason.WAITING_FOR_POOL),
        Refusal(Reason.SECRET_NOT_FOUND, "Secret keys does not exist", waiting=Reason.WAITING_FOR_SECRET),
    ):
        first = status(made.lane(), claims=Assignment((), refusal), refusals=(refusal,), complete=False)
        late = status(made.lane(status=first), claims=Assignment(), refusals=(refusal,), now=made.NOW + LATER)
        assert verdict(first, "Ready") == verdict(late, "Ready") == ("False", refusal.reason.value)
    starting = status(settled(), seen=made.observation(made.seen(0, pod_ready=False), made.seen(1)))
    assert verdict(starting, "Ready") == ("False", "WaitingForSlots")


def test_a_lane_whose_standby_slot_alone_has_no_address_serves_and_says_so() -> None:
    lacks = Refusal(Reason.POOL_EXHAUSTED, "1 of 1 standby slots have none", waiting=Reason.POOL_EXHAUSTED, spare=True)
    said = status(settled(standbyReplicas=1), refusals=(lacks,))

    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")
    assert message(said, "Ready") == "2 of 2 slots serve; 1 of 1 standby slots have none"
    assert verdict(said, "Reconciling") == ("True", "PoolExhausted"), "it is not as asked, all the same"

    half = status(
        settled(standbyReplicas=1), made.observation(made.seen(0), made.seen(1, pod_ready=False)), refusals=(lacks,)
    )
    assert verdict(half, "Ready") == ("False", "PoolExhausted")


def test_a_change_on_its_way_is_the_reason_also_where_something_to_spare_is_refused() -> None:
    stays = Refusal(Reason.VOLUME_CANNOT_GROW, "queue-0 stays at 1Gi", waiting=Reason.VOLUME_CANNOT_GROW, spare=True)
    said = status(made.lane(), made.observation(made.seen(0, config_generation=2), made.seen(1)), refusals=(stays,))

    assert verdict(said, "Ready") == ("False", "NewGeneration")
    assert message(said, "Ready") == "2 of 2 slots serve; queue-0 stays at 1Gi; generation 3 is being put in force"
