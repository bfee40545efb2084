"""The MTA-STS policies that are known: asked for at the first mail to a domain, kept for their max_age, also on disk.

Before it: `protection`. After it: the cached lookups (TXT) and `sts_fetch` (HTTPS). Invariants: a policy that was had
is in force until its max_age, whatever vanishes in the meantime (RFC 8461 section 10.2); nothing is fetched before the
egress address is proved; one fetch at a time for a domain.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from lane_relay.clock import Clock
from lane_relay.records import TlsFailure
from lane_relay.resolve.answers import Lookups
from lane_relay.resolve.cache import TtlCache
from lane_relay.resolve.sts_fetch import FetchFailure
from lane_relay.resolve.sts_policy import StsPolicy, read_policy, read_record

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
_MAX_POLICIES: Final = 20_000
"""Some 300 bytes each; beyond it the one unused for longest goes."""
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
        self._file = file
        self._known: dict[str, StsPolicy] = _load(file, clock.now()) if file is not None else {}
        self._used: set[str] = set()
        """Domains asked for since their policy was fetched."""
        self._failed: TtlCache[str, tuple[str, TlsFailure]] = TtlCache(_MAX_FAILED)
        self._under_way: dict[str, asyncio.Task[StsAnswer]] = {}
        self._opened = asyncio.Event()
        self._changed = False
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
            self._known[domain] = self._known.pop(domain)  # the last to be dropped
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
        if not self._changed or self._file is None:
            return
        self._changed = False
        now = self._clock.now()
        self._known = {domain: policy for domain, policy in self._known.items() if policy.expires_at > now}
        try:
            await asyncio.to_thread(_write, self._file, msgspec.json.encode(self._known))
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
        self._known.pop(domain, None)
        if len(self._known) >= _MAX_POLICIES:
            del self._known[next(iter(self._known))]
        self._known[domain] = policy
        self._used.discard(domain)
        self._changed = True
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


def _load(file: Path, now: float) -> dict[str, StsPolicy]:
    """What the file has, less what has ended; a damaged one costs a fetch a domain."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, StsPolicy])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("the kept MTA-STS policies cannot be read and are fetched again: %s", error)
        return {}
    return {domain: policy for domain, policy in found.items() if policy.expires_at > now}


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    aside = file.with_suffix(".new")
    with aside.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    aside.replace(file)
