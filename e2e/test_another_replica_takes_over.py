"""Of two replicas one works; when it hangs, dies or goes, the other does within seconds, and never both."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from e2e import figures
from e2e.eventually import eventually
from e2e.installation import Installation, lane, pool, serve
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = [pytest.mark.cluster, pytest.mark.quiet]

LANE = "led"
FOLLOWED_WITHIN_S = 20.0


@pytest.fixture
def here(installation: Installation, images: dict[str, str]) -> Iterator[Installation]:
    """Two replicas, and a lane that they look after."""
    serve(installation.cluster, images, operator={"replicas": 2})
    try:
        installation.apply(pool("pool", installation.namespace), lane(LANE, installation.namespace))
        installation.wait_ready(LANE)
        yield installation
    finally:
        serve(installation.cluster, images)


def leader(here: Installation) -> str:
    """The pod that holds the Lease; the name is enough, for only one that runs is asked for."""
    holder = here.get("lease", RELEASE, OPERATOR_NAMESPACE)["spec"]["holderIdentity"]
    return str(here.get("pod", holder, OPERATOR_NAMESPACE)["metadata"]["name"])


def repaired(here: Installation) -> float:
    """Seconds until a Service that was deleted is there again: somebody reconciles."""
    uid, since = here.get("service", LANE)["metadata"]["uid"], time.monotonic()
    here.cluster.kubectl("delete", "service", LANE, "-n", here.namespace, "--wait=false")
    eventually(
        lambda: here.get("service", LANE)["metadata"]["uid"] != uid, "the Service is there again", 60, every=0.05
    )
    return time.monotonic() - since


@pytest.mark.long("tests/lane_operator/test_leadership.py", "tests/lane_operator/test_replica_process.py")
def test_another_replica_follows_one_that_hangs_dies_or_goes(here: Installation) -> None:
    first = eventually(lambda: leader(here), "one replica leads")
    pods = here.cluster.get("pods", "-n", OPERATOR_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
    assert len({one["spec"]["nodeName"] for one in pods if "deletionTimestamp" not in one["metadata"]}) == 2

    hung = here.cluster.container_pid(OPERATOR_NAMESPACE, first, "operator")
    os.kill(hung, signal.SIGSTOP)
    try:
        took = repaired(here)
        second = leader(here)
    finally:
        os.kill(hung, signal.SIGCONT)
    assert second != first
    assert took < FOLLOWED_WITHIN_S

    def woken() -> str:
        said = here.cluster.kubectl("logs", first, "-n", OPERATOR_NAMESPACE, "--previous", check=False)
        return said if "lease lost" in said else ""

    eventually(woken, "what was followed says so and ends", within=30)
    assert leader(here) == second

    os.kill(here.cluster.container_pid(OPERATOR_NAMESPACE, second, "operator"), signal.SIGKILL)
    killed = repaired(here)
    assert killed < FOLLOWED_WITHIN_S

    here.cluster.kubectl("delete", "pod", leader(here), "-n", OPERATOR_NAMESPACE, "--wait=false")
    gone = repaired(here)
    assert gone < FOLLOWED_WITHIN_S

    command = "pytest e2e/test_another_replica_takes_over.py"
    figures.record("e2e", "operator_failover_hung_s", round(took, 1), "s", FOLLOWED_WITHIN_S, "lower", command)
    figures.record("e2e", "operator_failover_killed_s", round(killed, 1), "s", FOLLOWED_WITHIN_S, "lower", command)
    figures.record("e2e", "operator_failover_deleted_s", round(gone, 1), "s", FOLLOWED_WITHIN_S, "lower", command)
