"""ResourceQuotas by object count: what is refused at once, what a lane says of a refused child, and that it heals.

docs/tenancy.md says it to users. Engine: ClusterDefault.
"""

import json

import pytest

from e2e.cluster.errors import ClusterError
from e2e.eventually import eventually
from e2e.installation import Installation, Manifest, lane, pool

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def quota(here: Installation, **hard: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "lanes", "namespace": here.namespace},
        "spec": {"hard": hard},
    }


def in_force(here: Installation, **hard: str) -> None:
    """A quota that counts; until it does, the API server refuses everything that it is about.

    Its controller hears of new kinds every half minute, and looks again at a quota that is older than its news five
    minutes later: one that does not count is made anew.
    """

    def counts() -> bool:
        found = here.get("resourcequota", "lanes")
        return set(found.get("status", {}).get("used", ())) == set(hard)

    def made_anew() -> bool:
        here.cluster.kubectl("delete", "resourcequota", "lanes", "-n", here.namespace, "--ignore-not-found")
        here.apply(quota(here, **hard))
        return eventually(counts, "the quota counts", within=10)

    eventually(made_anew, "a quota counts", within=150)


def test_lanes_and_pools_are_counted_as_any_kind(installation: Installation) -> None:
    here = installation
    in_force(here, **{"count/sendinglanes.lanewright.dev": "1", "count/ippools.lanewright.dev": "1"})
    here.apply(pool("pool", here.namespace), lane("first", here.namespace, replicas=1))

    for one_too_many in (lane("second", here.namespace), pool("another", here.namespace)):
        with pytest.raises(ClusterError, match="exceeded quota: lanes"):
            here.apply(one_too_many)


def test_a_child_that_a_quota_refuses_is_told_and_comes_when_the_quota_grows(installation: Installation) -> None:
    here = installation
    in_force(here, **{"count/statefulsets.apps": "1"})
    here.apply(pool("pool", here.namespace), lane("narrow", here.namespace, replicas=2))

    def stalled() -> bool:
        said = here.condition("narrow", "Stalled")
        return said.get("reason") == "Forbidden" and "exceeded quota: lanes" in said["message"]

    eventually(stalled, "the lane says which quota keeps it", within=90)
    eventually(lambda: here.is_there("pod", "narrow-0-0"), "the slot that fits runs")
    assert not here.is_there("statefulset", "narrow-1")

    grown = json.dumps({"spec": {"hard": {"count/statefulsets.apps": "2"}}})
    here.cluster.kubectl("patch", "resourcequota", "lanes", "-n", here.namespace, "--type=merge", "-p", grown)
    here.wait_ready("narrow")
    assert here.is_there("statefulset", "narrow-1")
