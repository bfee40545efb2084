"""What each slot is told of the lane's others, and of how warm its address is."""

import base64
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from lane_api.lane_status import SlotRole
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state
from lane_operator.inputs import Claim
from lane_relay.config import parse
from tests.lane_operator import made


def configs(
    *claims: Claim, engine: str = "Multus", lane: dict[str, Any] | None = None, **pool: Any
) -> dict[str, RelayConfig]:
    """By slot."""
    of = made.lane(**(lane or {}))
    claims = claims or (made.claim(0, engine), made.claim(1, engine))
    references = made.references(of, made.pool(engine, **pool))
    found = desired_state(of, references, made.assignment(*claims), made.SETTINGS)
    secrets = [one for one in found.manifests if one["metadata"]["name"].endswith("-config")]
    texts = [unpacked(base64.b64decode(one["data"]["relay.yaml.gz"])) for one in secrets]
    return {config.slot.name: config for config in map(parse, texts)}


ADDRESSES: list[dict[str, Any]] = [
    {"ip": "203.0.113.10", "hostname": "out0.example.com", "warm": True},
    {"ip": "203.0.113.11", "hostname": "out1.example.com", "isps": ["gmail"]},
]


@pytest.mark.parametrize(("engine", "port"), [("Multus", 9591), ("HostNetwork", 20011)])
def test_slots_know_one_another_by_pod_name_and_certificate(engine: str, port: int) -> None:
    first = configs(engine=engine)["otp-0"]

    assert first.handover is not None
    (sibling,) = first.handover.siblings
    assert (sibling.slot, sibling.host) == ("otp-1", "otp-1-0.otp-slots.mail.svc")
    assert (sibling.name, sibling.port, sibling.role) == ("otp-1.otp-slots.mail.svc", port, "Active")


def test_a_slot_that_leaves_is_given_nothing() -> None:
    found = configs(made.claim(0), made.claim(1, role=SlotRole.DRAINING))

    assert [one.role for one in found["otp-0"].handover.siblings] == ["Leaving"]  # type: ignore[union-attr]
    assert [one.role for one in found["otp-1"].handover.siblings] == ["Active"]  # type: ignore[union-attr]


def test_a_slot_whose_node_is_to_be_emptied_takes_mail_and_gives_all_of_it_to_the_others() -> None:
    found = configs(made.claim(0), replace(made.claim(1), moves=True))

    assert {slot: one.delivery.state for slot, one in found.items()} == {"otp-0": "Running", "otp-1": "Transferring"}
    assert found["otp-1"].intake.state == "Open"
    assert [one.role for one in found["otp-0"].handover.siblings] == ["Leaving"]  # type: ignore[union-attr]
    kept = configs(made.claim(0), replace(made.claim(1), moves=True), lane={"drain": {"policy": "Wait"}})
    assert kept["otp-1"].delivery.state == "Running"


def test_a_slot_that_is_to_restart_takes_none_and_gives_all_of_it_to_the_others() -> None:
    restarting = replace(made.claim(1), hands_over=True)
    found = configs(made.claim(0), restarting)

    assert {slot: one.delivery.state for slot, one in found.items()} == {"otp-0": "Running", "otp-1": "Transferring"}
    assert {slot: one.intake.state for slot, one in found.items()} == {"otp-0": "Open", "otp-1": "Closed"}
    assert [one.role for one in found["otp-0"].handover.siblings] == ["Leaving"]  # type: ignore[union-attr]
    assert (restarting.takes_mail, restarting.intake_is_closed, restarting.is_closed_by_order) == (True, True, False)


LEAVING = (made.claim(0), made.claim(1, role=SlotRole.DRAINING))


def test_a_slot_that_leaves_gives_its_mail_to_those_that_stay() -> None:
    found = configs(*LEAVING)

    assert {slot: one.delivery.state for slot, one in found.items()} == {"otp-0": "Running", "otp-1": "Transferring"}


def test_a_slot_that_leaves_by_wait_sends_its_mail_itself() -> None:
    found = configs(*LEAVING, lane={"drain": {"policy": "Wait"}})

    assert found["otp-1"].delivery.state == "Running"


def test_slots_that_all_leave_have_nobody_to_give_to() -> None:
    found = configs(made.claim(0, role=SlotRole.DRAINING), made.claim(1, role=SlotRole.DRAINING))

    assert {one.delivery.state for one in found.values()} == {"Running"}


def test_a_suspended_lanes_slot_gives_its_mail_away_and_sends_none() -> None:
    found = configs(*LEAVING, lane={"suspend": True})

    states = {slot: one.delivery.state for slot, one in found.items()}
    assert states == {"otp-0": "Suspended", "otp-1": "TransferringSuspended"}


def test_an_address_for_some_isps_is_known_to_all_slots() -> None:
    found = configs(addresses=ADDRESSES)

    assert found["otp-1"].egress.isps == ("gmail",)
    assert found["otp-0"].egress.isps == ()
    assert [one.isps for one in found["otp-0"].handover.siblings] == [("gmail",)]  # type: ignore[union-attr]


def test_a_cold_address_is_warmed_up_where_the_pool_says_how() -> None:
    assert {config.warmup for config in configs(addresses=ADDRESSES).values()} == {None}

    found = configs(addresses=ADDRESSES, warmup={"steps": [10, 20], "stepEvery": "12h", "connectionsPerIP": 3})
    assert found["otp-0"].warmup is None  # its owner says that it is warm
    assert [one.warm for one in found["otp-0"].handover.siblings] == [False]  # type: ignore[union-attr]
    assert [one.warm for one in found["otp-1"].handover.siblings] == [True]  # type: ignore[union-attr]
    cold = found["otp-1"].warmup
    assert cold is not None
    assert (cold.steps, cold.step_every, cold.connections) == ((10, 20), 43_200, 3)


def test_an_address_says_since_when_it_has_been_sent_from_unless_it_served_another_class() -> None:
    since = ADDRESSES[1] | {"startedOn": "2026-11-01"}
    warmup = {"steps": [10, 20]}
    found = configs(addresses=[ADDRESSES[0], since], warmup=warmup)
    assert found["otp-1"].warmup.started_on == date(2026, 11, 1)  # type: ignore[union-attr]
    assert [one.warm for one in found["otp-0"].handover.siblings] == [False]  # type: ignore[union-attr]
    assert configs(addresses=[ADDRESSES[0], since])["otp-1"].warmup is None
    assert configs(addresses=ADDRESSES, warmup=warmup)["otp-1"].warmup.started_on is None  # type: ignore[union-attr]
    released = since | {"releasedFrom": "Bulk"}
    found = configs(addresses=[ADDRESSES[0], released], warmup=warmup)
    assert found["otp-1"].warmup.started_on is None, "it warms up again"  # type: ignore[union-attr]


def test_an_address_that_served_another_class_warms_up_again_whatever_the_pool_says() -> None:
    released: list[dict[str, Any]] = [
        ADDRESSES[0],
        {"ip": "203.0.113.11", "hostname": "out1.example.com", "releasedFrom": "Bulk"},
    ]
    found = configs(addresses=released)

    assert found["otp-0"].warmup is None
    assert found["otp-1"].warmup is not None
    assert [one.warm for one in found["otp-0"].handover.siblings] == [False]  # type: ignore[union-attr]
    assert configs(addresses=[released[0], released[1] | {"warm": True}])["otp-1"].warmup is not None
    assert configs(addresses=released, warmup={"steps": [7]})["otp-1"].warmup.steps == (7,)  # type: ignore[union-attr]
    bulk = configs(addresses=released, lane={"trafficClass": "Bulk"})
    assert bulk["otp-1"].warmup is None, "it serves what it served"
