"""Every alert, as Prometheus reckons it: silent on a good day, firing on the bad one that it is for, silent then."""

import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lane_operator.monitoring import monitoring_children, rules
from tests.lane_operator import made

LANE = made.lane(
    feedback={},
    submission={"senders": ["@notify.example.com"], "http": {}},
    audit={"archive": {"pvc": {"claimName": "evidence"}}},
    standbyReplicas=1,
)
LATENCY = "delivery_latency_seconds"

DEAD_ISP = {  # nothing is delivered, so that no latency is measured either
    f'{LATENCY}_bucket{{le="60.0"}}': "0+60x19 1140x19 1140+60x30",
    f"{LATENCY}_count{{}}": "0+60x19 1140x19 1140+60x30",
    "queue_late{}": "0x19 100x19 0x30",
}

# Values a minute: twenty of a good day, twenty of a bad one (longer where a counter has to show it), then good again.
CASES: dict[str, dict[str, str]] = {
    "LaneOldestMessageOld": {"oldest_undelivered_age_seconds{}": "10x19 1e6x19 10x30"},
    "LaneSlotsMissing": {
        "info{}": "1x90",
        'info{slot="otp-2"}': "1x90",
        'info{slot="otp-1"}': "1x19 _x19 1x30",
    },
    "LaneEgressUnproved": {"egress_open{}": "1x19 0x19 1x30"},
    "LanePTRWrong": {'egress_ptr{finding="NoPTR"}': "0x19 1x19 0x30", 'egress_ptr{finding="Unanswered"}': "1x90"},
    "LaneSPFWrong": {
        'dns_records_wrong{purpose="SPF"}': "0x19 1x19 0x30",
        'dns_records_wrong{purpose="DMARC"}': "1x90",
    },
    "LaneIntakeRefused": {
        "accepted_messages_total{}": "0+90x90",
        'intake_refused_total{reason="452 4.3.1"}': "0x19 0+10x19 190x30",
    },
    "LaneConfigRefused": {"config_refused{}": "0x19 1x19 0x30"},
    "LaneSpoolFailed": {"spool_failed{}": "0x19 1x19 0x30"},
    "LaneMailUnaccounted": {"recipients_unaccounted{}": "0x19 -2x19 0x30"},
    "LaneSpoolDamaged": {"spool_damaged_places{}": "0x19 1x19 0x30"},
    "LaneFaultContained": {'contained_faults_total{where="session"}': "0x29 1x39"},
    "LaneMailInDoubt": {"handover_in_doubt_age_seconds{}": "0x19 0+60x19 0x30"},
    "LaneMailStranded": {"handover_stranded{}": "0x19 3x19 0x30"},
    "LaneQuarantineUnrelieved": {"quarantine_unrelieved{}": "0x19 1x19 0x30"},
    "LaneStandbyForgotten": {
        "standby{}": "0x450",
        'standby{slot="otp-1"}': "1x450",
        'attempts_total{result="delivered"}': "0+100x450",
        'attempts_total{slot="otp-1",result="delivered"}': "0+10x60 600x200 610+10x180",
    },
    "LaneKeysFailed": {"http_keys_failed{}": "0x19 1x19 0x30"},
    "LaneStoppedByReplies": {'acts_in_force{policy="google",action="quarantine"}': "0x19 1x19 0x30"},
    "LaneReplyNeedsLook": {'reply_alerts_total{policy="google",rule="r"}': "1x19 2+1x19 21x30"},
    "LaneComplaintsRising": {'complaint_level{policy="google"}': "0x19 1x19 0x30"},
    "LaneComplaintsHigh": {'complaint_level{policy="google"}': "1x19 2x19 1x30"},
    "LaneComplaintsUnauthenticated": {
        'complaints_unauthenticated_total{policy="comcast"}': "0x60 1+1x200 201x180",
        'complaints_unauthenticated_total{policy="orange"}': "0x60 0+0.05x380",
        'attempts_total{policy="comcast",result="delivered"}': "0+1000x450",
        'attempts_total{policy="orange",result="delivered"}': "0+1x450",
        'complaint_threshold{level="warn"}': "0.0008x450",
    },
    "LaneBouncesUntold": {"webhook_refused_total{}": "0x19 1+1x19 20x30", "webhook_dropped_total{}": "0x90"},
    "LaneSuppressionListFull": {"suppressions{}": "900x19 960x19 900x30", "suppressions_limit{}": "1000x90"},
    "LaneSuppressionListFailed": {"suppressions_failed{}": "0x19 1x19 0x30"},
    "LaneSuppressionListDamaged": {"suppressions_damaged{}": "0x19 2x19 0x30"},
    "LaneMailboxesDoubted": {'suppressions_doubted{policy="google"}': "0x19 1x19 0x30"},
    "LaneArchiveBehind": {"records_archive_lag_seconds{}": "0x19 0+900x19 0x30"},
    "LaneTaskBroken": {'broken_tasks_total{task="records-archive"}': "0x19 1+1x19 20x30"},
    "LaneRecordsLost": {"records_lost_total{}": "0x19 1+1x19 20x30"},
    "LaneLatencyP95High": {
        f'{LATENCY}_bucket{{le="1.0"}}': "0+60x19 1200x19 1200+60x30",
        f'{LATENCY}_bucket{{le="60.0"}}': "0+60x19 1200+60x19 2340+60x30",
        f'{LATENCY}_bucket{{le="+Inf"}}': "0+60x19 1200+60x19 2340+60x30",
        f"{LATENCY}_count{{}}": "0+60x90",
    },
    "LaneErrorBudgetFast": DEAD_ISP,
    "LaneErrorBudgetSlow": DEAD_ISP,
    "LaneLatencyExpected": {
        "queue_messages{}": "5x19 100+600x19 5x30",
        'attempts_total{result="delivered"}': "0+600x19 11400+60x19 12600+600x30",
    },
}
TIMES = ("18m", "37m", "65m")
LONG_TIMES = dict.fromkeys(("LaneStandbyForgotten", "LaneComplaintsUnauthenticated"), ("10h", "40h", "70h"))
"""Of alerts that look at a day; their values are of ten minutes."""


def _alerts() -> set[str]:
    manifests, _ = monitoring_children(LANE, made.KINDS, {})
    return {rule["alert"] for rule in _rules(manifests)["groups"][0]["rules"] if "alert" in rule}


def _rules(manifests: Any) -> dict[str, Any]:
    (found,) = (one["spec"] for one in manifests if one["kind"] == "PrometheusRule")
    return dict(found)


def _series(name: str) -> str:
    """With the labels that a lane's first slot has, but for those that the case gives."""
    metric, _, labels = name.removesuffix("}").partition("{")
    slot = "" if "slot=" in labels else ',slot="otp-0"'
    return f'lane_relay_{metric}{{namespace="mail",lane="otp"{slot}{"," if labels else ""}{labels}}}'


def test_there_is_a_bad_day_for_every_alert() -> None:
    written = set(re.findall(r'"(Lane[A-Z]\w+)"', inspect.getsource(rules)))
    assert written == set(CASES), "each alert needs a case above that makes it fire"
    assert _alerts() == written, "the lane above asks for all that alerts are about"


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_bad_day_only(tmp_path: Path, alert: str) -> None:
    manifests, _ = monitoring_children(LANE, made.KINDS, {})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(_rules(manifests)))
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    every = "10m" if alert in LONG_TIMES else "1m"
    case = {
        "interval": every,
        "input_series": [{"series": _series(name), "values": values} for name, values in CASES[alert].items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}]}
            for at, count in zip(LONG_TIMES.get(alert, TIMES), (0, 1, 0), strict=True)
        ],
    }
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": [case]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
