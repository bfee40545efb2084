"""Alerts of what comes back and of what does not leave, as Prometheus reckons them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from lane_operator.monitoring import monitoring_children
from lane_operator.monitoring.queries import Queries
from tests.lane_operator import made

OF = 'namespace="mail",lane="otp"'


NOTHING: Mapping[str, Any] = MappingProxyType({})


def fires(
    tmp_path: Path,
    alert: str,
    series: Mapping[str, str],
    heard: Mapping[str, int],
    spec: Mapping[str, Any] = NOTHING,
    every: str = "1m",
) -> None:
    """Asserts how many alerts of this name fire at these times, given these values one after the other.

    They are of slot otp-0 where they name no other.
    """
    manifests, _ = monitoring_children(made.lane(feedback={}, **spec), made.KINDS, {})
    (rules,) = (one["spec"] for one in manifests if one["kind"] == "PrometheusRule")
    (group,) = rules["groups"]
    group |= {"interval": every, "rules": [one for one in group["rules"] if one.get("alert") == alert]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    case = {
        "interval": every,
        "input_series": [{"series": _named(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}]}
            for at, count in heard.items()
        ],
    }
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": [case]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def _named(series: str) -> str:
    of = OF if "slot=" in series else f'{OF},slot="otp-0"'
    return series.replace("{", "{" + of + ",").replace(",}", "}")


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


STANDBY: Mapping[str, Any] = {"standbyReplicas": 1}


def test_a_refused_address_for_which_nobody_sends_is_told_of(tmp_path: Path) -> None:
    series = {"lane_relay_quarantine_unrelieved{}": "0x4 1x9 0x9"}
    fires(tmp_path, "LaneQuarantineUnrelieved", series, {"5m": 0, "8m": 1, "20m": 0}, STANDBY)


def test_a_standby_slot_that_isps_forget_is_told_of_where_the_lane_sends(tmp_path: Path) -> None:
    def series(spare: str, active: str) -> dict[str, str]:
        delivered = 'lane_relay_attempts_total{policy="gmail",result="delivered",'
        return {
            'lane_relay_standby{slot="otp-s0",}': "1x400",
            'lane_relay_standby{slot="otp-0",}': "0x400",
            delivered + 'slot="otp-s0",}': spare,
            delivered + 'slot="otp-0",}': active,
        }

    for spare, active, count in (("0x400", "0+10x400", 1), ("0+1x400", "0+10x400", 0), ("0x400", "0x400", 0)):
        fires(tmp_path, "LaneStandbyForgotten", series(spare, active), {"2000m": count}, STANDBY, "5m")


def test_without_standby_slots_nothing_is_said_of_them() -> None:
    manifests, _ = monitoring_children(made.lane(), made.KINDS, {})
    assert "LaneStandbyForgotten" not in str(manifests)
    with_one, _ = monitoring_children(made.lane(**STANDBY), made.KINDS, {})
    assert "< 3" in next(
        rule["expr"]
        for one in with_one
        if one["kind"] == "PrometheusRule"
        for rule in one["spec"]["groups"][0]["rules"]
        if rule.get("alert") == "LaneSlotsMissing"
    )


DELIVERED, LATE = "lane_relay_delivery_latency_seconds", "lane_relay_queue_late{}"


def test_half_of_the_mail_that_expires_uses_up_the_error_budget_though_the_rest_is_in_time(tmp_path: Path) -> None:
    """Codes that expire are in no latency: only what was delivered was measured, and that was in time."""
    series = {
        f'{DELIVERED}_bucket{{policy="gmail",le="60.0"}}': "0+25x90",
        f'{DELIVERED}_count{{policy="gmail",}}': "0+25x90",
        f'{DELIVERED}_bucket{{policy="other",le="60.0"}}': "0+5x90",
        f'{DELIVERED}_count{{policy="other",}}': "0+5x90",
        "lane_relay_recipients_missed_total{}": "0x29 0+30x60",
    }
    fires(tmp_path, "LaneErrorBudgetFast", series, {"28m": 0, "45m": 1})


def test_a_lower_objective_and_a_handful_of_late_mail_page_nobody(tmp_path: Path) -> None:
    little = {f'{DELIVERED}_bucket{{le="60.0"}}': "0+1x90", f"{DELIVERED}_count{{}}": "0+1x90", LATE: "8x90"}
    fires(tmp_path, "LaneErrorBudgetFast", little, {"45m": 0})
    some = {
        f'{DELIVERED}_bucket{{le="60.0"}}': "0+90x90",
        f"{DELIVERED}_count{{}}": "0+100x90",
        LATE: "0x90",
    }
    fires(tmp_path, "LaneErrorBudgetFast", some, {"45m": 1})
    fires(tmp_path, "LaneErrorBudgetFast", some, {"45m": 0}, {"slo": {"latency": "1m", "objective": 99}})


def test_a_class_without_promise_has_no_error_budget() -> None:
    manifests, _ = monitoring_children(made.lane(trafficClass="Bulk"), made.KINDS, {})
    (rules,) = (one["spec"]["groups"][0]["rules"] for one in manifests if one["kind"] == "PrometheusRule")
    names = [one.get("alert") or one["record"] for one in rules]
    assert not [name for name in names if "Budget" in name or "in_time" in name]


def test_p99_by_isp_tells_the_slow_one_and_leaves_out_who_has_no_deliveries(tmp_path: Path) -> None:
    lane = made.lane()
    bucket = f"{DELIVERED}_bucket"
    values = {("gmail", "1.0"): 0, ("gmail", "2.0"): 60, ("gmail", "+Inf"): 60,
              ("other", "1.0"): 60, ("other", "2.0"): 60, ("other", "+Inf"): 60,
              ("idle", "1.0"): 0, ("idle", "2.0"): 0, ("idle", "+Inf"): 0}  # fmt: skip
    series = [
        {"series": f'{bucket}{{namespace="{lane.namespace}",lane="{lane.name}",policy="{policy}",le="{edge}"}}',
         "values": f"0+{rise}x20"}
        for (policy, edge), rise in values.items()
    ]  # fmt: skip
    told = [{"labels": '{policy="gmail"}', "value": 1.99}, {"labels": '{policy="other"}', "value": 0.99}]
    expr = {"expr": Queries.of(lane).latency_by_isp(0.99), "eval_time": "15m", "exp_samples": told}
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [expr]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
