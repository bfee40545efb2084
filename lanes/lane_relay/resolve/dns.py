"""Asks the resolver over the wire; the only module that speaks DNS.

c-ares through aiodns: on 1,000 distinct MX names against a local bind9 it took 0.13-0.15 ms of CPU a lookup,
dnspython's asyncio resolver 0.57-0.69 ms; 50,000 new domains a minute leave no room for the latter. What c-ares does
not show, the AD bit and the SOA of a negative answer, nothing here needs: negative answers live NEGATIVE_TTL_S.
Before it: `cache`. After it: the resolver. Every failure is an Answer; nothing is raised but ConfigError.
"""

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import aiodns
import pycares

from lane_relay.errors import ConfigError
from lane_relay.resolve.answers import Answer, Family, MxRecord, Status

__all__ = ["NEGATIVE_TTL_S", "WireResolver", "ask_reverse_afresh", "ask_txt_afresh", "check_server"]

R = TypeVar("R")

NEGATIVE_TTL_S: Final = 60.0
"""Of NXDOMAIN and NODATA: short, since RFC 2308's bound (the SOA) is not shown and a mended domain should be seen."""
_TRY_S: Final = 2.0
_TRIES: Final = 3
"""c-ares lengthens each further try; with one dead server an answer is given up after about 10 s."""
_RENEWED_AFTER: Final = 1000
"""Questions. c-ares keeps every answer for its TTL, an hour at most, some 1.2 kB each and without a bound; `cache` is
the one that is bounded, and neither binding has a switch for the other."""

_MOST_MX: Final = 50
_MOST_ADDRESSES: Final = 30
"""Records of an answer that are read, more than are ever tried: a name may have thousands."""
_WEIGHED: Final = 1000
"""Bytes of an answer's records that count as another question to `_RENEWED_AFTER`."""
_A_RECORD: Final = 100
"""Bytes that the library keeps of one, about."""

_STATUS: Final = {
    pycares.errno.ARES_ENODATA: Status.NODATA,
    pycares.errno.ARES_ENOTFOUND: Status.NXDOMAIN,
    pycares.errno.ARES_EBADNAME: Status.NXDOMAIN,  # not a name at all, such as a label of 70 characters
    pycares.errno.ARES_ETIMEOUT: Status.TIMEOUT,
}


def check_server(text: str) -> str:
    """The resolver in c-ares's spelling, of `ip`, `ip:port` or `[ip6]:port`; raises ConfigError."""
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    channel = pycares.Channel()
    try:
        channel.servers = [text]
    except (pycares.AresError, ValueError) as error:
        raise ConfigError(f"delivery.resolvers: {text!r} is neither ip nor ip:port") from error
    finally:
        channel.close()
    return text


class WireResolver:
    """Lookups over the network, uncached. Must be made inside a running event loop."""

    def __init__(
        self,
        servers: Sequence[str] = (),
        *,
        try_s: float = _TRY_S,
        tries: int = _TRIES,
        renewed_after: int = _RENEWED_AFTER,
    ) -> None:
        """`servers`: `ip` or `ip:port`; none: those of /etc/resolv.conf. Raises ConfigError."""
        self._servers = [check_server(server) for server in servers] or None
        self._try_s = try_s
        self._tries = tries
        self._renewed_after = renewed_after
        self._renew()

    def _renew(self) -> None:
        """One that knows nothing; the one before goes with the last question that it was asked."""
        self._asked = 0
        self._resolver = aiodns.DNSResolver(
            nameservers=self._servers, loop=asyncio.get_running_loop(), timeout=self._try_s, tries=self._tries
        )

    async def mx(self, name: str) -> Answer[MxRecord]:
        """The MX records of a domain."""
        return await self._ask(name, "MX", _mx_record, _best_mx)

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        """The addresses of a host; aliases are followed by the resolver."""
        return await self._ask(name, family.value, _address, lambda records: records[:_MOST_ADDRESSES])

    async def txt(self, name: str) -> Answer[str]:
        """The TXT records of a name, each with its strings joined (RFC 6376 section 3.6.2.2)."""
        return await self._ask(name, "TXT", _text)

    async def names(self, address: str) -> Answer[str]:
        """The names of an address: its PTR records; aliases (RFC 2317) are followed by the resolver."""
        return await self._ask(ip_address(address).reverse_pointer, "PTR", _name)

    async def close(self) -> None:
        """Gives up what is under way."""
        await self._resolver.close()

    async def _ask(
        self,
        name: str,
        kind: str,
        read: Callable[[Any], R],
        choose: Callable[[list[Any]], list[Any]] = lambda records: records,
    ) -> Answer[R]:
        if self._asked >= self._renewed_after:
            self._renew()
        self._asked += 1
        resolver = self._resolver  # held until it has answered: one that is let go forgets what it was asked
        try:
            found = await resolver.query_dns(name, kind)
        except aiodns.error.DNSError as error:
            return _failure(_STATUS.get(error.args[0], Status.SERVFAIL))
        except UnicodeError:  # a name that IDNA refuses
            return _failure(Status.NXDOMAIN)
        wanted = aiodns.query_type_map[kind]
        records = [record for record in found.answer if record.type == wanted]
        self._asked += len(found.answer) * _A_RECORD // _WEIGHED
        records = choose(records)
        if not records:  # an alias that leads to nothing of this type
            return _failure(Status.NODATA)
        return Answer(Status.FOUND, tuple(read(record.data) for record in records), float(min(r.ttl for r in records)))


async def ask_txt_afresh(servers: Sequence[str], name: str) -> Answer[str]:
    """TXT records past every cache of this process: c-ares keeps one a channel, so this question gets its own."""
    resolver = WireResolver(servers)
    try:
        return await resolver.txt(name)
    finally:
        await resolver.close()


async def ask_reverse_afresh(servers: Sequence[str], address: str, host: str) -> tuple[Answer[str], Answer[str]]:
    """The names of an address, and the addresses of a host in its family; past caches, as `ask_txt_afresh`."""
    resolver = WireResolver(servers)
    try:
        names = await resolver.names(address)
        return names, await resolver.addresses(host, Family.V6 if ":" in address else Family.V4)
    finally:
        await resolver.close()


def _failure(status: Status) -> Answer[Any]:
    """Definite answers may be kept; of the others `cache` decides."""
    return Answer(status, (), NEGATIVE_TTL_S if status in (Status.NODATA, Status.NXDOMAIN) else 0.0)


def _best_mx(records: list[Any]) -> list[Any]:
    return sorted(records, key=lambda record: record.data.priority)[:_MOST_MX]


def _mx_record(data: Any) -> MxRecord:
    return MxRecord(data.priority, data.exchange.rstrip(".").lower())


def _address(data: Any) -> str:
    return str(data.addr)


def _name(data: Any) -> str:
    return str(data.dname).rstrip(".").lower()


def _text(data: Any) -> str:
    return bytes(data.data).decode("utf-8", "replace")
