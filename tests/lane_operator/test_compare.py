"""What counts as a difference between what we want and what the API server stores."""

import copy
import json
from typing import Any

import pytest

from lane_operator.compare import APPLIED_ANNOTATION, is_in_force, prepared

WANTED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "otp-0", "namespace": "mail", "labels": {"a": "b"}, "finalizers": ["ours"]},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "relay",
                        "ports": [{"name": "smtp", "containerPort": 5587}],
                        "resources": {"limits": {"cpu": "500m", "memory": "0.5Gi"}},
                        "volumeMounts": [{"name": "spool", "mountPath": "/spool"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}}],
            }
        },
    },
}


@pytest.fixture
def wanted() -> dict[str, Any]:
    return prepared(WANTED)


@pytest.fixture
def live(wanted: dict[str, Any]) -> dict[str, Any]:
    """As an API server stores it: with defaults, others' fields and its own spelling of quantities."""
    stored = copy.deepcopy(wanted)
    stored["metadata"] |= {"uid": "u", "resourceVersion": "5", "labels": {"a": "b", "theirs": "x"}}
    stored["metadata"]["finalizers"] = ["theirs", "ours"]
    pod = stored["spec"]["template"]["spec"]
    pod["containers"].insert(0, {"name": "injected"})
    pod["containers"][1]["ports"][0]["protocol"] = "TCP"
    pod["containers"][1]["resources"]["limits"] = {"cpu": "0.5", "memory": "512Mi"}
    pod["volumes"][0]["emptyDir"]["sizeLimit"] = "1Gi"
    pod["dnsPolicy"] = "ClusterFirst"
    return stored


def test_defaults_others_fields_and_other_spellings_are_no_difference(
    wanted: dict[str, Any], live: dict[str, Any]
) -> None:
    assert is_in_force(wanted, live)


@pytest.mark.parametrize(
    ("wanted_spelling", "stored_spelling", "is_same"),
    [
        ("333.3m", "334m", True),
        ("0.1m", "1m", True),
        ("1E3", "1k", True),
        (1, "1", True),
        ("333m", "334m", False),
        ("1E", "1Ei", False),
        ("much", "much", True),
        ("much", "more", False),
    ],
)
def test_what_a_container_asks_for_is_compared_as_it_is_stored(
    wanted_spelling: object, stored_spelling: str, is_same: bool
) -> None:
    def asking(cpu: object) -> dict[str, Any]:
        container = {"name": "relay", "resources": {"requests": {"cpu": cpu}}}
        return {"metadata": {"name": "otp-0"}, "spec": {"template": {"spec": {"containers": [container]}}}}

    wanted = prepared(asking(wanted_spelling))
    assert is_in_force(wanted, {**wanted, "spec": asking(stored_spelling)["spec"]}) == is_same


def test_a_missing_object_is_a_difference(wanted: dict[str, Any]) -> None:
    assert not is_in_force(wanted, None)


@pytest.mark.parametrize(
    "edit",
    [
        lambda live: live["spec"].update(replicas=0),
        lambda live: live["metadata"]["labels"].update(a="edited"),
        lambda live: live["metadata"]["labels"].pop("a"),
        lambda live: live["metadata"].update(finalizers=["theirs"]),
        lambda live: live["spec"]["template"]["spec"]["containers"].pop(1),
        lambda live: live["spec"]["template"]["spec"]["containers"][1]["ports"][0].update(containerPort=25),
        lambda live: live["spec"]["template"]["spec"]["containers"][1]["resources"]["limits"].update(cpu="501m"),
        lambda live: live["spec"]["template"]["spec"]["volumes"][0].update(emptyDir={}),
        lambda live: live["metadata"]["annotations"].pop(APPLIED_ANNOTATION),
    ],
)
def test_an_edit_of_what_we_own_is_a_difference(wanted: dict[str, Any], live: dict[str, Any], edit: Any) -> None:
    edit(live)

    assert not is_in_force(wanted, live)


def test_a_field_that_we_want_no_more_is_a_difference(live: dict[str, Any]) -> None:
    less = copy.deepcopy(WANTED)
    del less["metadata"]["labels"]["a"]

    assert not is_in_force(prepared(less), live)


def test_a_secrets_text_is_compared_with_what_is_stored() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "a"}, "stringData": {"relay.yaml": "x: 1"}}
    stored = prepared(secret)

    assert stored["data"] == {"relay.yaml": "eDogMQ=="}
    assert is_in_force(prepared(secret), stored)
    assert not is_in_force(prepared({**secret, "stringData": {"relay.yaml": "x: 2"}}), stored)


def test_empty_values_are_what_the_server_leaves_out() -> None:
    wanted = {"kind": "Service", "metadata": {"annotations": {}}, "spec": {"x": {}, "y": [], "z": None}}

    assert is_in_force(wanted, {"kind": "Service", "metadata": {}, "spec": {}})


def test_atomic_lists_are_compared_in_order() -> None:
    wanted = {"spec": {"groups": [{"name": "a"}, {"name": "b"}]}}

    assert not is_in_force(wanted, {"spec": {"groups": [{"name": "b"}, {"name": "a"}]}})
    assert not is_in_force(wanted, {"spec": {"groups": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}})


@pytest.mark.parametrize(
    "wanted",
    [
        {"spec": {"selector": {"a": "b"}}},
        {"spec": {"selector": {"matchLabels": {"a": "b"}}}},
        {"spec": {"topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"a": "b"}}}]}},
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
    ],
)
def test_a_key_more_in_a_selector_is_a_difference(wanted: dict[str, Any]) -> None:
    narrowed = json.loads(json.dumps(wanted).replace('"a": "b"', '"a": "b", "by": "hand"'))

    assert is_in_force(wanted, copy.deepcopy(wanted))
    assert not is_in_force(wanted, narrowed)
    assert not is_in_force(wanted, {"spec": {}})


def test_an_expression_more_in_a_selector_is_a_difference() -> None:
    wanted = {"spec": {"selector": {"matchLabels": {"a": "b"}}}}
    narrowed = {"spec": {"selector": {**wanted["spec"]["selector"], "matchExpressions": [{"key": "x"}]}}}

    assert not is_in_force(wanted, narrowed)


def test_service_ports_are_told_apart_by_number_and_protocol() -> None:
    wanted = {"spec": {"ports": [{"name": "smtp", "port": 587, "targetPort": "smtp"}]}}
    stored = {
        "spec": {"ports": [{"name": "smtp", "port": 587, "protocol": "TCP", "targetPort": "smtp", "nodePort": 3}]}
    }

    assert is_in_force(wanted, stored)
    stored["spec"]["ports"][0]["targetPort"] = 25
    assert not is_in_force(wanted, stored)


def test_preparing_leaves_the_manifest_as_it_is() -> None:
    before = copy.deepcopy(WANTED)

    prepared(WANTED)

    assert before == WANTED


POLICY: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "otp", "namespace": "mail"},
    "spec": {
        "podSelector": {"matchLabels": {"lane": "otp"}},
        "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 5587}]}],
        "egress": [{"ports": [{"protocol": "TCP", "port": 25}]}],
    },
}


@pytest.mark.parametrize(
    "edit",
    [
        lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 22}),
        lambda spec: spec["ingress"][0]["from"][0]["namespaceSelector"].update(matchLabels={"a": "b"}),
        lambda spec: spec["ingress"].append({}),
        lambda spec: spec["egress"][0].update(to=[{"podSelector": {}}]),
        lambda spec: spec["podSelector"].update(matchExpressions=[{"key": "a", "operator": "Exists"}]),
    ],
    ids=["port", "selector", "rule", "peer", "pods"],
)
def test_whatever_a_hand_opens_or_closes_in_a_network_policy_is_a_difference(edit: Any) -> None:
    wanted = prepared(POLICY)
    live = copy.deepcopy(wanted)
    assert is_in_force(wanted, live)

    edit(live["spec"])

    assert not is_in_force(wanted, live)
