"""The scheduled queue gives out what is due, in order, and nothing else."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.records import QueueEntry
from lane_relay.schedule.scheduled_queue import ScheduledQueue

SECOND_MS = 1 << 48


def _entry(number: int, due: float, accepted_ms: int = 1000, campaign: str = "") -> QueueEntry:
    return QueueEntry(accepted_ms * SECOND_MS + number, 0, "example.com", (0,), 100, due, campaign=campaign)


def _numbers(entries: list[QueueEntry]) -> list[int]:
    return [entry.id % SECOND_MS for entry in entries]


def test_entries_come_out_in_order_of_their_due_time_and_not_before_it() -> None:
    queue = ScheduledQueue()
    for number, due in enumerate([5.5, 3.2, 3.1, 9.0]):
        queue.add(_entry(number, due))

    assert queue.next_due() == 3.1
    assert _numbers(queue.pop_due(3.15, 10)) == [2]
    assert _numbers(queue.pop_due(5.5, 10)) == [1, 0]
    assert queue.pop_due(8.999, 10) == []
    assert len(queue) == 1


def test_a_portion_has_at_most_as_many_entries_as_asked_for() -> None:
    queue = ScheduledQueue()
    for number in range(10):
        queue.add(_entry(number, 1.0 + number / 100))

    assert _numbers(queue.pop_due(100.0, 4)) == [0, 1, 2, 3]
    assert len(queue) == 6


def test_an_empty_queue_is_never_due() -> None:
    queue = ScheduledQueue()
    assert (queue.next_due(), queue.pop_due(1e10, 5)) == (inf, [])


def test_removed_entries_do_not_come_out() -> None:
    queue = ScheduledQueue()
    for number in range(6):
        queue.add(_entry(number, float(number // 2), accepted_ms=1000 + number))

    removed = [one for part in queue.sweep(lambda entry: entry.id % SECOND_MS in (0, 1, 3), 2) for one in part]

    assert sorted(_numbers(removed)) == [0, 1, 3]
    assert len(queue) == 3
    assert _numbers(queue.pop_due(10.0, 10)) == [2, 4, 5]
    assert queue.next_due() == inf


def test_campaigns_take_turns_among_what_is_due() -> None:
    queue = ScheduledQueue()
    for number in range(10_000):
        queue.add(_entry(number, 1.0 + number / 1000, campaign="large"))
    for number in range(3):
        queue.add(_entry(20_000 + number, 12.0, campaign="small"))

    popped = [queue.pop_due(20.0, 200) for _ in range(4)]

    assert sum(entry.campaign == "small" for portion in popped for entry in portion) == 3
    assert len(queue) == 10_003 - 800
    assert len(list(queue)) == len(queue)


def test_what_stands_in_line_already_can_be_removed_too() -> None:
    queue = ScheduledQueue()
    for number in range(10):
        queue.add(_entry(number, 1.0, campaign="ab"[number % 2]))
    assert _numbers(queue.pop_due(5.0, 2)) == [0, 1]

    removed = [one for part in queue.sweep(lambda entry: entry.campaign == "b", 2) for one in part]

    assert sorted(_numbers(removed)) == [3, 5, 7, 9]
    assert _numbers(queue.pop_due(5.0, 10)) == [2, 4, 6, 8]
    assert (len(queue), queue.next_due()) == (0, inf)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), max_size=60))
def test_any_mix_of_adding_and_popping_gives_each_entry_once_and_in_time(steps: list[tuple[float, float]]) -> None:
    queue = ScheduledQueue()
    waiting: set[int] = set()
    now = 0.0
    for number, (due, wait) in enumerate(steps):
        queue.add(_entry(number, due))
        waiting.add(number)
        now += wait / 30
        popped = queue.pop_due(now, 1000)
        assert [entry.due for entry in popped] == sorted(entry.due for entry in popped)
        numbers = set(_numbers(popped))
        assert numbers <= waiting
        waiting -= numbers
        assert all(entry.due <= now for entry in popped)
        assert all(steps[left][0] > now for left in waiting)
        assert len(queue) == len(waiting)


def test_what_is_brought_forward_keeps_its_order_and_can_be_added_to() -> None:
    queue = ScheduledQueue()
    for number, due in enumerate([1000.5, 1000.25, 1500.0, 1200.0]):
        queue.add(_entry(number, due))
    queue.bring_forward(900)
    queue.add(_entry(9, 100.4))
    assert queue.next_due() == 100.25
    assert _numbers(queue.pop_due(300.0, 10)) == [1, 9, 0, 3]
    assert _numbers(queue.pop_due(599.9, 10)) == []
    assert _numbers(queue.pop_due(600.0, 10)) == [2]


def test_what_is_given_away_before_its_time_takes_nothing_else_with_it() -> None:
    queue = ScheduledQueue()
    for number in range(50):
        queue.add(_entry(number, 900.0 + number % 3, campaign="ab"[number % 2]))

    taken = queue.take(5)

    assert [entry.due for entry in taken] == [900.0] * 5
    assert queue.pop_due(100.0, 200) == []
    assert queue.next_due() == 900.0
    assert len(queue) == len(list(queue)) == 45
    assert len(queue.pop_due(902.0, 200)) == 45


def test_what_is_given_away_is_the_line_first_and_all_of_it_in_the_end() -> None:
    queue = ScheduledQueue()
    for number in range(60):
        queue.add(_entry(number, 1.0 if number < 50 else 900.0))
    queue.pop_due(5.0, 2)

    taken = [entry for _ in range(7) for entry in queue.take(10)]

    assert [entry.due for entry in taken] == [1.0] * 48 + [900.0] * 10
    assert (len(queue), queue.next_due(), queue.take(10)) == (0, inf, [])


def test_what_stands_in_line_is_due_whatever_the_clock_says_since() -> None:
    queue = ScheduledQueue()
    for number in range(10):
        queue.add(_entry(number, 5000.0))
    queue.pop_due(5000.0, 1)

    assert queue.next_due() <= 0.0
    assert len(queue.pop_due(1000.0, 20)) == 9
