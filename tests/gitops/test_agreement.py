"""The tools' own code reads every moment of the corpus rightly; `make gitops` adds the faults that must be noticed."""

from copy import deepcopy

import pytest

from tests.gitops.agreement import TOOLS, wrong
from tests.gitops.corpus import corpus
from tests.gitops.judge import KINDS, argo_scripts, flux_checks, verdicts
from tests.gitops.truth import Moment, Truth, Verdict


@pytest.fixture(scope="module")
def moments() -> list[Moment]:
    return corpus()


@pytest.fixture(scope="module")
def said(moments: list[Moment]) -> list[Verdict]:
    return verdicts(moment.body for moment in moments)


@pytest.mark.parametrize("tool", TOOLS)
def test_each_moment_is_read_for_what_it_is(tool: str, moments: list[Moment], said: list[Verdict]) -> None:
    assert wrong(moments, said)[tool] == []


def test_the_corpus_has_each_truth_of_lanes_and_enough_of_all(moments: list[Moment]) -> None:
    assert {moment.truth for moment in moments if moment.body["kind"] == "SendingLane"} == set(Truth)
    assert {moment.body["kind"] for moment in moments} == set(KINDS)
    assert len({moment.name for moment in moments}) == len(moments) > 500


def test_a_status_that_lags_and_says_otherwise_is_noticed_by_each_tool(moments: list[Moment]) -> None:
    lagging = [moment for moment in moments if "not seen by the operator yet" in moment.name]
    bodies = [deepcopy(moment.body) for moment in lagging]
    for body in bodies:
        body["status"]["observedGeneration"] = body["metadata"]["generation"]

    assert [tool for tool, found in wrong(lagging, verdicts(bodies)).items() if not found] == []


def test_argo_shows_the_reason_and_the_words_of_what_counts(moments: list[Moment], said: list[Verdict]) -> None:
    by_name = {moment.name: one for moment, one in zip(moments, said, strict=True)}

    assert by_name["the pool is closed to it: for an hour"].argo_message.startswith("PoolClosed: IPPool")
    assert by_name["suspended from Git: in force"].argo_message.startswith("SpecSuspend: spec.suspend stops delivery")
    assert by_name["a first apply: applied, and not seen by the operator yet"].argo_message.endswith("generation yet")


def test_each_kind_has_a_script_and_a_check() -> None:
    assert set(argo_scripts()) == {f"lanewright.dev/{kind}" for kind in KINDS}
    assert [(one["apiVersion"], one["kind"]) for one in flux_checks()] == [
        ("lanewright.dev/v1alpha1", kind) for kind in KINDS
    ]


def test_flux_reads_our_kinds_alike_without_expressions_and_argo_not_at_all_without_scripts(
    moments: list[Moment],
) -> None:
    alive = [moment for moment in moments if moment.truth is not Truth.GOING]
    plain = verdicts((moment.body for moment in alive), {}, [])

    assert [one.flux for one in plain] == [one.flux for one in verdicts(moment.body for moment in alive)]
    assert {one.argo for one in plain} == {"None"}, "without a script Argo CD has no health for our kinds"
