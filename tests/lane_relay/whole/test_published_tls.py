"""DANE and MTA-STS from DNS to the last hop: unbound validates, a web server has the policy, Postfix takes the mail.

The port of the routes is Postfix's own, since 25 may not be free here; TLSA is asked for at 25 as in the world.
"""

import asyncio
import json
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives import serialization
from msgspec.structs import replace

from e2e.internet.place import HostPlace
from e2e.internet.postfix import Postfix, PostfixConfig
from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.deliver.tls import make_contexts
from lane_relay.records import Attempt, Route, TlsFailure, Unroutable
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.dane import DaneLookups
from lane_relay.resolve.dns import WireResolver
from lane_relay.resolve.protection import Protection
from lane_relay.resolve.router import Destination, Router
from lane_relay.resolve.secure_dns import SecureResolver
from lane_relay.resolve.sts import StsPolicies
from lane_relay.resolve.sts_fetch import PolicyFetcher
from tests.lane_relay.deliver.certificates import Issued, make_authority
from tests.lane_relay.deliver.delivery import Delivery, delivering, make_config
from tests.lane_relay.resolve.policy_server import PolicyServer, policy, serving
from tests.lane_relay.resolve.validating_resolver import Zone, resolving
from tests.lane_relay.running import eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.ports import free_port

MAIL_HOST = "mx.isp.test"
SOURCE = "127.0.0.9"
"""The slot's own address, from which policies are fetched, too."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Postfix's daemons must reach their folder as an unprivileged user: pytest's own is closed to them."""
    made = Path(tempfile.mkdtemp(prefix="lw-tls-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def postfix(folder: Path, leaf: Issued, *above: Issued) -> AsyncIterator[int]:
    """A Postfix with this certificate that takes and discards all mail; its port."""
    place, port, chain = HostPlace(folder / "spawned"), free_port(), folder / "chain.pem"
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(key + leaf.pem + b"".join(one.pem for one in above))
    main = {
        "myhostname": MAIL_HOST,
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "default_transport": "discard:",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(chain),
        "smtpd_peername_lookup": "no",
    }
    server = Postfix(place, PostfixConfig("published", folder / "postfix", "127.0.0.1", port, main))
    try:
        await asyncio.to_thread(server.up)
        yield port
    finally:
        await asyncio.to_thread(place.end_all)


def _config(server: str, mode: str = "Opportunistic") -> RelayConfig:
    return make_config(source=SOURCE, resolvers=[server], trustAD=True, outboundTLS=mode)


async def _route(router: Router, domain: str, port: int) -> Route | Unroutable:
    came: asyncio.Future[Destination] = asyncio.get_running_loop().create_future()
    found = router.route(domain, came.set_result) or await came
    return replace(found, port=port) if isinstance(found, Route) else found


async def _deliver(delivery: Delivery, route: Route | Unroutable) -> Attempt:
    assert isinstance(route, Route), route
    delivery.attempts.clear()
    delivery.send(route)
    attempt = (await delivery.attempted(1))[0]
    for session in list(delivery.dispatcher._connections.sessions):
        session.quit()
    return attempt


def _zone(name: str, *named: Issued, usage: int = 3, spoil: dict[str, str] | None = None) -> Zone:
    records = [one.tlsa(usage, 1, 1) for one in named]
    lines = [f"_25._tcp.mx TLSA {one.usage} {one.selector} {one.matching} {one.data.hex()}\n" for one in records]
    return Zone(name, "@ MX 10 mx\nmx A 127.0.0.1\n" + "".join(lines), spoil=spoil or {})


async def test_postfix_gets_mail_by_dane_and_only_if_dns_names_its_key(folder: Path) -> None:
    root = make_authority()
    leaf, other = root.issue(MAIL_HOST, days=(-20, -10)), make_authority()  # expired: usage 3 does not mind
    forged = other.tlsa(3, 1, 1).data.hex()
    zones = (
        _zone("right.test", leaf),
        _zone("rolling.test", other, leaf),
        _zone("wrong.test", other),
        _zone("expired.test", root, usage=2),
        _zone("forged.test", other, spoil={forged: leaf.tlsa(3, 1, 1).data.hex()}),
    )
    async with (
        resolving(folder, *zones) as resolver,
        postfix(folder, leaf, root) as port,
        delivering(source=SOURCE) as delivery,
    ):
        lookups = CachedLookups(WireResolver([resolver.server]), SYSTEM_CLOCK.monotonic)
        secure = SecureResolver([resolver.server])
        protection = Protection(dane=lambda _servers, _v6: DaneLookups(secure, SYSTEM_CLOCK.monotonic))
        router = Router(_config(resolver.server), lookups, SYSTEM_CLOCK, Random(), protection)
        for domain, failure in (
            ("right.test", TlsFailure.NONE),
            ("rolling.test", TlsFailure.NONE),
            ("wrong.test", TlsFailure.VALIDATION),
            ("expired.test", TlsFailure.EXPIRED),
        ):
            attempt = await _deliver(delivery, await _route(router, domain, port))
            assert attempt.tls is not None
            assert (domain, attempt.tls.how, attempt.tls.failure) == (domain, "dane", failure)
            assert attempt.tls.verified == (not failure)
            assert (attempt.results[0].verdict.category is Category.TLS_POLICY) == bool(failure)
        resumed = await _deliver(delivery, await _route(router, "right.test", port))
        assert resumed.tls is not None
        assert (resumed.tls.resumed, resumed.tls.verified) == (True, True)
        refused = await _route(router, "forged.test", port)
        assert isinstance(refused, Unroutable)
        assert refused.category is Category.DNS_FAILURE
        await router.close()
        await lookups.close()


async def test_postfix_gets_mail_by_mta_sts_and_only_if_the_policy_lists_it(folder: Path) -> None:
    root = make_authority()
    zone = Zone(
        "isp.test",
        'mta-sts A 127.0.0.1\n_mta-sts TXT "v=STSv1; id=1;"\n@ MX 10 mx\nmx A 127.0.0.1\n',
        signed=False,
    )
    (folder / "root.pem").write_bytes(root.pem)
    web = PolicyServer(body=policy("enforce", "*.isp.test"))
    async with (
        resolving(folder, zone) as resolver,
        postfix(folder, root.issue(MAIL_HOST)) as port,
        serving(web, root.issue("mta-sts.isp.test").context(folder)),
        delivering(source=SOURCE, contexts=make_contexts(str(folder / "root.pem"))) as delivery,
    ):
        lookups = CachedLookups(WireResolver([resolver.server]), SYSTEM_CLOCK.monotonic)
        trusted = ssl.create_default_context(cafile=str(folder / "root.pem"))

        def routing() -> tuple[Router, StsPolicies]:
            fetcher = PolicyFetcher(lookups, trusted, web.port)
            sts = StsPolicies(lookups, fetcher, SYSTEM_CLOCK, lambda: True, None)
            made = Router(_config(resolver.server, "MTASTS"), lookups, SYSTEM_CLOCK, Random(), Protection(sts, fetcher))
            return made, sts

        router, sts = routing()
        attempt = await _deliver(delivery, await _route(router, "isp.test", port))
        assert attempt.tls is not None
        assert (attempt.tls.how, attempt.tls.verified, attempt.tls.host) == ("mta-sts", True, MAIL_HOST)
        assert sts.id_of("isp.test") == "1"
        assert web.sources == [SOURCE]
        await router.close()
        web.body = policy("enforce", "mx.elsewhere.test")
        router, _ = routing()
        refused = await _route(router, "isp.test", port)
        assert isinstance(refused, Unroutable)
        assert refused.category is Category.TLS_POLICY
        await router.close()
        await lookups.close()


async def test_a_lane_that_asks_for_proof_defers_with_the_reason_and_remembers_policies_of_before(
    folder: Path, new_relay: NewRelay
) -> None:
    bare, kept = Zone("bare.test", "@ MX 10 mx\nmx A 127.0.0.1\n"), Zone("kept.test", "@ MX 10 mx\nmx A 127.0.0.1\n")
    async with resolving(folder, bare, kept) as resolver:
        relay = new_relay(delivery={"resolvers": [resolver.server], "trustAD": True, "outboundTLS": "MTASTS"})
        spool = relay.folder / "spool"
        spool.mkdir(parents=True)
        known = {"id": "7", "mode": "enforce", "mx": ["mx.other.test"], "max_age": 86400.0, "fetched_at": time.time()}
        (spool / "mta-sts.json").write_text(json.dumps({"kept.test": known}))
        await asyncio.to_thread(relay.start)
        for domain, reason in (("bare.test", "outboundTLS: MTASTS asks for"), ("kept.test", "it lists mx.other.test")):
            await asyncio.to_thread(relay.submit, 1, recipient=f"ann@{domain}")

            def deferred(domain: str = domain) -> list[str]:
                return [
                    record["response"]["content"]
                    for record in relay.records()
                    if record["type"] == "TransientFailure" and record["queue"] == domain
                ]

            found = await asyncio.to_thread(eventually, deferred, f"the failure of {domain}")
            assert reason in found[0]
