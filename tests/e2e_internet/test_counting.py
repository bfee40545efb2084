"""The arithmetic of evidence: most at one instant, most in any window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from e2e.internet.counting import busiest_window, max_concurrent, max_in_any_window, open_at


def test_a_burst_across_a_second_boundary_counts_in_one_window() -> None:
    times = [0.9, 0.95, 1.0, 1.05, 1.1]

    assert max_in_any_window(times, 1.0) == 5


def test_a_message_exactly_one_window_later_is_outside() -> None:
    assert max_in_any_window([0.0, 1.0], 1.0) == 1
    assert max_in_any_window([0.0, 0.999], 1.0) == 2


def test_no_messages_make_zero() -> None:
    assert max_in_any_window([], 1.0) == 0


def test_the_busiest_window_is_the_earliest_that_holds_the_most() -> None:
    assert busiest_window([0.0, 5.0, 5.2, 5.4, 9.0, 9.2, 9.4], 1.0) == (4.4, 5.4)
    assert busiest_window([3.0], 1.0) == (2.0, 3.0)


@given(st.lists(st.integers(0, 50)), st.integers(1, 10))
def test_the_window_maximum_equals_the_slow_definition(times: list[int], width: int) -> None:
    slow = max((sum(1 for other in times if at - width < other <= at) for at in times), default=0)

    assert max_in_any_window(times, width) == slow


def test_a_connection_opened_when_another_closes_does_not_overlap_it() -> None:
    assert max_concurrent([(0.0, 1.0), (1.0, 2.0)]) == 1
    assert max_concurrent([(0.0, 1.5), (1.0, 2.0)]) == 2


def test_a_connection_without_an_end_stays_open() -> None:
    assert max_concurrent([(0.0, None), (5.0, None), (1.0, 2.0)]) == 2
    assert open_at([(0.0, None), (5.0, None), (1.0, 2.0)], 4.0) == 1
