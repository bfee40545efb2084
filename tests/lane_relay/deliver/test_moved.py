"""Mail follows its domain: what waits for hosts that a domain names no more goes where it has moved to."""

import asyncio
import os
from random import Random
from typing import Any

from lane_api.isppolicy import Action, Category, Stage
from lane_api.relayconfig import Delivery, RelayRetry
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.deliver.moved import MovedMail
from lane_relay.deliver.ready_queue import Destination, Failure, ReadyQueue, site_limits
from lane_relay.deliver.rerouting import Rerouting
from lane_relay.deliver.unfit import other_hosts
from lane_relay.records import QueueEntry, Reply, Route, Verdict
from lane_relay.resolve.answers import Answer, MxRecord, Status
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.router import Router
from tests.lane_relay.deliver.delivery import delivering, make_config
from tests.lane_relay.deliver.scripted_peer import Peer
from tests.lane_relay.resolve.test_cache_and_router import Hands, Wire, config, turns

OLD, NEW = "mx.old.test", "mx.new.test"
REFUSED = Failure(Stage.CONNECT, Reply(421, ("4.4.1 refused",)), Verdict(Category.NO_ANSWER_FROM_HOST, Action.RETRY))
QUARANTINED = Failure(
    Stage.CONNECT,
    Reply(554, ("5.7.1 blocked",)),
    Verdict(Category.SPAM_RELATED, Action.QUARANTINE_IP, retry_after=3600),
)


def mx(*hosts: str) -> Answer[Any]:
    """In this order, for 30 seconds."""
    return Answer(Status.FOUND, tuple(MxRecord(number, host) for number, host in enumerate(hosts)), 30.0)


class Waiting:
    """What waits, with DNS behind it and a clock turned by hand."""

    def __init__(self) -> None:
        self.wire, self.clock = Wire(), Hands()
        lookups = CachedLookups(self.wire, self.clock.monotonic)
        self.router = Router(config(), lookups, Clock(lambda: 0.0, self.clock.monotonic), Random(1))
        self.sites: dict[str, ReadyQueue] = {}
        self.moved, self.unprepared, self.wanted = list[QueueEntry](), list[Destination](), list[Destination]()
        self.look = MovedMail(
            self.router, self.sites, Rerouting(self.moved.append), self.unprepared.append, self.wanted.append
        )

    async def add(self, *domains: str) -> list[QueueEntry]:
        """One entry for each, by the route of now."""
        entries: list[QueueEntry] = []
        for domain in domains:
            found: list[Any] = []
            route = self.router.route(domain, found.append)
            await turns(lambda known=route, late=found: known is not None or bool(late))  # type: ignore[misc]
            route = route or found[0]
            assert isinstance(route, Route)
            site = self.sites.setdefault(route.site, ReadyQueue(route.site, "", site_limits(Delivery(), "")))
            entries.append(QueueEntry(len(entries), 0, domain, (0,), 100, 0.0))
            site.destination(route).put(entries[-1])
        return entries

    async def after(self, seconds: float) -> None:
        """The portions of so long, one a second."""
        for _ in range(int(seconds)):
            self.clock.at += 1.0
            self.look.go_on(self.clock.at)
            await turns(lambda: not self.router.pending)

    def only(self) -> Destination:
        """The one destination."""
        (site,) = self.sites.values()
        (destination,) = site.destinations.values()
        return destination


async def test_mail_leaves_the_hosts_that_its_domain_names_no_more_and_the_rest_keeps_its_place() -> None:
    waiting = Waiting()
    for domain in ("a.test", "b.test"):
        waiting.wire.answers[domain] = mx(OLD)
    entries = await waiting.add("a.test", "b.test", "a.test", "b.test")
    await waiting.after(31)
    assert waiting.moved == []
    assert list(waiting.only().entries) == entries
    waiting.wire.answers["a.test"] = mx(NEW)
    await waiting.after(62)  # an answer's life, and a walk
    assert waiting.moved == [entries[0], entries[2]]
    assert list(waiting.only().entries) == [entries[1], entries[3]]
    route = waiting.router.fresh("a.test") or waiting.router.known("a.test")
    assert isinstance(route, Route)
    assert route.hops[0].host == NEW


async def test_a_parked_destination_is_left_too() -> None:
    waiting = Waiting()
    waiting.wire.answers["a.test"] = mx(OLD)
    entries = await waiting.add("a.test", "a.test")
    destination = waiting.only()
    destination.site.opening(destination, waiting.clock.at)
    retry = RelayRetry(first=900.0)
    assert destination.site.failed(destination, destination.targets, REFUSED, waiting.clock.at, retry)
    waiting.wire.answers["a.test"] = mx(NEW)
    await waiting.after(62)
    assert waiting.moved == entries
    assert waiting.unprepared == []


async def test_a_host_s_new_address_is_tried_at_once_unless_it_is_we_who_must_stay_away() -> None:
    for failure, is_tried in ((REFUSED, True), (QUARANTINED, False)):
        waiting = Waiting()
        waiting.wire.answers["a.test"] = mx(OLD)
        waiting.wire.answers[f"{OLD} A"] = Answer(Status.FOUND, ("192.0.2.1",), 30.0)
        entries = await waiting.add("a.test")
        destination = waiting.only()
        destination.site.opening(destination, waiting.clock.at)
        destination.site.failed(destination, destination.targets, failure, waiting.clock.at, RelayRetry(first=900.0))
        waiting.wire.answers[f"{OLD} A"] = Answer(Status.FOUND, ("192.0.2.2",), 30.0)
        await waiting.after(62)
        assert (waiting.moved, list(destination.entries)) == ([], entries)
        assert [target.address for target in destination.targets] == ["192.0.2.2"]
        assert (waiting.wanted, destination.parked_until <= waiting.clock.at) == ([destination] * is_tried, is_tried)


async def test_what_one_host_cannot_take_stays_with_the_others_until_the_domain_names_others() -> None:
    waiting = Waiting()
    waiting.wire.answers["a.test"] = mx(OLD, "mx2.old.test")
    (entry,) = await waiting.add("a.test")
    route = waiting.router.fresh("a.test")
    assert isinstance(route, Route)
    others, _ = other_hosts(route, OLD)
    assert others is not None
    site, whole = waiting.sites[route.site], waiting.only()
    left = site.destination(others)
    left.put(whole.entries.popleft())
    await waiting.after(62)
    assert (waiting.moved, list(left.entries)) == ([], [entry])
    waiting.wire.answers["a.test"] = mx(OLD, NEW)
    await waiting.after(62)
    assert (waiting.moved, list(left.entries)) == ([entry], [])


async def test_a_failure_of_dns_moves_nothing_and_what_is_definite_does() -> None:
    waiting = Waiting()
    waiting.wire.answers["a.test"] = mx(OLD)
    entries = await waiting.add("a.test")
    # once what is known may not stand in for an answer any more
    waiting.clock.at += 2 * 86400
    waiting.wire.answers["a.test"] = Answer(Status.SERVFAIL)
    await waiting.after(62)
    assert waiting.moved == []
    waiting.wire.answers["a.test"] = mx(NEW)
    await waiting.after(62)
    assert waiting.moved == entries
    waiting.only().put(entries[0])
    waiting.wire.answers["a.test"] = Answer(Status.NXDOMAIN, (), 60.0)
    await waiting.after(100)
    assert waiting.moved == [*entries, entries[0]]


async def test_a_host_set_with_very_many_domains_is_walked_through_in_portions() -> None:
    waiting = Waiting()
    domains = [f"d{number}.test" for number in range(250)]
    waiting.wire.answers |= dict.fromkeys(domains, mx(OLD))
    await waiting.add(*domains)
    waiting.clock.at += 3600
    asked = len(waiting.wire.asked)
    counts = []
    for _ in range(4):
        for _ in range(10):  # a portion ends early while half of what may be under way is
            waiting.look.go_on(waiting.clock.at)
            await turns(lambda: not waiting.router.pending)
        counts.append(sum(name in waiting.wire.answers for name in waiting.wire.asked[asked:]))
    assert counts[-1] == 250
    waiting.look.go_on(waiting.clock.at)
    assert not waiting.router.pending


async def test_mail_without_a_route_comes_first_in_dns() -> None:
    waiting = Waiting()
    waiting.wire.answers["a.test"] = mx(OLD)
    await waiting.add("a.test")
    waiting.clock.at += 3600
    for number in range(200):
        waiting.wire.hanging.add(f"h{number}.test")
        assert waiting.router.route(f"h{number}.test", lambda _found: None) is None
    pending = waiting.router.pending
    waiting.look.go_on(waiting.clock.at)
    assert (pending, waiting.router.pending) == (200, 200)
    await waiting.router.close()


async def test_what_waits_for_a_dead_host_arrives_where_the_domain_has_moved_to() -> None:
    wire, hands, peer = Wire(), Hands(), Peer()
    here = f"127.{1 + os.getpid() // 65536 % 200}.{os.getpid() // 256 % 256}.{os.getpid() % 256}"  # port 25 is one
    wire.answers |= {"peer.test": mx(OLD), f"{OLD} A": Answer(Status.FOUND, ("127.0.1.81",), 30.0)}
    wire.answers[f"{NEW} A"] = Answer(Status.FOUND, (here,), 30.0)
    clock = Clock(SYSTEM_CLOCK.now, hands.monotonic)
    router = Router(make_config(), CachedLookups(wire, hands.monotonic), clock, Random(1))
    server = await asyncio.start_server(peer.serve, here, 25)
    async with server, delivering(routes=router, clock=clock, retry={"first": "1h", "max": "1h"}) as delivery:

        def route(entry: QueueEntry) -> None:
            found = router.route(entry.domain, lambda late: delivery.dispatcher.add(entry, late))  # type: ignore[arg-type]
            if isinstance(found, Route):
                delivery.dispatcher.add(entry, found)

        delivery.reroute = route
        await turns(lambda: isinstance(router.route("peer.test", lambda _found: None), Route))
        old = router.fresh("peer.test")
        assert isinstance(old, Route)
        for _ in range(10):
            delivery.send(old)
        await delivery.attempted(1)  # one is told, the others are parked for an hour
        wire.answers["peer.test"] = mx(NEW)
        hands.at += 31.0
        await delivery.attempted(10)
    assert len(peer.messages) == 9
