"""The PTR record of an egress address and the way back, asked of a real bind9, and what an outage of it changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lane_api.reverse import PtrFinding
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.resolve.answers import Answer, Status
from lane_relay.resolve.dns import ask_reverse_afresh
from lane_relay.resolve.reverse import ReverseState, ReverseWatch, judge_reverse
from tests.lane_relay.resolve.named_server import running_named

HOST = "out.example.test"
NOT_THERE: Answer[str] = Answer(Status.NXDOMAIN)
SILENCE: Answer[str] = Answer(Status.TIMEOUT)
BROKEN: Answer[str] = Answer(Status.SERVFAIL)
RIGHT = (Answer(Status.FOUND, (HOST,)), Answer(Status.FOUND, ("203.0.113.10",)))


@pytest.mark.parametrize(
    ("address", "host", "finding", "fix"),
    [
        ("127.0.0.41", HOST, PtrFinding.CONFIRMED, "PTR 127.0.0.41 = out.example.test"),
        ("127.0.0.44", HOST, PtrFinding.NO_WAY_BACK, "publish A out.example.test = 127.0.0.44"),
        ("127.0.0.43", HOST, PtrFinding.NO_WAY_BACK, "which has the A records 127.0.0.41: publish A"),
        ("127.0.0.42", HOST, PtrFinding.HELO_MISMATCH, "set the record to out.example.test"),
        ("127.0.0.42", "pool-42.example.test", PtrFinding.NO_WAY_BACK, "has no A record: publish A pool-42"),
        ("127.0.0.9", HOST, PtrFinding.NO_PTR, "set PTR 9.0.0.127.in-addr.arpa = out.example.test"),
        ("192.0.2.1", HOST, PtrFinding.UNANSWERED, "DNS does not answer for PTR 192.0.2.1 (servfail)"),
    ],
)
async def test_a_real_server_says_what_is_wrong_and_which_record_mends_it(
    tmp_path: Path, address: str, host: str, finding: PtrFinding, fix: str
) -> None:
    async with running_named(tmp_path) as named:
        said = judge_reverse(address, host, *await ask_reverse_afresh([named.server], address, host))
    assert said.finding is finding
    assert fix in said.detail


def test_ipv6_is_asked_for_in_its_own_zone_and_record_and_its_spelling_does_not_matter() -> None:
    said = judge_reverse("2001:db8::10", HOST, NOT_THERE, NOT_THERE)
    assert "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" in said.detail
    back = Answer(Status.FOUND, ("2001:db8:0:0::0010",))
    assert judge_reverse("2001:db8::10", HOST, RIGHT[0], back).finding is PtrFinding.CONFIRMED


def test_one_of_several_ptr_records_is_enough_and_case_does_not_count() -> None:
    several = Answer(Status.FOUND, ("web.example.test", HOST))
    said = judge_reverse("203.0.113.10", "Out.Example.Test", several, RIGHT[1])
    assert (said.finding, said.names) == (PtrFinding.CONFIRMED, (HOST, "web.example.test"))


class Dns:
    """Answers that the test sets."""

    def __init__(self) -> None:
        self.now: tuple[Answer[str], Answer[str]] = RIGHT
        self.asked: list[tuple[str, str]] = []

    async def ask(self, address: str, host: str) -> tuple[Answer[str], Answer[str]]:
        self.asked.append((address, host))
        return self.now


def watch_of(dns: Dns, mode: str = "Require") -> ReverseWatch:
    watch = ReverseWatch(dns.ask, SYSTEM_CLOCK)
    watch.apply(mode, HOST, ("203.0.113.10",))  # type: ignore[arg-type]  # a mode
    return watch


def finding(watch: ReverseWatch) -> PtrFinding:
    assert watch.state is not None
    return watch.state.finding


@pytest.mark.parametrize("outage", [(SILENCE, RIGHT[1]), (RIGHT[0], SILENCE), (BROKEN, BROKEN)])
async def test_an_outage_of_dns_takes_nothing_back_and_a_definite_answer_does(
    outage: tuple[Answer[str], Answer[str]],
) -> None:
    dns = Dns()
    watch = watch_of(dns)
    assert "has not been looked up" in watch.problem("203.0.113.10")
    await watch.look("203.0.113.10")
    first = watch.state
    assert (finding(watch), watch.problem("203.0.113.10")) == (PtrFinding.CONFIRMED, "")
    dns.now = outage
    await watch.look("203.0.113.10")
    assert watch.state == first
    dns.now = (NOT_THERE, RIGHT[1])
    await watch.look("203.0.113.10")
    assert finding(watch) is PtrFinding.NO_PTR
    dns.now = outage
    await watch.look("203.0.113.10")
    assert finding(watch) is PtrFinding.NO_PTR, "nor does it mend anything"
    assert "set PTR 10.113.0.203.in-addr.arpa" in watch.problem("203.0.113.10")


async def test_an_address_of_which_dns_has_said_nothing_yet_is_held_under_require() -> None:
    dns = Dns()
    dns.now = (SILENCE, SILENCE)
    watch = watch_of(dns)
    await watch.look("203.0.113.10")
    assert finding(watch) is PtrFinding.UNANSWERED
    assert watch.problem("203.0.113.10") == "DNS does not answer for PTR 203.0.113.10 (timeout)"


@pytest.mark.parametrize("mode", ["Warn", "Off"])
async def test_only_require_holds_anything(mode: str) -> None:
    dns = Dns()
    dns.now = (NOT_THERE, NOT_THERE)
    watch = watch_of(dns, mode)
    assert watch.problem("203.0.113.10") == ""
    if mode == "Warn":
        await watch.look("203.0.113.10")
        assert finding(watch) is PtrFinding.NO_PTR
    else:
        assert watch.state is None
    assert watch.problem("203.0.113.10") == ""


async def test_another_helo_name_is_looked_up_anew_and_the_same_one_is_not() -> None:
    dns = Dns()
    watch = watch_of(dns)
    await watch.look("203.0.113.10")
    watch.apply("Require", HOST, ("203.0.113.10",))
    assert finding(watch) is PtrFinding.CONFIRMED
    watch.apply("Require", "other.example.test", ("203.0.113.10",))
    assert watch.state == ReverseState()
    assert watch.problem("203.0.113.10") != ""


async def test_of_two_addresses_the_worse_is_told() -> None:
    dns = Dns()
    watch = watch_of(dns)
    watch.apply("Warn", HOST, ("203.0.113.10", "2001:db8::10"))
    await watch.look("203.0.113.10")
    dns.now = (NOT_THERE, NOT_THERE)
    await watch.look("2001:db8::10")
    assert finding(watch) is PtrFinding.NO_PTR


@asynccontextmanager
async def running(watch: ReverseWatch) -> AsyncIterator[asyncio.Queue[PtrFinding]]:
    """Its task, and what it says."""
    said: asyncio.Queue[PtrFinding] = asyncio.Queue()
    watch.on_change = lambda: said.put_nowait(finding(watch))
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(60):
            yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_looks_at_once_and_again_when_the_configuration_is_another() -> None:
    dns = Dns()
    watch = watch_of(dns)
    async with running(watch) as said:
        assert await said.get() is PtrFinding.CONFIRMED
        dns.now = (NOT_THERE, NOT_THERE)
        watch.apply("Require", "other.example.test", ("203.0.113.10",))
        assert await said.get() is PtrFinding.NO_PTR
        assert dns.asked == [("203.0.113.10", HOST), ("203.0.113.10", "other.example.test")]
