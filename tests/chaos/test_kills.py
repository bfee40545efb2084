"""The short form of the chaos campaign: twenty kills lose nothing, and a relay that breaks its promise is found out."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ground import CHECKOUT

pytestmark = pytest.mark.timeout(300)


def campaign(report: Path, *arguments: str) -> dict[str, Any]:
    """What a campaign of kills found."""
    command = [sys.executable, "-m", "tests.chaos", "--report", str(report), *arguments]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-4000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_promise_2_kills_under_mixed_traffic_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "20")
    assert found["counted"] >= 10
    assert found["findings"]["accepted"] > 100
    assert found["handed_over"] > 100
    assert (found["findings"]["lost"], found["findings"]["unexplained"], found["two_owners"]) == ([], [], [])
    assert found["findings"]["stranded"] == []
    assert (found["orders_broken"], found["reports_lost"], found["memory_exceeded"]) == ([], [], 0)


def test_a_relay_that_answers_before_the_disk_has_it_is_found_out(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "2", "--mutant", "answers-before-the-disk")
    assert found["findings"]["lost"]


def test_a_relay_that_does_not_take_up_again_all_that_a_kill_left_is_found_out(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--kills", "2", "--mutant", "takes-up-a-part")
    assert found["findings"]["stranded"]
