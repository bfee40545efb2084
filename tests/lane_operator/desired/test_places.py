"""Where a lane's slots would rather run: what one node, or one zone, takes with it."""

from typing import Any

import pytest

from lane_api.names import CLASS_LABEL, LANE_LABEL
from lane_operator.desired import desired_state
from lane_operator.inputs import Manifest
from tests.lane_operator import made

NODE, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SIBLINGS = {"matchLabels": {LANE_LABEL: "otp"}}


def pod(engine: str = "Multus", **lane: Any) -> Manifest:
    of = made.lane(**lane)
    claims = made.assignment(made.claim(0, engine), made.claim(1, engine))
    found = desired_state(of, made.references(of, made.pool(engine)), claims, made.SETTINGS)
    workload = next(one for one in found.manifests if one["kind"] == "StatefulSet")
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def preferences(spec: Manifest) -> list[tuple[int, str, Manifest]]:
    terms = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    return [(one["weight"], one["podAffinityTerm"]["topologyKey"], one["podAffinityTerm"]) for one in terms]


@pytest.mark.parametrize("traffic_class", ["Transactional", "Bulk"])
def test_slots_of_a_lane_go_to_other_nodes_and_then_to_other_zones(traffic_class: str) -> None:
    found = preferences(pod(trafficClass=traffic_class))

    apart = {key: weight for weight, key, term in found if term["labelSelector"] == SIBLINGS}
    assert apart.keys() == {NODE, ZONE}
    assert apart[NODE] > apart[ZONE]
    assert all("namespaceSelector" not in term for _, _, term in found if term["labelSelector"] == SIBLINGS)


def test_transactional_keeps_away_from_loud_lanes_of_every_namespace_and_others_do_not() -> None:
    loud = [term for _, _, term in preferences(pod()) if term["labelSelector"] != SIBLINGS]

    (term,) = loud
    assert term["labelSelector"]["matchExpressions"] == [
        {"key": CLASS_LABEL, "operator": "In", "values": ["Bulk", "Cold"]}
    ]
    assert (term["namespaceSelector"], term["topologyKey"]) == ({}, NODE)
    assert len(preferences(pod(trafficClass="Bulk"))) == 2


def test_what_the_lane_says_of_places_comes_beside_it() -> None:
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SIBLINGS}
    spec = pod(pod={"topologySpreadConstraints": [spread], "nodeSelector": {ZONE: "fra-1"}})

    assert spec["topologySpreadConstraints"] == [spread]
    assert spec["nodeSelector"] == {ZONE: "fra-1"}
    assert len(preferences(spec)) == 3


def test_a_slot_in_its_nodes_network_runs_there_whatever_it_prefers() -> None:
    spec = pod("HostNetwork")

    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["node-a"]
    assert len(preferences(spec)) == 3
