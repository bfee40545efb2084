"""A slot's network of Multus: another one has another name, so it comes with another pod, one slot after the other."""

import copy

import pytest

from lane_operator.compare import prepared
from lane_operator.inputs import Manifest
from lane_operator.lifecycle import staggered
from tests.lane_operator import made
from tests.lane_operator.desired.test_carried import NETWORK, SLOTS, Cluster, lane

NETWORKS = "k8s.v1.cni.cncf.io/networks"
ENGINE = {"network": "mail/public", "prefixLength": 24, "gateway": "203.0.113.1"}


def network_of(here: Cluster, slot: str) -> str:
    """What its pod was made with."""
    named: str = here.pods[slot]["metadata"]["annotations"][NETWORKS]
    config: str = here.live[NETWORK, named]["spec"]["config"]
    return config


def changed_template() -> Manifest:
    template = copy.deepcopy(made.TEMPLATE)
    template["spec"]["config"] = template["spec"]["config"].replace("eth1", "eth2")  # type: ignore[index]  # a dict
    return template


@pytest.mark.parametrize("change", ["source", "gateway", "prefixLength", "template", "second"])
def test_another_network_restarts_the_slots_one_after_the_other(change: str) -> None:
    here = Cluster().run()
    before = {slot: network_of(here, slot) for slot in SLOTS}
    match change:
        case "source":
            here.address = {"source": "10.0.0.10"}
        case "template":
            here.template = changed_template()
        case "second":
            here.address = {"second": {"ip": "2001:db8::10"}}
            here.pool = made.pool(engineConfig={**ENGINE, "second": {"prefixLength": 64}})
        case "gateway":
            here.pool = made.pool(engineConfig={**ENGINE, "gateway": "203.0.113.2"})
        case _:
            here.pool = made.pool(engineConfig={**ENGINE, "prefixLength": 25})

    live = {slot: prepared(here.live["StatefulSet", slot]) for slot in SLOTS}
    for one in live.values():
        one["metadata"]["generation"] = 1
        one["status"] = {"observedGeneration": 1, "updateRevision": "a", "currentRevision": "a", "readyReplicas": 1}
    turn = staggered(here.wanted(lane()).manifests, here.assignment().claims, live.get)
    assert [one["metadata"]["name"] for one in turn.taken if one["kind"] == "StatefulSet"] == ["otp-0"]

    named = here.pods["otp-0"]["metadata"]["annotations"][NETWORKS]
    found = here.apply(lane(), restarts=["otp-0"])
    assert not found.outlived
    assert {slot: network_of(here, slot) for slot in SLOTS} == before, "what pods have stays as it is"
    here.restart("otp-0")
    assert network_of(here, "otp-0") != before["otp-0"]
    assert here.wanted(lane()).outlived == {(NETWORK, named)}
    assert network_of(here, "otp-1") == before["otp-1"]


def test_a_source_is_bound_where_the_pod_has_it() -> None:
    here = Cluster().run()
    here.address = {"source": "10.0.0.10"}

    here.apply(lane(), restarts=["otp-0"])
    assert [str(here.config(slot).egress.source) for slot in SLOTS] == [f"203.0.113.{10 + index}" for index in range(3)]
    here.restart("otp-0")
    here.apply(lane())
    assert [str(here.config(slot).egress.source) for slot in SLOTS] == ["10.0.0.10", "203.0.113.11", "203.0.113.12"]


def test_a_second_address_is_used_where_the_pod_has_it_and_nowhere_any_more_once_it_is_taken_out() -> None:
    here = Cluster().run()
    alone = here.pool
    here.pool = made.pool(engineConfig={**ENGINE, "second": {"prefixLength": 64}})
    here.address = {"second": {"ip": "2001:db8::10"}}
    here.apply(lane(), restarts=["otp-0"])
    assert [here.config(slot).egress.second for slot in SLOTS] == [None, None, None]
    here.restart("otp-0")
    here.apply(lane())
    assert [here.config(slot).egress.second is not None for slot in SLOTS] == [True, False, False]

    here.pool, here.address = alone, {}
    here.apply(lane())
    assert [here.config(slot).egress.second for slot in SLOTS] == [None, None, None]


def as_before_names_told(here: Cluster) -> None:
    """As an earlier release made it: the slot's network has the slot's name."""
    for slot in SLOTS:
        template = here.live["StatefulSet", slot]["spec"]["template"]
        named = template["metadata"]["annotations"][NETWORKS]
        template["metadata"]["annotations"][NETWORKS] = slot
        one = here.live.pop((NETWORK, named))
        one["metadata"]["name"] = slot
        here.live[NETWORK, slot] = one
    here.restart(*SLOTS)


def test_networks_of_an_earlier_release_keep_their_names_until_they_change() -> None:
    here = Cluster()
    here.apply(lane())
    as_before_names_told(here)
    templates = {slot: here.live["StatefulSet", slot]["spec"]["template"] for slot in SLOTS}

    here.apply(lane(), restarts=SLOTS)
    assert {slot: here.live["StatefulSet", slot]["spec"]["template"] for slot in SLOTS} == templates

    here.template = changed_template()
    here.apply(lane(), restarts=["otp-0"])
    assert "eth1" in here.live[NETWORK, "otp-0"]["spec"]["config"], "its pod may still be made anew of it"
    here.restart("otp-0")
    assert "eth2" in network_of(here, "otp-0")
    assert here.wanted(lane()).outlived == {(NETWORK, "otp-0")}


def test_a_network_of_an_earlier_release_that_is_gone_or_damaged_is_made_again() -> None:
    here = Cluster()
    here.apply(lane())
    as_before_names_told(here)
    del here.live[NETWORK, "otp-0"]
    here.live[NETWORK, "otp-1"]["spec"]["config"] = "{"

    here.apply(lane())

    assert "eth1" in here.live[NETWORK, "otp-0"]["spec"]["config"]
    found = here.wanted(lane())
    asked = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"][NETWORKS]
        for one in found.manifests
        if one["kind"] == "StatefulSet"
    }
    assert asked["otp-0"] == "otp-0"
    assert asked["otp-1"].startswith("otp-1-")


@pytest.mark.parametrize("name", ["otp-0-copy", "otp-00", "mine", "otp-0-0123456789"])
def test_a_copy_that_somebody_has_made_of_a_network_is_left_alone(name: str) -> None:
    here = Cluster().run()
    named = here.pods["otp-0"]["metadata"]["annotations"][NETWORKS]
    copied = copy.deepcopy(here.live[NETWORK, named])
    copied["metadata"]["name"] = name
    here.live[NETWORK, name] = copied

    assert not here.wanted(lane()).outlived


def test_networks_stay_while_it_is_not_known_what_the_pod_was_made_with() -> None:
    here = Cluster().run()
    here.template = changed_template()
    here.apply(lane(), restarts=SLOTS)
    here.pods.clear()

    assert not here.wanted(lane()).outlived
