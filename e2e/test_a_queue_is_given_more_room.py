"""queue.size is raised under a lane that sends: the API server refuses or takes it, and the lane says how far it is.

The storage of the tests' cluster grows nothing, so the test says of the claim what a driver and a kubelet would say.
"""

import json

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, lane, pool

pytestmark = pytest.mark.cluster

LANE, CLAIM = "roomy", "queue-roomy-0"
CLASS = "grows"


def test_a_queue_grows_where_its_class_lets_it_and_says_so_where_not(installation: Installation) -> None:
    here = installation
    local = here.cluster.get("storageclass", "local")
    here.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS},
            **{name: local[name] for name in ("provisioner", "volumeBindingMode")},
        }
    )
    try:
        _grow(here)
    finally:
        here.cluster.kubectl("delete", "storageclass", CLASS, "--ignore-not-found")


def _grow(here: Installation) -> None:
    small, large = (
        lane(LANE, here.namespace, queue={"size": size, "storageClassName": CLASS}) for size in ("1Gi", "2Gi")
    )
    here.apply(pool("pool", here.namespace), small)
    here.wait_ready(LANE)
    pod = here.get("pod", f"{LANE}-0-0")["metadata"]["uid"]

    here.apply(large)
    eventually(lambda: _waits(here) == "VolumeCannotGrow", "the class is told", within=60)
    message = here.condition(LANE, "Reconciling")["message"]
    assert f"set allowVolumeExpansion: true on StorageClass {CLASS}" in message
    here.wait_ready(LANE)

    here.cluster.kubectl("patch", "storageclass", CLASS, "-p", json.dumps({"allowVolumeExpansion": True}))
    eventually(lambda: _waits(here) == "WaitingForVolume", "the claim is asked to grow", within=90)
    assert here.get("pvc", CLAIM)["spec"]["resources"]["requests"]["storage"] == "2Gi"
    _say(here, conditions=[{"type": "FileSystemResizePending", "status": "True"}])
    eventually(lambda: f"delete pod {LANE}-0-0" in _message(here), "the file system is told of", within=60)

    _say(here, capacity={"storage": "2Gi"}, conditions=None)
    eventually(lambda: not here.condition(LANE, "Reconciling"), "the lane is as asked", within=60)
    slot = here.get("sendinglane", LANE)["status"]["slots"][0]
    assert slot["volume"] == "2Gi"
    assert here.get("pod", f"{LANE}-0-0")["metadata"]["uid"] == pod, "nothing restarts"


def _waits(here: Installation) -> str:
    return str((here.condition(LANE, "Reconciling") or here.condition(LANE, "Stalled")).get("reason", ""))


def _message(here: Installation) -> str:
    return str((here.condition(LANE, "Reconciling") or here.condition(LANE, "Stalled")).get("message", ""))


def _say(here: Installation, **status: object) -> None:
    """What the storage's driver or the kubelet says of the claim."""
    patch = json.dumps({"status": status})
    here.cluster.kubectl(
        "patch", "pvc", CLAIM, "-n", here.namespace, "--subresource=status", "--type=merge", "-p", patch
    )
