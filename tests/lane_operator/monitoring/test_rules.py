"""Alerts of what comes back and of what does not leave, as Prometheus reckons them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from lane_operator.monitoring import monitoring_children
from tests.lane_operator import made

OF = 'namespace="mail",lane="otp",slot="otp-0"'


def fires(tmp_path: Path, alert: str, series: Mapping[str, str], heard: Mapping[str, int]) -> None:
    """Asserts how many alerts of this name fire at these times, given these values a minute."""
    manifests, _ = monitoring_children(made.lane(feedback={}), made.KINDS, {})
    (rules,) = (one["spec"] for one in manifests if one["kind"] == "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    case = {
        "interval": "1m",
        "input_series": [
            {"series": name.replace("{", "{" + OF + ",").replace(",}", "}"), "values": values}
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}]}
            for at, count in heard.items()
        ],
    }
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_suppression_list_is_told_of_before_it_is_full(tmp_path: Path) -> None:
    fires(
        tmp_path,
        "LaneSuppressionListFull",
        {"lane_relay_suppressions{}": "900x20 960x30", "lane_relay_suppressions_limit{}": "1000x60"},
        {"15m": 0, "40m": 1},
    )


def test_a_complaint_rate_is_told_of_before_something_is_paused_for_it(tmp_path: Path) -> None:
    series = {'lane_relay_complaint_level{policy="google"}': "0x9 1x9 2x9 3x9 0x9"}
    fires(tmp_path, "LaneComplaintsRising", series, {"5m": 0, "15m": 1, "25m": 0, "45m": 0})
    fires(tmp_path, "LaneComplaintsHigh", series, {"15m": 0, "25m": 1, "35m": 1, "45m": 0})


def test_mail_in_doubt_is_told_of_once_it_is_no_mere_restart(tmp_path: Path) -> None:
    series = {"lane_relay_handover_in_doubt_age_seconds{}": "0x4 0+60x9 0x9"}
    fires(tmp_path, "LaneMailInDoubt", series, {"4m": 0, "9m": 0, "12m": 1, "20m": 0})


def test_mail_that_no_slot_may_send_is_told_of(tmp_path: Path) -> None:
    fires(
        tmp_path, "LaneMailStranded", {"lane_relay_handover_stranded{}": "0x4 7x9 0x9"}, {"6m": 0, "12m": 1, "20m": 0}
    )


def test_without_feedback_there_are_none() -> None:
    manifests, _ = monitoring_children(made.lane(), made.KINDS, {})
    assert "LaneSuppressionListFull" not in str(manifests)
