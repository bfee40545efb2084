"""A lane's NetworkPolicy as a real API server keeps it: taken as rendered, put back when edited, following the lane.

That a network enforces it is not shown: the tests' cluster has none that does (`e2e/cluster/README.md`).
"""

import json

import pytest

from e2e.eventually import eventually
from e2e.installation import OPERATOR_USER, Installation, Manifest, lane, pool
from e2e.release import OPERATOR_NAMESPACE

pytestmark = pytest.mark.cluster

LANE = "fenced"
CLIENTS = {"cidrs": ["198.18.0.0/15"], "namespaces": {"matchLabels": {"mail": "yes"}}}


def _lane(here: Installation, **clients: object) -> Manifest:
    return lane(LANE, here.namespace, submission={"senders": [f"@{LANE}.example.com"], "clients": clients})


def _spec(here: Installation) -> Manifest:
    return dict(here.get("networkpolicy", LANE)["spec"])


def test_it_is_kept_as_rendered_put_back_when_edited_and_follows_the_lane(installation: Installation) -> None:
    here = installation
    here.apply(pool("pool", here.namespace), _lane(here, **CLIENTS))
    here.wait_ready(LANE)

    kept = _spec(here)
    submission, admin = kept["ingress"][0], kept["ingress"][1]
    assert submission["from"] == [
        {"namespaceSelector": {"matchLabels": {"mail": "yes"}}}, {"ipBlock": {"cidr": "198.18.0.0/15"}}
    ]  # fmt: skip
    assert admin["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == OPERATOR_NAMESPACE
    operator = admin["from"][0]["podSelector"]["matchLabels"]
    chosen = ",".join(f"{name}={value}" for name, value in operator.items())
    assert here.cluster.get("pods", "-n", OPERATOR_NAMESPACE, "-l", chosen)["items"]

    opened = [{"op": "add", "path": "/spec/ingress/-", "value": {}}]
    here.cluster.kubectl(
        "patch", "networkpolicy", LANE, "-n", here.namespace, "--type=json", "-p", json.dumps(opened)
    )  # fmt: skip
    eventually(lambda: _spec(here) == kept, "the rule that a hand added is gone", within=10)

    start = here.cluster.audit_offset()
    here.apply(_lane(here, cidrs=["198.18.0.0/15"]))
    networks = [{"ipBlock": {"cidr": "198.18.0.0/15"}}]
    eventually(lambda: _spec(here)["ingress"][0].get("from") == networks, "the networks alone may come", within=10)
    written = here.cluster.writes(offset=start, user=OPERATOR_USER)
    assert sum((one.resource, one.name) == ("networkpolicies", LANE) for one in written) == 1
