"""The oldest unsettled message, whatever the order of settlement."""

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.backlog import Backlog


def test_an_empty_backlog_has_no_oldest() -> None:
    assert Backlog().oldest_since() is None


@given(st.lists(st.floats(1, 1e6), min_size=1), st.randoms())
def test_the_oldest_is_always_the_least_of_what_is_left(times: list[float], random: object) -> None:
    backlog = Backlog()
    for time in times:
        backlog.add(time)
    left = list(times)
    random.shuffle(left)  # type: ignore[attr-defined]  # hypothesis gives a Random
    while left:
        assert backlog.oldest_since() == int(min(left))
        assert backlog.entries == len(left)
        backlog.remove(left.pop())
    assert (backlog.oldest_since(), backlog.entries) == (None, 0)
