"""MTA-STS policies: fetched over real HTTPS, kept for their max_age and through restarts, whoever takes them away."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lane_relay.clock import Clock
from lane_relay.records import TlsFailure
from lane_relay.resolve.answers import Answer, Family, MxRecord, Status
from lane_relay.resolve.mx import Ourselves
from lane_relay.resolve.sts import StsPolicies
from lane_relay.resolve.sts_fetch import MAX_POLICY, FetchFailure, PolicyFetcher
from lane_relay.socks.tunnel import Door
from tests.lane_relay.deliver.certificates import Issued, make_authority
from tests.lane_relay.resolve.policy_server import PolicyServer, policy, serving
from tests.lane_relay.socks.dante import LEAVES_FROM, running_dante
from tests.lane_relay.spool.making import until

DOMAIN = "isp.test"
WEB = f"mta-sts.{DOMAIN}"
DAY = 86_400.0


@dataclass
class Names:
    """DNS as the test wants it: one TXT record, and a web server on loopback."""

    announced: str = "1"
    down: bool = False
    asked: int = 0

    async def txt(self, name: str) -> Answer[str]:
        """The record, nothing, or no answer."""
        self.asked += 1
        assert name == f"_mta-sts.{DOMAIN}"
        if self.down:
            return Answer(Status.TIMEOUT)
        if not self.announced:
            return Answer(Status.NXDOMAIN, (), 60.0)
        return Answer(Status.FOUND, (f"v=STSv1; id={self.announced};",), 300.0)

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        """Loopback, whatever the name."""
        return Answer(Status.FOUND, ("127.0.0.1",), 300.0) if family is Family.V4 else Answer(Status.NODATA)

    async def mx(self, name: str) -> Answer[MxRecord]:
        """Nobody asks."""
        raise AssertionError(name)


@dataclass
class World:
    """Policies with all that they depend on."""

    folder: Path
    web: PolicyServer
    trusted: Path
    names: Names = field(default_factory=Names)
    now: float = 1_000_000.0
    may_leave: bool = True

    def policies(self, **fetcher: Any) -> StsPolicies:
        """As after a start."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        made = PolicyFetcher(self.names, context, self.web.port)
        made.apply("127.0.0.1", Ourselves("out.sender.test"))
        clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)
        return StsPolicies(self.names, made, clock, lambda: self.may_leave, self.folder / "mta-sts.json")


@asynccontextmanager
async def world(folder: Path, make: Callable[[Issued], Issued] | None = None) -> AsyncIterator[World]:
    """With a web server whose certificate is as `make` issues it; by default a right one."""
    root = make_authority()
    trusted = folder / "root.pem"
    trusted.write_bytes(root.pem)
    leaf = make(root) if make is not None else root.issue(WEB)
    web = PolicyServer()
    async with serving(web, leaf.context(folder)):
        yield World(folder, web, trusted)


async def test_a_policy_is_fetched_once_from_the_place_that_the_rfc_names_and_from_our_own_address(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        answers = await asyncio.gather(*[policies.of(DOMAIN) for _ in range(20)])
        assert {answer.policy.mode for answer in answers if answer.policy} == {"enforce"}
        await policies.of(DOMAIN)
        [request] = made.web.requests
        assert request == f"GET /.well-known/mta-sts.txt HTTP/1.1 Host: {WEB}:{made.web.port}"
        assert made.web.sources == ["127.0.0.1"]
        assert policies.id_of(DOMAIN) == "1"


@pytest.mark.parametrize("bound", [LEAVES_FROM, "203.0.113.9"], ids=["as-it-should", "another-address"])
async def test_a_slot_behind_a_proxy_asks_through_it_and_never_from_another_address(tmp_path: Path, bound: str) -> None:
    async with world(tmp_path) as made, running_dante(tmp_path) as port:
        fetcher = PolicyFetcher(made.names, ssl.create_default_context(cafile=str(made.trusted)), made.web.port)
        fetcher.apply("", Ourselves("out.sender.test"), door=Door("127.0.0.1", port, bound))
        got = await fetcher.fetch(DOMAIN)
    if bound == LEAVES_FROM:
        assert got == policy()
        assert made.web.requests == [f"GET /.well-known/mta-sts.txt HTTP/1.0 Host: {WEB}:{made.web.port}"]
    else:
        assert isinstance(got, FetchFailure)
        assert "instead of 203.0.113.9" in got.text
        assert not made.web.requests


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body": "x" * (MAX_POLICY + 1)}, "a policy of more than"),
        ({"status": "301 Moved"}, "redirects are not followed"),
        ({"content_type": "text/html"}, "text/html instead of text/plain"),
        ({"content_type": "html"}, "instead of text/plain"),
        ({"content_type": ""}, "instead of text/plain"),
        ({"kept_back": 100}, ""),
    ],
    ids=["too-long", "moved", "no-text", "no-kind", "no-field", "cut-off"],
)
@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxy"])
async def test_a_bad_answer_is_judged_alike_through_a_proxy(
    tmp_path: Path, change: dict[str, str | int], said: str, is_proxied: bool
) -> None:
    async with world(tmp_path) as made, running_dante(tmp_path) as port:
        for name, value in change.items():
            setattr(made.web, name, value)
        fetcher = PolicyFetcher(made.names, ssl.create_default_context(cafile=str(made.trusted)), made.web.port)
        door = Door("127.0.0.1", port, LEAVES_FROM) if is_proxied else None
        fetcher.apply("", Ourselves("out.sender.test"), door=door)
        got = await fetcher.fetch(DOMAIN)
    assert isinstance(got, FetchFailure)
    assert said in got.text
    assert got.failure is (TlsFailure.STS_INVALID if "instead" in said or "more" in said else TlsFailure.STS_FETCH)


async def test_through_a_proxy_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, lambda root: root.issue("somebody.else.test")) as made, running_dante(tmp_path) as port:
        fetcher = PolicyFetcher(made.names, ssl.create_default_context(cafile=str(made.trusted)), made.web.port)
        fetcher.apply("", Ourselves("out.sender.test"), door=Door("127.0.0.1", port, LEAVES_FROM))
        got = await fetcher.fetch(DOMAIN)
    assert isinstance(got, FetchFailure)
    assert got.failure is TlsFailure.STS_WEBPKI


async def test_a_domain_that_announces_nothing_is_not_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.names.announced = ""
        answer = await made.policies().of(DOMAIN)
        assert (answer.policy, answer.ttl) == (None, float("inf"))  # and its route lives as long as its MX says
        assert not made.web.requests


@pytest.mark.parametrize(
    ("lie", "failure"),
    [
        ({"moved_to": f"https://{WEB}:PORT/elsewhere"}, TlsFailure.STS_FETCH),
        ({"status": "404 Not Found"}, TlsFailure.STS_FETCH),
        ({"content_type": "text/html"}, TlsFailure.STS_INVALID),
        ({"body": policy() + "x: " + "x" * (MAX_POLICY + 1024)}, TlsFailure.STS_INVALID),
        ({"body": "<html>"}, TlsFailure.STS_INVALID),
    ],
    ids=["redirect", "not found", "media type", "65 KiB", "no policy"],
)
async def test_what_is_no_policy_leaves_the_domain_as_if_it_had_none_for_five_minutes(
    tmp_path: Path, lie: dict[str, str], failure: TlsFailure
) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        for name, value in lie.items():
            setattr(made.web, name, value.replace("PORT", str(made.web.port)))
        for _ in range(3):
            answer = await policies.of(DOMAIN)
            assert (answer.policy, answer.problem) == (None, failure)
        assert len(made.web.requests) == 1
        made.now += 301
        await policies.of(DOMAIN)
        assert len(made.web.requests) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda root: root.issue("another.test"),
        lambda root: root.issue(WEB, days=(-20, -10)),
        lambda root: make_authority().issue(WEB),
    ],
    ids=["another name", "expired", "foreign authority"],
)
async def test_a_web_server_with_a_bad_certificate_has_no_policy(
    tmp_path: Path, make: Callable[[Issued], Issued]
) -> None:
    async with world(tmp_path, make) as made:
        answer = await made.policies().of(DOMAIN)
        assert (answer.policy, answer.problem) == (None, TlsFailure.STS_WEBPKI)
        assert not made.web.requests


async def test_a_vanished_record_a_dead_resolver_and_a_dead_web_server_drop_no_policy(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        assert (await policies.of(DOMAIN)).policy
        made.names.announced = ""
        assert (await policies.of(DOMAIN)).policy
        made.names.down = True
        assert (await policies.of(DOMAIN)).policy
        made.names.down, made.names.announced = False, "2"
        made.web.status = "503 Service Unavailable"
        answer = await policies.of(DOMAIN)
        assert answer.policy is not None
        assert (answer.policy.id, answer.problem) == ("1", TlsFailure.STS_FETCH)
        made.now += DAY + 1
        assert (await policies.of(DOMAIN)).policy is None  # max_age is over


async def test_another_id_brings_another_policy(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        await policies.of(DOMAIN)
        made.names.announced, made.web.body = "2", policy("testing")
        found = (await policies.of(DOMAIN)).policy
        assert found is not None
        assert (found.id, found.mode) == ("2", "testing")
        made.names.announced, made.web.body = "3", policy("none")
        assert (await policies.of(DOMAIN)).policy is None


async def test_policies_outlive_the_process_and_a_damaged_file_costs_a_fetch(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        await policies.of(DOMAIN)
        await policies.close()
        made.web.status = "503 Service Unavailable"
        made.names.announced = ""
        again = await made.policies().of(DOMAIN)
        assert again.policy is not None
        assert again.policy.mx == ("mx.isp.test",)
        (tmp_path / "mta-sts.json").write_bytes(b'{"isp.test":')
        assert (await made.policies().of(DOMAIN)).policy is None
        made.now += DAY + 1
        assert made.policies().known(DOMAIN) is None


async def test_what_is_in_use_is_fetched_anew_before_it_ends_unless_its_record_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        made.web.body = policy(max_age=int(10 * DAY))
        await policies.of(DOMAIN)
        await policies.of(DOMAIN)
        await policies.refresh()
        assert len(made.web.requests) == 1
        made.now += DAY + 1
        await policies.refresh()
        assert len(made.web.requests) == 2
        made.now += DAY + 1
        await policies.refresh()  # nobody has mailed it since
        assert len(made.web.requests) == 2
        await policies.of(DOMAIN)
        made.names.announced = ""
        await policies.refresh()
        assert len(made.web.requests) == 2


async def test_a_policy_of_hours_is_fetched_anew_at_half_of_them(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        policies = made.policies()
        made.web.body = policy(max_age=7200)
        await policies.of(DOMAIN)
        await policies.of(DOMAIN)
        made.now += 3599
        await policies.refresh()
        assert len(made.web.requests) == 1
        made.now += 2
        await policies.refresh()
        assert len(made.web.requests) == 2


async def test_nothing_is_fetched_before_the_egress_address_is_proved(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.may_leave = False
        policies = made.policies()
        asking = asyncio.create_task(policies.of(DOMAIN))
        while not made.names.asked:  # noqa: ASYNC110 -- the question has no event of its own
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not made.web.requests
        assert not asking.done()
        made.may_leave = True
        policies.opened()
        assert (await asking).policy is not None


async def test_a_web_server_that_is_on_this_machine_is_not_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        context = ssl.create_default_context(cafile=str(made.trusted))
        fetcher = PolicyFetcher(made.names, context, made.web.port)
        fetcher.apply("", Ourselves("out.sender.test", ["192.0.2.9"]))
        clock = Clock(now=lambda: made.now, monotonic=lambda: made.now)
        answer = await StsPolicies(made.names, fetcher, clock, lambda: True, None).of(DOMAIN)
        assert answer.problem is TlsFailure.STS_FETCH
        assert not made.web.requests


async def test_web_servers_that_say_nothing_keep_no_other_domain_waiting(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        context = ssl.create_default_context(cafile=str(made.trusted))
        fetcher = PolicyFetcher(made.names, context, made.web.port, quick_s=0.05)
        made.web.release.clear()
        asking = [asyncio.create_task(fetcher.fetch(DOMAIN)) for _ in range(80)]
        await until(lambda: len(made.web.requests) == 80, 20)
        made.web.release.set()
        assert set(await asyncio.gather(*asking)) == {made.web.body}
        assert await fetcher.fetch(DOMAIN) == made.web.body  # each has given its place back once


async def test_web_servers_that_say_nothing_make_room_once_another_domain_waits(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        context = ssl.create_default_context(cafile=str(made.trusted))
        fetcher = PolicyFetcher(made.names, context, made.web.port, quick_s=0.05, pressed_s=0.2, most=4)
        made.web.release.clear()
        asking = [asyncio.create_task(fetcher.fetch(DOMAIN)) for _ in range(12)]
        await until(lambda: len(made.web.requests) == 12, 20)  # each of them had 30 s
        made.web.release.set()
        found = await asyncio.gather(*asking)
        assert {one.failure for one in found[:8] if isinstance(one, FetchFailure)} == {TlsFailure.STS_FETCH}
        assert found[8:] == [made.web.body] * 4  # nobody waited for their places
        assert await fetcher.fetch(DOMAIN) == made.web.body
