"""Fetches MTA-STS policies over HTTPS, within the bounds of RFC 8461 section 3.3.

It leaves from the slot's own source address, as mail does: another one could not be proved, and a host that is asked
for its policy from one address and mailed from another would learn of both.
Before it: `sts`. After it: the policy's web server. Every failure of the far end is a value.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from lane_relay.records import TlsFailure
from lane_relay.resolve.answers import Family, Lookups
from lane_relay.resolve.mx import Ourselves
from lane_relay.resolve.sts_tunnel import Answered, get_through
from lane_relay.socks.tunnel import Door

__all__ = ["MAX_POLICY", "FetchFailure", "PolicyFetcher"]

MAX_POLICY: Final = 64 * 1024
"""RFC 8461 section 3.3: "a suggested limit of 64 kilobytes"."""
_TOTAL_S: Final = 30.0
"""Section 3.3 suggests a minute; first mail to a domain waits so long for a dead web server."""
_CONNECT_S: Final = 10.0
_QUICK_S: Final = 2.0
"""Who has not answered by then is no longer among those that keep others waiting, as with DNS (`router`)."""
_AT_ONCE: Final = 64
_MOST: Final = 256
"""With those that take long, at some 100 kB each: so many may say nothing before a domain waits for one of them."""
_PRESSED_S: Final = 5.0
"""So long one has that says nothing, once another domain waits for its place."""
_BOTH: Final = (Family.V4, Family.V6)
_PATH: Final = "/.well-known/mta-sts.txt"


class FetchFailure(Struct, frozen=True, gc=False):
    """Why there is no policy."""

    failure: TlsFailure
    text: str


class PolicyFetcher:
    """One HTTPS client for all policies. Must be made inside a running event loop."""

    def __init__(
        self,
        lookups: Lookups,
        context: ssl.SSLContext | None = None,
        port: int = 443,
        *,
        quick_s: float = _QUICK_S,
        pressed_s: float = _PRESSED_S,
        most: int = _MOST,
    ) -> None:
        """`context`: by which certificates are checked; absent: the system's authorities."""
        self._lookups = lookups
        self._context = context or ssl.create_default_context()
        self._port = port
        self._quick_s = quick_s
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._pressed_s = pressed_s
        self._all = asyncio.Semaphore(most)
        self._waiting = 0
        """Domains without a place."""
        self._limits: dict[asyncio.Timeout, float] = {}
        """Of those that have one, and since when (the loop's time), the oldest first."""
        self._source = ""
        self._families: tuple[Family, ...] = _BOTH
        self._door: Door | None = None
        self._ourselves = Ourselves("")

    def apply(
        self,
        source: str,
        ourselves: Ourselves,
        *,
        families: tuple[Family, ...] = _BOTH,
        door: Door | None = None,
    ) -> None:
        """The address to bind (empty: none) or the proxy to leave through, the families that mail leaves by, and what
        is no far end."""
        self._source, self._families, self._door = source, families, door
        self._ourselves = ourselves

    async def fetch(self, domain: str) -> str | FetchFailure:
        """The text of the domain's policy."""
        async with self._one_of_all(), self._place():
            try:
                async with asyncio.timeout(_TOTAL_S) as limit:
                    with self._under(limit):
                        return await self._get(f"mta-sts.{domain}")
            except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError) as error:
                return FetchFailure(TlsFailure.STS_WEBPKI, f"https://mta-sts.{domain}: {error}")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                text = str(error) or type(error).__name__
                return FetchFailure(TlsFailure.STS_FETCH, f"https://mta-sts.{domain}: {text}")

    @asynccontextmanager
    async def _one_of_all(self) -> AsyncIterator[None]:
        """A place, for which the oldest make room in a while."""
        self._waiting += 1
        try:
            if self._all.locked():
                self._hurry()
            await self._all.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._all.release()

    @contextmanager
    def _under(self, limit: asyncio.Timeout) -> Iterator[None]:
        """This limit may become a shorter one meanwhile."""
        self._limits[limit] = asyncio.get_running_loop().time()
        self._hurry()
        try:
            yield
        finally:
            del self._limits[limit]

    def _hurry(self) -> None:
        """One for each domain that waits has no longer than `_PRESSED_S` in all, the oldest first."""
        for limit, began in islice(self._limits.items(), self._waiting):
            until = limit.when()
            if not limit.expired() and until is not None and until > began + self._pressed_s:
                limit.reschedule(began + self._pressed_s)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the few at once, which is given back when it has taken long."""
        await self._slots.acquire()
        is_mine = True

        def give_back() -> None:
            nonlocal is_mine
            if is_mine:
                is_mine = False
                self._slots.release()

        timer = asyncio.get_running_loop().call_later(self._quick_s, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    async def _get(self, host: str) -> str | FetchFailure:
        resolver = _Resolver(self._lookups, self._families, self._ourselves.is_reached_at)
        if self._door is not None:
            (found, *_) = await resolver.resolve(host)
            said = await get_through(self._door, found["host"], self._port, self._context, host, _PATH, MAX_POLICY)
            return _judged(f"https://{host}", said)
        port = "" if self._port == 443 else f":{self._port}"
        connector = aiohttp.TCPConnector(
            resolver=resolver,
            ssl=self._context,
            local_addr=(self._source, 0) if self._source else None,
            force_close=True,
            use_dns_cache=False,
        )
        timeout = aiohttp.ClientTimeout(total=_TOTAL_S, sock_connect=_CONNECT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as client:
            url = f"https://{host}{port}{_PATH}"
            async with client.get(url, allow_redirects=False, headers={"Accept": "text/plain"}) as answer:
                return await _read(answer)


async def _read(answer: aiohttp.ClientResponse) -> str | FetchFailure:
    """As much of it as is judged."""
    body = b""
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MAX_POLICY:
            break
    return _judged(f"https://{answer.url.host}", Answered(answer.status, answer.content_type, body))


def _judged(where: str, answer: Answered) -> str | FetchFailure:
    """Section 3.3: status 200, no redirect; section 3.2: text/plain, so that no upload of a user is a policy."""
    if answer.status != 200:
        moved = ", and redirects are not followed" if 300 <= answer.status < 400 else ""
        return FetchFailure(TlsFailure.STS_FETCH, f"{where}: status {answer.status}{moved}")
    if answer.content_type != "text/plain":
        return FetchFailure(TlsFailure.STS_INVALID, f"{where}: {answer.content_type[:60]} instead of text/plain")
    if len(answer.body) > MAX_POLICY:
        return FetchFailure(TlsFailure.STS_INVALID, f"{where}: a policy of more than {MAX_POLICY} octets")
    return answer.body.decode("utf-8", "replace")


class _Resolver(AbstractResolver):
    """Addresses from the lane's own cache, of the families that mail leaves by."""

    def __init__(self, lookups: Lookups, families: tuple[Family, ...], is_ours: Callable[[str], bool]) -> None:
        self._lookups = lookups
        self._families = families
        self._is_ours = is_ours

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        wanted = {socket.AF_INET: Family.V4, socket.AF_INET6: Family.V6}.get(family)
        found = []
        for kind in self._families if wanted is None else (wanted,):
            answer = await self._lookups.addresses(host, kind)
            found += [_resolved(host, address, port, kind) for address in answer.records if not self._is_ours(address)]
        if not found:
            raise OSError(f"{host} has no address that can be reached from here")
        return found

    async def close(self) -> None:
        """Nothing is held."""


def _resolved(host: str, address: str, port: int, kind: Family) -> ResolveResult:
    family = socket.AF_INET6 if kind is Family.V6 else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
