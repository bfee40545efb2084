"""The pods of every class and engine, against what Kubernetes itself says of Pod Security and quality of service."""

from typing import Any

import pytest

from lane_api.effective import effective, in_force
from lane_operator.inputs import Manifest
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import desired
from tests.lane_operator.desired.test_desired_state import pod as pod_of
from tests.manifests.rendered import CHILD_SETS, children

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
"""What the restricted level lets a pod mount (Kubernetes, Pod Security Standards)."""
FIGURES = {"cpu": "2", "memory": "1Gi"}


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["containers"], *pod.get("initContainers", ()), *pod.get("ephemeralContainers", ())]


def faults(pod: Manifest) -> set[str]:
    """What the restricted level refuses of a pod; field by field, as the standard lists them."""
    found, of_pod = set(), pod.get("securityContext", {})
    found |= {name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)}
    found |= {f"volume {kind}" for one in pod.get("volumes", ()) for kind in one.keys() - {"name"} - VOLUMES}
    if of_pod.get("sysctls") or of_pod.get("windowsOptions"):
        found.add("sysctls")
    for one in containers(pod):
        own = one.get("securityContext", {})
        merged = {**of_pod, **own}
        added = set(own.get("capabilities", {}).get("add", ()))
        checks = {
            "privileged": not own.get("privileged"),
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"] and added <= {"NET_BIND_SERVICE"},
            "root": merged.get("runAsNonRoot") is True and merged.get("runAsUser") != 0,
            "seccomp": merged.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "hostPort": not any(port.get("hostPort") for port in one.get("ports", ())),
            "procMount": own.get("procMount", "Default") == "Default",
        }
        found |= {f"{one['name']}: {name}" for name, good in checks.items() if not good}
    return found


def qos(pod: Manifest) -> str:
    """The class that the kubelet gives a pod (Kubernetes, Pod Quality of Service Classes)."""
    each = [(one.get("resources", {}).get("requests") or {}, one.get("resources", {}).get("limits") or {})
            for one in containers(pod)]  # fmt: skip
    if not any(requests or limits for requests, limits in each):
        return "BestEffort"
    guaranteed = all(
        name in limits and requests.get(name, limits[name]) == limits[name]
        for requests, limits in each
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"


@pytest.mark.parametrize("everything", [False, True], ids=["as it comes", "with everything"])
@pytest.mark.parametrize(("of_class", "engine"), CHILD_SETS)
def test_every_pod_is_restricted_but_for_its_nodes_network(of_class: str, engine: str, everything: bool) -> None:
    workloads = [one for one in children(of_class, engine, everything=everything) if one["kind"] == "StatefulSet"]
    assert workloads
    for one in workloads:
        pod = one["spec"]["template"]["spec"]
        assert faults(pod) == ({"hostNetwork"} if engine == "HostNetwork" else set())
        assert pod["automountServiceAccountToken"] is False
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers(pod))


def test_what_restricted_refuses_is_noticed() -> None:
    pod = pod_of(desired())
    wrong: dict[str, Any] = {
        "hostPID": True,
        "volumes": [{"name": "a", "hostPath": {"path": "/"}}],
        "securityContext": {},
    }
    assert {"hostPID", "volume hostPath", "relay: root", "relay: seccomp"} <= faults(pod | wrong)


@pytest.mark.parametrize(
    ("of_class", "resources", "wanted"),
    [("Transactional", {}, "Guaranteed"), ("Notification", {}, "Burstable"), ("Bulk", {}, "Burstable"),
     ("Cold", {}, "Burstable"),
     ("Transactional", {"requests": FIGURES, "limits": FIGURES}, "Guaranteed"),
     ("Transactional", {"limits": FIGURES}, "Guaranteed"),
     ("Bulk", {"requests": FIGURES, "limits": FIGURES}, "Guaranteed"),
     ("Transactional", {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": FIGURES}, "Burstable"),
     ("Transactional", {"requests": FIGURES}, "Burstable"),
     ("Cold", {"requests": {}}, "BestEffort"), ("Cold", {"requests": {}, "limits": {}}, "BestEffort")],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["Sidecar", "Cluster"])
def test_a_pods_quality_of_service_is_what_status_says(
    of_class: str, resources: dict[str, Any], wanted: str, mode: str
) -> None:
    of = made.lane(trafficClass=of_class, resolver={"mode": mode}, pod={"resources": resources} if resources else {})

    assert qos(pod_of(desired(of))) == wanted
    assert effective(of.spec).qos == wanted


@pytest.mark.parametrize("resources", [{}, {"requests": {"cpu": "2", "memory": "4Gi"}}, {"limits": FIGURES}])
@pytest.mark.parametrize("of_class", ["Transactional", "Bulk"])
def test_what_status_says_of_the_relays_resources_is_what_it_gets(of_class: str, resources: dict[str, Any]) -> None:
    of = made.lane(trafficClass=of_class, pod={"resources": resources})

    (relay,) = pod_of(desired(of))["containers"]
    assert in_force(of.spec)["pod"]["resources"] == relay["resources"]


def test_what_a_lane_says_of_its_pods_is_handed_on() -> None:
    asked = {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "mail", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "mail",
    }
    pod = pod_of(desired(made.lane(pod=asked)))
    assert {name: pod[name] for name in asked} == asked
    assert not asked.keys() & pod_of(desired()).keys()
