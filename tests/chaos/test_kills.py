"""The short form of the chaos campaign: twenty kills lose nothing, and a relay that breaks its promise is found out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ground import CHECKOUT

pytestmark = pytest.mark.timeout(900)
_ENDS_WITHIN_S = 840.0
"""Half a minute on an idle machine: whatever one campaign waits for has a bound of its own, and says so."""


def campaign(report: Path, *arguments: str) -> dict[str, Any]:
    """What a campaign of kills found; what it said is printed, so that a test that fails shows it."""
    command = [sys.executable, "-m", "tests.chaos", "--report", str(report), *arguments]
    log = report.with_suffix(".log")
    try:
        with log.open("wb") as output:
            ended = subprocess.run(
                command, cwd=CHECKOUT, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=_ENDS_WITHIN_S
            )
    finally:  # also of one that does not end in time
        print(log.read_text()[-20_000:])
    assert ended.returncode == 0, "it broke off, see above"
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_promise_2_kills_under_mixed_traffic_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "20")
    assert found["counted"] >= 10
    assert found["findings"]["accepted"] > 100
    assert found["handed_over"] > 100
    assert min(found["shared"].values()) > 20
    assert (found["findings"]["lost"], found["findings"]["unexplained"], found["two_owners"]) == ([], [], [])
    assert found["findings"]["stranded"] == []
    assert (found["orders_broken"], found["reports_lost"], found["memory_exceeded"]) == ([], [], 0)


def test_a_relay_that_answers_before_the_disk_has_it_is_found_out(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "2", "--mutant", "answers-before-the-disk")
    assert found["findings"]["lost"]


def test_a_relay_that_goes_on_sending_what_it_gives_to_its_sibling_is_found_out_at_the_isp(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "2", "--mutant", "goes-on-sending")
    assert found["findings"]["two_owners"]


def test_a_relay_that_does_not_take_up_again_all_that_a_kill_left_is_found_out(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "2", "--mutant", "takes-up-a-part")
    assert found["findings"]["stranded"]
