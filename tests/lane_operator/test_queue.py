"""The work queue, on a clock of its own."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_operator.queue import BACKOFF_FIRST_S, BACKOFF_MAX_S, STALE, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock, lambda: 1.0)


def drained(queue: WorkQueue[str]) -> list[str]:
    found = []
    while (key := queue.take()) is not None:
        found.append(key)
    return found


def test_a_key_added_many_times_is_handed_out_once(queue: WorkQueue[str]) -> None:
    for _ in range(51):
        queue.add("lane")

    assert drained(queue) == ["lane"]


def test_keys_come_in_the_order_in_which_they_were_added(queue: WorkQueue[str]) -> None:
    for key in ("b", "a", "b", "c"):
        queue.add(key)

    assert drained(queue) == ["b", "a", "c"]


def test_two_workers_never_have_the_same_key(queue: WorkQueue[str]) -> None:
    queue.add("lane")
    assert queue.take() == "lane"

    queue.add("lane")

    assert queue.take() is None


def test_a_key_added_during_its_pass_comes_back_after_it(queue: WorkQueue[str]) -> None:
    queue.add("lane")
    queue.take()
    queue.add("lane")

    queue.done("lane")

    assert drained(queue) == ["lane"]


def test_a_failed_key_comes_back_after_its_back_off_and_no_sooner(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("lane")
    queue.take()

    delay = queue.failed("lane")

    clock.now += delay - 0.001
    assert queue.take() is None
    clock.now += 0.001
    assert queue.take() == "lane"


def test_back_off_doubles_up_to_its_ceiling(queue: WorkQueue[str], clock: Clock) -> None:
    delays = []
    for _ in range(20):
        queue.add("lane")
        queue.take()
        delays.append(queue.failed("lane"))

    assert delays[:4] == [BACKOFF_FIRST_S * 2**n for n in range(4)]
    assert delays[-1] == BACKOFF_MAX_S


def test_jitter_takes_off_up_to_half(clock: Clock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock, lambda: 0.0)
    queue.add("lane")
    queue.take()

    assert queue.failed("lane") == BACKOFF_FIRST_S / 2


def test_a_success_forgets_earlier_failures(queue: WorkQueue[str]) -> None:
    for _ in range(5):
        queue.add("lane")
        queue.take()
        queue.failed("lane")
    queue.add("lane")
    queue.take()
    queue.done("lane")
    queue.add("lane")
    queue.take()

    assert queue.failed("lane") == BACKOFF_FIRST_S


def test_retry_after_of_the_server_is_kept(queue: WorkQueue[str]) -> None:
    queue.add("lane")
    queue.take()

    assert queue.failed("lane", at_least_s=17.0) == 17.0


def test_an_event_ends_a_back_off(queue: WorkQueue[str]) -> None:
    queue.add("lane")
    queue.take()
    queue.failed("lane")

    queue.add("lane")

    assert drained(queue) == ["lane"]


def test_of_two_timers_the_earlier_one_counts(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("lane", 30)
    queue.add_after("lane", 5)
    queue.add_after("lane", 60)

    clock.now += 5
    assert queue.take() == "lane"
    queue.done("lane")
    clock.now += 100
    assert queue.take() is None


def test_a_stuck_pass_shows(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("lane")
    queue.take()
    clock.now += 400

    assert queue.longest_pass_s == 400
    queue.done("lane")
    assert queue.longest_pass_s == 0


def test_depth_and_age_of_what_waits_are_seen(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    clock.now += 3
    queue.add("b")

    assert (queue.depth, queue.oldest_s) == (2, 3.0)


async def test_a_waiting_worker_wakes_for_a_key(clock: Clock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock, lambda: 1.0)
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.add("lane")

    assert await asyncio.wait_for(worker, 60) == "lane"


def test_a_key_that_is_looked_at_again_and_again_before_its_time_leaves_nothing_behind(
    queue: WorkQueue[str], clock: Clock
) -> None:
    ends = clock.now + 90 * 86_400
    for _ in range(10_000):
        queue.add("lane")
        queue.take()
        queue.done("lane")
        queue.add_after("lane", ends - clock.now)
        clock.now += 420

    assert queue.timers <= 2 + STALE
    clock.now = ends
    assert drained(queue) == ["lane"]


@given(
    st.lists(st.tuples(st.sampled_from(["look", "later", "wait"]), st.integers(0, 5), st.integers(0, 40)), max_size=400)
)
def test_whatever_was_forgotten_of_its_timers_each_key_comes_when_it_is_due_and_no_sooner(
    steps: list[tuple[str, int, int]],
) -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock, lambda: 1.0)
    due: dict[str, float] = {}
    for step, number, delay in steps:
        key = f"lane-{number}"
        match step:
            case "look":
                queue.add(key)
                due[key] = clock.now
            case "later":
                queue.add_after(key, delay)
                due[key] = min(due.get(key, clock.now + delay), clock.now + delay)
            case _:
                clock.now += delay
        expected = {key for key, at in due.items() if at <= clock.now}
        taken = drained(queue)
        for one in taken:
            queue.done(one)
            del due[one]
        assert set(taken) == expected
        assert queue.timers <= 2 * len(due) + STALE + 1
