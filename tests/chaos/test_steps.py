"""The short form of the kills at each step of a hand-over: every step once, and broken slots that are found out."""

from pathlib import Path

import pytest

from tests.chaos.figures import zeroes
from tests.chaos.kills import KillsReport
from tests.chaos.mutants import NONE
from tests.chaos.pairs import PairsReport
from tests.chaos.stepping import Stepping, StepsReport
from tests.chaos.steps import SEGMENTS, Case, each_once, every

pytestmark = pytest.mark.timeout(600)


def killed(folder: Path, cases: list[Case], mutant: str = NONE) -> StepsReport:
    """What was found."""
    return Stepping(folder, mutant, cases).run()


def test_promise_2_a_kill_at_each_step_of_a_hand_over_leaves_one_owner_and_each_message_arrives_once(
    tmp_path: Path,
) -> None:
    found = killed(tmp_path, each_once())
    assert found.findings == [], found.told()
    assert found.missed == [], found.told()
    assert (found.killed, found.arrived) == (found.planned, found.submitted), found.told()


def test_a_giver_that_lets_go_before_the_answer_is_found_out(tmp_path: Path) -> None:
    found = killed(tmp_path, each_once(), "lets-go-before-the-answer")
    assert found.lost, found.told()


def test_a_receiver_that_answers_before_its_disk_has_it_is_found_out(tmp_path: Path) -> None:
    taking = [one for one in each_once() if one.step.hangs == "receiver" and one.step.word == SEGMENTS]
    found = killed(tmp_path, taking, "takes-before-the-disk")
    assert found.early, found.told()


def test_the_long_form_has_every_step_with_every_victim_in_both_orders() -> None:
    cases = every(2)
    assert len(cases) == 2 * (3 * len(each_once()) - 2) == len(set(cases))
    assert {one.victims for one in each_once()} == {one.victims for one in cases}


def test_what_was_found_counts_into_the_zeroes_of_the_campaign() -> None:
    found = StepsReport(
        submitted=9, owned=30, lost=["a"], two_owners=["b"], repeated=["c"], stranded=["d"], early=["e"],
        offered_again=["f"], paired=PairsReport(4, ["g"]),
    )  # fmt: skip
    counted = {name: value for name, value, _ in zeroes(KillsReport(), [], [], 0, found)}
    assert (counted["lost"], counted["stranded"], counted["two_owners"], counted["said_too_early"]) == (1, 1, 2, 2)
    assert counted["crash_pairs_broken"] == 1
