"""From a recipient domain to its route: at once from memory, or in the background within bounds.

Before it: the pipeline, with entries that are due. After it: `deliver`. Invariants: a route is asked for once however
many entries wait for it; lookups that have not been answered for a second no longer count among those that keep others
waiting, so that dead domains hold up nobody.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig, RelayRoute
from lane_relay.clock import Clock
from lane_relay.guard import report
from lane_relay.records import WAY_OUT, Hop, Reply, Route, Unroutable
from lane_relay.resolve.answers import Answer, Family, Lookups
from lane_relay.resolve.cache import TtlCache
from lane_relay.resolve.families import families_of
from lane_relay.resolve.mx import Ourselves, choose_hosts, make_hops, other_family_only
from lane_relay.resolve.protection import Protection
from lane_relay.resolve.site_name import SiteNames
from lane_relay.resolve.sts_policy import StsPolicy
from lane_relay.turns import Turns

__all__ = ["Destination", "Router"]

_log = logging.getLogger(__name__)

Destination = Route | Unroutable
Callback = Callable[[Destination], None]

_QUICK_S: Final = 1.0
"""A lookup that takes longer counts as slow: most resolvers answer within 0.5 s or not at all."""
_MAX_QUICK: Final = 128
_MAX_SLOW: Final = 2048
"""Together with a lookup's end after some 10 s, 200 dead domains a second may come and nobody waits."""
_NO_CAMPAIGN: Final = "\n"
"""Whose turn such a lookup takes; no campaign has a line end in its name."""
_MAX_ROUTES: Final = 10_000
"""Some 700 bytes each; of more domains those that nobody asked for longest are looked up anew."""
_UNROUTABLE_S: Final = 30.0
"""How long a failure is given to everybody who asks; the DNS cache may know better afterwards."""
_REFRESH_S: Final = 60.0
"""A route that expired no longer ago than this still serves while it is looked up anew: longer than any lookup takes
(a dead resolver then stops no busy domain), too short to matter to the owner of the records."""

_PORTION: Final = 200
"""Entries that are called back in one turn of the loop: a millisecond or two."""


class Router:
    """Routes by domain. `lookups` is the cached resolver."""

    def __init__(
        self,
        config: RelayConfig,
        lookups: Lookups,
        clock: Clock,
        random: Random,
        protection: Protection | None = None,
    ) -> None:
        """`protection`: what is published about TLS; absent: nobody looks."""
        self._protection = protection or Protection()
        self._lookups = lookups
        self._clock = clock
        self._random = random
        self._routes: TtlCache[str, Destination] = TtlCache(_MAX_ROUTES)
        self._callbacks: dict[str, list[Callback]] = {}
        self._asked_by: dict[str, str] = {}
        """Domain that waits to be looked up -> the campaign that asked last."""
        self._waiting: Turns[str] = Turns()
        """Domains to be looked up; one that several campaigns wait for has a place for each."""
        self._quick: dict[str, float] = {}
        """Domain -> when its resolution began; in that order."""
        self._slow: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._generation = 0
        """Of the configuration: what was looked up under another one is no answer."""
        self.resolved = 0
        self.unroutable = 0
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """Another configuration from now on: sites, fixed routes, our own name and address family."""
        self._sites = SiteNames(config.delivery.policies)
        self._fixed = config.delivery.routes
        ways = [way for way in (config.egress, config.egress.second) if way is not None]
        own = [str(one) for way in ways for one in (way.address, way.source) if one is not None]
        self._ourselves = Ourselves(config.slot.hostname, own)
        self._families = families_of(config)
        self._protection.apply(config, self._ourselves)
        self._generation += 1
        self._routes.clear()

    @property
    def pending(self) -> int:
        """Domains whose route is not known yet."""
        return len(self._callbacks)

    def route(self, domain: str, then: Callback, campaign: str = "") -> Destination | None:
        """The route if it is known; else None, and `then` is called with it later, in the turn of this campaign."""
        known = self._routes.get(domain, self._clock.monotonic())
        if known is not None:
            return known
        callbacks = self._callbacks.get(domain)
        expired = self._routes.get_expired(domain, self._clock.monotonic(), _REFRESH_S)
        serves = expired if isinstance(expired, Route) else None
        if callbacks is None:
            callbacks = self._begin(domain, campaign)
        elif self._asked_by.get(domain, campaign) != campaign:
            self._asked_by[domain] = campaign
            self._waiting.append(campaign, domain)
        if serves is None:
            callbacks.append(then)
        return serves

    def _begin(self, domain: str, campaign: str) -> list[Callback]:
        callbacks = self._callbacks[domain] = []
        self._asked_by[domain] = campaign
        self._waiting.append(campaign, domain)
        self._start()
        return callbacks

    def ask(self, domain: str, then: Callback) -> bool:
        """For mail that has a route: `then` is called with what DNS says by now; False: not now, half of what may be
        under way is left to mail that has none."""
        callbacks = self._callbacks.get(domain)
        if callbacks is None:
            if self._waiting or len(self._quick) >= _MAX_QUICK // 2 or len(self._slow) >= _MAX_SLOW // 2:
                return False
            callbacks = self._begin(domain, _NO_CAMPAIGN)
        callbacks.append(then)
        return True

    def fresh(self, domain: str) -> Destination | None:
        """The route if it is known and has not expired; nothing is asked."""
        return self._routes.get(domain, self._clock.monotonic())

    def known(self, domain: str) -> Destination | None:
        """The route of the last lookup, be it expired; None: none is in memory."""
        return self._routes.get_expired(domain, self._clock.monotonic())

    def sts_policy(self, domain: str) -> StsPolicy | None:
        """The domain's MTA-STS policy in force, without asking anybody."""
        return self._protection.sts_policy(domain)

    def is_looked_up(self, domain: str) -> bool:
        """Its mail waits for DNS now."""
        return domain in self._callbacks

    async def close(self) -> None:
        """Gives up what is under way; nobody is called back any more."""
        self._callbacks.clear()
        self._asked_by.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._protection.close()

    # -- the background

    def _start(self) -> None:
        """Begins as many resolutions as the bounds allow."""
        now = self._clock.monotonic()
        while self._quick and len(self._slow) < _MAX_SLOW:
            domain, began = next(iter(self._quick.items()))
            if now - began < _QUICK_S:
                break
            del self._quick[domain]
            self._slow.add(domain)
        while self._waiting and len(self._quick) < _MAX_QUICK:
            domain = self._waiting.popleft()
            if self._asked_by.pop(domain, None) is None:
                continue  # begun in another campaign's turn
            self._quick[domain] = now
            task = asyncio.get_running_loop().create_task(self._resolve(domain))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(report)
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_QUICK_S / 4, self._start_again)

    def _start_again(self) -> None:
        self._timer = None
        self._start()

    async def _resolve(self, domain: str) -> None:
        try:
            destination, ttl = await self._find_current(domain)
        except Exception:  # noqa: BLE001 -- a task's edge: what strangers publish must not make their domain wait for ever
            _log.exception("domain %s cannot be resolved", domain)
            reply = Reply(451, (f"4.4.3 What DNS says of {domain} cannot be used",))
            destination, ttl = Unroutable(reply, Category.DNS_FAILURE), _UNROUTABLE_S
        self._quick.pop(domain, None)
        self._slow.discard(domain)
        self.resolved += 1
        self.unroutable += isinstance(destination, Unroutable)
        self._routes.put(domain, destination, self._clock.monotonic() + ttl)
        waiting = self._callbacks.pop(domain, [])
        self._start()
        await self._call_back(domain, destination, waiting)

    async def _call_back(self, domain: str, destination: Destination, waiting: list[Callback]) -> None:
        """All that waited for the domain, a portion in each turn of the loop: after a silence of DNS it may be most."""
        generation = self._generation
        for number, callback in enumerate(waiting, 1):
            now: Destination | None = destination
            if generation != self._generation:  # another configuration came between two portions
                now = self.route(domain, callback)
            if now is not None:
                callback(now)
            if number % _PORTION == 0:
                await asyncio.sleep(0)

    async def _find_current(self, domain: str) -> tuple[Destination, float]:
        """By the configuration that is in force when the answer is there, not when it was asked for."""
        while True:
            generation = self._generation
            found = await self._find(domain)
            if generation == self._generation:
                return found

    async def _find(self, domain: str) -> tuple[Destination, float]:
        fixed = next((route for route in self._fixed if _takes(route, domain)), None)
        if fixed is not None:
            return await self._find_fixed(fixed)
        mx = await self._lookups.mx(domain)
        hosts = choose_hosts(domain, mx, self._random, self._ourselves.hostname)
        if isinstance(hosts, Unroutable):
            return hosts, _UNROUTABLE_S
        answers = await self._addresses(hosts)
        hops = make_hops(domain, hosts, answers, self._ourselves, mx.records)
        if isinstance(hops, Unroutable):
            return await self._by_the_other_family(domain, hosts, hops), _UNROUTABLE_S
        protected = await self._protection.of(domain, hops)
        if isinstance(protected, Unroutable):
            return protected, _UNROUTABLE_S
        site, policy = self._sites.site(domain, hosts)
        ttl = min(_shortest(answers, mx.ttl), max(protected.ttl, 1.0))
        return Route(site, policy, protected.hops, demands=protected.demands), ttl

    async def _by_the_other_family(self, domain: str, hosts: Sequence[str], why: Unroutable) -> Unroutable:
        """A domain that only an address of the other family reaches is not undeliverable for ever."""
        missing = [family for family in Family if family not in self._families]
        if not missing or not why.reply.is_permanent or why.category is not Category.BAD_DOMAIN:
            return why
        found = await asyncio.gather(*[self._lookups.addresses(host, missing[0]) for host in hosts])
        return other_family_only(domain, missing[0]) if any(answer.records for answer in found) else why

    async def _find_fixed(self, fixed: RelayRoute) -> tuple[Destination, float]:
        """A smart host: an address, or a name whose addresses are looked up; no MX."""
        host = fixed.host.lower()
        hops: tuple[Hop, ...] = ()
        ttl = _UNROUTABLE_S
        if _is_address(host):
            hops = (Hop(host.strip("[]"), (host.strip("[]"),)),)
        else:
            answers = await self._addresses((host,))
            found = tuple(address for answer in answers[host] for address in answer.records)
            if found:
                hops, ttl = (Hop(host, found),), _shortest(answers, 0.0)
        if not hops:
            # always temporary: a smart host without an address is a mistake of ours, not of the recipient
            reply = Reply(451, (f"4.4.3 The fixed route's host {host} has no address",))
            return Unroutable(reply, Category.BAD_CONFIGURATION), ttl
        # a lane that asks every site for a proof has no MX here to ask: the certificate has to carry the host's name
        tls = fixed.tls or ("Required" if self._protection.asks_for_proof else "")
        _, policy = self._sites.site("", (host,))  # as an MX set of one; whose domain it is says nothing of the host
        site = WAY_OUT if fixed.hands_over else policy or f"route:{host}"
        return Route(site, policy, hops, fixed.port, tls, fixed.auth_dir or ""), ttl

    async def _addresses(self, hosts: Sequence[str]) -> dict[str, list[Answer[str]]]:
        """Of each host, one answer a family; all asked at once."""
        questions = [(host, family) for host in hosts for family in self._families]
        found = await asyncio.gather(*[self._lookups.addresses(host, family) for host, family in questions])
        answers: dict[str, list[Answer[str]]] = {host: [] for host in hosts}
        for (host, _), answer in zip(questions, found, strict=True):
            answers[host].append(answer)
        return answers


def _takes(route: RelayRoute, domain: str) -> bool:
    """`*` takes all, `*.example.com` what lies below, a name itself."""
    return any(
        pattern in ("*", domain) or (pattern.startswith("*.") and domain.endswith(pattern[1:]))
        for pattern in map(str.lower, route.domains)
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _shortest(answers: dict[str, list[Answer[str]]], ttl: float) -> float:
    """The life of a route: of the shortest-lived record in it."""
    lives = [answer.ttl for found in answers.values() for answer in found if answer.records]
    return max(min([*lives, ttl] if ttl else lives), 1.0)
