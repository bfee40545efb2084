"""The MTA-STS policies that are known: asked for at the first mail to a domain, kept for their max_age, also on disk.

Before it: `protection`. After it: the cached lookups (TXT), `sts_fetch` (HTTPS) and `sts_store`.
Invariants: a policy that was had is in force until its max_age, whatever vanishes in the meantime (RFC 8461 section
10.2), unless so many are had that it makes room; nothing is fetched before the egress address is proved; one fetch at a
time for a domain.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from lane_relay.clock import Clock
from lane_relay.records import TlsFailure
from lane_relay.resolve.answers import Lookups
from lane_relay.resolve.cache import TtlCache
from lane_relay.resolve.sts_fetch import FetchFailure
from lane_relay.resolve.sts_policy import StsPolicy, read_policy, read_record
from lane_relay.resolve.sts_store import PolicyStore

__all__ = ["Fetcher", "StsAnswer", "StsPolicies"]

_log = logging.getLogger(__name__)

_AGAIN_S: Final = 300.0
"""A fetch that failed is not repeated for the same id before (RFC 8461 section 3.3: five minutes or longer)."""
_REFRESH_AFTER_S: Final = 86_400.0
"""Policies in use are fetched anew every day, or at half of a shorter max_age, long before they end (section 10.2)."""
_TEND_EVERY_S: Final = 30.0
"""How often what changed is written, and what is due is refreshed."""
_PATIENCE_S: Final = 60.0
"""So long the first mail to a domain waits here for the egress proof; then its schedule takes it back."""
_MAX_FAILED: Final = 10_000
_REFRESHED_AT_ONCE: Final = 16
"""Every 30 s: 46,000 a day, more than there can be."""


class Fetcher(Protocol):
    """Who has the policies' texts."""

    async def fetch(self, domain: str) -> str | FetchFailure:
        """The text of a domain's policy, or why there is none."""


class StsAnswer(Struct, frozen=True, gc=False):
    """What is known of one domain."""

    policy: StsPolicy | None = None
    """In force; None: none, or one with mode none."""
    problem: TlsFailure = TlsFailure.NONE
    """Why there is no policy although one is announced, or why an announced change of it is not in force."""
    ttl: float = float("inf")
    """Seconds for which this may be believed."""
    held: bool = False
    """It cannot be asked for before the egress address is proved."""


class StsPolicies:
    """Of one slot. `run` must run for refreshes and for the file."""

    def __init__(
        self, lookups: Lookups, fetcher: Fetcher, clock: Clock, may_leave: Callable[[], bool], file: Path | None
    ) -> None:
        """`file`: where policies outlive the process; it is read now."""
        self._lookups = lookups
        self._fetcher = fetcher
        self._clock = clock
        self._may_leave = may_leave
        self._known = PolicyStore(file, clock.now())
        self._used: set[str] = set()
        """Domains asked for since their policy was fetched."""
        self._failed: TtlCache[str, tuple[str, TlsFailure]] = TtlCache(_MAX_FAILED)
        self._under_way: dict[str, asyncio.Task[StsAnswer]] = {}
        self._opened = asyncio.Event()
        self.fetched = self.failed = 0

    def known(self, domain: str) -> StsPolicy | None:
        """The policy in force, without asking anybody."""
        policy = self._known.get(domain)
        return policy if policy is not None and policy.expires_at > self._clock.now() else None

    def id_of(self, domain: str) -> str:
        """The id of the policy in force, or an empty string."""
        policy = self.known(domain)
        return policy.id if policy is not None else ""

    def opened(self) -> None:
        """The egress address is proved: what waited may leave."""
        self._opened.set()

    async def of(self, domain: str) -> StsAnswer:
        """What the domain asks for, after a look at its TXT record."""
        answer = await self._lookups.txt(f"_mta-sts.{domain}")
        announced = read_record(answer.records)
        policy = self.known(domain)
        if policy is not None:
            self._used.add(domain)
            self._known.use(domain)
        if not announced:
            # that nothing is announced must not make every route as short-lived as that answer
            return _answer(policy, float("inf") if answer.is_definite else _AGAIN_S)
        if policy is not None and policy.id == announced:
            return _answer(policy, answer.ttl)
        failed = self._failed.get(domain, self._clock.monotonic())
        if failed is not None and failed[0] == announced:
            return _answer(policy, _AGAIN_S, failed[1])
        return await self._fetch_once(domain, announced, answer.ttl)

    async def run(self) -> None:
        """Refreshes what is in use and writes what has changed, for ever."""
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            await self.refresh()
            await self.save()

    async def refresh(self) -> None:
        """Fetches anew what is in use and old; where the TXT record is gone the policy is left to end."""
        now = self._clock.now()
        self._used = {domain for domain in self._used if self._known.get(domain) is not None}
        due = [domain for domain in self._used if (known := self._known.get(domain)) and _is_old(known, now)]
        if self._may_leave():
            await asyncio.gather(*[self._refresh_one(domain) for domain in due[:_REFRESHED_AT_ONCE]])

    async def _refresh_one(self, domain: str) -> None:
        self._used.discard(domain)
        announced = read_record((await self._lookups.txt(f"_mta-sts.{domain}")).records)
        if announced and self._failed.get(domain, self._clock.monotonic()) is None:
            await self._fetch_once(domain, announced, 0.0)

    async def save(self) -> None:
        """Writes the policies beside the spool, if there is anything new; a volume that is full costs nothing else."""
        content = self._known.to_save(self._clock.now())
        if content is None:
            return
        try:
            await asyncio.to_thread(self._known.write, content)
        except OSError as error:
            _log.warning("MTA-STS policies are kept in memory alone: %s", error)

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.save()

    # -- fetching

    async def _fetch_once(self, domain: str, announced: str, ttl: float) -> StsAnswer:
        task = self._under_way.get(domain)
        if task is None:
            task = asyncio.create_task(self._fetch(domain, announced, ttl))
            self._under_way[domain] = task
            task.add_done_callback(lambda _: self._under_way.pop(domain, None))
        return await asyncio.shield(task)

    async def _fetch(self, domain: str, announced: str, ttl: float) -> StsAnswer:
        if not await self._leave():
            return StsAnswer(self.known(domain), held=True)
        text = await self._fetcher.fetch(domain)
        if isinstance(text, FetchFailure):
            return self._miss(domain, announced, text)
        policy = read_policy(text, announced, self._clock.now())
        if isinstance(policy, str):
            return self._miss(domain, announced, FetchFailure(TlsFailure.STS_INVALID, policy))
        self.fetched += 1
        self._known.put(domain, policy)
        self._used.discard(domain)
        return _answer(policy, ttl)

    def _miss(self, domain: str, announced: str, why: FetchFailure) -> StsAnswer:
        """RFC 8461 section 3.3: the policy of before stays; without one mail goes on as if there were none."""
        self.failed += 1
        self._failed.put(domain, (announced, why.failure), self._clock.monotonic() + _AGAIN_S)
        _log.warning("MTA-STS policy %s of %s: %s", announced, domain, why.text)
        return _answer(self.known(domain), _AGAIN_S, why.failure)

    async def _leave(self) -> bool:
        """True once something may leave."""
        if self._may_leave():
            return True
        self._opened.clear()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._opened.wait()
        except TimeoutError:
            return self._may_leave()
        return True


def _answer(policy: StsPolicy | None, ttl: float, problem: TlsFailure = TlsFailure.NONE) -> StsAnswer:
    in_force = policy if policy is not None and policy.mode != "none" else None
    return StsAnswer(in_force, problem, ttl or float("inf"))


def _is_old(policy: StsPolicy, now: float) -> bool:
    return now - policy.fetched_at > min(_REFRESH_AFTER_S, policy.max_age / 2)
