"""How much of bodies may be in memory, and that no site stands still for another."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from lane_api.outbound import Backoff
from lane_relay.deliver.body_budget import BodyBudget
from lane_relay.deliver.ready_queue import ReadyQueue, SiteLimits

LIMIT = 64 * 2**20
LARGE = 25 * 2**20
SMALL = 100_000


def sites(count: int) -> list[ReadyQueue]:
    return [ReadyQueue(f"site-{number}", "", SiteLimits(10, 100, None, None, Backoff())) for number in range(count)]


def test_large_mail_for_many_sites_stays_within_the_limit_and_a_few_messages() -> None:
    budget = BodyBudget(LIMIT)
    granted = [site for site in sites(200) if budget.take(site, LARGE)]

    assert len(granted) >= 2
    assert budget.used <= LIMIT + 4 * LARGE


def test_mail_that_counts_three_times_exceeds_the_limit_for_two_sites_at_a_time() -> None:
    budget = BodyBudget(LIMIT)
    everybody = sites(20)
    served = 0
    held = [site for site in everybody if budget.take(site, 3 * LARGE)]
    while held:
        assert len(held) <= 2
        assert budget.used <= LIMIT + 2 * 3 * LARGE
        budget.give_back(held.pop(), 3 * LARGE)
        served += 1
        while (called := budget.call_first()) is not None and budget.take(called, 3 * LARGE):
            held.append(called)
    assert served == len(everybody)


def test_small_mail_never_waits_for_room_that_large_mail_has() -> None:
    budget = BodyBudget(LIMIT)
    *stalled, healthy = sites(201)
    for site in stalled:
        budget.take(site, LARGE)

    assert budget.take(healthy, SMALL)


def test_a_site_gets_its_first_large_message_although_another_holds_all_there_is() -> None:
    budget = BodyBudget(LIMIT)
    stalled, healthy = sites(2)
    while budget.take(stalled, LARGE // 2):
        pass

    assert budget.take(healthy, LARGE)


def test_who_was_refused_is_asked_again_when_something_is_given_back() -> None:
    budget = BodyBudget(LIMIT)
    everybody = sites(50)
    granted = [site for site in everybody if budget.take(site, LARGE)]
    (first, *_) = (site for site in everybody if site.lacks_room)

    budget.give_back(granted[-1], LARGE)

    assert budget.call_first() is first
    assert budget.take(first, LARGE)


def test_who_waits_for_another_is_asked_again_before_those_that_came_later() -> None:
    budget = BodyBudget(LIMIT)
    first, second = sites(2)
    for site in (first, second):
        while budget.take(site, LARGE // 5):
            pass

    budget.give_back(second, LARGE // 5)

    assert budget.next_in_line(second) == [second, first]


def test_sites_with_endless_large_mail_leave_every_other_its_turn() -> None:
    budget = BodyBudget(LIMIT)
    everybody = sites(20)
    served = dict.fromkeys(everybody, 0)
    held = deque(site for site in everybody if budget.take(site, LARGE))
    for _ in range(200):
        site = held.popleft()
        served[site] += 1
        budget.give_back(site, LARGE)
        if budget.take(site, LARGE):  # its session asks for the next one first
            held.append(site)
        while (called := budget.call_first()) is not None and budget.take(called, LARGE):
            held.append(called)
    assert min(served.values()) >= 5


def test_who_went_beyond_the_limit_keeps_nobody_out_once_all_is_within_it_again() -> None:
    budget = BodyBudget(LIMIT)
    one, other, late, *beyond = sites(7)
    for site in beyond:
        assert budget.take(one, 30 * 2**20)
        assert budget.take(other, 30 * 2**20)
        assert budget.take(site, LARGE)
        budget.give_back(one, 30 * 2**20)
        budget.give_back(other, 30 * 2**20)
        assert budget.take(site, SMALL)  # from now on it is never without a body
        budget.give_back(site, LARGE)
    assert budget.take(one, 30 * 2**20)
    assert budget.take(other, 30 * 2**20)

    assert budget.take(late, LARGE)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2 * LARGE), st.booleans()), max_size=200))
def test_what_is_counted_is_what_was_taken_and_not_given_back(steps: list[tuple[int, int, bool]]) -> None:
    budget, known, held = BodyBudget(LIMIT), sites(10), list[tuple[ReadyQueue, int]]()
    for index, size, gives in steps:
        if gives and held:
            budget.give_back(*held.pop(index % len(held)))
        elif budget.take(known[index], size):
            held.append((known[index], size))
        assert budget.used == sum(size for _, size in held)
        assert budget.used <= LIMIT + 4 * 2 * LARGE + 10 * LIMIT // 256
