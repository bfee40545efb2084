"""What the demo reads from the quickstart before anything runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from e2e.demo.lanes import (
    LanePod,
    QuickstartLane,
    apart,
    at_home,
    connections_per_ip,
    first_delivery,
    lane_of_class,
    manifests,
    operator_values,
    total_connections,
)
from e2e.internet import addresses
from e2e.internet.internet import InternetError

POLICY = {"metadata": {"name": "gmail"}, "spec": {"match": {"mx": ["*.gmail-like.example"]}, "connectionsPerIP": 8}}


def lane(**spec: Any) -> QuickstartLane:
    return QuickstartLane("t", "mail", {"trafficClass": "Bulk", "submission": {"senders": ["@a.test"]}} | spec)


def test_the_lanes_own_word_beats_the_policy_and_the_policy_the_default() -> None:
    own = lane(isps=[{"name": "gmail", "connectionsPerIP": 3}], limits={"connectionsPerIP": 20})

    assert connections_per_ip(own, [POLICY], addresses.GMAIL) == 3
    assert connections_per_ip(lane(limits={"connectionsPerIP": 20}), [POLICY], addresses.GMAIL) == 8
    assert connections_per_ip(lane(limits={"connectionsPerIP": 20}), [POLICY], addresses.YAHOO) == 20
    assert connections_per_ip(lane(), [], addresses.YAHOO) == 10


def test_connections_add_up_over_lanes_and_slots() -> None:
    assert total_connections([lane(replicas=2), lane()], [POLICY], addresses.GMAIL) == 24


def test_a_policy_that_matches_only_some_hosts_is_not_this_isps() -> None:
    part = {
        "metadata": {"name": "p"},
        "spec": {"match": {"mx": ["*.protect.outlook-like.example"]}, "connectionsPerIP": 2},
    }

    assert connections_per_ip(lane(), [part], addresses.OUTLOOK) == 10


def test_a_domain_wide_sender_gets_a_local_part() -> None:
    assert lane().sender == "demo@a.test"
    assert lane(submission={"senders": ["news@a.test"]}).sender == "news@a.test"


def test_a_quickstart_without_manifests_or_without_a_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InternetError, match="no manifests"):
        manifests(tmp_path)
    (tmp_path / "a.yaml").write_text("kind: IPPool\n---\n---\nkind: ISPPolicy\n")
    assert [one["kind"] for one in manifests(tmp_path)] == ["IPPool", "ISPPolicy"]
    with pytest.raises(InternetError, match="no lane of class Transactional"):
        lane_of_class(manifests(tmp_path), "Transactional")


def test_the_quickstart_has_both_lanes_and_its_policies_cover_whole_isps() -> None:
    objects = manifests()
    both = [lane_of_class(objects, name) for name in ("Transactional", "Bulk")]
    policies = [one for one in objects if one["kind"] == "ISPPolicy"]

    assert {lane.namespace for lane in both} == {"mail"}
    assert total_connections(both, policies, addresses.GMAIL) == 12
    assert total_connections(both, policies, addresses.OUTLOOK) == 8
    assert total_connections(both, policies, addresses.YAHOO) == 14


def test_only_what_nobody_else_can_know_is_filled_into_a_quickstart_lane() -> None:
    published = next(one for one in manifests() if one["kind"] == "SendingLane")
    assert not {"resolver", "clients"} & {*published["spec"], *published["spec"]["submission"]}

    filled = at_home(published)["spec"]

    assert filled["resolver"] == {"forwardTo": ["198.51.100.2"]}
    assert filled["submission"].pop("clients") == {"cidrs": ["198.18.0.0/15", "198.51.100.60/32"]}
    assert {name: value for name, value in filled.items() if name != "resolver"} == published["spec"]
    pool = next(one for one in manifests() if one["kind"] == "IPPool")
    assert at_home(pool) is pool


def test_the_charts_values_name_the_images_on_the_nodes() -> None:
    images = {name: f"lanewright.local/{name}:abc" for name in ("operator", "relay", "unbound")}

    values = operator_values(images, ["mail", "mail-pools", "mail"])

    assert values["image"]["repository"] == "lanewright.local/operator"
    assert values["image"]["tag"] == "abc"
    assert values["relay"] == {"image": "lanewright.local/relay:abc"}
    assert values["resolver"] == {"image": "lanewright.local/unbound:abc"}
    assert values["servedNamespaces"] == ["mail", "mail-pools"]


def test_the_first_mail_is_infinitely_late_if_there_is_none() -> None:
    assert first_delivery([], 5.0) == math.inf
    assert first_delivery([9.0, 7.0], 5.0) == 2.0


def test_lanes_on_two_nodes_are_told_since_they_share_no_disk() -> None:
    def pod(lane: str, node: str) -> LanePod:
        return LanePod(lane, f"{lane}-0-0", node, "Burstable", "100m", True, "10.0.0.1", 9590)

    assert apart([pod("bulk", "n1"), pod("otp", "n1")]) == []
    (said,) = apart([pod("bulk", "n1"), pod("otp", "n2")])
    assert "bulk on n1, otp on n2" in said
    assert "`make cluster-down` first" in said
