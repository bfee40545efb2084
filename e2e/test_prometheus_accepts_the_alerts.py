"""The alerts of every class are rules that a real Prometheus loads."""

import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.internet import packages
from lane_operator.monitoring.rules import prometheus_rule
from tests.lane_operator import made

CLASSES = ["Transactional", "Notification", "Bulk", "Cold"]


def check(rules: dict[str, object], folder: Path) -> "subprocess.CompletedProcess[str]":
    packages.install(packages.PROMETHEUS)
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    return subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("traffic_class", CLASSES)
def test_prometheus_accepts_the_alerts(traffic_class: str, tmp_path: Path) -> None:
    done = check(prometheus_rule(made.lane(trafficClass=traffic_class), {})["spec"], tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_alert_would_be_noticed(tmp_path: Path) -> None:
    rules = prometheus_rule(made.lane(), {})["spec"]
    rules["groups"][0]["rules"][0]["expr"] += ")"

    assert check(rules, tmp_path).returncode != 0
