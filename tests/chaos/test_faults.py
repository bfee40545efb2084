"""The short form of the faults: one of them, with all that the long form judges but even times."""

from pathlib import Path

import pytest

from tests.chaos.figures import zeroes
from tests.chaos.judge import Findings
from tests.chaos.kills import KillsReport
from tests.chaos.suffering import FaultReport
from tests.chaos.test_kills import campaign

pytestmark = pytest.mark.timeout(120)


def test_promise_1_a_sync_that_fails_stops_intake_and_nothing_that_got_250_is_lost(tmp_path: Path) -> None:
    found = campaign(tmp_path / "report", "--fault", "EIO", "--seconds", "2")
    assert found["accepted"] >= 100
    assert found["refused"] >= 50
    assert (found["lost"], found["unexplained"], found["refused_for_good"], found["memory_exceeded"]) == ([], [], [], 0)


def test_each_zero_of_the_campaign_counts_kills_and_faults_and_names_its_denominator() -> None:
    broken = FaultReport(
        "disk", accepted=7, lost=["a", "b"], refused=3, refused_for_good=["c"], unexplained=["d"], repeated=4,
        memory_exceeded=5, memory_samples=6,
    )  # fmt: skip
    killed = KillsReport(findings=Findings(accepted=5, in_doubt=2, stranded=[("mail", "e")]), memory_samples=1)
    found = {name: (value, unit) for name, value, unit in zeroes(killed, [broken], ["m"], 8)}
    assert found["lost"] == (2, "recipients of 12 accepted")
    assert found["stranded"] == (1, "recipients in the spools after the drain, of 7 accepted or in doubt")
    assert found["unexplained_duplicates"] == (1, "recipients of 12 accepted; 4 repeated")
    assert found["memory_bound_exceeded"] == (5, "samples of 7")
    assert (found["refused_for_good"][0], found["mutants_missed"]) == (1, (1, "broken relays of 8"))
