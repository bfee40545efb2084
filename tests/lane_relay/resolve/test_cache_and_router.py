"""The cache's promises and the router's bounds, with answers handed in and a clock that is turned by hand."""

import asyncio
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.records import WAY_OUT, Route, Unroutable
from lane_relay.resolve.answers import Answer, Family, MxRecord, Status
from lane_relay.resolve.cache import CachedLookups, TtlCache
from lane_relay.resolve.router import Destination, Router


class Hands:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        """Now."""
        return self.at


class Wire:
    """Answers that the test decides; a name in `hanging` is never answered."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer[Any]] = {}
        self.asked: list[str] = []
        self.hanging: set[str] = set()

    async def mx(self, name: str) -> Answer[MxRecord]:
        """As set; else one host."""
        return await self._answer(name, Answer(Status.FOUND, (MxRecord(10, "mx.isp.test"),), 300.0))

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        """As set; else one address."""
        return await self._answer(f"{name} {family.value}", Answer(Status.FOUND, ("192.0.2.1",), 60.0))

    async def txt(self, name: str) -> Answer[str]:
        """As set."""
        return await self._answer(name, Answer(Status.NXDOMAIN))

    async def _answer(self, key: str, default: Answer[Any]) -> Answer[Any]:
        self.asked.append(key)
        await asyncio.sleep(0)
        if key in self.hanging:
            await asyncio.Event().wait()
        return self.answers.get(key, default)


class _Heaps(Wire):
    """As many records as an answer has room for, each time others."""

    async def _answer(self, key: str, default: Answer[Any]) -> Answer[Any]:
        if key.startswith("_mta-sts"):
            return Answer(Status.FOUND, tuple(f"{key}{number:0200}" for number in range(300)), 300.0)
        if key.startswith("mx."):
            return Answer(Status.FOUND, tuple(f"{key}{number}" for number in range(2000)), 300.0)
        return Answer(Status.FOUND, tuple(MxRecord(number, f"{key}{number}") for number in range(2000)), 300.0)


def config(**delivery: Any) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.sender.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": {"source": "192.0.2.9"},
            "delivery": delivery,
        }
    )


async def turns(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds; fails after many turns."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


def test_a_value_is_gone_when_it_expires_and_may_be_had_for_a_grace() -> None:
    cache: TtlCache[str, int] = TtlCache(10)
    cache.put("a", 1, 5.0)
    assert (cache.get("a", 4.9), cache.get("a", 5.0)) == (1, None)
    assert (cache.left("a", 2.0), cache.left("a", 6.0), cache.left("b", 2.0)) == (3.0, 0.0, 0.0)
    assert (cache.get_expired("a", 14.0, 10.0), cache.get_expired("a", 15.0, 10.0)) == (1, None)


def test_a_cache_stays_within_its_bound() -> None:
    cache: TtlCache[int, int] = TtlCache(3)
    for number in range(10):
        cache.put(number, number, 5.0)
    assert len(cache) == 3
    assert [cache.get(number, 0.0) for number in (6, 7, 8, 9)] == [None, 7, 8, 9]


def test_what_is_asked_for_stays_and_what_nobody_wants_goes_first() -> None:
    cache: TtlCache[int, int] = TtlCache(3)
    for number in range(3):
        cache.put(number, number, 5.0)
    cache.get(0, 0.0)
    cache.get_expired(1, 6.0, 10.0)
    cache.put(3, 3, 5.0)
    assert [cache.get(number, 0.0) for number in range(4)] == [0, 1, None, 3]


def test_what_is_heavy_makes_room_by_its_weight() -> None:
    cache: TtlCache[int, int] = TtlCache(100, 10)
    for number in range(10):
        cache.put(number, number, 5.0, 4)
    assert ([cache.get(number, 0.0) for number in (7, 8, 9)], cache.weight) == ([None, 8, 9], 8)
    cache.put(9, 9, 5.0, 6)
    assert ([cache.get(number, 0.0) for number in (8, 9)], cache.weight) == ([8, 9], 10)
    cache.put(10, 10, 5.0, 99)
    assert (len(cache), cache.get(10, 0.0), cache.weight) == (1, 10, 99)
    cache.clear()
    assert cache.weight == 0


async def test_names_with_thousands_of_records_take_no_more_memory_than_others() -> None:
    lookups = CachedLookups(_Heaps(), Hands().monotonic, max_bytes=2**20)
    tracemalloc.start()
    try:
        for number in range(60):
            await lookups.txt(f"_mta-sts.d{number}.test")
            await lookups.addresses(f"mx.d{number}.test", Family.V6)
            await lookups.mx(f"d{number}.test")
        assert tracemalloc.get_traced_memory()[0] < 3 * 2**20  # of 30 MB
    finally:
        tracemalloc.stop()


async def test_a_name_that_many_ask_for_is_asked_once() -> None:
    wire = Wire()
    lookups = CachedLookups(wire, Hands().monotonic)
    answers = await asyncio.gather(*[lookups.mx("a.test") for _ in range(50)])
    assert wire.asked == ["a.test"]
    assert len(set(answers)) == 1
    await lookups.mx("a.test")
    assert (wire.asked, lookups.misses) == (["a.test"], 1)


async def test_a_caller_that_gives_up_does_not_take_the_answer_from_the_others() -> None:
    wire = Wire()
    lookups = CachedLookups(wire, Hands().monotonic)
    first = asyncio.create_task(lookups.mx("a.test"))
    second = asyncio.create_task(lookups.mx("a.test"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status is Status.FOUND


async def test_ttls_are_kept_between_their_bounds() -> None:
    wire, clock = Wire(), Hands()
    lookups = CachedLookups(wire, clock.monotonic)
    wire.answers["short.test"] = Answer(Status.FOUND, (MxRecord(1, "a"),), 0.0)
    wire.answers["long.test"] = Answer(Status.FOUND, (MxRecord(1, "a"),), 1e6)
    assert (await lookups.mx("short.test")).ttl == 30.0
    assert (await lookups.mx("long.test")).ttl == 3600.0
    clock.at += 31.0
    await lookups.mx("short.test")
    await lookups.mx("long.test")
    assert wire.asked == ["short.test", "long.test", "short.test"]


async def test_an_answer_from_the_cache_has_the_time_that_is_left_of_it() -> None:
    wire, clock = Wire(), Hands()
    lookups = CachedLookups(wire, clock.monotonic)
    wire.answers["long.test"] = Answer(Status.FOUND, (MxRecord(1, "a"),), 1e6)
    await lookups.mx("long.test")
    clock.at += 3000.0
    assert (await lookups.mx("long.test")).ttl == 600.0


async def test_a_route_made_anew_from_the_cache_ends_with_the_answers_it_is_made_of() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    wire.answers["moves.test"] = Answer(Status.FOUND, (MxRecord(1, "old.test"),), 86_400.0)
    for family in Family:
        wire.answers[f"old.test {family.value}"] = Answer(Status.FOUND, ("192.0.2.1",), 86_400.0)
    await _route(router, "moves.test")
    clock.at += 3000.0
    router.apply(config())  # as every push does: all routes are looked up again, from the cache
    assert isinstance(await _route(router, "moves.test"), Route)
    wire.answers["moves.test"] = Answer(Status.FOUND, (MxRecord(1, "new.test"),), 86_400.0)
    clock.at += 601.0
    await _route(router, "moves.test")  # still the old one, at most once: it is looked up beside
    await turns(lambda: router.pending == 0)
    found = await _route(router, "moves.test")
    assert isinstance(found, Route)
    assert found.site == "new.test"


async def test_an_outage_never_stretches_a_stale_answer_beyond_its_day() -> None:
    wire, clock = Wire(), Hands()
    lookups = CachedLookups(wire, clock.monotonic)
    await lookups.mx("a.test")
    wire.answers["a.test"] = Answer(Status.SERVFAIL)
    for _ in range(60):  # every half hour
        clock.at += 1800.0
        last = await lookups.mx("a.test")
    assert last.status is Status.SERVFAIL


async def test_an_outage_serves_the_stale_answer_and_a_definite_one_replaces_it() -> None:
    wire, clock = Wire(), Hands()
    lookups = CachedLookups(wire, clock.monotonic)
    await lookups.mx("a.test")
    clock.at += 400.0
    wire.answers["a.test"] = Answer(Status.SERVFAIL)
    stale = await lookups.mx("a.test")
    assert (stale.status, stale.ttl, lookups.stale_served) == (Status.FOUND, 30.0, 1)
    await lookups.mx("a.test")
    assert len(wire.asked) == 2  # the outage is not asked about again at once
    clock.at += 31.0
    wire.answers["a.test"] = Answer(Status.NXDOMAIN, (), 60.0)
    assert (await lookups.mx("a.test")).status is Status.NXDOMAIN
    clock.at += 90_000.0
    wire.answers["a.test"] = Answer(Status.TIMEOUT)
    assert (await lookups.mx("a.test")).status is Status.TIMEOUT


def _router(wire: Wire, clock: Hands, **delivery: Any) -> Router:
    lookups = CachedLookups(wire, clock.monotonic)
    return Router(config(**delivery), lookups, Clock(clock.monotonic, clock.monotonic), Random(1))


async def _route(router: Router, domain: str) -> Destination:
    found: list[Destination] = []
    known = router.route(domain, found.append)
    if known is not None:
        return known
    await turns(lambda: bool(found))
    return found[0]


async def test_a_known_route_is_given_at_once() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    first = await _route(router, "a.test")
    assert isinstance(first, Route)
    assert (first.site, first.policy, first.port) == ("mx.isp.test", "", 25)
    assert router.route("a.test", lambda _: None) is first
    assert wire.asked == ["a.test", "mx.isp.test A"]  # only the family of our own address
    await router.close()


async def test_a_fresh_route_is_one_that_is_known_and_asking_for_it_begins_no_lookup() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    assert router.fresh("a.test") is None
    assert (router.pending, wire.asked) == (0, [])

    route = await _route(router, "a.test")

    assert router.fresh("a.test") is route
    clock.at += 86_400.0
    assert router.fresh("a.test") is None
    assert router.pending == 0


async def test_an_expired_route_still_serves_while_it_is_looked_up_anew() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    first = await _route(router, "a.test")
    clock.at += 61.0
    wire.hanging.add("mx.isp.test A")
    assert router.route("a.test", lambda _: None) is first
    clock.at += 61.0
    assert router.route("a.test", lambda _: None) is None
    await router.close()


async def test_a_flood_of_dead_domains_holds_up_nobody() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    for number in range(1000):
        wire.hanging.add(f"dead-{number}.test")
        router.route(f"dead-{number}.test", lambda _: None)
    found: list[Destination] = []
    router.route("alive.test", found.append)
    for _ in range(10):
        clock.at += 1.1
        router.route(f"another-{clock.at}.test", lambda _: None)  # any event looks at the bounds again
        await asyncio.sleep(0)
    await turns(lambda: bool(found))
    assert isinstance(found[0], Route)
    assert router.pending >= 1000
    await router.close()


async def test_every_waiting_entry_hears_of_the_one_resolution() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    heard: list[Destination] = []
    for _ in range(30):
        assert router.route("a.test", heard.append) is None
    await turns(lambda: len(heard) == 30)
    assert wire.asked.count("a.test") == 1
    await router.close()


async def test_what_waited_for_one_domain_goes_on_in_portions_and_by_the_configuration_of_its_turn() -> None:
    clock = Hands()
    router = _router(Wire(), clock)
    heard: list[Destination] = []
    for _ in range(1000):
        assert router.route("d.test", heard.append) is None
    sizes = [0]
    while len(heard) < 1000:
        await asyncio.sleep(0)
        sizes.append(len(heard))
        if sizes[-1] and not sizes[-2]:
            router.apply(config(policies=[{"name": "isp", "mx": ["*.isp.test"]}]))
    assert max(now - before for before, now in pairwise(sizes)) < 500
    routes = [one.policy for one in heard if isinstance(one, Route)]
    assert (len(routes), routes[0], routes[-1]) == (1000, "", "isp")


async def test_an_answer_that_trips_us_defers_its_domain_and_no_other() -> None:
    wire = Wire()
    wire.answers["odd.test"] = Answer(Status.FOUND, (MxRecord(10, "mx.odd.test"),), 300.0)
    wire.answers["mx.odd.test A"] = Answer(Status.FOUND, ("no address",), 60.0)
    router = _router(wire, Hands())
    found = await asyncio.wait_for(_route(router, "odd.test"), 10)
    assert isinstance(found, Unroutable)
    assert not found.reply.is_permanent
    assert isinstance(await asyncio.wait_for(_route(router, "sound.test"), 10), Route)
    await router.close()


async def test_fixed_routes_come_before_mx_and_the_first_that_fits_wins() -> None:
    wire, clock = Wire(), Hands()
    routes = [
        {"domains": ["exact.test", "*.below.test"], "host": "192.0.2.50", "port": 2525, "tls": "None"},
        {"domains": ["*"], "host": "Smart.Host.test", "tls": "Required", "authDir": "/secrets/smart"},
    ]
    router = _router(wire, clock, routes=routes)
    exact = await _route(router, "exact.test")
    below = await _route(router, "a.below.test")
    other = await _route(router, "below.test")
    assert isinstance(exact, Route)
    assert isinstance(other, Route)
    assert (exact.site, exact.port, exact.tls, exact.hops[0].addresses) == (
        "route:192.0.2.50", 2525, "None", ("192.0.2.50",),
    )  # fmt: skip
    assert isinstance(below, Route)
    assert below.site == exact.site
    assert (other.site, other.tls, other.auth_dir) == ("route:smart.host.test", "Required", "/secrets/smart")
    assert not any(name.startswith(("exact", "below")) for name in wire.asked)
    await router.close()


async def test_the_way_out_is_a_site_of_its_own_with_the_pace_of_its_policy() -> None:
    policies = [{"name": "relayhost", "mx": ["192.0.2.50"], "messageRate": "14/s"}]
    routes = [{"domains": ["*"], "host": "192.0.2.50", "handsOver": True}]
    router = _router(Wire(), Hands(), routes=routes, policies=policies)
    found = await _route(router, "any.test")
    assert isinstance(found, Route)
    assert (found.site, found.policy) == (WAY_OUT, "relayhost")
    await router.close()


async def test_a_smart_host_is_held_to_the_policy_that_its_name_matches_and_not_to_that_of_the_domain() -> None:
    wire, clock = Wire(), Hands()
    policies = [
        {"name": "named", "domains": ["a.test"]},
        {"name": "relayhost", "mx": ["*.relay.test"], "messageRate": "14/s"},
    ]
    routes = [
        {"domains": ["a.test"], "host": "SMTP.Relay.test", "port": 587},
        {"domains": ["*"], "host": "192.0.2.50"},
    ]
    router = _router(wire, clock, routes=routes, policies=policies)
    matched = await _route(router, "a.test")
    other = await _route(router, "b.test")
    assert isinstance(matched, Route)
    assert isinstance(other, Route)
    assert (matched.site, matched.policy, matched.port) == ("relayhost", "relayhost", 587)
    assert (other.site, other.policy) == ("route:192.0.2.50", "")
    await router.close()


async def test_a_smart_host_without_an_address_never_bounces() -> None:
    wire, clock = Wire(), Hands()
    wire.answers["smart.test A"] = Answer(Status.NXDOMAIN)
    router = _router(wire, clock, routes=[{"domains": ["*"], "host": "smart.test"}])
    outcome = await _route(router, "a.test")
    assert isinstance(outcome, Unroutable)
    assert not outcome.reply.is_permanent
    await router.close()


async def test_a_new_policy_gives_known_domains_their_new_site() -> None:
    wire, clock = Wire(), Hands()
    router = _router(wire, clock)
    await _route(router, "a.test")
    router.apply(config(policies=[{"name": "isp", "mx": ["*.isp.test"]}]))
    route = await _route(router, "a.test")
    assert isinstance(route, Route)
    assert (route.site, route.policy) == ("isp", "isp")
    assert wire.asked.count("a.test") == 1  # DNS need not be asked again
    await router.close()


async def test_a_lookup_under_way_ends_by_the_configuration_of_its_end() -> None:
    wire, clock, found = Wire(), Hands(), list[Destination]()
    router = _router(wire, clock)
    assert router.route("customer.test", found.append) is None
    await turns(lambda: bool(wire.asked))
    router.apply(config(routes=[{"domains": ["*"], "host": "192.0.2.77"}]))
    await turns(lambda: bool(found))
    (route,) = found
    assert isinstance(route, Route)
    assert route.hops[0].addresses == ("192.0.2.77",)
    assert router.route("customer.test", found.append) == route
