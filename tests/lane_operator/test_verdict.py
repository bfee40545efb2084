"""A slot with a new image is worse only where it is worse than its siblings now and than the lane before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.lane_status import AttemptFigures
from lane_operator.lifecycle.verdict import figures_of, worse
from lane_operator.seen import Recent
from tests.lane_operator.made import seen


def figures(attempts: int, failed: int = 0, p90: float = 0.5) -> AttemptFigures:
    return AttemptFigures(attempts=attempts, failed=failed, p90_milliseconds=round(1000 * p90))


GOOD = figures(1000, 20)


def test_a_slot_that_fails_more_is_told_in_figures() -> None:
    said = worse(figures(100, 30), (GOOD, GOOD))
    assert said == "30% of its 100 attempts failed, and 2% of 1000 and 2% of 1000 elsewhere and before"


def test_a_slot_that_is_slower_is_told_in_seconds() -> None:
    said = worse(figures(100, 2, p90=60.0), (GOOD,))
    assert said == "nine of ten of its deliveries took up to 60 s, and 0.5 s elsewhere and before"


@pytest.mark.parametrize(
    ("new", "controls"),
    [
        (figures(100, 30), (GOOD, figures(1000, 300))),
        (figures(100, 30), (figures(1000, 300), GOOD)),
        (figures(29, 29), (GOOD,)),
        (figures(100, 30), (figures(29, 0),)),
        (figures(100, 30), ()),
        (figures(100, 6), (GOOD,)),
        (figures(100, 2, p90=30.0), (GOOD,)),
        (figures(100, 2, p90=90.0), (figures(1000, 20, p90=60.0),)),
    ],
    ids=[
        "siblings fail too",
        "so it was before",
        "few attempts",
        "few elsewhere",
        "nobody",
        "little",
        "restart",
        "slow",
    ],
)
def test_nothing_is_said_of_what_others_do_as_well_or_of_chance(
    new: AttemptFigures, controls: tuple[AttemptFigures, ...]
) -> None:
    assert worse(new, controls) == ""


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1e4), st.integers(0, 500), st.integers(0, 500))
def test_nobody_is_worse_than_himself(delivered: int, failed: int, p90: float, more: int, others: int) -> None:
    mine = figures(delivered + failed, failed, p90)
    assert worse(mine, (mine, figures(more + others, others, p90))) == ""


def test_several_slots_count_together_and_the_slowest_is_told() -> None:
    found = figures_of([seen(0, recent=Recent(60, 90, 10, 0.5)), seen(1, recent=Recent(60, 50, 0, 2.5)), seen(2)])
    assert found == figures(150, 10, 2.5)
    assert figures_of([seen(0, recent=Recent(60, 0, 0, None))]) == figures(0, p90=0)
