"""A kind that the cluster lacks is left out and named; once its CRD is there it is used, and without it named again.

The CRD is one of ours, which takes any spec: what is shown is that the process that runs notices the kind, not that
prometheus-operator takes what is in it (its own schema and program are not in the tests' cluster).
"""

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, lane, pool

pytestmark = pytest.mark.cluster

LANE = "watched"
GROUP, PLURAL = "monitoring.coreos.com", "podmonitors"
NOTICED_S = 75.0  # it is looked for every 30 s
CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "PodMonitor", "plural": PLURAL, "singular": "podmonitor", "listKind": "PodMonitorList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


def test_a_kind_is_used_as_soon_as_the_cluster_serves_it_and_named_while_it_does_not(
    installation: Installation,
) -> None:
    here = installation

    def lacks(kind: str) -> bool:
        return kind in here.condition(LANE, "ChildrenIncomplete").get("message", "")

    here.apply(pool("pool", here.namespace), lane(LANE, here.namespace))
    here.wait_ready(LANE)
    assert lacks("PodMonitor")
    running = here.operator_restarts()

    here.apply(CRD)
    try:
        eventually(lambda: not lacks("PodMonitor"), "the kind is noticed", within=NOTICED_S)
        assert here.is_there(f"{PLURAL}.{GROUP}", LANE)
        assert lacks("PrometheusRule")
        first = here.get(f"{PLURAL}.{GROUP}", LANE)["metadata"]["uid"]
        here.cluster.kubectl("delete", f"{PLURAL}.{GROUP}", LANE, "-n", here.namespace, "--wait=false")
        eventually(
            lambda: here.get(f"{PLURAL}.{GROUP}", LANE)["metadata"]["uid"] != first, "it is watched, too", within=30
        )
    finally:
        here.cluster.kubectl("delete", "crd", f"{PLURAL}.{GROUP}")
    eventually(lambda: lacks("PodMonitor"), "its absence is said again", within=NOTICED_S)
    assert here.condition(LANE, "Ready")["status"] == "True"
    assert here.operator_restarts() == running
