"""What a lane asks for and does not get: kinds that the cluster lacks, doors that no NetworkPolicy closes."""

from typing import Any

import pytest

from lane_api.conditions import Condition
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired
from lane_operator.status import lane_status
from tests.lane_operator import made

POD_MONITOR = "PodMonitor.monitoring.coreos.com"
CERTIFICATE = "Certificate.cert-manager.io"
GOING = "2026-11-23T07:59:59Z"


def conditions(
    deleting_since: str | None = None, withheld: frozenset[str] = frozenset(), **desired: Any
) -> dict[str, Condition]:
    of = made.lane(deleting_since=deleting_since)
    references = made.references(of, made.pool(), withheld=withheld)
    said = lane_status(of, references, made.assignment(), Desired(**desired), made.observation(), made.NOW)
    return {one.type: one for one in said.conditions}


def test_kinds_that_the_cluster_does_not_serve_are_named() -> None:
    said = conditions(left_out=(POD_MONITOR,))

    assert said["ChildrenIncomplete"].reason == "KindAbsent"
    assert said["ChildrenIncomplete"].message.startswith(f"the cluster does not serve {POD_MONITOR}: ")
    assert (said["Ready"].status, said["Ready"].reason) == ("True", "AllSlotsVerified")


def test_kinds_that_the_operator_has_no_rights_to_are_told_apart() -> None:
    said = conditions(left_out=(POD_MONITOR, CERTIFICATE), withheld=frozenset({CERTIFICATE}))

    assert said["ChildrenIncomplete"].reason == "Forbidden"
    assert said["ChildrenIncomplete"].message.startswith(f"the operator has no rights to {CERTIFICATE}: set them")
    assert f"; the cluster does not serve {POD_MONITOR}: install it" in said["ChildrenIncomplete"].message


@pytest.mark.parametrize(
    ("asked", "missed"),
    [({}, ()), ({"monitoring": {"rules": True}}, ("PrometheusRule.monitoring.coreos.com",))],
    ids=["by default", "by itself"],
)
def test_an_installation_without_monitoring_is_missed_by_lanes_that_ask_for_it_alone(
    asked: dict[str, Any], missed: tuple[str, ...]
) -> None:
    of = made.lane(**asked)
    withheld = frozenset({POD_MONITOR, "PrometheusRule.monitoring.coreos.com"})
    references = made.references(of, made.pool(), withheld=withheld, kinds=made.KINDS - withheld)

    assert desired_state(of, references, made.assignment(), made.SETTINGS).left_out == missed


def test_a_door_that_no_network_policy_closes_is_the_reason_beside_kinds_that_are_missing() -> None:
    said = conditions(unfenced="clients.namespaces keeps nobody out", left_out=(POD_MONITOR,))

    assert said["ChildrenIncomplete"].reason == "NoNetworkPolicy"
    assert said["ChildrenIncomplete"].message.startswith("clients.namespaces keeps nobody out; the cluster does not")
    assert said["Ready"].status == "True"


def test_a_secret_that_is_not_ours_in_the_place_of_one_of_ours_is_told_of_a_lane_that_serves() -> None:
    said = conditions(foreign="Secret otp-proof in namespace mail was not made by the operator")

    assert said["ChildrenIncomplete"].reason == "NotOurs"
    assert said["ChildrenIncomplete"].message == "Secret otp-proof in namespace mail was not made by the operator"
    assert said["Ready"].status == "True"


def test_nothing_is_missing_of_a_whole_lane_nor_of_one_that_goes() -> None:
    assert "ChildrenIncomplete" not in conditions()
    assert "ChildrenIncomplete" not in conditions(GOING, unfenced="open", left_out=(POD_MONITOR,))


def test_names_that_the_namespace_may_not_have_published_are_said_after_what_leaves_a_door_open() -> None:
    said = "external-dns is asked for no records of bank.example"
    for more, reason in (
        ({}, "DomainNotAllowed"),
        ({"left_out": ("PodMonitor.monitoring.coreos.com",)}, "DomainNotAllowed"),
        ({"unfenced": "every client may hand mail in"}, "NoNetworkPolicy"),
    ):
        found = conditions(unpublishable=said, **more)["ChildrenIncomplete"]
        assert (found.status, found.reason) == ("True", reason)
        assert said in found.message
