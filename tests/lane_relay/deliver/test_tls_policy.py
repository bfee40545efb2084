"""What is published about a host's TLS, kept by sessions: DANE and MTA-STS, enforced and in testing."""

import asyncio
import ssl
from pathlib import Path

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Action, Category
from lane_relay.deliver.tls import TlsContexts, make_contexts
from lane_relay.records import Attempt, Hop, Route, TlsDemand, TlsFailure, TlsPolicy
from tests.lane_relay.deliver.certificates import Issued, make_authority
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to
from tests.lane_relay.deliver.scripted_peer import EHLO, Peer, running

STARTTLS = EHLO.replace(b"250 SIZE", b"250-STARTTLS\r\n250 SIZE")
HOST = "mx0.peer.test"


def _peer(context: ssl.SSLContext) -> Peer:
    return Peer({"ehlo": STARTTLS}, context=context)


def _trusting(folder: Path, authority: Issued) -> TlsContexts:
    file = folder / "authority.pem"
    file.write_bytes(authority.pem)
    return make_contexts(str(file))


def _route(port: int, *demands: TlsDemand | None, hosts: tuple[str, ...] = ("127.0.0.1",)) -> Route:
    route = route_to(port, *hosts)
    hops = tuple(Hop(hop.host, hop.addresses, demand) for hop, demand in zip(route.hops, demands, strict=True))
    return replace(route, hops=hops, demands="demanded")


def _dane(*certificates: Issued, usage: int = 3, names: tuple[str, ...] = ()) -> TlsDemand:
    records = tuple(one.tlsa(usage, 1, 1) for one in certificates)
    return TlsDemand(TlsPolicy.DANE, tlsa=records, server_name=HOST, names=names)


STS = TlsDemand(TlsPolicy.MTA_STS)
TESTING = TlsDemand(TlsPolicy.MTA_STS, enforced=False)


async def _one(delivery: Delivery, route: Route) -> Attempt:
    delivery.send(route)
    return (await delivery.attempted(1))[0]


def _is_refused(attempt: Attempt, peer: Peer, failure: TlsFailure) -> None:
    verdict = attempt.results[0].verdict
    assert (verdict.category, verdict.action) == (Category.TLS_POLICY, Action.RETRY)
    assert attempt.tls is not None
    assert (attempt.tls.failure, attempt.tls.verified) == (failure, False)
    assert not [command for command in peer.commands if command.startswith("MAIL")]


async def test_an_expired_certificate_of_another_name_passes_where_tlsa_names_its_key(tmp_path: Path) -> None:
    leaf = make_authority().issue("another.name", days=(-20, -10))
    peer = _peer(leaf.context(tmp_path))
    async with running(peer), delivering() as delivery:
        attempt = await _one(delivery, _route(peer.port, _dane(leaf)))
    assert attempt.results[0].verdict.action is None
    assert attempt.tls is not None
    assert (attempt.tls.how, attempt.tls.verified, attempt.tls.host) == ("dane", True, HOST)
    assert attempt.tls.failure is TlsFailure.NONE


async def test_the_key_of_another_gets_no_mail_where_tlsa_names_one(tmp_path: Path) -> None:
    root = make_authority()
    peer = _peer(root.issue(HOST).context(tmp_path))
    async with running(peer), delivering(contexts=_trusting(tmp_path, root)) as delivery:
        attempt = await _one(delivery, _route(peer.port, _dane(root.issue(HOST))))
    _is_refused(attempt, peer, TlsFailure.VALIDATION)
    assert "DANE" in str(attempt.results[0].reply)


async def test_an_authority_named_by_tlsa_is_found_in_the_chain_that_the_peer_sends(tmp_path: Path) -> None:
    root = make_authority()
    peer = _peer(root.issue(HOST).context(tmp_path, root))
    async with running(peer), delivering() as delivery:
        attempt = await _one(delivery, _route(peer.port, _dane(root, usage=2, names=(HOST,))))
        assert attempt.tls is not None
        assert attempt.tls.verified
        delivery.attempts.clear()
        wrong = replace(_route(peer.port, _dane(root, usage=2, names=("other.test",))), demands="other")
        attempt = await _one(delivery, wrong)
    assert attempt.tls is not None
    assert attempt.tls.failure is TlsFailure.HOST_MISMATCH


async def test_unusable_records_ask_for_encryption_alone(tmp_path: Path) -> None:
    demand = TlsDemand(TlsPolicy.DANE, problem=TlsFailure.TLSA_INVALID)
    peer = _peer(make_authority().issue("whoever").context(tmp_path))
    async with running(peer), delivering() as delivery:
        attempt = await _one(delivery, _route(peer.port, demand))
    assert attempt.results[0].verdict.action is None
    assert attempt.tls is not None
    assert (attempt.tls.verified, attempt.tls.failure) == (False, TlsFailure.TLSA_INVALID)
    bare = Peer()
    async with running(bare), delivering() as delivery:
        attempt = await _one(delivery, _route(bare.port, demand))
    _is_refused(attempt, bare, TlsFailure.STARTTLS_NOT_SUPPORTED)


async def test_a_starttls_that_vanishes_holds_the_mail_where_a_policy_binds() -> None:
    async def hold(demand: TlsDemand, script: dict[str, bytes]) -> None:
        peer = Peer(dict(script))
        async with running(peer), delivering() as delivery:
            attempt = await _one(delivery, _route(peer.port, demand))
        _is_refused(attempt, peer, TlsFailure.STARTTLS_NOT_SUPPORTED)

    scripts = {"not offered": {}, "refused": {"ehlo": STARTTLS, "starttls": b"454 4.7.0 no\r\n"}}
    demands = (STS, _dane(make_authority()))
    await asyncio.gather(*[hold(demand, script) for demand in demands for script in scripts.values()])


async def test_a_handshake_that_breaks_off_is_never_repeated_in_plain_text_where_a_policy_binds() -> None:
    peer = Peer({"ehlo": STARTTLS})  # says 220 to STARTTLS and hangs up
    async with running(peer), delivering() as delivery:
        free = await _one(delivery, route_to(peer.port))  # nothing binds: plain text, which is remembered
        assert free.results[0].verdict.action is None
        assert free.tls is not None
        assert free.tls.failure is TlsFailure.VALIDATION
        peer.commands.clear()
        delivery.attempts.clear()
        attempt = await _one(delivery, _route(peer.port, STS))
    _is_refused(attempt, peer, TlsFailure.VALIDATION)
    assert "STARTTLS" in peer.commands


async def test_an_enforced_policy_asks_for_a_valid_certificate_of_the_hosts_name(tmp_path: Path) -> None:
    root = make_authority()
    contexts = _trusting(tmp_path, root)

    async def judge(leaf: Issued, failure: TlsFailure) -> None:
        peer = _peer(leaf.context(tmp_path))
        async with running(peer), delivering(contexts=contexts) as delivery:
            attempt = await _one(delivery, _route(peer.port, STS))
        if failure:
            _is_refused(attempt, peer, failure)
            assert "MTA-STS" in str(attempt.results[0].reply)
        else:
            assert attempt.tls is not None
            assert (attempt.tls.how, attempt.tls.verified) == ("mta-sts", True)

    await asyncio.gather(
        judge(root.issue(HOST), TlsFailure.NONE),
        judge(root.issue("*.peer.test"), TlsFailure.NONE),
        judge(root.issue("another.name"), TlsFailure.HOST_MISMATCH),
        judge(root.issue(HOST, authority=True), TlsFailure.HOST_MISMATCH),  # named by its CN alone
        judge(root.issue(HOST, days=(-20, -10)), TlsFailure.EXPIRED),
        judge(make_authority().issue(HOST), TlsFailure.NOT_TRUSTED),
    )


async def test_the_next_host_gets_the_mail_when_the_first_is_not_what_the_policy_asks_for(tmp_path: Path) -> None:
    root = make_authority()
    first = _peer(root.issue("another.name").context(tmp_path))
    second = _peer(root.issue("mx1.peer.test").context(tmp_path))
    second.hosts = ("127.0.0.2",)
    route_hosts = ("127.0.0.1", "127.0.0.2")
    async with running(first, second), delivering(contexts=_trusting(tmp_path, root)) as delivery:
        attempt = await _one(delivery, _route(first.port, STS, STS, hosts=route_hosts))
        counted = dict(delivery.dispatcher.judgement.tls)
    assert attempt.results[0].verdict.action is None
    assert len(second.messages) == 1
    assert not first.messages
    assert counted == {("mta-sts", "certificate-host-mismatch"): 1, ("mta-sts", "verified"): 1}


@pytest.mark.parametrize(
    ("names", "days", "trusted", "failure"),
    [
        ((HOST,), (-1, 1), True, TlsFailure.NONE),
        (("another.name",), (-1, 1), True, TlsFailure.HOST_MISMATCH),
        ((HOST,), (-20, -10), True, TlsFailure.EXPIRED),
        ((HOST,), (-1, 1), False, TlsFailure.NOT_TRUSTED),
    ],
    ids=["right", "another name", "expired", "foreign"],
)
async def test_in_testing_mail_is_delivered_and_what_enforcing_would_refuse_is_written_down(
    tmp_path: Path, names: tuple[str, ...], days: tuple[int, int], trusted: bool, failure: TlsFailure
) -> None:
    root = make_authority()
    peer = _peer(root.issue(*names, days=days).context(tmp_path))
    contexts = _trusting(tmp_path, root if trusted else make_authority())
    async with running(peer), delivering(contexts=contexts) as delivery:
        attempt = await _one(delivery, _route(peer.port, TESTING))
    assert peer.messages[0].encrypted
    assert attempt.tls is not None
    assert (attempt.tls.how, attempt.tls.verified, attempt.tls.failure) == ("mta-sts", not failure, failure)


async def test_in_testing_a_host_without_starttls_gets_its_mail_in_plain_text_and_that_is_written_down() -> None:
    peer = Peer()
    async with running(peer), delivering() as delivery:
        attempt = await _one(delivery, _route(peer.port, TESTING))
    assert len(peer.messages) == 1
    assert attempt.tls is not None
    assert (attempt.tls.version, attempt.tls.failure) == ("", TlsFailure.STARTTLS_NOT_SUPPORTED)


async def test_all_that_waits_asks_for_its_route_again_when_a_policy_was_not_fulfilled(tmp_path: Path) -> None:
    """A change of keys that the entries' route is too old to know must not hold them one failure each."""
    root = make_authority()
    peer = _peer(root.issue(HOST).context(tmp_path))
    async with running(peer), delivering(connections=1) as delivery:
        route = _route(peer.port, _dane(root.issue(HOST)))
        for _ in range(20):
            delivery.send(route)
        attempts = await delivery.attempted(20)
    assert {str(attempt.results[0].verdict.category) for attempt in attempts} == {"tls-policy"}
    assert peer.connections <= 2


async def test_what_must_be_proved_differently_shares_no_connection(tmp_path: Path) -> None:
    peer = _peer(make_authority().issue(HOST).context(tmp_path))
    async with running(peer), delivering() as delivery:
        await _one(delivery, route_to(peer.port))
        assert len(peer.messages) == 1
        delivery.send(_route(peer.port, STS))
        attempts = await delivery.attempted(2)
    assert attempts[1].results[0].verdict.category is Category.TLS_POLICY
    assert len(peer.messages) == 1


async def test_attempts_are_counted_by_what_tls_had_to_prove_and_what_it_came_to(tmp_path: Path) -> None:
    leaf = make_authority().issue(HOST)
    peer, bare = _peer(leaf.context(tmp_path)), Peer()
    async with running(peer), running(bare), delivering() as delivery:
        delivery.send(_route(peer.port, _dane(leaf)))
        delivery.send(replace(_route(peer.port, TESTING), demands="testing"))
        await delivery.attempted(2)
        delivery.send(replace(route_to(bare.port), site="bare"))
        delivery.send(replace(_route(bare.port, STS), site="bare"))
        await delivery.attempted(4)
        assert dict(delivery.dispatcher.judgement.tls) == {
            ("dane", "verified"): 1,
            ("mta-sts", "certificate-not-trusted"): 1,
            ("none", "plain"): 1,
            ("mta-sts", "starttls-not-supported"): 1,
        }
