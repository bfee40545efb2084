"""How much, and what the next step is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.warmup.ladder import (
    PARTS,
    Counted,
    Seen,
    aged,
    default_steps,
    judge,
    kept_by,
    parts_until_room,
    remembered,
    room,
)

DAY = 86_400.0


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
    assert aged(step, [Seen(0.0, used)], days * DAY, days * DAY) == stays


def test_what_an_isp_saw_lately_counts_beside_the_more_that_it_saw_long_ago() -> None:
    seen = [Seen(0.0, 15), Seen(20 * DAY, 9), Seen(30 * DAY, 3)]
    assert aged(15, seen, 15 * DAY, 15 * DAY) == 13
    assert aged(15, seen, 31 * DAY, 31 * DAY) == 9
    assert aged(15, seen, 35 * DAY, 35 * DAY) == 7
    assert aged(15, seen, 14 * DAY, 35 * DAY) == 15, "something has kept it"
    assert aged(15, [], 15 * DAY, 15 * DAY) == 0


def test_only_what_may_still_count_is_remembered() -> None:
    seen: list[Seen] = []
    for day, step in enumerate((9, 15, 9, 3, 3, 9, 1)):
        seen = remembered(seen, day * DAY, step)
    assert seen == [Seen(DAY, 15), Seen(5 * DAY, 9), Seen(6 * DAY, 1)]
    assert remembered(seen, 100 * DAY, 0) == [Seen(100 * DAY, 0)]


@pytest.mark.parametrize(
    ("delivered", "step"),
    [
        (0, 0),
        (4, 0),
        (5, 0),  # a tenth of the first
        (50, 1),
        (349, 1),
        (350, 2),  # seven tenths of 500: such mail climbs
        (3499, 2),  # of the last but one it is a tenth, and not what climbs beyond
        (3500, 3),
        (9999, 3),
        (10_000, 4),  # a tenth of the last: warm
    ],
)
def test_a_day_keeps_the_step_of_which_it_is_a_tenth_or_to_which_it_climbs(delivered: int, step: int) -> None:
    assert kept_by(delivered, (50, 500, 5000, 100_000)) == step


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30).map(sorted), st.integers(0, 10**6))
def test_a_day_keeps_a_step_that_has_room_for_another_such_day(steps: list[int], delivered: int) -> None:
    step = kept_by(delivered, tuple(steps))
    assert step == len(steps) or steps[step] >= delivered


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**5), min_size=1, max_size=PARTS))
def test_a_step_is_spread_over_twelve_parts_and_is_a_bound_in_all_of_them(amount: int, parts: list[int]) -> None:
    found = room(amount, parts)
    assert 0 <= found <= amount // 12 + 1
    if found:
        assert found + parts[-1] <= amount // 12 + 1
        assert found + sum(parts) <= amount
    more = parts_until_room(amount, parts)
    later = [[*parts, *[0] * after][-PARTS:] for after in range(1, PARTS + 1)]
    assert room(amount, later[more - 1]) > 0
    assert not any(room(amount, before) for before in later[: more - 1])
