"""A namespace that enforces the restricted Pod Security level takes a lane's pods, and no pod holds an API token."""

import pytest

from e2e.installation import Installation, lane, pool

pytestmark = pytest.mark.cluster

LANE = "strict"
LEVELS = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn", "audit")]
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # where one would be


def test_a_lane_with_its_resolver_runs_where_pods_are_restricted(installation: Installation) -> None:
    here = installation
    here.cluster.kubectl("label", "namespace", here.namespace, "--overwrite", *LEVELS)
    # the sidecar comes along, though the tests' network has no root servers for it
    sidecar = {"mode": "Sidecar", "forwardTo": ["198.51.100.2"]}
    here.apply(pool("pool", here.namespace), lane(LANE, here.namespace, resolver=sidecar, feedback={}))

    here.wait_ready(LANE)

    (pod,) = here.cluster.get("pods", "-n", here.namespace, "-l", f"lanewright.dev/lane={LANE}")["items"]
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["resolver"]
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert TOKEN not in [one["mountPath"] for one in container["volumeMounts"]]
    account = here.get("serviceaccount", pod["spec"]["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
