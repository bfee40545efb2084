"""`drain.to`: where the mail of a slot goes that no other slot of the lane can take."""

from typing import Any

from lane_api.lane_status import SlotRole
from lane_api.relayconfig import RelayRoute
from lane_operator.desired import desired_state, secret_needs
from tests.lane_operator import made
from tests.lane_operator.desired.test_siblings import configs

TO = {"host": "relay.example.net", "tls": "Required", "authSecret": "way-out"}
DELETED = "2026-11-23T07:00:00Z"
OUT = RelayRoute(
    domains=("*",),
    host="relay.example.net",
    port=25,
    tls="Required",
    auth_dir="/etc/lanewright/routes/way-out",
    hands_over=True,
)
GOING = made.claim(0, role=SlotRole.DRAINING)


def lane(policy: str = "Transfer", **changes: Any) -> dict[str, Any]:
    return {"drain": {"policy": policy, "to": TO}, "routes": [{"domains": ["a.test"], "host": "b.test"}], **changes}


def test_the_last_slot_gives_its_mail_to_the_host_whatever_the_routes_say() -> None:
    assert configs(GOING, lane=lane())["otp-0"].delivery.routes == (OUT,)


def test_a_slot_of_a_deleted_lane_does_so_and_its_siblings_too() -> None:
    found = configs(lane=lane(deleting_since=DELETED))
    assert [one.delivery.routes for one in found.values()] == [(OUT,), (OUT,)]
    assert {one.delivery.state for one in found.values()} == {"Running"}


def test_slots_that_stay_and_those_that_have_a_sibling_to_give_to_know_nothing_of_it() -> None:
    found = configs(made.claim(0), made.claim(1, role=SlotRole.DRAINING), lane=lane())
    assert [one.delivery.hands_over for one in found.values()] == [False, False]
    assert found["otp-1"].delivery.state == "Transferring"


def test_a_slot_that_waits_or_holds_does_not_use_it() -> None:
    for policy in ("Wait", "Hold"):
        assert not configs(GOING, lane=lane(policy))["otp-0"].delivery.hands_over


def test_mail_for_the_host_is_neither_held_back_by_a_cold_address_nor_by_one_for_some_isps() -> None:
    addresses = [{"ip": "203.0.113.10", "hostname": "out0.example.com", "isps": ["gmail"]}]
    stays = configs(made.claim(0), lane=lane(), addresses=addresses, warmup={})["otp-0"]
    goes = configs(GOING, lane=lane(), addresses=addresses, warmup={})["otp-0"]

    assert (stays.egress.isps, stays.warmup is None) == (("gmail",), False)
    assert (goes.egress.isps, goes.warmup) == ((), None)


def test_its_password_is_mounted_before_it_is_needed_for_a_change_would_restart_the_slot() -> None:
    of = made.lane(**lane())
    pool = made.pool()
    assert "way-out" in secret_needs(of, pool)
    found = desired_state(of, made.references(of, pool), made.assignment(), made.SETTINGS)
    (first, *_) = [one for one in found.manifests if one["kind"] == "StatefulSet"]
    assert "way-out/password" in str(first["spec"]["template"]["spec"]["volumes"])


def test_the_network_policy_opens_the_way_only_while_it_is_taken() -> None:
    def opened(**changes: Any) -> bool:
        of = made.lane(**lane(**changes))
        to = {"host": "192.0.2.99", "port": 2525}
        of = made.lane(**{**lane(**changes), "drain": {"to": to}})
        found = desired_state(of, made.references(of, made.pool()), made.assignment(), made.SETTINGS)
        (policy,) = [one for one in found.manifests if one["kind"] == "NetworkPolicy"]
        return "192.0.2.99/32" in str(policy["spec"]["egress"])

    assert (opened(), opened(deleting_since=DELETED)) == (False, True)
