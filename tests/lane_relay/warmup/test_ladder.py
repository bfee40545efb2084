"""How much, and what the next step is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.warmup.ladder import Counted, aged, allowance, default_steps, judge


def test_the_default_ladder_climbs_gently() -> None:
    steps = default_steps()
    assert steps[:8] == (50, 100, 200, 400, 800, 1600, 3200, 5000)
    assert default_steps(is_other=True)[0] == 200
    assert all(below < above <= 2 * below for below, above in pairwise(steps))
    assert steps[-1] < 1_000_000 <= steps[-1] * 5 // 4


@pytest.mark.parametrize(
    ("counted", "change"),
    [
        (Counted(delivered=100), 1),
        (Counted(delivered=70), 1),
        (Counted(delivered=69), 0),  # too little to say anything
        (Counted(delivered=92, deferred=8), 1),
        (Counted(delivered=88, deferred=12), 0),
        (Counted(delivered=80, deferred=20), -2),
        (Counted(delivered=8, deferred=2), -2),  # too little to climb, enough to see that it is not liked
        (Counted(delivered=97, bounced=3), 0),
        (Counted(delivered=100, complained=1), 1),  # anybody may complain once
        (Counted(delivered=100, complained=2), 0),
        (Counted(delivered=98, deferred=2, blocked=2), 1),
        (Counted(delivered=97, deferred=3, blocked=3), -2),  # few, since the rest was stopped
        (Counted(), 0),
    ],
)
def test_a_step_is_climbed_on_evidence_alone(counted: Counted, change: int) -> None:
    assert judge(counted, 100).change == change


@pytest.mark.parametrize(
    ("step", "used", "days", "stays"),
    [
        (15, 15, 14, 15),
        (15, 15, 14.1, 13),
        (16, 15, 14.1, 13),  # it climbed for what was its last day
        (10, 15, 14.1, 10),  # it fell for that
        (1, 1, 29, 0),
        (15, 15, 30.1, 7),
        (15, 15, 90.1, 0),
        (0, 0, 400, 0),
    ],
)
def test_an_isp_that_saw_nothing_for_long_knows_the_address_less(step: int, used: int, days: float, stays: int) -> None:
    assert aged(step, used, days * 86_400) == stays


@given(st.integers(1, 10**6), st.floats(0, 86_400))
def test_a_step_is_spread_over_twelve_hours(amount: int, elapsed: float) -> None:
    now = allowance(amount, elapsed, 86_400)
    assert 1 <= now <= amount
    assert now >= allowance(amount, max(0.0, elapsed - 3600), 86_400)
    assert allowance(amount, 11.5 * 3600, 86_400) == amount
    assert allowance(amount, 0, 86_400) <= amount // 12 + 1
