"""The DNS cache of the whole lane: bounded, one question a name at a time, stale answers while the resolver is ill.

`TtlCache` is pure (`now` is an argument); `CachedLookups` asks through it.
Before it: `router`. After it: `dns.WireResolver`. Invariant: a definite answer replaces what was known, a failure never
does as long as a stale answer is at hand (RFC 8767).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from lane_relay.resolve.answers import Answer, Family, Lookups, MxRecord

__all__ = ["CachedLookups", "TtlCache"]

K = TypeVar("K")
V = TypeVar("V")

_MIN_TTL_S: Final = 30.0
_MAX_TTL_S: Final = 3600.0
"""A TTL of 0 would cost a lookup a message; a TTL of days would send to hosts long gone."""
_STALE_S: Final = 24 * 3600.0
"""How long an expired answer may stand in for one that cannot be had (RFC 8767 section 5: 1 to 3 days)."""
_RECHECK_S: Final = 30.0
"""How long a failure, or the stale answer in its place, keeps the next question away (RFC 8767 section 5)."""
_MAX_ENTRIES: Final = 15_000
"""Answers, some 450 bytes each; a domain has two or three."""
_MOST_BYTES: Final = 24 * 2**20
"""Of memory, about: an answer may have 64 KB, and whose name is asked decides what is in it."""
_AN_ANSWER: Final = 400
"""Bytes of its objects and its place, without records."""
_A_RECORD: Final = 100
"""Bytes that a record takes beside its letters."""


class TtlCache(Generic[K, V]):
    """A bounded map whose values expire; the one that nobody has asked for longest is the first to go."""

    def __init__(self, max_entries: int, max_weight: float = inf) -> None:
        """No more than so many entries, nor of so much weight together, but for one that is heavier alone."""
        self._max_entries = max_entries
        self._max_weight = max_weight
        self._entries: OrderedDict[K, tuple[V, float, int]] = OrderedDict()
        self.weight = 0
        """Of all."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value, unless it has expired."""
        entry = self._entries.get(key)
        if entry is None or now >= entry[1]:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def get_expired(self, key: K, now: float, grace: float = inf) -> V | None:
        """The value, also up to `grace` seconds after it expired."""
        entry = self._entries.get(key)
        if entry is None or now >= entry[1] + grace:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def left(self, key: K, now: float) -> float:
        """Seconds until the value expires; 0 where there is none."""
        entry = self._entries.get(key)
        return max(0.0, entry[1] - now) if entry is not None else 0.0

    def put(self, key: K, value: V, expires: float, weight: int = 0) -> None:
        """Keeps the value until `expires`."""
        before = self._entries.pop(key, None)
        self.weight += weight - (before[2] if before is not None else 0)
        while self._entries and (len(self._entries) >= self._max_entries or self.weight > self._max_weight):
            self.weight -= self._entries.popitem(last=False)[1][2]
        self._entries[key] = (value, expires, weight)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self.weight = 0


class _Known(Struct, frozen=True, gc=False):
    """A definite answer, and until when it may stand in for one that cannot be had (monotonic seconds)."""

    answer: Answer[Any]
    stale_until: float


class CachedLookups:
    """Lookups through the cache."""

    def __init__(
        self,
        wire: Lookups,
        monotonic: Callable[[], float],
        max_entries: int = _MAX_ENTRIES,
        max_bytes: int = _MOST_BYTES,
    ) -> None:
        self._wire = wire
        self._monotonic = monotonic
        self._cache: TtlCache[tuple[str, str], _Known] = TtlCache(max_entries, max_bytes)
        self._under_way: dict[tuple[str, str], asyncio.Task[Answer[Any]]] = {}
        self.hits = 0
        self.misses = 0
        self.stale_served = 0

    def replace_wire(self, wire: Lookups) -> None:
        """Another resolver from now on; what is known stays. The old one goes, with its sockets, with the last question
        that it was asked: nothing else holds it."""
        self._wire = wire

    async def mx(self, name: str) -> Answer[MxRecord]:
        """The MX records of a domain."""
        return await self._through(("MX", name), lambda: self._wire.mx(name))

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        """The addresses of a host."""
        return await self._through((family.value, name), lambda: self._wire.addresses(name, family))

    async def txt(self, name: str) -> Answer[str]:
        """The TXT records of a name."""
        return await self._through(("TXT", name), lambda: self._wire.txt(name))

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _through(self, key: tuple[str, str], ask: Callable[[], Awaitable[Answer[Any]]]) -> Answer[Any]:
        """From the cache, else from the one question for this key that is, or now gets, under way."""
        now = self._monotonic()
        known = self._cache.get(key, now)
        if known is not None:
            self.hits += 1
            # what is left of it, never the whole anew: a route made of a cached answer must not outlive it
            return Answer(known.answer.status, known.answer.records, self._cache.left(key, now))
        task = self._under_way.get(key)
        if task is None:
            self.misses += 1
            task = asyncio.create_task(self._ask(key, ask))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)  # one caller that gives up must not take the answer from the others

    async def _ask(self, key: tuple[str, str], ask: Callable[[], Awaitable[Answer[Any]]]) -> Answer[Any]:
        answer = await ask()
        now = self._monotonic()
        if answer.is_definite:
            ttl = min(max(answer.ttl, _MIN_TTL_S), _MAX_TTL_S)
            self._cache.put(key, _Known(answer, now + ttl + _STALE_S), now + ttl, _weight(answer))
            return Answer(answer.status, answer.records, ttl)
        known = self._cache.get_expired(key, now)  # how stale it may be stands with it
        if known is not None and known.answer.records and now < known.stale_until:
            self.stale_served += 1
            self._cache.put(key, known, now + _RECHECK_S, _weight(known.answer))
            return Answer(known.answer.status, known.answer.records, _RECHECK_S)
        return Answer(answer.status, (), _RECHECK_S)


def _weight(answer: Answer[Any]) -> int:
    """Bytes that it takes in memory, about."""
    letters = [len(one.host) if isinstance(one, MxRecord) else len(one) for one in answer.records]
    return _AN_ANSWER + _A_RECORD * len(letters) + sum(letters)
