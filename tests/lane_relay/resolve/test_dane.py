"""Which hosts are bound by TLSA records, as a real validating resolver tells it of zones that the test signs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import dns.flags
import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.records import Tlsa
from lane_relay.resolve.answers import Status
from lane_relay.resolve.dane import DaneLookups, DaneState
from lane_relay.resolve.secure_dns import SecureAnswer, SecureResolver
from tests.lane_relay.resolve.validating_resolver import Zone, resolving
from tests.ports import free_port

OLD, NEW, FORGED = "aa" * 32, "bb" * 32, "cc" * 32
SIGNED = Zone(
    "signed.test",
    f"""@ MX 10 mx
mx A 127.0.0.2
_25._tcp.mx TLSA 3 1 1 {OLD}
_25._tcp.mx TLSA 3 1 1 {NEW}
_25._tcp.mx TLSA 1 1 1 {OLD}
_2525._tcp.mx TLSA 3 1 1 {NEW}
bare A 127.0.0.3
six AAAA ::1
_25._tcp.six TLSA 3 1 1 {OLD}
useless A 127.0.0.4
_25._tcp.useless TLSA 1 1 1 {OLD}
alias CNAME mx
outside CNAME mx.plain.test.
_25._tcp.outside TLSA 3 1 1 {OLD}
redirected A 127.0.0.5
_25._tcp.redirected CNAME _25._tcp.mx
""",
)
PLAIN = Zone("plain.test", f"@ MX 10 mx.signed.test.\nmx A 127.0.0.2\n_25._tcp.mx TLSA 3 1 1 {OLD}\n", signed=False)
FORGED_TLSA = Zone("forged.test", f"@ MX 10 mx\nmx A 127.0.0.2\n_25._tcp.mx TLSA 3 1 1 {OLD}\n", spoil={OLD: FORGED})
FORGED_ADDRESS = Zone(
    "moved.test", f"@ MX 10 mx\nmx A 127.0.0.7\n_25._tcp.mx TLSA 3 1 1 {OLD}\n", spoil={"127.0.0.7": "127.0.0.8"}
)
FORGED_MX = Zone("bent.test", "@ MX 10 mx.signed.test.\n", spoil={"MX 10 mx.signed": "MX 10 mx.plain"})


@asynccontextmanager
async def lookups(folder: Path, *, v6_only: bool = False) -> AsyncIterator[DaneLookups]:
    async with resolving(folder, SIGNED, PLAIN, FORGED_TLSA, FORGED_ADDRESS, FORGED_MX) as resolver:
        secure = SecureResolver([resolver.server])
        yield DaneLookups(secure, SYSTEM_CLOCK.monotonic, v6_only=v6_only)


def _data(records: tuple[Tlsa, ...]) -> set[str]:
    return {record.data.hex() for record in records}


async def test_tlsa_binds_only_where_every_answer_is_secure(tmp_path: Path) -> None:
    async with lookups(tmp_path) as dane:
        found = await dane.of("mx.signed.test", 25)
        assert (found.state, _data(found.tlsa), found.base) == (DaneState.USABLE, {OLD, NEW}, "mx.signed.test")
        assert {record.usage for record in found.tlsa} == {3}  # usage 1 is left out
        assert _data((await dane.of("mx.signed.test", 2525)).tlsa) == {NEW}
        assert (await dane.of("bare.signed.test", 25)).state is DaneState.NONE
        assert (await dane.of("mx.plain.test", 25)).state is DaneState.NONE
        assert (await dane.of("nowhere.signed.test", 25)).state is DaneState.NONE
        assert (await dane.of("useless.signed.test", 25)).state is DaneState.UNUSABLE


async def test_aliases_are_followed_where_they_are_secure(tmp_path: Path) -> None:
    async with lookups(tmp_path) as dane:
        assert (await dane.of("alias.signed.test", 25)).base == "mx.signed.test"
        outside = await dane.of("outside.signed.test", 25)  # its target's zone is not signed
        assert (outside.state, outside.base) == (DaneState.USABLE, "outside.signed.test")
        redirected = await dane.of("redirected.signed.test", 25)
        assert (_data(redirected.tlsa), redirected.base) == ({OLD, NEW}, "redirected.signed.test")


async def test_a_forged_answer_makes_the_host_unusable_and_never_unprotected(tmp_path: Path) -> None:
    async with lookups(tmp_path) as dane:
        for host in ("mx.forged.test", "mx.moved.test"):
            found = await dane.of(host, 25)
            assert found.state is DaneState.BROKEN
            assert "signatures" in found.why
        assert await dane.is_secure_mx("signed.test") is True
        assert await dane.is_secure_mx("plain.test") is False
        assert await dane.is_secure_mx("bent.test") is None


async def test_a_slot_with_ipv6_alone_asks_for_what_it_can_reach(tmp_path: Path) -> None:
    async with lookups(tmp_path, v6_only=True) as dane:
        assert (await dane.of("six.signed.test", 25)).state is DaneState.USABLE


async def test_a_resolver_that_is_not_there_makes_hosts_unusable(tmp_path: Path) -> None:
    secure = SecureResolver([f"127.0.0.1:{free_port()}"], try_s=0.1)
    found = await DaneLookups(secure, SYSTEM_CLOCK.monotonic).of("mx.signed.test", 25)
    assert (found.state, found.why) == (DaneState.BROKEN, "the resolver does not answer")


class _Said:
    """Answers by (name, kind), which the test changes as time goes on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers: dict[str, SecureAnswer] = {}
        self.asked: list[str] = []

    async def ask(self, name: str, kind: str) -> SecureAnswer:
        """As set."""
        self.asked.append(f"{name} {kind}")
        return self.answers[kind]


async def test_a_verdict_stands_in_for_one_that_cannot_be_had_but_not_for_a_forged_one() -> None:
    said = _Said()
    record = Tlsa(3, 1, 1, bytes(32))
    said.answers = {
        "A": SecureAnswer(Status.FOUND, secure=True, ttl=60.0),
        "TLSA": SecureAnswer(Status.FOUND, secure=True, tlsa=(record,), ttl=60.0),
        "MX": SecureAnswer(Status.FOUND, secure=True, ttl=60.0),
    }
    dane = DaneLookups(said, lambda: said.now)
    assert (await dane.of("mx.test", 25)).tlsa == (record,)
    assert await dane.is_secure_mx("test") is True
    asked = len(said.asked)
    assert (await dane.of("mx.test", 25)).state is DaneState.USABLE
    assert len(said.asked) == asked
    said.now = 100.0
    said.answers = dict.fromkeys(("A", "TLSA", "MX"), SecureAnswer(Status.SERVFAIL))
    assert (await dane.of("mx.test", 25)).state is DaneState.USABLE
    assert await dane.is_secure_mx("test") is True
    said.answers = dict.fromkeys(("A", "TLSA", "MX"), SecureAnswer(Status.SERVFAIL, bogus=True))
    assert (await dane.of("mx.test", 25)).state is DaneState.BROKEN
    assert await dane.is_secure_mx("test") is None


@pytest.mark.parametrize(("octets", "matching", "most"), [(32, 1, 200), (4000, 0, 4), (60_000, 0, 1)])
async def test_of_a_host_with_thousands_of_records_so_many_bind_as_memory_has_room_for(
    octets: int, matching: int, most: int
) -> None:
    said = _Said()
    records = tuple(Tlsa(3, 1, matching, number.to_bytes(octets, "big")) for number in range(1, 1000))
    said.answers = {
        "A": SecureAnswer(Status.FOUND, secure=True),
        "TLSA": SecureAnswer(Status.FOUND, secure=True, tlsa=records),
    }
    found = await DaneLookups(said, lambda: 0.0).of("mx.test", 25)
    assert found.tlsa
    assert found.tlsa == records[: len(found.tlsa)]
    assert len(found.tlsa) <= most


async def test_records_of_an_insecure_delegation_below_a_secure_host_bind_nobody() -> None:
    said = _Said()
    said.answers = {
        "A": SecureAnswer(Status.FOUND, secure=True),
        "TLSA": SecureAnswer(Status.FOUND, secure=False, tlsa=(Tlsa(3, 1, 1, bytes(32)),)),
    }
    assert (await DaneLookups(said, lambda: 0.0).of("mx.test", 25)).state is DaneState.NONE


async def test_a_host_in_an_insecure_zone_is_never_asked_for_tlsa() -> None:
    said = _Said()
    said.answers = {"A": SecureAnswer(Status.FOUND)}
    assert (await DaneLookups(said, lambda: 0.0).of("mx.test", 25)).state is DaneState.NONE
    assert said.asked == ["mx.test A"]


async def test_a_record_that_breaks_its_own_grammar_is_there_and_cannot_be_used() -> None:
    class Liar(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            question = dns.message.from_wire(data)
            answer = dns.message.make_response(question)
            answer.flags |= dns.flags.AD
            name, kind = question.question[0].name, question.question[0].rdtype
            broken = dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, bytes.fromhex("030101abcd"))
            answer.answer.append(
                dns.rrset.from_rdata(name, 300, broken)
                if kind == dns.rdatatype.TLSA
                else dns.rrset.from_text(name, 300, "IN", "A", "127.0.0.2")
            )
            self.transport.sendto(b"noise before the answer", addr)
            self.transport.sendto(answer.to_wire(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Liar, local_addr=("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        dane = DaneLookups(SecureResolver([f"127.0.0.1:{port}"]), SYSTEM_CLOCK.monotonic)
        assert (await dane.of("mx.test", 25)).state is DaneState.UNUSABLE
    finally:
        transport.close()


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.1:53", "::1", "[::1]:53", "[::1]"])
def test_resolvers_are_named_as_everywhere(server: str) -> None:
    assert SecureResolver([server])._servers in ([("127.0.0.1", 53)], [("::1", 53)])


class Cut(asyncio.DatagramProtocol):
    """Says of every answer that it is too long for UDP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.flags |= dns.flags.TC
        self.transport.sendto(answer.to_wire(), addr)


async def test_the_answer_to_another_question_over_tcp_is_none() -> None:
    asked = []

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        asked.append(dns.message.from_wire(await reader.readexactly(length)))
        answer = dns.message.make_response(dns.message.make_query("another.test", "A"), recursion_available=True)
        writer.write(len(answer.to_wire()).to_bytes(2, "big") + answer.to_wire())
        writer.close()

    server = await asyncio.start_server(lie, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Cut, local_addr=("127.0.0.1", port))
    try:
        answer = await SecureResolver([f"127.0.0.1:{port}"], tries=2).ask("mx.test", "A")
    finally:
        udp.close()
        server.close()
    assert (answer.status, len(asked)) == (Status.TIMEOUT, 2)
