"""Pacing and counting, against every window an ISP might use."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lane_api.quantities import Rate
from lane_relay.deliver.limits import Pace, WindowLog, may_open


def most_in_window(times: list[float], window: float) -> int:
    """The largest number of times inside any half-open window."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_a_pace_is_at_rest_only_when_nothing_of_it_can_matter_any_more() -> None:
    pace = Pace(Rate(2, 3600.0))
    assert pace.is_at_rest(0.0)
    pace.begin(10.0)
    assert not pace.is_at_rest(1e9)
    pace.end(10.0, 11.0)
    assert not pace.is_at_rest(3610.0)
    assert pace.is_at_rest(3611.1)
    spaced = Pace(None)
    spaced.change(None, 0.1)
    spaced.begin(0.0)
    spaced.end(0.0, 0.0)
    assert not spaced.is_at_rest(9.9)
    assert spaced.is_at_rest(10.1)


@settings(max_examples=80, deadline=None)
@example(count=2, per_s=1.0, sessions=2, shortest=0.25, extra=[1.0, 1.0, 0.0, 0.0], pauses=[0.0])
@given(
    count=st.integers(1, 20),
    per_s=st.sampled_from([1.0, 60.0]),
    sessions=st.integers(1, 6),
    shortest=st.floats(0.001, 0.3),
    extra=st.lists(st.floats(0, 0.05) | st.floats(0, 5.0), min_size=1, max_size=60),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=10),
)
def test_no_window_ever_holds_more_than_the_rate_wherever_the_isp_counts(
    count: int, per_s: float, sessions: int, shortest: float, extra: list[float], pauses: list[float]
) -> None:
    pace = Pace(Rate(count, per_s))
    now = 1000.0
    under_way: list[tuple[float, float]] = []
    begun: list[float] = []
    ended: list[float] = []
    for step in range(200):
        at = max(pace.next_at(), now)
        next_end = min((end for _, end in under_way), default=float("inf"))
        if len(under_way) < sessions and at < next_end:
            now = at
            pace.begin(now)
            begun.append(now)
            more = 0.0 if len(begun) == 1 else extra[step % len(extra)]  # the path shows its round trip at once
            under_way.append((now, now + shortest + more))
        else:
            began, now = min(under_way, key=lambda pair: pair[1])
            under_way.remove((began, now))
            pace.end(began, now)
            ended.append(now)
        if step % 23 == 0 and not under_way:
            now += pauses[step % len(pauses)] * per_s
    assert most_in_window(begun, per_s) <= count
    assert most_in_window(ended, per_s) <= count


def test_a_steady_load_uses_nearly_all_of_the_rate() -> None:
    pace = Pace(Rate(20, 1.0))
    now, done = 0.0, 0
    running: list[tuple[float, float]] = []
    while now < 30.0:
        at = pace.next_at()
        first_end = min((end for _, end in running), default=float("inf"))
        if max(at, now) < first_end:
            now = max(at, now)
            pace.begin(now)
            running.append((now, now + 0.11))
        else:
            began, now = min(running, key=lambda pair: pair[1])
            running.remove((began, now))
            pace.end(began, now)
            done += 1
    assert done >= 0.95 * 20 * 30


def test_a_mutant_that_ignores_durations_would_be_caught() -> None:
    """Even spacing alone breaks the window of an ISP that counts at the end, as soon as one transaction is slow."""
    spaced = [number * 0.1 for number in range(20)]
    ended = [begin + (0.5 if number == 0 else 0.01) for number, begin in enumerate(spaced)]
    assert most_in_window(ended, 1.0) > 10


def test_idle_sites_need_not_wait_for_their_first_message() -> None:
    pace = Pace(Rate(60, 60.0))
    assert pace.next_at() <= 5.0
    pace.begin(5.0)
    assert 5.9 < pace.next_at() <= 6.01


def test_a_lower_spacing_holds_from_the_last_message_on() -> None:
    pace = Pace(Rate(10, 1.0))
    pace.begin(5.0)
    pace.change(Rate(10, 1.0), 0.5)
    assert 6.99 < pace.next_at() <= 7.01
    pace.change(Rate(10, 1.0), None)
    assert pace.next_at() <= 5.11


def test_a_pace_without_a_rate_never_waits() -> None:
    pace = Pace(None)
    for number in range(100):
        assert pace.next_at() <= 1.0
        pace.begin(1.0)
        assert pace.under_way == number + 1


def test_a_changed_rate_does_not_forget_what_was_sent_in_its_window() -> None:
    pace = Pace(Rate(10, 60.0))
    for number in range(10):
        pace.begin(number * 6.0)
        pace.end(number * 6.0, number * 6.0)
    pace.change(Rate(5, 60.0), None)
    assert pace.next_at() >= 84.0  # the sixth-last has to leave the window


@given(times=st.lists(st.floats(0, 100), min_size=1, max_size=60), count=st.integers(1, 10))
def test_a_log_never_promises_room_too_early(times: list[float], count: int) -> None:
    log = WindowLog(10.0)
    for at in sorted(times):
        log.add(at)
    room = max(log.room_at(count), *times)
    assert sum(at > room - 10.0 + 1e-9 for at in times) < count


def test_a_log_of_very_many_events_stays_small() -> None:
    log = WindowLog(86400.0)
    for number in range(100_000):
        log.add(number * 0.8)
    assert log.total == 100_000
    assert len(log._slices) <= 520


@given(
    limit=st.integers(1, 30),
    total_limit=st.integers(4, 60),
    wishes=st.lists(st.integers(0, 9), min_size=1, max_size=300),
)
def test_stalled_sites_leave_a_share_of_all_connections_for_the_next(
    limit: int, total_limit: int, wishes: list[int]
) -> None:
    used = [0] * 10
    for site in wishes:
        if may_open(used[site], limit, sum(used), total_limit):
            used[site] += 1
        assert used[site] <= limit
        assert sum(used) <= total_limit
    stalled = sum(1 for connections in used if connections)
    if total_limit > 2 * (stalled + 1):
        assert may_open(0, limit, sum(used), total_limit)
