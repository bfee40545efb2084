"""The operator's own alerts, as Prometheus reckons them: silent on a good day, firing on the bad one, silent then."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts" / "lanewright" / "files" / "monitoring" / "operator-rules.yaml"
NAMESPACE = 'namespace="lanewright-system"'

# Values a minute: twenty of a good day, forty of a bad one, then good again. {} stands for the namespace.
CASES: dict[str, dict[str, str]] = {
    "LanewrightDown": {
        'lanewright_leader{{},pod="a"}': "1x19 0x39 1x60",
        'lanewright_leader{{},pod="b"}': "0x19 _x39 0x60",
    },
    "LanewrightTwoLeaders": {
        'lanewright_leader{{},pod="a"}': "1x120",
        'lanewright_leader{{},pod="b"}': "0x19 1x39 0x60",
    },
    "LanewrightAddressListed": {
        'lanewright_address_listed{{},pool="mail/pool",ip="203.0.113.10",list="zen.spamhaus.org"}': "_x19 1x39 _x60"
    },
    "LanewrightFailing": {
        'lanewright_reconcile_errors_total{{},kind="SendingLane",reason="UnavailableError"}': "5x19 6+1x39 46x60",
        'lanewright_reconcile_errors_total{{},kind="SendingLane",reason="ConflictError"}': "0+3x120",
    },
    "LanewrightBehind": {"lanewright_queue_oldest_key_seconds{{}}": "0x19 300x39 1x60"},
    "LanewrightForbidden": {
        'lanewright_api_requests_total{{},verb="apply",kind="Service",code="403"}': "0x19 1+1x39 40x60",
        'lanewright_api_requests_total{{},verb="apply",kind="Service",code="200"}': "0+9x120",
    },
    "LanewrightResyncLate": {"lanewright_resync_timestamp_seconds{{}}": "0+60x19 -9000x39 3600+60x60"},
    "LanewrightStalled": {
        'lanewright_stalled{{},kind="SendingLane",object="mail/otp",reason="PoolNotFound"}': "_x19 1x39 _x60"
    },
    "LanewrightUpgradeHalted": {'lanewright_upgrade_halted{{},lane="mail/otp"}': "_x19 1x39 _x60"},
    "LanewrightBlocklistBroken": {'lanewright_blocklist_broken{{},pool="mail/pool"}': "_x19 1x39 _x60"},
}
TIMES = ("18m", "57m", "115m")


def _alerts() -> list[str]:
    return [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def _series(name: str) -> str:
    return name.replace("{}", NAMESPACE).replace("{{", "{").replace("}}", "}")


def test_there_is_a_bad_day_for_every_alert() -> None:
    assert _alerts() == list(CASES)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_on_its_bad_day_only(tmp_path: Path, alert: str) -> None:
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": _series(name), "values": values} for name, values in CASES[alert].items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}]}
            for at, count in zip(TIMES, (0, 1, 0), strict=True)
        ],
    }
    test = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
