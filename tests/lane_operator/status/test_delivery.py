"""A lane whose mail does not reach its recipients says so."""

from typing import Any

from lane_api.lane_status import LaneStatus
from lane_operator.inputs import Desired, ForcedDelivery
from lane_operator.status import lane_status
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import status


def ready(delivery: dict[str, str], forced: ForcedDelivery | None = None) -> tuple[str, str]:
    of = made.lane(status=LaneStatus(observed_generation=3), delivery=delivery)
    changes: dict[str, Any] = {"forced_delivery": forced}
    references = made.references(of, made.pool(), **changes)
    said = lane_status(of, references, made.assignment(), Desired(), made.observation(), made.NOW)
    (condition,) = [one for one in said.conditions if one.type == "Ready"]
    return condition.status, condition.message


def test_a_lane_that_mails_nobody_says_so_where_people_look() -> None:
    verdict, message = ready({"mode": "Redirect", "to": "all@test.example"})
    assert verdict == "True"
    assert message.endswith("; delivery is Redirect: all mail goes to all@test.example")
    assert ready({}, ForcedDelivery("Discard"))[1].endswith("; delivery is Discard: no mail is sent")


def test_a_lane_that_mails_its_recipients_does_not_speak_of_it() -> None:
    assert "delivery is" not in ready({})[1]


def test_the_delivery_mode_that_is_forced_is_shown_and_what_else_decides_over_mail() -> None:
    forced = {"forced_delivery": ForcedDelivery("Redirect", "all@test.example")}
    shown = status(made.lane(feedback={}, outboundTLS="Required"), references=forced).effective

    assert shown["delivery"] == {"mode": "Redirect", "to": "all@test.example"}
    assert status().effective["delivery"] == {"mode": "Live"}
    assert shown["limits"] == {"connectionsPerIP": 10, "totalConnectionsPerIP": 200}
    assert shown["drain"] == {"policy": "Transfer", "deadline": "1h"}
    assert shown["audit"] == {"maxSize": "1Gi", "retention": "2160h"}
    assert (shown["outboundTLS"], shown["resolver"]) == ("Required", {"mode": "Sidecar", "trustAD": True})
    assert shown["feedback"]["complaints"] == {"warn": 0.0008, "act": 0.001, "stop": 0.003, "automation": "Act"}
    assert shown["feedback"]["suppression"]["scope"] == "Lane"
    assert "feedback" not in status().effective
