"""Alerts and dashboard ask only for what the relay declares, in PromQL that parses."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from lane_operator.inputs import Lane
from lane_operator.monitoring import monitoring_children
from lane_operator.monitoring.dashboard import WIDTH
from lane_operator.monitoring.queries import bound
from lane_relay.metrics import CATALOGUE, Kind, LatencyHistogram
from tests.lane_operator import made

CLASSES = ["Transactional", "Notification", "Bulk", "Cold"]
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
DECLARED = {
    f"lane_relay_{metric.name}{suffix}": set(metric.labels)
    for metric in CATALOGUE
    for suffix in SUFFIXES.get(metric.kind, ("_count", "_sum"))
} | {"lane_relay_info": {"version", "lane", "slot", "class", "form"}}
SCRAPED = {"namespace", "lane", "slot", "pod", "le"}


def children(of: Lane) -> dict[str, dict[str, Any]]:
    manifests, _ = monitoring_children(of, made.KINDS, {"release": "prometheus"})
    return {manifest["kind"]: manifest for manifest in manifests}


def alerts_of(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for rule in found["PrometheusRule"]["spec"]["groups"][0]["rules"] if "alert" in rule]


def model(of: Lane) -> dict[str, Any]:
    (text,) = children(of)["ConfigMap"]["data"].values()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def expressions(of: Lane) -> list[str]:
    rules = children(of)["PrometheusRule"]["spec"]["groups"][0]["rules"]
    targets = [target for panel in model(of)["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + [target["expr"] for target in targets]


@pytest.mark.parametrize("traffic_class", CLASSES)
def test_every_expression_parses_and_names_only_what_the_relay_declares(traffic_class: str) -> None:
    for expression in expressions(made.lane(trafficClass=traffic_class)):
        promql_parser.parse(expression)
        for name, matchers in re.findall(r"(lane_relay_\w+)\{([^}]*)\}", expression):
            assert name in DECLARED
            labels = {matcher.split("=")[0] for matcher in matchers.split(",")}
            assert labels <= DECLARED[name] | SCRAPED, expression
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            names = set(re.findall(r"lane_relay_\w+", expression))
            known = set.union(*(DECLARED[name] for name in names)) | SCRAPED
            assert {label.strip() for label in grouped.split(",")} <= known


def test_an_expression_over_an_undeclared_metric_would_be_noticed() -> None:
    assert "lane_relay_queue_depth" not in DECLARED
    with pytest.raises(ValueError, match=r"unclosed|unexpected|parenthes"):
        promql_parser.parse("rate(lane_relay_x[5m]")


def test_bounds_are_spelled_as_the_client_library_spells_them() -> None:
    edges = [edge for edge, _ in LatencyHistogram(60.0).buckets()]

    assert bound(60) in edges
    assert any(f'le="{bound(60)}"' in expression for expression in expressions(made.lane()))


def test_the_latency_alert_comes_before_the_breach() -> None:
    rules = {rule["alert"]: rule for rule in alerts_of(children(made.lane()))}

    assert "> 20 and" in rules["LaneLatencyP95High"]["expr"]
    assert "> 20 and" in rules["LaneLatencyExpected"]["expr"]
    assert "(promised: 1m)" in rules["LaneLatencyP95High"]["annotations"]["summary"]


def test_a_class_without_promise_has_no_latency_alert() -> None:
    rules = children(made.lane(trafficClass="Bulk"))["PrometheusRule"]["spec"]["groups"][0]["rules"]

    assert [rule["alert"] for rule in rules if "alert" in rule] == [
        "LaneOldestMessageOld",
        "LaneEgressUnproved",
        "LanePTRWrong",
        "LaneSPFWrong",
        "LaneIntakeRefused",
        "LaneConfigRefused",
        "LaneSpoolFailed",
        "LaneMailUnaccounted",
        "LaneSpoolDamaged",
        "LaneFaultContained",
        "LaneMailInDoubt",
        "LaneMailStranded",
        "LaneStoppedByReplies",
        "LaneReplyNeedsLook",
        "LaneTaskBroken",
        "LaneSlotsMissing",
    ]


def test_a_lane_that_takes_requests_hears_that_their_keys_cannot_be_kept() -> None:
    rules = {
        rule["alert"]: rule
        for rule in alerts_of(children(made.lane(submission={"senders": ["@notify.example.com"], "http": {}})))
    }
    assert "http_keys_failed" in rules["LaneKeysFailed"]["expr"]
    promql_parser.parse(rules["LaneKeysFailed"]["expr"])


def test_a_lane_with_an_archive_hears_that_it_is_behind_before_anything_is_lost() -> None:
    of = made.lane(audit={"archive": {"pvc": {"claimName": "evidence"}}})
    rules = {rule["alert"]: rule for rule in alerts_of(children(of))}
    assert "archive_lag_seconds" in rules["LaneArchiveBehind"]["expr"]
    assert "records_lost_total" in rules["LaneRecordsLost"]["expr"]
    for name in ("LaneArchiveBehind", "LaneRecordsLost"):
        promql_parser.parse(rules[name]["expr"])


def test_the_first_reply_of_a_kind_that_needs_a_look_is_heard_and_an_old_one_is_not_for_ever(tmp_path: Path) -> None:
    """A counter that appears with 1 has not increased, as Prometheus sees it."""
    rules = children(made.lane())["PrometheusRule"]["spec"]["groups"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rules}))
    series = 'lane_relay_reply_alerts_total{namespace="mail",lane="otp",slot="otp-0",policy="outlook",rule="outlook/r"}'
    heard = [("4m", 0), ("6m", 1), ("40m", 0)]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": series, "values": "_x5 1x60"}],
                "promql_expr_test": [
                    {"expr": 'count(ALERTS{alertname="LaneReplyNeedsLook",alertstate="firing"}) or vector(0)',
                     "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}]}
                    for at, count in heard
                ],
            }
        ],
    }  # fmt: skip
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    found = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_the_slots_could_not_take_is_told_and_what_clients_do_wrong_is_not(tmp_path: Path) -> None:
    rules = children(made.lane())["PrometheusRule"]["spec"]["groups"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rules}))
    of = 'namespace="mail",lane="otp",slot="otp-0"'
    series = {
        f"lane_relay_accepted_messages_total{{{of}}}": "0+90x60",
        f'lane_relay_intake_refused_total{{{of},reason="452 4.3.1"}}': "0+0x20 10+10x40",
        f'lane_relay_intake_refused_total{{{of},reason="550 5.7.1"}}': "0+90x60",
        f'lane_relay_intake_refused_total{{{of},reason="450 4.7.1"}}': "0+90x60",
        f"lane_relay_egress_shut_seconds_total{{{of}}}": "0+15x60",
    }
    labels = 'class="Transactional",lane="otp",namespace="mail"'
    firing = 'count(ALERTS{alertname="LaneIntakeRefused",alertstate="firing"}) or vector(0)'
    refused, shut = (f"lane:lane_relay_{name}:ratio_rate5m" for name in ("intake_refused", "egress_shut"))
    expected = [
        ("15m", refused, f"{refused}{{{labels}}}", 0),
        ("40m", refused, f"{refused}{{{labels}}}", 0.1),
        ("40m", shut, f"{shut}{{{labels}}}", 0.25),
        ("15m", firing, "{}", 0),
        ("40m", firing, "{}", 1),
    ]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": at, "exp_samples": [{"labels": of_sample, "value": value}]}
                    for at, expression, of_sample, value in expected
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    found = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_monitors_carry_the_labels_by_which_they_are_selected() -> None:
    found = children(made.lane())

    assert found["PodMonitor"]["metadata"]["labels"] == {"release": "prometheus"}
    (endpoint,) = found["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert [(one["sourceLabels"], one["targetLabel"]) for one in endpoint["relabelings"]] == [
        (["__meta_kubernetes_pod_label_lanewright_dev_lane"], "lane"),
        (["__meta_kubernetes_pod_label_lanewright_dev_slot"], "slot"),
    ]


def test_the_dashboard_is_one_that_grafanas_sidecar_picks_up() -> None:
    found = children(made.lane())["ConfigMap"]

    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert model(made.lane())["schemaVersion"] == 41
    assert len(model(made.lane())["uid"]) <= 40


@pytest.mark.parametrize("traffic_class", CLASSES)
def test_panels_have_ids_of_their_own_and_do_not_overlap(traffic_class: str) -> None:
    panels = model(made.lane(trafficClass=traffic_class))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < WIDTH for x, _ in cells)


def test_dashboards_of_two_lanes_are_two() -> None:
    assert model(made.lane("a"))["uid"] != model(made.lane("b"))["uid"]


def test_what_is_switched_off_is_not_made() -> None:
    off = made.lane(monitoring={"podMonitor": False, "rules": False, "dashboard": False})

    assert monitoring_children(off, frozenset(), {}) == ((), ())
