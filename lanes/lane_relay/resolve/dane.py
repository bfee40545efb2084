"""Which TLSA records bind a host (RFC 7672 sections 2.1 and 2.2), from answers that a trusted resolver has validated.

A host in a zone without DNSSEC costs one small question and no TLSA question: servers of such zones often do not answer
the latter (section 2.1.1). The verdict is kept for its TTL and, where DNS fails, a day longer; where an answer is there
and forged, nothing is kept and the host is not used.
Before it: `protection`. After it: `secure_dns`. Only for resolvers whose AD bit may be believed.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct

from lane_relay.records import Tlsa
from lane_relay.resolve.answers import Status
from lane_relay.resolve.cache import TtlCache
from lane_relay.resolve.secure_dns import SecureAnswer

__all__ = ["DaneLookups", "DaneState", "HostDane", "SecureLookups"]

_MIN_TTL_S: Final = 30.0
_MAX_TTL_S: Final = 3600.0
_UNKNOWN_S: Final = 30.0
_STALE_S: Final = 86_400.0
"""As for other answers (`cache`): a verdict stands in for one that a silent resolver does not give."""
_MAX_HOSTS: Final = 10_000
_MOST_BYTES: Final = 16 * 2**20
"""Of memory, about, for the verdicts on all hosts."""
_MOST_OF_A_HOST: Final = 16 * 2**10
"""Bytes of one host's records: eight whole certificates, or a hundred digests; what comes behind them binds nobody."""
_A_RECORD: Final = 100
"""Bytes that a record takes beside its data."""
_USABLE: Final = frozenset(
    (usage, selector, matching) for usage in (2, 3) for selector in (0, 1) for matching in (0, 1, 2)
)
"""RFC 7672 section 3.1.3: usages 0 and 1 cannot be used for mail."""
_LENGTHS: Final = {1: 32, 2: 64}


class DaneState(StrEnum):
    """What DNS says of a host."""

    NONE = "none"
    """Not secure, or without TLSA records."""
    USABLE = "usable"
    UNUSABLE = "unusable"
    """Secure TLSA records, of which none can be used."""
    BROKEN = "broken"
    """It cannot be told, or was forged on the way."""


class HostDane(Struct, frozen=True, gc=False):
    """The verdict on one host and port."""

    state: DaneState
    tlsa: tuple[Tlsa, ...] = ()
    base: str = ""
    """The TLSA base domain."""
    ttl: float = _MIN_TTL_S
    why: str = ""


class SecureLookups(Protocol):
    """Whoever answers with the validation state."""

    async def ask(self, name: str, kind: str) -> SecureAnswer:
        """One question."""


class DaneLookups:
    """Verdicts on hosts, one question a host at a time."""

    def __init__(self, secure: SecureLookups, monotonic: Callable[[], float], *, v6_only: bool = False) -> None:
        """`v6_only`: the slot reaches hosts by AAAA alone."""
        self._secure = secure
        self._monotonic = monotonic
        self._address = "AAAA" if v6_only else "A"
        self._known: TtlCache[tuple[str, int], HostDane] = TtlCache(_MAX_HOSTS, _MOST_BYTES)
        self._mx: TtlCache[str, bool] = TtlCache(_MAX_HOSTS)
        """What was last heard of domains, for a time in which nothing is."""
        self._under_way: dict[tuple[str, int], asyncio.Task[HostDane]] = {}

    async def of(self, host: str, port: int) -> HostDane:
        """The verdict on a host, from memory or anew."""
        key = (host, port)
        now = self._monotonic()
        known = self._known.get(key, now)
        if known is not None:
            return HostDane(known.state, known.tlsa, known.base, self._known.left(key, now), known.why)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._look(host, port))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def is_secure_mx(self, domain: str) -> bool | None:
        """Whether the MX records of a domain, or that there are none, are secure; None: it cannot be told."""
        answer = await self._secure.ask(domain, "MX")
        now = self._monotonic()
        if answer.is_definite:
            self._mx.put(domain, answer.secure, now)
            return answer.secure
        return None if answer.bogus else self._mx.get_expired(domain, now, _STALE_S)

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, host: str, port: int) -> HostDane:
        key, found = (host, port), await self._find(host, port)
        now = self._monotonic()
        if found.state is not DaneState.BROKEN:
            self._known.put(key, found, now + found.ttl, sum(map(_weight, found.tlsa)))
            return found
        stale = self._known.get_expired(key, now, _STALE_S) if found.why != _FORGED else None
        return HostDane(stale.state, stale.tlsa, stale.base, _UNKNOWN_S) if stale is not None else found

    async def _find(self, host: str, port: int) -> HostDane:
        addresses = await self._secure.ask(host, self._address)
        if not addresses.is_definite:
            return _broken(addresses)
        if addresses.secure:
            bases = list(dict.fromkeys((addresses.canonical or host, host)))
        elif addresses.is_alias:
            # RFC 7672 section 2.1.3: an insecure alias target still leaves the alias itself, if that is secure
            alias = await self._secure.ask(host, "CNAME")
            if not alias.is_definite:
                return _broken(alias)
            bases = [host] if alias.secure else []
        else:
            bases = []
        for base in bases:
            answer = await self._secure.ask(f"_{port}._tcp.{base}", "TLSA")
            if not answer.is_definite:
                return _broken(answer)
            if answer.secure and answer.tlsa:
                return _judge(answer.tlsa, base, _bounded(min(addresses.ttl, answer.ttl)))
        return HostDane(DaneState.NONE, ttl=_bounded(addresses.ttl))


def _judge(records: tuple[Tlsa, ...], base: str, ttl: float) -> HostDane:
    usable = list[Tlsa]()
    size = 0
    for record in filter(_is_usable, records):
        size += _weight(record)
        if usable and size > _MOST_OF_A_HOST:
            break
        usable.append(record)
    return HostDane(DaneState.USABLE if usable else DaneState.UNUSABLE, tuple(usable), base, ttl)


def _is_usable(record: Tlsa) -> bool:
    return (
        (record.usage, record.selector, record.matching) in _USABLE
        and len(record.data) == _LENGTHS.get(record.matching, len(record.data))
        and bool(record.data)
    )


def _weight(record: Tlsa) -> int:
    return _A_RECORD + len(record.data)


_FORGED: Final = "the signatures of its zone do not hold"


def _broken(answer: SecureAnswer) -> HostDane:
    silent = "the resolver does not answer" if answer.status is Status.TIMEOUT else "the resolver answers SERVFAIL"
    why = _FORGED if answer.bogus else silent
    return HostDane(DaneState.BROKEN, ttl=_UNKNOWN_S, why=why)


def _bounded(ttl: float) -> float:
    return min(max(ttl, _MIN_TTL_S), _MAX_TTL_S)
