"""Campaigns take turns in being looked up: one with a domain for each of its messages holds up no other."""

import asyncio
from random import Random

from lane_relay.clock import Clock
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.router import Destination, Router
from tests.lane_relay.resolve.test_cache_and_router import Hands, Wire, config, turns


def _router(wire: Wire) -> Router:
    hands = Hands()
    return Router(config(), CachedLookups(wire, hands.monotonic), Clock(lambda: 0.0, hands.monotonic), Random(1))


async def test_the_domains_of_a_small_campaign_are_looked_up_among_those_of_a_large_one() -> None:
    wire, routed = Wire(), list[str]()
    router = _router(wire)
    for number in range(3000):
        router.route(f"large{number}.test", lambda _route: routed.append("large"), "large")
    for number in range(20):
        router.route(f"small{number}.test", lambda _route: routed.append("small"), "small")
    await turns(lambda: routed.count("small") == 20)
    assert routed.count("large") < 500
    await router.close()


async def test_a_domain_that_two_campaigns_wait_for_comes_in_the_turn_of_the_first_and_is_asked_once() -> None:
    wire, routed = Wire(), list[str]()
    router = _router(wire)
    names = [f"d{number}.test" for number in range(3000)]
    for name in names:
        router.route(name, lambda _route: routed.append("large"), "large")

    def heard(_route: Destination) -> None:
        routed.append("small")

    for _ in range(3):
        router.route(names[-1], heard, "small")
    await turns(lambda: routed.count("small") == 3)
    assert routed.count("large") < 500
    await turns(lambda: router.pending == 0)
    assert wire.asked.count(names[-1]) == 1
    assert routed.count("large") == 3000
    assert not router._asked_by
    await asyncio.sleep(0)
    await router.close()
