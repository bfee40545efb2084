"""Lookups against a real bind9 on loopback."""

import asyncio
import socket
import weakref
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.errors import ConfigError
from lane_relay.records import Route, Unroutable
from lane_relay.resolve.answers import Answer, Family, MxRecord, Status
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.dns import WireResolver, ask_txt_afresh, check_server
from lane_relay.resolve.router import Destination, Router
from tests.lane_relay.resolve.named_server import Named, running_named


@pytest_asyncio.fixture
async def named(tmp_path: Path) -> AsyncIterator[Named]:
    async with running_named(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def wire(named: Named) -> AsyncIterator[WireResolver]:
    resolver = WireResolver([named.server], try_s=0.5, tries=2)
    yield resolver
    await resolver.close()


async def test_the_five_outcomes_are_different_values(wire: WireResolver) -> None:
    found = await wire.mx("two.example.test")
    assert found.status is Status.FOUND
    assert set(found.records) == {MxRecord(20, "mx2.example.test"), MxRecord(10, "mx1.example.test")}
    assert found.ttl == 300
    assert (await wire.mx("plain.example.test")).status is Status.NODATA
    assert (await wire.mx("nobody.example.test")).status is Status.NXDOMAIN
    assert (await wire.mx("x.broken.test")).status is Status.SERVFAIL
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = WireResolver([f"127.0.0.1:{silent.getsockname()[1]}"], try_s=0.1, tries=1)
        assert (await resolver.mx("two.example.test")).status is Status.TIMEOUT
        await resolver.close()


async def test_a_refusing_resolver_is_an_outage_and_not_a_fact_about_the_name(wire: WireResolver) -> None:
    assert (await wire.mx("not-served-here.org")).status is Status.SERVFAIL


async def test_a_resolver_that_is_not_there_is_an_outage(named: Named) -> None:
    await named.stop()
    resolver = WireResolver([named.server], try_s=0.2, tries=1)
    answer = await resolver.mx("two.example.test")
    await resolver.close()
    assert not answer.is_definite


async def test_addresses_aliases_and_null_mx_are_read(wire: WireResolver) -> None:
    assert set((await wire.addresses("mx2.example.test", Family.V4)).records) == {"127.0.0.3", "127.0.0.4"}
    assert (await wire.addresses("plain.example.test", Family.V6)).records == ("::1",)
    assert (await wire.addresses("mxcname.example.test", Family.V4)).records == ("127.0.0.2",)
    assert len((await wire.mx("alias.example.test")).records) == 2
    assert (await wire.mx("null.example.test")).records == (MxRecord(0, ""),)


async def test_of_a_name_with_many_records_the_best_are_read(wire: WireResolver) -> None:
    hosts = (await wire.mx("many.example.test")).records
    assert hosts == tuple(MxRecord(number, f"host{number}.example.test") for number in range(1, 51))
    assert len((await wire.addresses("many.example.test", Family.V4)).records) == 30


async def test_the_strings_of_a_txt_record_are_joined(wire: WireResolver) -> None:
    answer = await wire.txt("s1._domainkey.example.test")
    assert answer.records == ("v=DKIM1; k=rsa; p=AAAABBBB",)


async def test_a_name_that_is_none_does_not_exist(wire: WireResolver) -> None:
    assert (await wire.mx("x" * 70 + ".example.test")).status is Status.NXDOMAIN


async def test_asking_afresh_sees_a_record_published_a_moment_ago(named: Named) -> None:
    name = "late._domainkey.example.test"
    assert (await ask_txt_afresh([named.server], name)).status is Status.NXDOMAIN
    zone = named.folder / "example.zone"
    zone.write_text(zone.read_text() + 'late._domainkey TXT "p=KEY"\n')
    await named.stop()
    await named.start()
    assert (await ask_txt_afresh([named.server], name)).records == ("p=KEY",)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:5353", "127.0.0.1:5353"),
        ("::1", "[::1]"),
        ("[2001:db8::1]:53", "[2001:db8::1]:53"),
    ],
)
def test_resolvers_are_addresses_with_or_without_a_port(text: str, spelling: str) -> None:
    assert check_server(text) == spelling


def test_a_resolver_given_by_name_is_refused_with_its_text() -> None:
    with pytest.raises(ConfigError, match=r"dns\.example\.com"):
        check_server("dns.example.com")


async def _routes(
    named: Named, domains: list[str], egress: str | None = "127.0.0.8", seed: int = 1, **delivery: object
) -> dict[str, Destination]:
    """The routes of these domains, by a router with the real resolver; `egress`: what the slot sends from."""
    config = RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.example.org"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": {"source": egress} if egress else {},
            "delivery": delivery,
        }
    )
    wire = WireResolver([named.server], try_s=0.5, tries=2)
    lookups = CachedLookups(wire, SYSTEM_CLOCK.monotonic)
    router = Router(config, lookups, SYSTEM_CLOCK, Random(seed))
    found: dict[str, Destination] = {}
    complete = asyncio.Event()

    def keep(domain: str, route: Destination) -> None:
        found[domain] = route
        if len(found) == len(domains):
            complete.set()

    try:
        for domain in domains:
            known = router.route(domain, partial(keep, domain))
            assert known is None
        async with asyncio.timeout(60):
            await complete.wait()
    finally:
        await router.close()
        await lookups.close()
        await wire.close()
    return found


async def test_domains_become_routes_through_a_real_server(named: Named) -> None:
    names = ["two", "null", "plain", "nobody", "badhost", "literal", "mxalias", "a.wild"]
    found = await _routes(
        named,
        [f"{name}.example.test" for name in names] + ["x.broken.test"],
        policies=[{"name": "both", "mx": ["*.example.test"]}],
    )
    two = found["two.example.test"]
    assert isinstance(two, Route)
    assert [hop.host for hop in two.hops] == ["mx1.example.test", "mx2.example.test"]
    assert (two.site, two.policy) == ("both", "both")
    assert set(two.hops[1].addresses) == {"127.0.0.3", "127.0.0.4"}
    implicit = found["plain.example.test"]
    assert isinstance(implicit, Route)
    assert implicit.hops[0].addresses == ("127.0.0.9",)
    alias = found["mxalias.example.test"]
    assert isinstance(alias, Route)
    assert alias.hops[0].addresses == ("127.0.0.2",)
    codes = {}
    for name, destination in found.items():
        if isinstance(destination, Unroutable):
            codes[name.split(".", maxsplit=1)[0]] = (destination.reply.code, destination.reply.enhanced)
    assert codes == {
        "null": (556, "5.1.10"),
        "nobody": (550, "5.1.2"),
        "badhost": (550, "5.4.4"),
        "literal": (550, "5.4.4"),
        "x": (451, "4.4.3"),
    }
    broken = found["x.broken.test"]
    assert isinstance(broken, Unroutable)
    assert broken.category is Category.DNS_FAILURE


def _hosts(route: Destination) -> list[str]:
    return [hop.host for hop in route.hops] if isinstance(route, Route) else [route.reply.enhanced]


async def test_a_route_never_leads_back_to_ourselves_by_name_or_by_address(named: Named) -> None:
    names = ("loop", "backup", "byaddress")
    found = await _routes(named, [f"{name}.example.test" for name in names])
    assert {name: _hosts(found[f"{name}.example.test"]) for name in names} == {
        "loop": ["5.4.6"],
        "backup": ["mx1.example.test"],
        "byaddress": ["mx1.example.test"],
    }


async def test_aliases_lead_on_where_they_lead_anywhere(named: Named) -> None:
    found = await _routes(named, ["alias.example.test", "dangling.example.test"])
    assert _hosts(found["alias.example.test"]) == ["mx1.example.test", "mx2.example.test"]
    assert _hosts(found["dangling.example.test"]) == ["5.1.2"]


async def test_equal_preferences_are_shuffled_and_are_one_site_all_the_same(named: Named) -> None:
    orders, sites = set(), set()
    for seed in range(8):
        route = (await _routes(named, ["equal.example.test"], seed=seed))["equal.example.test"]
        assert isinstance(route, Route)
        orders.add(tuple(_hosts(route)))
        sites.add(route.site)
    assert len(orders) == 2
    assert sites == {"mx1.example.test,mx2.example.test"}


@pytest.mark.parametrize(
    ("egress", "both", "six"),
    [
        ("127.0.0.8", ("127.0.0.7",), "451 4.4.4"),
        ("::8", ("::7",), "::6"),
        (None, ("127.0.0.7", "::7"), "::6"),
    ],
)
async def test_a_slot_tries_the_families_that_its_address_can_reach(
    named: Named, egress: str | None, both: tuple[str, ...], six: str
) -> None:
    found = await _routes(named, ["both.example.test", "six.example.test"], egress=egress)
    route, only = found["both.example.test"], found["six.example.test"]
    assert isinstance(route, Route)
    assert route.hops[0].addresses == both
    assert (only.hops[0].addresses[0] if isinstance(only, Route) else str(only.reply)[:9]) == six


async def test_hundreds_of_new_domains_resolve_through_one_address_lookup(named: Named) -> None:
    found = await _routes(named, [f"d{number}.wild.example.test" for number in range(300)])
    assert all(isinstance(route, Route) for route in found.values())
    assert {route.site for route in found.values() if isinstance(route, Route)} == {"mx1.example.test"}


def test_an_answer_without_records_is_definite_only_if_the_name_spoke() -> None:
    assert [status for status in Status if Answer[str](status).is_definite] == [
        Status.FOUND,
        Status.NODATA,
        Status.NXDOMAIN,
    ]


async def test_a_resolver_that_another_one_replaces_goes_with_its_last_question(named: Named) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        old = WireResolver([f"127.0.0.1:{silent.getsockname()[1]}"], try_s=0.1, tries=1)
        lookups, is_gone = CachedLookups(old, SYSTEM_CLOCK.monotonic), asyncio.Event()
        weakref.finalize(old, is_gone.set)
        del old
        asked = asyncio.create_task(lookups.mx("two.example.test"))
        await asyncio.get_running_loop().sock_recv(silent, 512)
        lookups.replace_wire(WireResolver([named.server]))
        assert not is_gone.is_set()
        assert (await asked).status is Status.TIMEOUT
        async with asyncio.timeout(60):
            await is_gone.wait()  # and its sockets with it
        assert (await lookups.mx("plain.example.test")).status is Status.NODATA
    await lookups.close()


async def test_what_the_library_keeps_for_itself_is_let_go_after_so_many_questions(named: Named) -> None:
    wire = WireResolver([named.server], try_s=0.5, tries=2, renewed_after=3)
    assert (await wire.addresses("plain.example.test", Family.V4)).records == ("127.0.0.9",)
    zone = named.folder / "example.zone"
    zone.write_text(zone.read_text().replace("plain A 127.0.0.9", "plain A 127.0.0.10"))
    await named.stop()
    await named.start()
    found = [(await wire.addresses("plain.example.test", Family.V4)).records for _ in range(3)]
    await wire.close()
    assert found[0] == ("127.0.0.9",)  # it is kept for its TTL of 300 s ...
    assert found[-1] == ("127.0.0.10",)  # ... and no longer than the answers of two more questions
