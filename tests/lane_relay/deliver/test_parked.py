"""Sites that are only left alone keep no objects, and come back as they were."""

import gc
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.quantities import Rate
from lane_api.relayconfig import Delivery, RelayRetry
from lane_relay.deliver.pacing import Pacing
from lane_relay.deliver.parked import ParkedSites, may_be_packed
from lane_relay.deliver.ready_queue import Destination, Failure, Hold, Limit, ReadyQueue, site_limits
from lane_relay.records import Hop, QueueEntry, Reply, Route, TlsDemand, TlsFailure, TlsPolicy, TlsResult, Verdict
from tests.lane_relay.deliver.delivery import delivering, route_to, until
from tests.lane_relay.deliver.test_rounds import NOW
from tests.ports import free_port

LIMITS = site_limits(Delivery(), "")
RETRY = RelayRetry(first=600.0, factor=2.0, max=3600.0)
ROUTE = Route("mx.a.test", "", (Hop("mx.a.test", ("127.0.0.2", "127.0.0.3")),))
REFUSED = Failure(
    Stage.CONNECT,
    Reply(451, ("4.4.1 mx.a.test[127.0.0.2]: refused",)),
    Verdict(Category.NO_ANSWER_FROM_HOST, Action.RETRY, Scope.SITE, rule="default/x"),
    TlsResult(host="mx.a.test", failure=TlsFailure.EXPIRED),
    own_words=True,
)
SLOWER = Verdict(Category.RATE_LIMITED, Action.BACKOFF, Scope.LANE, act_for=900.0)


def parked_site(
    name: str = "mx.a.test", policy: str = "", route: Route = ROUTE, failure: Failure = REFUSED
) -> ReadyQueue:
    """One whose hosts have failed, and to which nobody is connected."""
    site = ReadyQueue(name, policy, LIMITS)
    destination = site.destination(route)
    site.opening(destination, NOW)
    assert site.failed(destination, destination.targets, failure, NOW, RETRY)
    site.gone(destination)
    return site


def only(site: ReadyQueue) -> Destination:
    (destination,) = site.destinations.values()
    return destination


def lasting(site: ReadyQueue) -> dict[str, object]:
    """All that a site and its host set are, but for what belongs to connections."""
    slots = {
        name: getattr(site, name) for name in ("name", "policy", "answers", "attempts", "delivered", "last_failure")
    }
    destination = only(site)
    names = ("bad", "delivered_before", "failures", "fruitless", "hopeful", "parked_at", "parked_until", "proven")
    slots |= {name: getattr(destination, name) for name in (*names, "refused", "route", "seven_bit", "unsure")}
    return slots


def test_a_site_comes_back_as_it_was() -> None:
    demand = TlsDemand(TlsPolicy.DANE, names=("a.test",))
    hops = (Hop("mx.a.test", ("127.0.0.2",), demand), Hop("my.a.test", ("127.0.0.3", "::1")))
    route = Route("mx.a.test", "", hops, 2525, "Required", "/auth", "dane!", ("mz.a.test",))
    site = parked_site(route=route)
    site.answers, site.attempts, site.delivered = True, 7, 3
    destination = only(site)
    destination.begin_elsewhere(destination.targets[0])
    destination.hopeful, destination.fruitless = REFUSED, 5
    destination.seven_bit = destination.unsure = True
    before = lasting(site)
    parked = ParkedSites()
    assert may_be_packed(site, NOW + 1)
    assert parked.put(site)
    looked = parked.look("mx.a.test", LIMITS)
    assert looked is not None
    assert lasting(looked) == before
    taken = parked.take("mx.a.test", LIMITS)
    assert taken is not None
    assert lasting(taken) == before
    assert taken.destination(route) is only(taken)
    assert (len(parked), parked.take("mx.a.test", LIMITS)) == (0, None)


def test_it_takes_few_bytes() -> None:
    parked = ParkedSites()
    for number in range(100):
        name = f"mx.d{number}.parked.test"
        route = Route(name, "", (Hop(name, ("127.0.0.2",)),))
        parked.put(parked_site(name, route=route, failure=replace(REFUSED, tls=None)))
    assert len(parked) == 100
    assert parked.size <= 100 * 300


def busy_by_mail(site: ReadyQueue) -> None:
    only(site).put(QueueEntry(1, 0, "a.test", (0,), 1, 0.0))


def busy_by_a_connection(site: ReadyQueue) -> None:
    site.opening(only(site), NOW)


def busy_by_a_stop(site: ReadyQueue) -> None:
    site.suspended = Hold(Limit.SUSPENDED)


def busy_by_a_back_off(site: ReadyQueue) -> None:
    site.slow_down(SLOWER, "slow", NOW)


def busy_by_a_failure_to_be_told(site: ReadyQueue) -> None:
    only(site).blame = REFUSED


def busy_by_a_place_in_line(site: ReadyQueue) -> None:
    site.stands_for = ("",)


def busy_by_its_pace(site: ReadyQueue) -> None:
    """The back-off itself is over; what was sent under it still spaces the next one."""
    site.pacing = Pacing(replace(LIMITS, message_rate=Rate(2, 3600.0)))
    site.pacing.begin_message(NOW)
    site.pacing.end_message(NOW, NOW)


@pytest.mark.parametrize(
    "busy",
    [
        busy_by_mail,
        busy_by_a_connection,
        busy_by_a_stop,
        busy_by_a_back_off,
        busy_by_a_failure_to_be_told,
        busy_by_a_place_in_line,
        busy_by_its_pace,
    ],
)
def test_what_is_under_way_or_binds_keeps_a_site_whole(busy: Callable[[ReadyQueue], None]) -> None:
    site = parked_site()
    assert may_be_packed(site, NOW + 1)
    busy(site)
    assert not may_be_packed(site, NOW + 1)


def test_a_site_of_a_policy_stays_whole() -> None:
    assert not may_be_packed(parked_site(policy="isp"), NOW + 1)


def test_a_site_of_which_nothing_is_to_be_remembered_is_not_packed() -> None:
    site = parked_site()
    assert not may_be_packed(site, only(site).parked_until)


def test_what_slows_every_site_down_slows_the_packed_ones_too() -> None:
    parked = ParkedSites()
    parked.put(parked_site())
    parked.slow_down(SLOWER, "421 too fast", NOW + 10)
    parked.put(parked_site("mx.later.test"))
    site = parked.look("mx.a.test", LIMITS)
    assert site is not None
    site.refresh(NOW + 20)
    assert (site.backed_off, site.connection_limit) == ("421 too fast", 1)
    site.refresh(NOW + 100_000)
    assert not site.backed_off


def test_pauses_that_are_over_are_forgotten_a_portion_at_a_time() -> None:
    parked = ParkedSites()
    for number in range(5):
        parked.put(parked_site(f"mx{number}"))
    assert list(parked.forget(NOW + 599, 2)) == [2, 2, 1]
    assert len(parked) == 5
    assert list(parked.forget(NOW + 600, 2)) == [2, 2, 1]
    assert len(parked) == 0


def test_of_more_than_it_keeps_the_first_is_forgotten() -> None:
    parked = ParkedSites(most=2)
    for number in range(3):
        parked.put(parked_site(f"mx{number}"))
    assert parked.names == ("mx1", "mx2")


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def objects(prefix: str) -> int:
    """Sites of such names, and host sets of them, that anything still holds, be it each other."""
    found = gc.get_objects()
    sites = sum(isinstance(one, ReadyQueue) and one.name.startswith(prefix) for one in found)
    return sites + sum(isinstance(one, Destination) and one.site.name.startswith(prefix) for one in found)


@pytest.mark.parametrize("cold", [False, True])
async def test_domains_that_refuse_cost_no_objects_and_are_left_alone_all_the_same(
    cold: bool, without_collector: None
) -> None:
    retry = {"first": "600s", "factor": 1, "max": "600s"}
    async with delivering(retry=retry) as delivery:
        delivery.messages.cold = cold  # bodies come from the disk, after the connection has gone
        dispatcher, port = delivery.dispatcher, free_port()
        routes = [route_to(port, "127.0.0.9", site=f"refuses-{cold}-{number}") for number in range(50)]
        for route in routes:
            delivery.send(route)
        await delivery.attempted(50)
        await until(lambda: not dispatcher.sites)
        assert len(dispatcher.known.parked) == 50
        await until(lambda: objects(f"refuses-{cold}-") == 0, within=20)  # the loop lets go of sessions in its own time

        (name, *_), tried = (route.site for route in routes), len(delivery.attempts)
        state = dispatcher.explain_site(name)
        assert state is not None
        assert (state.waiting, state.attempts, state.connections) == (0, 1, 0)
        assert "connect to mx0.peer.test" in state.last_failure
        assert name in dispatcher.known.parked.names  # who looks changes nothing

        entry = delivery.send(routes[0])
        state = dispatcher.explain_site(name)
        assert state is not None
        assert (state.waiting, state.hold.limit, state.oldest_id) == (1, Limit.PARKED, entry.id)
        assert "connect to mx0.peer.test" in state.hold.detail
        (place,) = dispatcher.whereabouts.places()
        assert place.since is not None
        assert state.hold.until == place.since + 600
        assert len(delivery.attempts) == tried


async def test_who_asks_about_sites_leaves_nothing_behind_but_of_policies() -> None:
    async with delivering(policies=[{"name": "isp", "connections": 7}]) as delivery:
        for number in range(50):
            delivery.dispatcher.explain_site(f"mx.domain-{number}.example")
        assert delivery.dispatcher.known.limits_of("isp")[0].connections == 7
        assert set(delivery.dispatcher.known._limits) <= {"", "isp"}
