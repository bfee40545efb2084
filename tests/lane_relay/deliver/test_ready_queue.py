"""The ready queue's decisions, without a socket."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.outbound import Backoff
from lane_api.quantities import Rate
from lane_api.relayconfig import Delivery, RelayRetry
from lane_relay.deliver.ready_queue import (
    Destination,
    Failure,
    Hold,
    Limit,
    ReadyQueue,
    SiteLimits,
    Target,
    site_limits,
)
from lane_relay.records import Hop, QueueEntry, Reply, Route, Verdict

RETRY = RelayRetry(first=60.0, factor=2.0, max=600.0)
CLOSED = Failure(Stage.RCPT, Reply(421, ("4.7.0 later",)), Verdict(Category.BAD_CONNECTION, Action.RETRY, Scope.SITE))
REFUSED = Failure(Stage.CONNECT, Reply(421, ("4.4.1 refused",)), Verdict(Category.NO_ANSWER_FROM_HOST, Action.RETRY))


def limits(connections: int = 3, connect_rate: Rate | None = None, message_rate: Rate | None = None) -> SiteLimits:
    return SiteLimits(connections, 100, connect_rate, message_rate, Backoff())


def route(*hosts: str) -> Route:
    return Route("isp", "isp", tuple(Hop(host, (f"192.0.2.{number + 1}",)) for number, host in enumerate(hosts)))


def entry(number: int = 1) -> QueueEntry:
    return QueueEntry(number, 0, "d.test", (0,), 100, 0.0)


def test_routes_to_the_same_hosts_in_any_order_are_one_destination() -> None:
    site = ReadyQueue("isp", "isp", limits())
    one = site.destination(route("a", "b"))
    assert site.destination(route("b", "a")) is one
    assert [target.host for target in one.targets] == ["b", "a"]  # the newest order counts
    assert site.destination(route("a")) is not one
    assert site.destination(Route("isp", "isp", route("a", "b").hops, tls="Required")) is not one


def test_a_destination_that_was_given_up_or_forgotten_is_not_found_again() -> None:
    site, way = ReadyQueue("isp", "isp", limits()), route("a")
    one = site.destination(way)
    assert site.destination(way) is one
    site.give_up(one)
    other = site.destination(way)
    assert (other is one, one.given_up, other.given_up) == (False, True, False)
    one.put(entry())
    assert not site.wants_connection(one)
    site.forget_empty(0.0)
    assert site.destination(way) is not other


def test_a_new_destination_is_probed_with_few_connections_first() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a"))
    for number in range(100):
        destination.put(entry(number))
    opened = 0
    while isinstance(found := site.decide_open(destination, 0.0, opened, 200), Target):
        site.opening(destination, 0.0)
        opened += 1
    assert opened == 2
    assert found.limit is Limit.CONNECTING
    site.established(destination)
    while isinstance(found := site.decide_open(destination, 0.0, opened, 200), Target):
        site.opening(destination, 0.0)
        opened += 1
    assert opened == 10
    assert found.limit is Limit.CONNECTIONS


def test_hosts_are_tried_in_order_and_a_failed_one_is_passed_over_for_a_while() -> None:
    site = ReadyQueue("isp", "isp", limits())
    destination = site.destination(route("a", "b"))
    destination.put(entry())
    first = site.decide_open(destination, 0.0, 0, 200)
    assert isinstance(first, Target)
    site.opening(destination, 0.0)
    assert not site.failed(destination, (first,), REFUSED, 1.0, RETRY)
    second = site.decide_open(destination, 1.0, 0, 200)
    assert isinstance(second, Target)
    assert (first.host, second.host) == ("a", "b")
    assert destination.next_target(62.0) == first


def test_a_destination_whose_hosts_all_fail_is_parked_longer_each_time() -> None:
    site = ReadyQueue("isp", "isp", limits())
    destination = site.destination(route("a"))
    destination.put(entry())
    now, parked = 0.0, []
    for _ in range(5):
        target = site.decide_open(destination, now, 0, 200)
        assert isinstance(target, Target)
        site.opening(destination, now)
        assert site.failed(destination, (target,), REFUSED, now, RETRY)
        site.gone(destination)
        hold = site.decide_open(destination, now, 0, 200)
        assert isinstance(hold, Hold)
        assert (hold.limit, hold.detail) == (Limit.PARKED, "421 4.4.1 refused")
        parked.append(hold.until - now)
        now = hold.until
    assert parked == [60.0, 120.0, 240.0, 480.0, 600.0]


def test_one_refused_connection_among_working_ones_parks_nothing() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=5))
    destination = site.destination(route("a"))
    site.opening(destination, 0.0)
    site.established(destination)
    site.opening(destination, 0.0)
    assert not site.failed(destination, (destination.targets[0],), REFUSED, 0.0, RETRY)
    assert destination.parked_until == 0.0


def test_no_connection_is_opened_for_a_message_that_may_not_be_sent_yet() -> None:
    site = ReadyQueue("isp", "isp", limits(message_rate=Rate(1, 60.0)))
    destination = site.destination(route("a"))
    for number in (1, 2):
        destination.put(entry(number))
    assert site.pacing is not None
    site.pacing.begin_message(100.0)
    site.pacing.end_message(100.0, 100.1)
    hold = site.decide_open(destination, 101.0, 0, 200)
    assert isinstance(hold, Hold)
    assert hold.limit is Limit.MESSAGE_RATE
    assert 160.0 < hold.until < 160.2


def test_backed_off_sites_say_so() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=5, message_rate=Rate(10, 1.0)))
    destination = site.destination(route("a"))
    destination.put(entry())
    slow = Verdict(Category.RATE_LIMITED, Action.BACKOFF, Scope.SITE)
    site.slow_down(slow, "421 slow", 0.0)
    site.opening(destination, 0.0)
    site.established(destination)
    hold = site.decide_open(destination, 0.0, 1, 200)
    assert isinstance(hold, Hold)
    assert hold.limit is Limit.BACKOFF
    assert site.must_close(0) is False
    site.opening(destination, 0.0)
    assert site.must_close(0) is True  # one too many for the foot of the back-off


def test_a_policy_that_has_gone_leaves_the_lane_s_own_limits() -> None:
    delivery = Delivery.model_validate({"connections": 7, "policies": [{"name": "isp", "connections": 3}]})
    assert site_limits(delivery, "isp").connections == 3
    assert site_limits(delivery, "other").connections == 7
    assert site_limits(delivery, "").connections == 7


STEPS = st.lists(st.sampled_from(["open", "establish", "fail", "gone", "slow", "wait"]), max_size=120)


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(1, 8), total_limit=st.integers(2, 12), steps=STEPS)
def test_the_connection_limit_holds_whatever_happens(limit: int, total_limit: int, steps: list[str]) -> None:
    site = ReadyQueue("isp", "isp", limits(connections=limit, connect_rate=Rate(1000, 1.0)))
    destinations = [site.destination(route(name)) for name in "abc"]
    now, connecting, ready, closing = 0.0, list[int](), list[int](), list[int]()
    for number, step in enumerate(steps):
        index = number % 3
        destination = destinations[index]
        destination.put(entry(number))
        if step == "open":
            site.refresh(now)  # deciding does so first: a step of back-off may be over
            allowed = site.connection_limit
            found = site.decide_open(destination, now, site.connections, total_limit)
            if isinstance(found, Target):
                site.opening(destination, now)
                assert site.pacing is not None
                site.pacing.end_connect(now, now)
                connecting.append(index)
                assert site.connections <= allowed <= limit
        elif step == "establish" and connecting:
            index = connecting.pop()
            site.established(destinations[index])
            ready.append(index)
        elif step == "fail" and connecting:
            index = connecting.pop()
            site.failed(destinations[index], destinations[index].targets[:1], REFUSED, now, RETRY)
            closing.append(index)
        elif step == "gone" and (closing or ready):
            site.gone(destinations[(closing or ready).pop()])
        elif step == "slow":
            site.slow_down(Verdict(Category.RATE_LIMITED, Action.BACKOFF, Scope.SITE), "slow", now)
        elif step == "wait":
            now += 700.0
        assert site.connections == len(connecting) + len(ready) + len(closing)
        assert site.connections <= total_limit
        assert sum(known.sessions for known in destinations) == site.connections
        assert sum(known.connecting for known in destinations) == len(connecting)


def test_an_address_that_refused_is_remembered_until_what_was_told_of_it_is_due_again() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a", "b"))
    site.opening(destination, 0.0)
    assert site.failed(destination, destination.targets, REFUSED, 0.0, RETRY)
    first, second = destination.targets
    destination.begin_elsewhere(first)
    site.gone(destination)  # the only entry waits in the schedule meanwhile

    site.forget_empty(1800.0)
    assert site.destination(route("a", "b")).next_target(1800.0) == second
    site.forget_empty(7200.0)
    assert site.destinations == {}


def test_a_host_that_moved_is_waited_for_by_its_new_address() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a"))
    destination.put(entry())
    for _ in range(2):
        site.opening(destination, 0.0)
        site.established(destination)
    site.opening(destination, 0.0)
    assert not site.failed(destination, destination.targets, REFUSED, 0.0, RETRY)  # others work: only passed over

    moved = Route("isp", "isp", (Hop("a", ("192.0.2.99",)),))
    destination = site.destination(moved)
    site.opening(destination, 100.0)
    assert not site.failed(destination, destination.targets, REFUSED, 100.0, RETRY)

    hold = site.decide_open(destination, 101.0, 2, 200)
    assert isinstance(hold, Hold)
    assert hold.limit is Limit.PARKED
    assert hold.until > 101.0
    assert set(destination.bad) == {"192.0.2.99"}


def _end_one(site: ReadyQueue, destination: Destination, now: float) -> bool:
    """A session that came to be and brought nothing about."""
    target = site.decide_open(destination, now, 0, 200)
    assert isinstance(target, Target)
    site.opening(destination, now)
    site.established(destination)
    left_alone = site.ended_fruitless(destination, target, CLOSED, now, RETRY)
    site.gone(destination)
    return left_alone


def test_sessions_without_a_delivery_are_a_failure_of_the_host_only_once_they_are_a_run() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a"))
    destination.put(entry())
    for _ in range(3):
        assert [_end_one(site, destination, 0.0) for _ in range(4)] == [False] * 4
        assert not site.took(destination)
    assert [_end_one(site, destination, 0.0) for _ in range(5)] == [False] * 4 + [True]
    hold = site.decide_open(destination, 1.0, 0, 200)
    assert isinstance(hold, Hold)
    assert (hold.limit, hold.until) == (Limit.PARKED, 60.0)
    assert hold.detail == "5 sessions in a row ended without a delivery, the last at Rcpt: 421 4.7.0 later"


def test_while_a_host_is_doubted_it_has_one_connection_at_a_time_and_a_longer_pause_after_each() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a"))
    destination.put(entry())
    while not _end_one(site, destination, 0.0):
        pass
    now, pauses = 60.0, []
    for _ in range(4):
        assert _end_one(site, destination, now)
        pauses.append(destination.parked_until - now)
        now = destination.parked_until
    assert pauses == [120.0, 240.0, 480.0, 600.0]
    site.opening(destination, now)
    site.established(destination)
    hold = site.decide_open(destination, now, 1, 200)
    assert isinstance(hold, Hold)
    assert hold.limit is Limit.CONNECTING
    assert site.took(destination)
    assert isinstance(site.decide_open(destination, now, 1, 200), Target)
    site.gone(destination)
    assert not _end_one(site, destination, now)


def test_hosts_that_end_their_sessions_are_passed_over_one_after_the_other_before_all_of_them_have_a_pause() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a", "b"))
    destination.put(entry())
    while not _end_one(site, destination, 0.0):
        pass
    second = site.decide_open(destination, 0.0, 0, 200)
    assert isinstance(second, Target)
    assert second.host == "b"
    assert site.ended_fruitless(destination, destination.targets[0], CLOSED, 0.0, RETRY)  # begun before
    assert destination.parked_until == 0.0
    assert _end_one(site, destination, 0.0)
    assert destination.parked_until == 60.0


def test_a_host_that_takes_mail_on_some_connections_and_ends_the_others_gets_no_more_for_a_while_and_no_pause() -> None:
    site = ReadyQueue("isp", "isp", limits(connections=10))
    destination = site.destination(route("a"))
    destination.put(entry())
    destination.working = 1
    assert [site.ended_fruitless(destination, destination.targets[0], CLOSED, 0.0, RETRY) for _ in range(5)][-1]
    assert destination.parked_until == 0.0
    hold = site.decide_open(destination, 1.0, 0, 200)
    assert isinstance(hold, Hold)
    assert (hold.limit, hold.until) == (Limit.PARKED, 60.0)


def test_a_pause_counts_for_a_trigger_while_the_site_takes_nothing() -> None:
    site = ReadyQueue("isp", "isp", limits())
    one, other = site.destination(route("a")), site.destination(route("b"))
    assert not site.is_after_pause(one, 5.0)
    for destination in (one, other):
        site.opening(destination, 10.0)
        assert site.failed(destination, destination.targets, REFUSED, 10.0, RETRY)
        site.gone(destination)
    assert not site.is_after_pause(one, 11.0)  # another probe of that moment
    assert site.is_after_pause(one, 70.0)
    site.opening(other, 80.0)
    site.established(other)
    assert site.is_after_pause(other, 80.0)
    site.delivered += 1
    assert not site.is_after_pause(one, 70.0)
    assert not site.is_after_pause(other, 81.0)
