"""Blocklists are asked by DNS: what a name server answers is what is known, and a pool is woken by what counts."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import dns.message
import dns.rcode
import dns.rrset

from lane_api.dnsbl import Listing
from lane_operator.blocklists import Aim, Ask, Blocklists, asker
from lane_operator.deliverability.dnsbl import Answer
from lane_operator.inputs import Key

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
POOL: Key = ("mail", "pool")
GOOD, BAD = "good.example", "refuses.example"
IP, SIX = "203.0.113.10", "2001:db8::10"
WORKS: dict[str, tuple[str, ...]] = {
    f"2.0.0.127.{GOOD}": ("127.0.0.2",),
    f"2.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}{GOOD}": ("127.0.0.2",),
}
REFUSES: dict[str, tuple[str, ...]] = {f"{last}.0.0.127.{BAD}": ("127.255.255.254",) for last in (1, 2)}
LISTED: dict[str, tuple[str, ...]] = {f"10.113.0.203.{GOOD}": ("127.0.0.4",)}
FAST = 0.05


class NameServer(asyncio.DatagramProtocol):
    """Answers A questions from a table; counts them."""

    def __init__(self) -> None:
        self.records: Mapping[str, tuple[str, ...]] = {}
        self.refuses: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.sends: Callable[[bytes, tuple[str, int]], None]
        self.again = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.asked[name] += 1
        answer = dns.message.make_response(query)
        if name in self.refuses:
            answer.set_rcode(dns.rcode.REFUSED)
        elif name in self.records:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 1, "IN", "A", *self.records[name]))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.sends(answer.to_wire(), addr)
        if self.asked[name] == 4:
            self.again.set()


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, Ask]]:
    server = NameServer()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    server.sends = transport.sendto
    try:
        yield server, asker(["127.0.0.1"], transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


@asynccontextmanager
async def looking(ask: Ask) -> AsyncIterator[tuple[Blocklists, "asyncio.Queue[Key]"]]:
    woken: asyncio.Queue[Key] = asyncio.Queue()
    lists = Blocklists(woken.put_nowait, ask, lambda: NOW)
    try:
        yield lists, woken
    finally:
        await lists.close()


async def test_a_name_server_s_answer_its_no_and_its_refusal_are_three_things() -> None:
    async with name_server() as (server, ask):
        server.records = {"listed.example": ("127.0.0.2", "127.0.0.4")}
        server.refuses = {"refused.example"}
        assert set((await ask("listed.example")).codes) == {"127.0.0.2", "127.0.0.4"}
        assert await ask("absent.example") == Answer()
        assert (await ask("refused.example")).failure == "NoNameservers"


async def test_a_listing_wakes_its_pool_once_it_counts_and_once_it_is_over() -> None:
    async with name_server() as (server, ask), looking(ask) as (lists, woken):
        server.records = WORKS | LISTED
        assert lists.standing(POOL) is None
        lists.aim(POOL, Aim(FAST, (GOOD,), (IP, SIX)), {})
        assert await woken.get() == POOL, "the first look is over"
        await woken.get()
        standing = lists.standing(POOL)
        assert standing is not None
        assert [(one.list, one.codes) for one in standing.listings(IP)] == [(GOOD, ("127.0.0.4",))]
        assert (standing.listings(SIX), standing.broken) == ((), {})
        assert server.asked[f"0.1.{'0.' * 22}8.b.d.0.1.0.0.2.{GOOD}"] >= 2

        server.records = WORKS
        await woken.get()
        gone = lists.standing(POOL)
        assert gone is not None
        assert gone.listings(IP) == ()


async def test_a_list_that_refuses_us_lists_nobody_and_says_why() -> None:
    async with name_server() as (server, ask), looking(ask) as (lists, woken):
        server.records = REFUSES | {f"10.113.0.203.{BAD}": ("127.255.255.254",)}
        lists.aim(POOL, Aim(FAST, (BAD,), (IP,)), {})
        await woken.get()
        await server.again.wait()
        standing = lists.standing(POOL)
        assert standing is not None
        assert standing.listings(IP) == ()
        assert standing.broken[BAD].startswith("answers 127.255.255.254: the resolver is public")
        assert woken.empty(), "the same again is no news"


async def test_a_list_that_is_dead_is_asked_for_its_test_addresses_alone() -> None:
    async with name_server() as (server, ask), looking(ask) as (lists, woken):
        lists.aim(POOL, Aim(FAST, (GOOD,), (IP,)), {})
        await woken.get()
        assert server.asked.keys() == {f"2.0.0.127.{GOOD}", f"1.0.0.127.{GOOD}"}
        standing = lists.standing(POOL)
        assert standing is not None
        assert standing.broken == {GOOD: "does not have its test address 127.0.0.2"}


async def test_what_is_recorded_counts_over_a_restart_and_a_pool_that_is_gone_is_asked_for_no_more() -> None:
    record = Listing(list=GOOD, codes=("127.0.0.4",), since="2026-11-20T08:00:00Z")
    async with name_server() as (server, ask), looking(ask) as (lists, woken):
        server.records = WORKS | LISTED
        lists.aim(POOL, Aim(FAST, (GOOD,), (IP,)), {IP: (record,)})
        await woken.get()
        standing = lists.standing(POOL)
        assert standing is not None
        assert standing.listings(IP) == (record,)

        lists.aim(POOL, None, {})
        assert lists.standing(POOL) is None


async def test_no_more_questions_are_under_way_than_there_is_room_for() -> None:
    under_way = most = 0
    everybody = asyncio.Event()

    async def ask(name: str) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if name.startswith(("2.0.0.127", "1.0.0.127")):
            under_way -= 1
            return Answer(("127.0.0.2",)) if name.startswith("2.") else Answer()
        if under_way == 16:
            everybody.set()  # two pools are at it by now
        await everybody.wait()
        under_way -= 1
        return Answer()

    async with looking(ask) as (lists, woken):
        for name in ("a", "b", "c"):
            lists.aim(("mail", name), Aim(FAST, (GOOD,), tuple(f"203.0.113.{last}" for last in range(64))), {})
        for _ in range(3):
            await woken.get()
    assert most == 16


async def test_a_pool_whose_lists_answer_slowly_holds_up_no_other() -> None:
    never = asyncio.Event()

    async def ask(name: str) -> Answer:
        if name.endswith(BAD) and not name.startswith(("2.0.0.127", "1.0.0.127")):
            await never.wait()
        return Answer(("127.0.0.2",)) if name.startswith("2.0.0.127") else Answer()

    async with looking(ask) as (lists, woken):
        lists.aim(("mail", "slow"), Aim(FAST, (BAD,), tuple(f"203.0.113.{last}" for last in range(64))), {})
        lists.aim(POOL, Aim(FAST, (GOOD,), (IP,)), {})
        assert await woken.get() == POOL


async def test_an_answer_is_no_longer_than_any_list_s() -> None:
    async with name_server() as (server, ask):
        server.records = {"all.example": tuple(f"127.0.0.{last}" for last in range(2, 99))}
        assert len((await ask("all.example")).codes) == 8


async def test_where_nobody_answers_that_is_no_listing_and_no_key_is_told() -> None:
    answer = await asker(["127.0.0.1"], port=1, within_s=0.1)("2.0.0.127.key.zen.dq.spamhaus.net")
    assert answer.codes == ()
    assert "key" not in answer.failure
