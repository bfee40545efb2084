"""What docs/remove.md says of a lane that goes for good: its rests have one label, by which they go."""

import json
import re
from pathlib import Path

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, lane, pool
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[1]
(COMMAND,) = re.findall(r"<!-- a test runs this -->\n```sh\n(.*?)```", (ROOT / "docs/remove.md").read_text(), re.DOTALL)
KINDS = "pvc,secrets,configmaps,services,statefulsets,pods,poddisruptionbudgets,networkpolicies"


def named(here: Installation, name: str) -> set[str]:
    """Everything in the namespace whose name begins with the lane's, or a claim of it."""
    items = json.loads(here.cluster.kubectl("-n", here.namespace, "get", KINDS, "-o", "json"))["items"]
    every = (f"{one['kind']} {one['metadata']['name']}" for one in items)
    return {one for one in every if re.search(rf" (queue-)?{name}\b", one)}


def test_what_stays_of_a_deleted_lane_goes_by_its_label(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("gone", space, feedback={}), lane("kept", space))
    here.wait_ready("gone", "kept")
    before = named(here, "kept")

    here.cluster.kubectl("-n", space, "delete", "lane", "gone", "--timeout=120s")
    eventually(lambda: not any(one.startswith("Pod ") for one in named(here, "gone")), "its pods are gone")
    rests = named(here, "gone")
    assert {"PersistentVolumeClaim queue-gone-0", "Secret gone-audit", "Secret gone-users"} <= rests
    words = COMMAND.replace("$NAMESPACE", space).replace("$LANE", "gone").split()
    assert words.pop(0) == "kubectl"
    here.cluster.kubectl(*words)

    assert named(here, "gone") == set()
    assert named(here, "kept") >= {one for one in before if not one.startswith("Pod ")}


def test_the_rules_of_lanes_are_printed_where_no_kind_is_for_them(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("told", space))
    here.wait_ready("told")

    lanes = here.cluster.kubectl("-n", space, "get", "lanes", "-o", "json")
    deployment = ("exec", "-i", f"deploy/{RELEASE}", "-n", OPERATOR_NAMESPACE, "--")
    printed = here.cluster.kubectl(*deployment, "python3", "-m", "lane_operator.rule_file", stdin=lanes)
    assert f"name: lane-{space}-told" in printed
    assert "runbook_url: docs/alerts.md#lanespoolfailed" in printed
