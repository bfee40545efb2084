"""The round over what waits: bounded portions, order kept, nothing missed."""

from lane_api.isppolicy import Action, Category, Stage
from lane_api.relayconfig import Delivery, RelayRetry
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.prepared import Held
from lane_relay.deliver.ready_queue import Failure, Hold, Limit, ReadyQueue, site_limits
from lane_relay.deliver.rounds import Rounds
from lane_relay.records import Hop, QueueEntry, Reply, Route, Verdict, age_key
from lane_relay.spool.ids import stamp_of
from tests.lane_relay.deliver.delivery import delivering, route_to, until

NOW = 1000.0
ROUTE = Route("site", "", (Hop("mx.test", ("127.0.0.1",)),))
ROOM = 10**9
NEWEST = 1 << 60
"""What was accepted before it is overdue."""
REFUSED = Failure(Stage.CONNECT, Reply(421, ("4.4.1 refused",)), Verdict(Category.NO_ANSWER_FROM_HOST, Action.RETRY))


def entry(number: int, size: int = 100) -> QueueEntry:
    return QueueEntry(NEWEST + number, 0, "a.test", (0,), size, 0.0)


def test_one_portion_looks_at_no_more_than_its_bound_and_the_round_misses_nothing() -> None:
    site = ReadyQueue("site", "", site_limits(Delivery(), ""))
    destination = site.destination(ROUTE)
    for number in range(30_000):
        destination.put(entry(number))
    rounds = Rounds({"site": site}, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    assert rounds.begin(NOW)
    # only the last 100 are overdue by their ids: the walk has to get there
    for number in range(1, 101):
        destination.put(entry(-number))
    portions = [rounds.portion(NOW, NEWEST, ROOM) for _ in range(4)]
    assert [len(found) for found in portions] == [0, 0, 0, 100]
    assert [one.id - NEWEST for one in destination.entries] == list(range(30_000))
    assert not rounds.begin(NOW + 1)
    assert rounds.begin(NOW + 60)


def test_overdue_entries_are_taken_only_as_far_as_there_is_room_for_their_bodies() -> None:
    site = ReadyQueue("site", "", site_limits(Delivery(), ""))
    for number in range(1, 11):
        site.destination(ROUTE).put(entry(-number, 1000))
    rounds = Rounds({"site": site}, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    assert len(rounds.portion(NOW, NEWEST, 2500)) == 3
    assert site.waiting == 7
    assert len(rounds.portion(NOW, NEWEST, ROOM)) == 7


def test_held_entries_are_found_and_one_that_was_released_meanwhile_is_left_alone() -> None:
    held = HeldEntries()
    for number in range(1, 4):
        held.add(entry(-number), ROUTE, Held("a.test", "not published"))
        held.add(entry(-number), ROUTE, Held("b.test", "not published"))
    rounds = Rounds({}, held, lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    assert [late.entry.id - NEWEST for late in rounds.portion(NOW, NEWEST, 250)] == [-1, -2, -3]
    assert len(list(held.take("b.test"))) == 3
    assert rounds.portion(NOW, NEWEST, ROOM) == []
    assert len(held) == 0


def test_sites_without_work_are_forgotten_when_there_are_very_many() -> None:
    sites = {}
    for number in range(200):
        site = sites[f"site{number}"] = ReadyQueue(f"site{number}", "", site_limits(Delivery(), ""))
        destination = site.destination(ROUTE)
        site.opening(destination, NOW)
        assert site.failed(destination, destination.targets, REFUSED, NOW, RelayRetry(first=600.0))
        site.slow_down(Verdict(Category.RATE_LIMITED, Action.BACKOFF), "slow", NOW)
        site.gone(destination)
    busy = sites["site0"].destination(ROUTE)
    busy.put(entry(5))
    rounds = Rounds(sites, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None, crowd=50)
    rounds.begin(NOW)
    rounds.portion(NOW, NEWEST, ROOM)
    assert len(sites) == 50
    assert sites["site0"].destination(ROUTE) is busy
    assert busy.failures == 1  # what has work is not forgotten


def test_a_site_that_did_not_answer_is_known_until_its_pause_is_over() -> None:
    sites = {"site": ReadyQueue("site", "", site_limits(Delivery(), ""))}
    destination = sites["site"].destination(ROUTE)
    sites["site"].opening(destination, NOW)
    assert sites["site"].failed(destination, destination.targets, REFUSED, NOW, RelayRetry(first=600.0))
    sites["site"].gone(destination)
    rounds = Rounds(sites, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    rounds.portion(NOW, NEWEST, ROOM)
    assert sites["site"].destinations
    rounds.begin(NOW + 601)
    rounds.portion(NOW + 601, NEWEST, ROOM)
    assert sites == {}


def test_a_message_whose_own_time_is_over_is_found_long_before_the_lanes_lifetime() -> None:
    site = ReadyQueue("site", "", site_limits(Delivery(), ""))
    destination = site.destination(ROUTE)
    for number, expires_at in enumerate((0.0, 99.0, 101.0), start=1):
        mine = entry(number)
        mine.expires_at = expires_at
        destination.put(mine)
    rounds = Rounds({"site": site}, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    assert [late.entry.id - NEWEST for late in rounds.portion(NOW, NEWEST, ROOM, wall=100.0)] == [2]
    assert [one.id - NEWEST for one in destination.entries] == [1, 3]


def test_what_an_order_holds_outlives_its_lifetime_and_what_one_suspends_does_not() -> None:
    held = HeldEntries()
    held.add(entry(-1), ROUTE, Held("", "held", order="o1", lasting=True))
    held.add(entry(-2), ROUTE, Held("", "suspended", order="o2"))
    rounds = Rounds({}, held, lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    (late,) = rounds.portion(NOW, NEWEST, ROOM)
    assert (late.entry.id - NEWEST, late.hold) == (-2, Hold(Limit.ORDER, detail="suspended"))
    assert held.keys == ("order o1", "order o2")
    assert held.domains == ()


def test_what_has_become_late_is_taken_out_once_and_is_told_from_what_is_over() -> None:
    site = ReadyQueue("site", "", site_limits(Delivery(), ""))
    destination = site.destination(ROUTE)
    over, late, told, of_nobody, fresh = (entry(number) for number in (1, 11, 12, 13, 21))
    for one in (over, late, told, fresh):
        one.sender_domain = "lane.test"
    told.notified = True
    for one in (over, late, told, of_nobody, fresh):
        destination.put(one)
    rounds = Rounds({"site": site}, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    found = rounds.portion(NOW, NEWEST + 10, ROOM, late=NEWEST + 20)
    assert [(one.entry, one.is_over) for one in found] == [(over, True), (late, False)]
    assert list(destination.entries) == [told, of_nobody, fresh]


async def test_of_what_is_not_attempted_and_late_senders_hear_once_and_it_goes_on_waiting() -> None:
    async with delivering(lifetime="48h", state="Suspended") as delivery:
        late, fresh = delivery.send(route_to(1), age=5 * 3600.0), delivery.send(route_to(1))
        late.sender_domain = fresh.sender_domain = "sender.test"
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        await until(lambda: delivery.rerouted == [late])
        delivery.dispatcher.add(late, route_to(1))
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 120.0)
        assert delivery.dispatcher.figures().waiting == 2
        assert delivery.late == [(late, "gate: Suspended")]
        assert delivery.attempts == []


def test_what_an_order_holds_is_found_late_and_never_over() -> None:
    held = HeldEntries()
    old, told = entry(-5), entry(-4)
    for one in (old, told):
        one.sender_domain = "lane.test"
        held.add(one, ROUTE, Held("", "held", order="o1", lasting=True))
    told.notified = True
    rounds = Rounds({}, held, lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    (late,) = rounds.portion(NOW, NEWEST, ROOM, late=NEWEST)
    assert (late.entry, late.is_over) == (old, False)
    assert late.held is not None
    assert held.put_back(late.held)
    assert [item.entry for item in held.waiting_for("order o1")] == [told, old]
    list(held.take("order o1"))
    assert not held.put_back(late.held), "the order is over: it goes on"


async def test_the_sender_of_what_an_order_holds_hears_that_it_is_late_and_it_stays_held() -> None:
    why = Held("", "held by order o1 of jane: why", order="o1", lasting=True)
    async with delivering(lifetime="1h", state="Suspended") as delivery:
        late = delivery.send(route_to(1), age=5 * 3600.0)
        next(iter(delivery.dispatcher.sites.values())).destinations.clear()
        late.sender_domain = "sender.test"
        delivery.dispatcher.hold(late, route_to(1), why)
        for minute in (60.0, 120.0):
            delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + minute)
            await until(lambda: bool(delivery.late) and delivery.dispatcher.held("order o1") == 1)
        assert delivery.late == [(late, "order: held by order o1 of jane: why")]
        assert (delivery.rerouted, delivery.attempts) == ([], [])


async def test_an_order_that_ends_while_a_sender_is_told_leaves_nothing_held() -> None:
    why = Held("", "held", order="o1", lasting=True)
    async with delivering(lifetime="48h", state="Suspended") as delivery:
        late = delivery.send(route_to(1), age=5 * 3600.0)
        late.sender_domain = "sender.test"
        next(iter(delivery.dispatcher.sites.values())).destinations.clear()
        delivery.dispatcher.hold(late, route_to(1), why)
        delivery.messages.gate.clear()
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        delivery.dispatcher.release("order o1")
        delivery.messages.gate.set()
        await until(lambda: delivery.rerouted == [late])
        assert delivery.dispatcher.held("order o1") == 0


def test_an_age_is_looked_at_and_not_how_often_the_clock_was_set_back_before() -> None:
    site = ReadyQueue("site", "", site_limits(Delivery(), ""))
    destination = site.destination(ROUTE)
    for number in (-1, 1):
        destination.put(QueueEntry(stamp_of(5, 0) << 48 | NEWEST + number, 0, "a.test", (0,), 9, 0.0))
    rounds = Rounds({"site": site}, HeldEntries(), lambda _site: Hold(Limit.GATE), lambda _destination: None)
    rounds.begin(NOW)
    assert [age_key(late.entry.id) - NEWEST for late in rounds.portion(NOW, NEWEST, ROOM)] == [-1]
