"""What the chart renders: no wildcard, no Secrets of the whole cluster, nothing outside of a watched namespace."""

import subprocess
from typing import Any

import pytest
import yaml

from e2e.cluster import Cluster
from e2e.cluster.programs import path as program
from e2e.release import CHART

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]


def rendered(cluster: Cluster, *values: str) -> list[Manifest]:
    helm = program(cluster.layout, "helm")
    sets = [part for value in values for part in ("--set", value)]
    command = [str(helm), "template", "lanewright", str(CHART), "-n", "lw", "--kube-version", "1.35.4", *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def rules(objects: list[Manifest], *kinds: str) -> list[tuple[Manifest, Manifest]]:
    return [(one, rule) for one in objects if one["kind"] in kinds for rule in one.get("rules") or ()]


def test_no_right_is_a_wildcard_and_none_is_dangerous(cluster: Cluster) -> None:
    found = rules(rendered(cluster, "servedNamespaces={mail}"), "ClusterRole", "Role")

    assert found
    for _, rule in found:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert not {"pods/exec", "pods/attach", "clusterroles", "roles"} & set(rule["resources"])
        assert not ("nodes" in rule["resources"] and {"create", "update", "patch", "delete"} & set(rule["verbs"]))
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_secrets_are_within_reach_in_served_namespaces_only(cluster: Cluster) -> None:
    objects = rendered(cluster, "servedNamespaces={mail,shop}")

    roles = {one["metadata"]["namespace"] for one, rule in rules(objects, "Role") if "secrets" in rule["resources"]}
    assert roles == {"mail", "shop"}
    assert not [rule for _, rule in rules(objects, "ClusterRole") if "secrets" in rule["resources"]]


def test_namespaced_mode_needs_no_cluster_rights(cluster: Cluster) -> None:
    objects = rendered(cluster, "watchNamespaces={mail}", "rights.nodes=false", "crds.install=false")

    assert not [one["kind"] for one in objects if one["kind"].startswith("Cluster")]
    assert {one["metadata"]["namespace"] for one in objects if one["kind"] == "Role"} == {"mail"}


def test_rights_that_are_switched_off_are_not_there(cluster: Cluster) -> None:
    off = ("rights.engines=null", "rights.monitoring=false", "rights.nodes=false", "rights.volumes=false")
    objects = rendered(cluster, "servedNamespaces={mail}", *off)

    named = {resource for _, rule in rules(objects, "ClusterRole", "Role") for resource in rule["resources"]}
    gone = {"network-attachment-definitions", "podmonitors", "prometheusrules", "nodes", "persistentvolumes"}
    assert not named & gone


def test_definitions_stay_when_the_release_goes_unless_told_otherwise(cluster: Cluster) -> None:
    def policies(*values: str) -> list[str | None]:
        return [
            (one["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")
            for one in rendered(cluster, *values)
            if one["kind"] == "CustomResourceDefinition"
        ]

    assert policies() == ["keep"] * 3
    assert policies("crds.keep=false") == [None] * 3
    assert policies("crds.install=false") == []


def test_the_operators_pod_is_restricted(cluster: Cluster) -> None:
    deployment = next(one for one in rendered(cluster) if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys()


def test_an_unknown_value_is_refused(cluster: Cluster) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(cluster, "servedNamespace={mail}")

    assert "servedNamespace" in refused.value.stderr
