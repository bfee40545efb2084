"""A lane whose mail does not reach its recipients says so."""

from typing import Any

from lane_api.lane_status import LaneStatus
from lane_operator.inputs import Desired, ForcedDelivery
from lane_operator.status import lane_status
from tests.lane_operator import made


def ready(delivery: dict[str, str], forced: ForcedDelivery | None = None) -> tuple[str, str]:
    of = made.lane(status=LaneStatus(observed_generation=3), delivery=delivery)
    changes: dict[str, Any] = {"forced_delivery": forced}
    references = made.references(of, made.pool(), **changes)
    said = lane_status(of, references, made.assignment(), Desired(), made.observation(), made.NOW)
    (condition,) = [one for one in said.conditions if one.type == "Ready"]
    return condition.status, condition.message


def test_a_lane_that_mails_nobody_says_so_where_people_look() -> None:
    status, message = ready({"mode": "Redirect", "to": "all@test.example"})
    assert status == "True"
    assert message.endswith("; delivery is Redirect: all mail goes to all@test.example")
    assert ready({}, ForcedDelivery("Discard"))[1].endswith("; delivery is Discard: no mail is sent")


def test_a_lane_that_mails_its_recipients_does_not_speak_of_it() -> None:
    assert "delivery is" not in ready({})[1]
