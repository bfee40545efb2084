"""How often something happened, and when it may happen again."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.quantities import Rate
from lane_relay.accept.rates import Window


def test_what_is_within_the_rate_waits_for_nothing() -> None:
    window, rate = Window(), Rate(3, 60.0)
    for now in (0.0, 1.0, 30.0):
        assert window.wait(rate, now) == 0.0
        window.add(rate, now)

    assert window.wait(rate, 30.0) == 31.0  # until the second of the first one is out of every minute
    assert window.wait(rate, 30.0, wanted=2) == 32.0
    assert window.wait(rate, 61.0) == 0.0


def test_more_than_is_ever_allowed_waits_whenever_it_comes() -> None:
    assert Window().wait(Rate(3, 60.0), 0.0, wanted=4) == 60.0


def test_a_rate_over_another_time_begins_anew() -> None:
    window = Window()
    window.add(Rate(1, 60.0), 0.0)
    assert window.wait(Rate(1, 3600.0), 0.0) == 0.0


def test_a_window_is_empty_once_nothing_counts() -> None:
    window = Window()
    assert window.is_empty(0.0)
    window.add(Rate(1, 60.0), 0.0, count=3)
    assert not window.is_empty(60.0)
    assert window.is_empty(61.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 3)), max_size=60),
    st.integers(3, 9),
    st.sampled_from([1.0, 7.0, 60.0]),
)
def test_no_time_of_the_rates_length_sees_more_than_its_count(
    comings: list[tuple[float, int]], count: int, per_s: float
) -> None:
    window, rate, now = Window(), Rate(count, per_s), 0.0
    taken: list[tuple[float, int]] = []
    for pause, wanted in comings:
        now += pause
        wait = window.wait(rate, now, wanted)
        if not wait:
            window.add(rate, now, wanted)
            taken.append((now, wanted))
        else:
            assert wait <= per_s * 61 / 60
            assert deepcopy(window).wait(rate, now + wait + 1e-6, wanted) == 0.0
    for begin, _ in taken:
        assert sum(number for at, number in taken if begin <= at < begin + per_s) <= count


@pytest.mark.parametrize("per_s", [1.0, 86_400.0])
def test_memory_is_bounded_by_the_slots_of_time(per_s: float) -> None:
    window, rate = Window(), Rate(10**9, per_s)
    for number in range(1000):
        window.add(rate, number * per_s / 500)

    assert len(window._slots) <= 62
