"""Questions whose answers tell whether they were validated: the AD bit of the resolver's header (RFC 6840 section 5.7).

c-ares, by which all other questions are asked, does not show it; and these are few, a host or so a domain (measured
with a local unbound: 0.22 ms of CPU a host without DNSSEC, 0.46 with TLSA, c-ares 0.05 a question). The AD bit is
worth what the way to the resolver is worth: whoever makes this vouches that it is the pod's own or as good.
Before it: `dane`. After it: the resolver. Every failure is an answer; UDP first, TCP where it is cut, each question
from a port of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
from msgspec import Struct

from lane_relay.records import Tlsa
from lane_relay.resolve.answers import Status

__all__ = ["SecureAnswer", "SecureResolver"]

_TRY_S: Final = 2.0
_TRIES: Final = 3
"""As `dns` gives c-ares: a dead resolver is given up after some 10 s."""
_AT_ONCE: Final = 256
"""Sockets; more questions wait."""
_EDNS: Final = 1232
"""Octets of a UDP answer that no path has to cut (DNS flag day 2020)."""
_NEGATIVE_TTL_S: Final = 60.0


_UNREADABLE: Final = Tlsa(255, 255, 255, b"")
"""Stands for a record that breaks its own grammar: it is there, and cannot be used."""


class SecureAnswer(Struct, frozen=True, gc=False):
    """What was answered, and whether it was validated."""

    status: Status
    secure: bool = False
    tlsa: tuple[Tlsa, ...] = ()
    canonical: str = ""
    """The name at the end of the aliases."""
    is_alias: bool = False
    ttl: float = _NEGATIVE_TTL_S
    bogus: bool = False
    """There is an answer, and the resolver has found it forged or its signatures broken."""

    @property
    def is_definite(self) -> bool:
        """Found, or validly not there."""
        return self.status is not Status.SERVFAIL and self.status is not Status.TIMEOUT


class SecureResolver:
    """Asks resolvers whose AD bit is believed."""

    def __init__(self, servers: Sequence[str] = (), *, try_s: float = _TRY_S, tries: int = _TRIES) -> None:
        """`servers`: `ip`, `ip:port` or `[ip6]:port`; none: those of /etc/resolv.conf."""
        self._servers = [_address(server) for server in servers] or _system_servers()
        self._try_s = try_s
        self._tries = tries
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, name: str, kind: str) -> SecureAnswer:
        """One question: A, AAAA, CNAME, MX or TLSA."""
        try:
            question = dns.message.make_query(
                dns.name.from_text(name), kind, use_edns=0, payload=_EDNS, flags=dns.flags.RD | dns.flags.AD
            )
        except (dns.exception.DNSException, UnicodeError):
            return SecureAnswer(Status.NXDOMAIN)
        async with self._slots:
            answer = await self._exchange(question)
            if answer is None:
                return SecureAnswer(Status.TIMEOUT)
            if answer.rcode() == dns.rcode.SERVFAIL:
                return SecureAnswer(Status.SERVFAIL, bogus=await self._exists_unchecked(name, kind))
        return _read(answer, kind)

    async def _exists_unchecked(self, name: str, kind: str) -> bool:
        """Whether there is an answer that validation alone keeps back (CD, RFC 4035 section 3.2.2)."""
        flags = dns.flags.RD | dns.flags.CD
        answer = await self._exchange(
            dns.message.make_query(dns.name.from_text(name), kind, use_edns=0, payload=_EDNS, flags=flags)
        )
        return answer is not None and answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)

    async def _exchange(self, question: dns.message.QueryMessage) -> dns.message.QueryMessage | None:
        """The answer of the first resolver that gives one; None: none did."""
        last: dns.message.QueryMessage | None = None
        for attempt in range(self._tries):
            host, port = self._servers[attempt % len(self._servers)]
            try:
                answer = await _over_udp(question, host, port, self._try_s)
                if answer.flags & dns.flags.TC:
                    answer = await _over_tcp(question, host, port, self._try_s)
            except (dns.exception.DNSException, OSError, EOFError, ValueError):  # TimeoutError is an OSError
                continue
            last = answer
            if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return answer
            if len(self._servers) == 1:
                break
        return last


class _Listener(asyncio.DatagramProtocol):
    """Takes the first datagram that answers the question; of other senders the kernel lets none through."""

    def __init__(self, question: dns.message.QueryMessage) -> None:
        self._question = question
        self.answer: asyncio.Future[dns.message.QueryMessage] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- asyncio's signature
        try:
            answer = _parse(data, self._question)
        except (dns.exception.DNSException, ValueError):
            return  # not an answer to this question: the real one may still come
        if not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(
    question: dns.message.QueryMessage, host: str, port: int, seconds: float
) -> dns.message.QueryMessage:
    loop = asyncio.get_running_loop()
    transport, listener = await loop.create_datagram_endpoint(lambda: _Listener(question), remote_addr=(host, port))
    try:
        transport.sendto(question.to_wire())
        async with asyncio.timeout(seconds):
            return await listener.answer
    finally:
        transport.close()


async def _over_tcp(
    question: dns.message.QueryMessage, host: str, port: int, seconds: float
) -> dns.message.QueryMessage:
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            wire = question.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            length = int.from_bytes(await reader.readexactly(2), "big")
            return _parse(await reader.readexactly(length), question)
        finally:
            writer.close()


def _parse(wire: bytes, question: dns.message.QueryMessage) -> dns.message.QueryMessage:
    """The answer to this question, but for records that cannot be read; raises DNSException, ValueError."""
    answer = dns.message.from_wire(wire, continue_on_error=True, ignore_trailing=True)
    if not isinstance(answer, dns.message.QueryMessage) or not question.is_response(answer):
        raise ValueError("not the answer to this question")
    return answer


def _read(answer: dns.message.QueryMessage, kind: str) -> SecureAnswer:
    secure = bool(answer.flags & dns.flags.AD)
    if answer.rcode() == dns.rcode.NXDOMAIN:
        return SecureAnswer(Status.NXDOMAIN, secure)
    if answer.rcode() != dns.rcode.NOERROR:
        return SecureAnswer(Status.SERVFAIL)
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException:
        return SecureAnswer(Status.SERVFAIL)
    name, records = chain.canonical_name.to_text(omit_final_dot=True).lower(), chain.answer
    ttl = float(chain.minimum_ttl)
    malformed = kind == "TLSA" and bool(answer.errors)
    if records is None and not malformed:
        return SecureAnswer(Status.NODATA, secure, canonical=name, is_alias=bool(chain.cnames), ttl=ttl)
    tlsa: tuple[Tlsa, ...] = ()
    if kind == "TLSA":
        tlsa = tuple(Tlsa(one.usage, one.selector, one.mtype, one.cert) for one in records or ())
        tlsa += (_UNREADABLE,) if malformed else ()
    return SecureAnswer(Status.FOUND, secure, tlsa, name, bool(chain.cnames), ttl)


def _address(server: str) -> tuple[str, int]:
    """Host and port of a resolver's address, which `dns.check_server` has looked at."""
    if server.startswith("["):
        host, _, port = server[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    host, colon, port = server.partition(":")
    return (host, int(port)) if colon and ":" not in port else (server, 53)


def _system_servers() -> list[tuple[str, int]]:
    """Of /etc/resolv.conf; the machine itself where that names none."""
    try:
        found = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException:
        found = []
    return [(str(server), 53) for server in found] or [("127.0.0.1", 53)]
