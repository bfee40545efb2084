"""The short form of the faults: one of them, with all that the long form judges but even times."""

from math import inf
from pathlib import Path
from typing import Literal

import pytest

from e2e.load.ledger import Entry
from tests.chaos.figures import is_met, zeroes
from tests.chaos.judge import Findings
from tests.chaos.kills import KillsReport
from tests.chaos.stepping import StepsReport
from tests.chaos.suffering import FaultReport, p99_of
from tests.chaos.test_judge import message
from tests.chaos.test_kills import campaign

pytestmark = pytest.mark.timeout(900)


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
    found = {name: (value, unit) for name, value, unit in zeroes(killed, [broken], ["m"], 8, StepsReport())}
    assert found["lost"] == (2, "recipients of 12 accepted")
    assert found["stranded"] == (1, "recipients in the spools after the drain, of 7 accepted or in doubt")
    assert found["unexplained_duplicates"] == (1, "recipients of 12 accepted; 4 repeated")
    assert found["memory_bound_exceeded"] == (5, "samples of 7")
    assert (found["refused_for_good"][0], found["mutants_missed"]) == (1, (1, "broken relays of 8"))


def isolated(*, control: float, twin: float, isolates: bool = True) -> FaultReport:
    return FaultReport("silent", quiet=9, quiet_p99=twin, under_fault=9, fault_p99=control, isolates=isolates)


def met(*suffered: FaultReport, lost: int = 0, steps: int = 0) -> bool:
    killed = KillsReport(findings=Findings(lost=[("mail", "a")] * lost))
    return is_met(killed, suffered, [], 8, StepsReport(planned=steps))


def test_a_fault_that_an_isp_feels_which_has_nothing_to_do_with_it_fails_the_campaign() -> None:
    assert met(isolated(control=0.12, twin=0.1))
    assert not met(isolated(control=0.1, twin=0.1), isolated(control=0.121, twin=0.1))
    assert met(isolated(control=0.121, twin=0.1, isolates=False))
    assert not met(isolated(control=0.1, twin=0.1), lost=1)
    assert not met(isolated(control=0.1, twin=0.1), steps=1)


def test_control_mail_that_was_refused_or_did_not_arrive_is_infinitely_late_with_the_twin_as_well() -> None:
    for control, twin in ((inf, 0.1), (0.1, inf), (inf, inf), (0.1, 0.0)):
        assert isolated(control=control, twin=twin).ratio == inf
    refused = [entry("refused", "<0@x>"), *(entry("accepted", f"<{one}@x>") for one in range(1, 50))]
    arrived = {one.message_id: [message(10.1)] for one in refused[1:]}
    assert p99_of(refused, arrived) == inf
    assert p99_of(refused[1:], arrived) < inf


def entry(outcome: Literal["accepted", "refused"], message_id: str) -> Entry:
    return Entry("control", message_id, "c", "s@x", "r@x", "", 10.0, 10.0, 10.0, outcome, 0, "", 1)
