"""The rules as a file: of lanes that run and of manifests, what Prometheus loads, and what is wrong with the input."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lane_operator.desired import desired_state
from lane_operator.monitoring import prometheus_rule
from lane_operator.rule_file import BAD_INPUT, rule_file
from tests.lane_operator import made

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart" / "50-lanes.yaml"


def body(name: str = "otp", **spec: Any) -> dict[str, Any]:
    of = made.lane(name, **spec)
    return {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "SendingLane",
        "metadata": {"namespace": "mail", "name": name, "uid": f"of-{name}", "generation": 3},
        "spec": of.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True),
        "status": {"conditions": "of another release, and not asked"},
    }


def groups(printed: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(printed)["groups"]
    return found


def test_the_file_has_the_rules_that_the_operator_would_make() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [body(), body("news", trafficClass="Bulk")]}
    wanted = [prometheus_rule(one, {}, "p.md")["spec"]["groups"][0] for one in
              (made.lane(), made.lane("news", trafficClass="Bulk"))]  # fmt: skip

    assert groups(rule_file(json.dumps(listed), "p.md")) == wanted


def test_manifests_that_nobody_has_applied_have_rules_too() -> None:
    assert [one["name"] for one in groups(rule_file(QUICKSTART.read_text(), "p.md"))] == [
        "lane-mail-transactional",
        "lane-mail-bulk",
    ]


def test_a_manifest_that_was_changed_since_has_its_own_rules() -> None:
    def alerts_of(traffic_class: str) -> set[str]:
        (group,) = groups(rule_file(json.dumps(body(trafficClass=traffic_class)), "p.md"))
        return {one["alert"] for one in group["rules"] if "alert" in one}

    assert alerts_of("Transactional") - alerts_of("Bulk") >= {"LaneErrorBudgetFast"}


def test_a_lane_that_wants_none_has_none() -> None:
    both = yaml.safe_dump_all([body(), body("news", monitoring={"rules": False})])

    assert [one["name"] for one in groups(rule_file(both, "p.md"))] == ["lane-mail-otp"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no SendingLane"),
        ("kind: List\nitems: [{kind: Pod}]", "no SendingLane"),
        ("kind: [", "neither JSON nor YAML"),
        ('{"kind": ', "neither JSON nor YAML"),
        ("kind: SendingLane", "lacks 'metadata'"),
        ("kind: SendingLane\nmetadata: {name: otp}", "spec"),
        ("kind: SendingLane\nmetadata: {name: otp}\nspec: {trafficClass: Fast}", "otp: "),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rule_file(text, "p.md")


def test_the_command_prints_what_prometheus_takes_with_the_installations_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lane_operator.rule_file"]
    environment = {**os.environ, "LANEWRIGHT_RUNBOOK_URL": "https://docs.example.com/alerts.md"}
    done = subprocess.run(
        command, input=QUICKSTART.read_text(), env=environment, capture_output=True, text=True, check=True
    )
    file = tmp_path / "rules.yaml"
    file.write_text(done.stdout)
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "runbook_url: https://docs.example.com/alerts.md#lanespoolfailed" in done.stdout
    refused = subprocess.run(command, input="kind: Pod", capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (BAD_INPUT, "")
    assert "no SendingLane" in refused.stderr


def test_what_the_installation_says_is_in_the_lanes_rule() -> None:
    of = made.lane()
    settings = replace(made.SETTINGS, runbook_url="https://docs.example.com/alerts.md")
    found = desired_state(of, made.references(of, made.pool()), made.assignment(), settings)

    (rule,) = (one for one in found.manifests if one["kind"] == "PrometheusRule")
    assert "https://docs.example.com/alerts.md#lanespoolfailed" in json.dumps(rule)
