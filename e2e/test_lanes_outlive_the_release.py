"""helm uninstall takes the operator and leaves definitions, lanes and pods; an install finds them as they were."""

import os
import subprocess

import pytest

from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, lane, pool, serve
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = pytest.mark.cluster

SENDER = "news@orphan.example.com"


def test_lanes_send_on_without_the_operator_and_are_taken_up_again(
    installation: Installation, images: dict[str, str]
) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("orphan", space))
    here.wait_ready("orphan")
    pod = here.get("pod", "orphan-0-0")["metadata"]["uid"]

    helm = [str(here.cluster.layout.bin / "helm"), "uninstall", RELEASE, "-n", OPERATOR_NAMESPACE, "--wait"]
    environment = {**os.environ, "KUBECONFIG": str(here.cluster.kubeconfig)}
    subprocess.run(helm, check=True, capture_output=True, env=environment, timeout=120)
    assert not here.is_there("deployment", RELEASE, OPERATOR_NAMESPACE)
    assert here.is_there("sendinglane", "orphan")
    before = len(here.received(SENDER))
    here.send("orphan-0-0", SENDER, f"user@{LIVE_DOMAIN}", 1)
    eventually(lambda: len(here.received(SENDER)) > before, "the lane sends without the operator")

    serve(here.cluster, images, space)
    here.apply(lane("orphan", space, limits={"connectionsPerIP": 3}))
    generation = here.get("sendinglane", "orphan")["metadata"]["generation"]
    eventually(
        lambda: here.get("sendinglane", "orphan")["status"]["slots"][0]["configGeneration"] == generation,
        "what was changed is in force",
    )
    assert here.get("pod", "orphan-0-0")["metadata"]["uid"] == pod
