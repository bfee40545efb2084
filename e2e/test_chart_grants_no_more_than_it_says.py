"""What the chart renders: no wildcard, no Secrets of the whole cluster, nothing outside of a watched namespace."""

import os
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
    assert {one["metadata"]["namespace"] for one in objects if one["kind"] == "Role"} == {"mail", "lw"}
    own = [rule for one, rule in rules(objects, "Role") if one["metadata"]["namespace"] == "lw"]
    assert {resource for rule in own for resource in rule["resources"]} == {"leases"}


def test_of_leases_the_operator_reads_and_writes_its_own(cluster: Cluster) -> None:
    found = [rule for _, rule in rules(rendered(cluster), "ClusterRole", "Role") if "leases" in rule["resources"]]

    assert {(*rule.get("resourceNames", ()), *rule["verbs"]) for rule in found} == {
        ("create",),
        ("lanewright", "get", "patch"),
    }


def test_the_webhook_is_off_by_default_and_takes_rights_to_its_own_secret_and_configuration(cluster: Cluster) -> None:
    off, on = rendered(cluster), rendered(cluster, "webhook.enabled=true")

    def of_webhooks(objects: list[Manifest]) -> set[tuple[str, ...]]:
        found = rules(objects, "ClusterRole", "Role")
        named = [rule for _, rule in found if {"secrets", "validatingwebhookconfigurations"} & set(rule["resources"])]
        return {(*rule["resources"], *rule.get("resourceNames", ()), *rule["verbs"]) for rule in named}

    assert of_webhooks(off) == set()
    assert not [one for one in off if one["kind"] == "ValidatingWebhookConfiguration"]
    assert of_webhooks(on) == {
        ("secrets", "create"),
        ("secrets", "lanewright-webhook", "get", "patch"),
        ("validatingwebhookconfigurations", "lw-lanewright", "get", "patch"),
    }
    (hook,) = (one["webhooks"][0] for one in on if one["kind"] == "ValidatingWebhookConfiguration")
    assert (hook["failurePolicy"], hook["sideEffects"]) == ("Ignore", "None")
    assert "caBundle" not in hook["clientConfig"]


def test_two_replicas_keep_apart_and_one_of_them_stays(cluster: Cluster) -> None:
    two, one = rendered(cluster), rendered(cluster, "operator.replicas=1")

    def pod(objects: list[Manifest]) -> Manifest:
        deployment = next(one for one in objects if one["kind"] == "Deployment")
        return dict(deployment["spec"]["template"]["spec"])

    assert [one["spec"]["maxUnavailable"] for one in two if one["kind"] == "PodDisruptionBudget"] == [1]
    assert "podAntiAffinity" in pod(two)["affinity"]
    assert not [found for found in one if found["kind"] == "PodDisruptionBudget"]
    assert "affinity" not in pod(one)


def test_rights_that_are_switched_off_are_not_there(cluster: Cluster) -> None:
    switches = ("monitoring", "certificates", "dnsEndpoints", "nodes", "volumes")
    off = ("rights.engines=null", *(f"rights.{switch}=false" for switch in switches))
    objects = rendered(cluster, "servedNamespaces={mail}", *off)

    named = {resource for _, rule in rules(objects, "ClusterRole", "Role") for resource in rule["resources"]}
    gone = {"network-attachment-definitions", "podmonitors", "prometheusrules", "nodes", "persistentvolumes"}
    gone |= {"certificates", "dnsendpoints"}
    assert not named & gone


@pytest.mark.parametrize("mode", ["servedNamespaces={mail}", "watchNamespaces={mail}"])
def test_ciliums_policies_are_within_reach_only_where_the_engine_is_named(cluster: Cluster, mode: str) -> None:
    def granted(engines: str) -> set[tuple[str, str]]:
        objects = rendered(cluster, mode, f"rights.engines={{{engines}}}", "crds.install=false")
        found = rules(objects, "ClusterRole", "Role")
        return {
            (one["kind"], name) for one, rule in found if "cilium.io" in rule["apiGroups"] for name in rule["resources"]
        }

    assert granted("HostNetwork,Multus") == set()
    kind = "ClusterRole" if mode.startswith("served") else "Role"
    assert granted("Cilium") == {(kind, "ciliumnetworkpolicies"), ("ClusterRole", "ciliumegressgatewaypolicies")}


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


def test_a_served_namespace_that_is_not_there_is_refused_with_the_command_that_makes_it(cluster: Cluster) -> None:
    helm = [str(program(cluster.layout, "helm")), "upgrade", "--install", "absent", str(CHART), "-n", "lw-absent"]
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.layout.kubectl_cache),
    }
    done = subprocess.run(
        [*helm, "--dry-run=server", "--set", "servedNamespaces={kube-system,nosuch}"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip

    assert done.returncode
    assert "there is no namespace nosuch" in done.stderr
    assert done.stderr.rstrip().endswith("kubectl create namespace nosuch")
