"""Where a lane's slots would rather run: what one node, or one zone, takes with it."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import PoolAddress
from lane_api.lane_status import SlotRole
from lane_api.names import CLASS_LABEL, LANE_LABEL, ROLE_LABEL, STANDBY_FROM
from lane_operator.desired import desired_state
from lane_operator.inputs import Manifest
from tests.lane_operator import made

NODE, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SIBLINGS = {"matchLabels": {LANE_LABEL: "otp"}}
PEERS = {"matchLabels": {LANE_LABEL: "otp", ROLE_LABEL: "active"}}


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
def test_slots_of_a_role_go_to_other_nodes_and_then_to_other_zones(traffic_class: str) -> None:
    found = preferences(pod(trafficClass=traffic_class))

    apart = {key: weight for weight, key, term in found if term["labelSelector"] == PEERS}
    assert apart.keys() == {NODE, ZONE}
    assert apart[NODE] > apart[ZONE]
    assert all("namespaceSelector" not in term for _, _, term in found if LANE_LABEL in str(term))


def test_active_slots_share_no_node_because_a_standby_slot_and_a_loud_one_have_the_other() -> None:
    """The scheduler adds up the weight of every pod that a term matches."""
    active = {LANE_LABEL: "otp", ROLE_LABEL: "active", CLASS_LABEL: "Transactional"}
    standby = active | {ROLE_LABEL: "standby"}
    loud = {LANE_LABEL: "news", ROLE_LABEL: "active", CLASS_LABEL: "Bulk"}

    assert dislike([active]) > dislike([standby, loud])
    assert dislike([active]) > dislike([standby, loud, loud, loud, loud])
    assert dislike([standby]) > dislike([loud]), "and the standby slot does not fail with an active one"


def dislike(there: list[dict[str, str]]) -> int:
    """How much a new active slot of the lane would rather not run on the node with these pods, all in one zone."""
    return sum(
        weight
        for weight, key, term in preferences(pod())
        for labels in there
        if key == NODE and matches(term["labelSelector"], labels)
    )


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    named = selector.get("matchLabels", {}).items() <= labels.items()
    return named and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ()))


def test_a_pod_says_what_it_was_made_as_also_while_it_stands_in_for_another() -> None:
    of = made.lane(standbyReplicas=1)
    promoted = made.claim(STANDBY_FROM, role=SlotRole.PROMOTED)
    found = desired_state(of, made.references(of, made.pool()), made.assignment(made.claim(0), promoted), made.SETTINGS)
    workloads = [one for one in found.manifests if one["kind"] == "StatefulSet"]

    assert [one["spec"]["template"]["metadata"]["labels"][ROLE_LABEL] for one in workloads] == ["active", "standby"]
    assert all(ROLE_LABEL not in one["spec"]["selector"]["matchLabels"] for one in workloads), "it never changes"


def test_transactional_keeps_away_from_loud_lanes_of_every_namespace_and_others_do_not() -> None:
    loud = [term for _, _, term in preferences(pod()) if LANE_LABEL not in str(term)]

    (term,) = loud
    assert term["labelSelector"]["matchExpressions"] == [
        {"key": CLASS_LABEL, "operator": "In", "values": ["Bulk", "Cold"]}
    ]
    assert (term["namespaceSelector"], term["topologyKey"]) == ({}, NODE)
    assert len(preferences(pod(trafficClass="Bulk"))) == 3


def test_what_the_lane_says_of_places_comes_beside_it() -> None:
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SIBLINGS}
    spec = pod(pod={"topologySpreadConstraints": [spread], "nodeSelector": {ZONE: "fra-1"}})

    assert spec["topologySpreadConstraints"] == [spread]
    assert spec["nodeSelector"] == {ZONE: "fra-1"}
    assert len(preferences(spec)) == 4


def test_a_slot_in_its_nodes_network_runs_there_whatever_it_prefers() -> None:
    spec = pod("HostNetwork")

    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["node-a"]
    assert len(preferences(spec)) == 4


ZONED = {"ip": "203.0.113.10", "hostname": "out.example.com"}


@pytest.mark.parametrize(
    ("home", "term"),
    [
        ({"zone": "fra-1"}, {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["fra-1"]}]}),
        ({"node": "n1"}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
    ],
    ids=["zone", "node"],
)
def test_a_slot_runs_where_its_address_lives_whatever_the_engine(home: dict[str, str], term: Manifest) -> None:
    of = made.lane()
    claim = replace(made.claim(0), address=PoolAddress.model_validate(ZONED | home))
    found = desired_state(of, made.references(of, made.pool()), made.assignment(claim), made.SETTINGS)
    workload = next(one for one in found.manifests if one["kind"] == "StatefulSet")
    affinity = workload["spec"]["template"]["spec"]["affinity"]

    required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == {"nodeSelectorTerms": [term]}
    assert len(affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]) == 4


def test_an_address_that_lives_nowhere_in_particular_binds_no_slot() -> None:
    assert "nodeAffinity" not in pod()["affinity"]


def test_a_slot_runs_in_the_zone_of_its_address_also_where_a_gateway_brings_it_out() -> None:
    of = made.lane()
    lives = {"node": "gateway-1", "zone": "fra-1"}
    claim = replace(made.claim(0), address=PoolAddress.model_validate(ZONED | lives))
    found = desired_state(of, made.references(of, made.pool("Cilium")), made.assignment(claim), made.SETTINGS)
    workload = next(one for one in found.manifests if one["kind"] == "StatefulSet")
    required = workload["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]

    (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["fra-1"]}]}


def test_a_gateways_node_is_no_home_of_the_slot() -> None:
    of = made.lane()
    claim = replace(made.claim(0), address=PoolAddress.model_validate(ZONED | {"node": "gateway-1"}))
    found = desired_state(of, made.references(of, made.pool("Cilium")), made.assignment(claim), made.SETTINGS)
    workload = next(one for one in found.manifests if one["kind"] == "StatefulSet")

    assert "nodeAffinity" not in workload["spec"]["template"]["spec"]["affinity"]
