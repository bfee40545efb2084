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


def test_what_is_late_is_counted_to_the_second() -> None:
    backlog = Backlog()
    for time in (10.2, 10.9, 12.0, 99.0):
        backlog.add(time)
    assert [backlog.before(moment) for moment in (9.0, 10.9, 11.0, 12.9, 13.0, 200.0)] == [0, 0, 2, 2, 3, 4]
    backlog.remove(10.2)
    assert backlog.before(13.0) == 2
