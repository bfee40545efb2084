"""What is asked of each host of a domain: the table of DANE, MTA-STS and the lane's own mode."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.records import Hop, Route, Tlsa, TlsDemand, TlsFailure, TlsPolicy, Unroutable
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.dane import DaneLookups, DaneState, HostDane
from lane_relay.resolve.dns import WireResolver
from lane_relay.resolve.protection import Protected, Protection, decide
from lane_relay.resolve.router import Destination, Router
from lane_relay.resolve.secure_dns import SecureResolver
from lane_relay.resolve.sts import StsAnswer
from lane_relay.resolve.sts_policy import StsPolicy
from tests.lane_relay.resolve.validating_resolver import Zone, resolving

DOMAIN, HOST, OTHER = "isp.test", "mx1.isp.test", "mx2.isp.test"
HOPS = (Hop(HOST, ("192.0.2.1",)), Hop(OTHER, ("192.0.2.2",)))
KEY = Tlsa(3, 1, 1, bytes(32))
AUTHORITY = Tlsa(2, 0, 1, bytes(32))
DANE = HostDane(DaneState.USABLE, (KEY,), HOST, 60.0)
USELESS = HostDane(DaneState.UNUSABLE, (), HOST, 60.0)
BROKEN = HostDane(DaneState.BROKEN, (), "", 30.0, "the signatures of its zone do not hold")


def _sts(mode: str, *mx: str, problem: TlsFailure = TlsFailure.NONE) -> StsAnswer:
    policy = StsPolicy("1", mode, mx or ("*.isp.test",), 86400.0, 0.0)  # type: ignore[arg-type]
    return StsAnswer(policy, problem, 300.0)


def _kept(
    sts: StsAnswer | None = None, danes: dict[str, HostDane] | None = None, mode: str = "Opportunistic"
) -> dict[str, TlsDemand | None]:
    found = decide(DOMAIN, mode, HOPS, sts or StsAnswer(), danes or {})
    assert isinstance(found, Protected), found
    return {hop.host: hop.demand for hop in found.hops}


def _refused(sts: StsAnswer | None = None, danes: dict[str, HostDane] | None = None, mode: str = "") -> Unroutable:
    found = decide(DOMAIN, mode, HOPS, sts or StsAnswer(), danes or {})
    assert isinstance(found, Unroutable), found
    assert found.reply.code == 451
    return found


def test_where_nothing_is_published_nothing_is_asked_and_hosts_share_connections_as_before() -> None:
    found = decide(DOMAIN, "Opportunistic", HOPS, StsAnswer(), {})
    assert isinstance(found, Protected)
    assert (found.hops, found.demands) == (HOPS, "")


def test_dane_wins_over_mta_sts_host_by_host() -> None:
    kept = _kept(_sts("enforce"), {HOST: DANE})
    assert kept[HOST] == TlsDemand(TlsPolicy.DANE, tlsa=(KEY,), server_name=HOST)
    assert kept[OTHER] == TlsDemand(TlsPolicy.MTA_STS)
    assert _kept(_sts("enforce", OTHER), {HOST: DANE})[HOST] is not None  # DANE alone is asked where it is usable


def test_names_matter_only_to_certificates_below_an_authority() -> None:
    anchored = HostDane(DaneState.USABLE, (AUTHORITY,), "base.isp.test", 60.0)
    demand = _kept(None, {HOST: anchored})[HOST]
    assert demand is not None
    assert demand.names == ("base.isp.test", HOST, DOMAIN)
    assert demand.server_name == "base.isp.test"


def test_an_enforced_policy_leaves_the_hosts_that_it_lists() -> None:
    assert set(_kept(_sts("enforce", OTHER))) == {OTHER}
    refused = _refused(_sts("enforce", "mx.elsewhere.test"))
    assert refused.category is Category.TLS_POLICY
    assert "mx.elsewhere.test" in refused.reply.text


def test_a_policy_in_testing_leaves_all_hosts_and_says_which_it_would_not() -> None:
    kept = _kept(_sts("testing", OTHER))
    assert kept[HOST] == TlsDemand(TlsPolicy.MTA_STS, enforced=False, problem=TlsFailure.VALIDATION)
    assert kept[OTHER] == TlsDemand(TlsPolicy.MTA_STS, enforced=False)


def test_records_that_cannot_be_used_ask_for_encryption_and_leave_the_proof_to_mta_sts() -> None:
    assert _kept(None, {HOST: USELESS})[HOST] == TlsDemand(
        TlsPolicy.DANE, server_name=HOST, problem=TlsFailure.TLSA_INVALID
    )
    assert _kept(_sts("enforce"), {HOST: USELESS})[HOST] == TlsDemand(TlsPolicy.MTA_STS)


def test_a_host_whose_dane_state_is_unknown_is_not_used_at_all() -> None:
    assert set(_kept(None, {HOST: BROKEN})) == {OTHER}
    refused = _refused(_sts("enforce"), {HOST: BROKEN, OTHER: BROKEN})
    assert refused.category is Category.DNS_FAILURE
    assert "signatures" in refused.reply.text


def test_a_policy_that_cannot_be_had_is_on_record_and_changes_nothing() -> None:
    kept = _kept(StsAnswer(None, TlsFailure.STS_WEBPKI))
    assert kept[HOST] == TlsDemand(TlsPolicy.NONE, enforced=False, problem=TlsFailure.STS_WEBPKI)


@pytest.mark.parametrize(
    ("mode", "sts", "danes", "hosts"),
    [
        ("MTASTS", _sts("enforce"), {}, {HOST, OTHER}),
        ("MTASTS", None, {HOST: DANE}, {HOST}),
        ("MTASTS", _sts("testing"), {}, set()),
        ("MTASTS", None, {HOST: USELESS}, set()),
        ("MTASTS", None, {}, set()),
        ("DANE", _sts("enforce"), {HOST: DANE}, {HOST}),
        ("DANE", _sts("enforce"), {}, set()),
        ("DANE", None, {HOST: USELESS}, set()),
    ],
)
def test_a_lane_that_asks_for_proof_uses_only_hosts_that_give_it(
    mode: str, sts: StsAnswer | None, danes: dict[str, HostDane], hosts: set[str]
) -> None:
    if hosts:
        assert set(_kept(sts, danes, mode)) == hosts
        return
    refused = _refused(sts, danes, mode)
    assert refused.category is Category.TLS_POLICY
    assert f"outboundTLS: {mode}" in refused.reply.text
    assert "fixed route" in refused.reply.text  # the way out


def test_records_that_change_leave_the_kind_of_demand_as_it_was() -> None:
    other = HostDane(DaneState.USABLE, (Tlsa(3, 1, 1, bytes(31) + b"1"), KEY), HOST, 60.0)
    keys = set()
    for dane in (DANE, other):
        found = decide(DOMAIN, "", HOPS, StsAnswer(), {HOST: dane})
        assert isinstance(found, Protected)
        keys.add(found.demands)
    found = decide(DOMAIN, "", HOPS, _sts("enforce"), {HOST: DANE})
    assert isinstance(found, Protected)
    assert len(keys) == 1
    assert found.demands not in keys


def _config(server: str, **delivery: object) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.sender.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": {"source": "127.0.0.1"},
            "delivery": {"resolvers": [server], **delivery},
        }
    )


async def _route(router: Router, domain: str) -> Destination:
    came: asyncio.Future[Destination] = asyncio.get_running_loop().create_future()
    return router.route(domain, came.set_result) or await came


SIGNED = Zone(
    "signed.test",
    f"@ MX 10 mx\n@ MX 20 bare\nmx A 127.0.0.2\n_25._tcp.mx TLSA 3 1 1 {'aa' * 32}\nbare A 127.0.0.3\n",
)
POINTING = Zone("pointing.test", "@ MX 10 mx.signed.test.\n", signed=False)
FORGED = Zone("forged.test", SIGNED.records, spoil={"aa" * 32: "bb" * 32})


async def test_routes_carry_what_a_validating_resolver_says_and_only_if_it_is_trusted(tmp_path: Path) -> None:
    async with resolving(tmp_path, SIGNED, POINTING, FORGED) as resolver:
        lookups = CachedLookups(WireResolver([resolver.server]), SYSTEM_CLOCK.monotonic)

        def dane(servers: object, v6_only: bool) -> DaneLookups:
            assert servers == (resolver.server,)
            return DaneLookups(SecureResolver([resolver.server]), SYSTEM_CLOCK.monotonic, v6_only=v6_only)

        protection = Protection(dane=dane)
        router = Router(_config(resolver.server, trustAD=True), lookups, SYSTEM_CLOCK, Random(), protection)
        route = await _route(router, "signed.test")
        assert isinstance(route, Route)
        first, second = route.hops
        assert first.demand is not None
        assert (first.demand.policy, second.demand) == (TlsPolicy.DANE, None)
        pointing = await _route(router, "pointing.test")  # its MX could be anybody's: it says nothing of the host
        assert isinstance(pointing, Route)
        assert (pointing.hops[0].demand, pointing.demands) == (None, "")
        forged = await _route(router, "forged.test")
        assert isinstance(forged, Route)
        assert [hop.host for hop in forged.hops] == ["bare.forged.test"]
        router.apply(_config(resolver.server, trustAD=True, outboundTLS="DANE"))
        route = await _route(router, "signed.test")
        assert isinstance(route, Route)
        assert [hop.host for hop in route.hops] == ["mx.signed.test"]
        assert isinstance(await _route(router, "pointing.test"), Unroutable)
        router.apply(_config(resolver.server))
        route = await _route(router, "signed.test")
        assert isinstance(route, Route)
        assert {hop.demand for hop in route.hops} == {None}
        await router.close()
        await lookups.close()


async def test_a_fixed_route_of_a_lane_that_asks_for_proof_needs_a_certificate_of_the_hosts_name() -> None:
    routes = [{"domains": ["fixed.test"], "host": "192.0.2.7"}]
    lookups = CachedLookups(WireResolver(["127.0.0.1:1"]), SYSTEM_CLOCK.monotonic)
    for mode, tls in (("MTASTS", "Required"), ("DANE", "Required"), ("Required", ""), ("Opportunistic", "")):
        router = Router(_config("127.0.0.1:1", outboundTLS=mode, routes=routes), lookups, SYSTEM_CLOCK, Random())
        route = await _route(router, "fixed.test")
        assert isinstance(route, Route)
        assert route.tls == tls
        await router.close()
    await lookups.close()
