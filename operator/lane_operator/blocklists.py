"""Asks blocklists for the addresses of pools, again and again, and keeps what is known of each.

One task a pool, aimed by the passes over it, so that only who leads asks. What the answers mean is
`deliverability.dnsbl`'s to say. Invariants: nothing here writes to the Kubernetes API; so many questions are under way
at once and no more; a pool is only woken when what counts of it has changed; a list's key is in no log and no metric.
"""

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

import structlog
from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer, NoResolverConfiguration

from lane_api.dnsbl import Listing, shown
from lane_operator import metrics
from lane_operator.deliverability.dnsbl import (
    Answer,
    Standing,
    ZoneLook,
    decide,
    probes,
    query_name,
    remembered,
)
from lane_operator.inputs import Key

__all__ = ["Aim", "Ask", "Blocklists", "asker"]

AT_ONCE = 16
"""Questions under way, of all pools together."""
OF_ONE_POOL = 8
"""Of these, so that lists which answer slowly hold up no other pool's."""
MOST_CODES = 8
"""Of an answer; Spamhaus has at most five at once."""
ANSWERS_WITHIN_S = 6.0
"""Of a question, over all resolvers."""
IN_DOUBT_S = 300.0
"""How soon it is looked again, where a look has said otherwise: longer than lists let their answers be cached."""
BEGINS_WITHIN_S = 10.0
"""A pool's first look, so that all pools do not ask at once."""
APART_S = 60.0
"""Between two looks at least, also where a pool is changed again and again: one answer from a cache is not two."""

Ask = Callable[[str], Awaitable[Answer]]
"""A name -> its addresses."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Aim:
    """What is asked for a pool."""

    every_s: float
    lists: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Watched:
    """A pool's task and what it knows."""

    aim: Aim
    standing: Standing
    task: "asyncio.Task[None] | None" = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OF_ONE_POOL))
    is_asked: bool = False
    looked_at: float = -APART_S
    """By the monotonic clock."""


class Blocklists:
    """Looks for every pool's addresses in its lists."""

    def __init__(self, woken: Callable[[Key], None], ask: Ask, wall: Callable[[], dt.datetime]) -> None:
        """`woken` is called with a pool of which something else counts now."""
        self._woken = woken
        self._ask = ask
        self._wall = wall
        self._pools: dict[Key, _Watched] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def aim(self, pool: Key, aim: Aim | None, recorded: Mapping[str, Iterable[Listing]]) -> None:
        """Has a pool looked after, with what its status says of its addresses so far; None: no more."""
        watched = self._pools.get(pool)
        if aim is None:
            if watched is not None and watched.task is not None:
                watched.task.cancel()
            self._pools.pop(pool, None)
        elif watched is None:
            watched = self._pools[pool] = _Watched(aim, remembered(recorded, self._wall()))
            watched.task = asyncio.create_task(self._keep_looking(pool, watched), name=f"dnsbl {'/'.join(pool)}")
        elif watched.aim != aim:
            watched.aim = aim
            watched.wake.set()

    def standing(self, pool: Key) -> Standing | None:
        """What is known of a pool's addresses; None before its first look is over."""
        watched = self._pools.get(pool)
        return watched.standing if watched is not None and watched.is_asked else None

    async def close(self) -> None:
        """Asks no more."""
        tasks = [watched.task for watched in self._pools.values() if watched.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pools.clear()

    async def _keep_looking(self, pool: Key, watched: _Watched) -> None:
        await asyncio.sleep(min(watched.aim.every_s, BEGINS_WITHIN_S) * random.random())  # noqa: S311  # jitter
        while True:
            watched.wake.clear()
            try:
                await self._look(pool, watched)
            except Exception:  # the task's edge: the next look comes
                log.exception("blocklists not asked", pool="/".join(pool))
            watched.looked_at = time.monotonic()
            await self._wait(watched)

    async def _wait(self, watched: _Watched) -> None:
        """Until the next look is due, or another one is asked for."""
        every_s = watched.aim.every_s
        due_s = min(every_s, IN_DOUBT_S) if watched.standing.is_in_doubt else every_s
        try:
            async with asyncio.timeout(due_s * random.uniform(0.9, 1.1)):  # noqa: S311
                await watched.wake.wait()
                await asyncio.sleep(watched.looked_at + min(APART_S, watched.aim.every_s) - time.monotonic())
        except TimeoutError:
            return

    async def _look(self, pool: Key, watched: _Watched) -> None:
        aim, before = watched.aim, watched.standing
        families: dict[int, list[str]] = {}
        for address in aim.addresses:
            families.setdefault(ip_address(address).version, []).append(address)
        looks = await asyncio.gather(
            *(
                self._zone(watched.room, zone, family, its)
                for zone in aim.lists
                for family, its in sorted(families.items())
            )
        )
        watched.standing = decide(before, looks, self._wall())
        is_news = not watched.is_asked or _told(before) != _told(watched.standing)
        watched.is_asked = True
        if is_news:
            log.info("blocklists asked", pool="/".join(pool), broken=dict(watched.standing.broken))
            self._woken(pool)

    async def _zone(self, room: asyncio.Semaphore, zone: str, family: int, addresses: Iterable[str]) -> ZoneLook:
        """One list; one that does not answer at its test address is asked for no more."""
        listed, unlisted = [await self._answer(room, address, zone) for address in probes(family)]
        if listed.failure or not listed.codes:
            unasked = Answer(failure="it was not asked, since it does not work")
            return ZoneLook(zone, family, listed, unlisted, dict.fromkeys(addresses, unasked))
        found = await asyncio.gather(*(self._answer(room, address, zone) for address in addresses))
        return ZoneLook(zone, family, listed, unlisted, dict(zip(addresses, found, strict=True)))

    async def _answer(self, room: asyncio.Semaphore, address: str, zone: str) -> Answer:
        async with room, self._room:
            answer = await self._ask(query_name(address, zone))
        metrics.dnsbl_lookups.labels(list=shown(zone), result="failed" if answer.failure else "answered").inc()
        return answer


def asker(nameservers: Iterable[str], port: int = 53, within_s: float = ANSWERS_WITHIN_S) -> Ask:
    """Asks by these resolvers, or by those of /etc/resolv.conf where none are named; in another order each time."""
    named = list(nameservers)
    resolver = Resolver(configure=False)
    if named:
        resolver.nameservers = named
    else:
        with contextlib.suppress(NoResolverConfiguration):  # then every question fails, and is said to
            resolver.read_resolv_conf("/etc/resolv.conf")
    resolver.port = port
    resolver.rotate = True
    resolver.lifetime = within_s

    async def ask(name: str) -> Answer:
        try:
            found = await resolver.resolve(f"{name}.", "A")
        except (NXDOMAIN, NoAnswer):
            return Answer()
        except (DNSException, OSError) as error:
            return Answer(failure=type(error).__name__)  # its text has the name that was asked for, and so a key
        return Answer(tuple(sorted(record.address for record in found))[:MOST_CODES])

    return ask


def _told(standing: Standing) -> object:
    """What a pool's status says of it."""
    counting = {key: one.listing for key, one in standing.known.items() if one.counts}
    return counting, standing.broken, standing.without_ipv6
