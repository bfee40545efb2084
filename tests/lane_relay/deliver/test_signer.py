"""DKIM at the first attempt, and the gate before it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import dkim
import pytest
import pytest_asyncio

from lane_api.relayconfig import NextKey, SecondKey, SigningDomain
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.deliver.prepared import Held
from lane_relay.deliver.signer import Signer, quota_cores
from lane_relay.mail.dkim import DkimKey, generate_ed25519_key, generate_key
from lane_relay.mail.dkim_check import signature_problem
from lane_relay.records import Envelope, Message
from tests.lane_relay.deliver.delivery import BODY, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running

PEM = generate_key()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "dkim.pem"
    path.write_bytes(PEM)
    return path


class Gate:
    """Which domains' selectors are live, but for those that are `absent`."""

    def __init__(self) -> None:
        self.live = {"sender.test"}
        self.absent: set[str] = set()

    def is_live(self, record_name: str) -> bool:
        """As set."""
        selector, _, domain = record_name.partition("._domainkey.")
        return domain in self.live and selector not in self.absent


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest_asyncio.fixture
async def signer(key_file: Path, gate: Gate) -> AsyncIterator[Signer]:
    made = Signer(gate.is_live, SYSTEM_CLOCK, threads=2)
    made.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file)),))
    yield made
    made.close()


def _message(number: int = 1, from_domain: str = "sender.test", sender: str = "a@sender.test") -> Message:
    return Message(number, Envelope(sender, ("b@peer.test",)), BODY, from_domain=from_domain)


async def _sign(signer: Signer, message: Message) -> bytes | Held:
    future: asyncio.Future[bytes | Held] = asyncio.get_running_loop().create_future()
    found = signer.signature(message, future.set_result)
    return found if found is not None else await future


def _asked(peer: Peer) -> int:
    """How often the peer has read MAIL, so that its script of then decides what it says."""
    return sum(command.startswith("MAIL") for command in peer.commands)


def _verifies(field: bytes, body: bytes = BODY, pem: bytes = PEM) -> bool:
    record = DkimKey.load(pem).public_record().encode()
    return bool(dkim.verify(field + body, dnsfunc=lambda name, timeout=5: record))


async def test_a_signature_verifies_and_is_made_once_a_message(signer: Signer) -> None:
    first = await _sign(signer, _message())
    assert isinstance(first, bytes)
    assert _verifies(first)
    assert signer.signature(_message(), lambda _: None) == first
    assert signer.signed == 1


async def test_many_are_signed_side_by_side(signer: Signer) -> None:
    fields = await asyncio.gather(*[_sign(signer, _message(number)) for number in range(100)])
    assert all(isinstance(field, bytes) and field.startswith(b"DKIM-Signature:") for field in fields)
    assert signer.signed == 100


async def test_two_entries_of_one_message_share_one_signature(signer: Signer) -> None:
    fields = await asyncio.gather(_sign(signer, _message()), _sign(signer, _message()))
    assert fields[0] == fields[1]
    assert signer.signed == 1


async def test_nothing_is_signed_before_its_selector_is_live(signer: Signer, gate: Gate) -> None:
    gate.live.clear()
    held = await _sign(signer, _message())
    assert isinstance(held, Held)
    assert held.domain == "sender.test"
    assert "s1._domainkey.sender.test" in held.reason


async def test_a_signature_of_before_does_not_leave_after_its_selector_has_gone(signer: Signer, gate: Gate) -> None:
    assert isinstance(await _sign(signer, _message()), bytes)
    gate.live.clear()
    assert isinstance(await _sign(signer, _message()), Held)


async def test_a_signature_made_while_the_selector_changed_is_made_anew(signer: Signer, key_file: Path) -> None:
    under_way = [asyncio.create_task(_sign(signer, _message(number))) for number in range(20)]
    await asyncio.sleep(0)
    signer.apply((SigningDomain(name="sender.test", selector="s2", key_file=str(key_file)),))
    for field in await asyncio.gather(*under_way):
        assert isinstance(field, bytes)
        assert b"s=s2" in field


async def test_what_waits_signed_is_signed_anew_when_the_selector_changes(signer: Signer, key_file: Path) -> None:
    peer = Peer({"mail": STALL})
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await until(lambda: _asked(peer) == 1 and signer.signed >= 2)
        domains = (SigningDomain(name="sender.test", selector="s2", key_file=str(key_file)),)
        signer.apply(domains)
        delivery.dispatcher.apply(make_config(connections=1).model_copy(update={"domains": domains}))
        peer.script["mail"] = b"250 ok\r\n"
        peer.release.set()  # the first is cut off, the rest goes over another connection
        await delivery.attempted(4)
    assert [message.content.count(b"s=s2") for message in peer.messages] == [1, 1, 1]


async def test_what_waits_signed_is_signed_anew_when_only_the_key_has_changed(signer: Signer, key_file: Path) -> None:
    peer = Peer({"mail": STALL})
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await until(lambda: _asked(peer) == 1 and signer.signed == 4)
        pem = generate_key()
        key_file.write_bytes(pem)
        signer.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file)),))
        delivery.dispatcher.apply(make_config(connections=1))
        peer.script["mail"] = b"250 ok\r\n"
        peer.release.set()  # the first is cut off, the rest goes over another connection
        await delivery.attempted(4)
    assert [_verifies(message.content.replace(b"\r\n..", b"\r\n."), b"", pem) for message in peer.messages] == [
        True
    ] * 3


async def test_what_a_kept_connection_gave_back_is_signed_anew_too(signer: Signer, key_file: Path) -> None:
    peer = Peer()

    def once(_line: str) -> bytes | str:
        return STALL if peer.messages and not peer.release.is_set() else b"250 ok\r\n"

    peer.script["mail"] = once
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        delivery.send(route_to(peer.port))
        delivery.send(route_to(peer.port))
        await until(lambda: _asked(peer) == 2)
        domains = (SigningDomain(name="sender.test", selector="s2", key_file=str(key_file)),)
        signer.apply(domains)
        delivery.dispatcher.apply(make_config(connections=1).model_copy(update={"domains": domains}))
        peer.release.set()  # the peer closes the kept connection without a word
        await delivery.attempted(2)
    assert [message.content.count(b"s=s2") for message in peer.messages] == [0, 1]


async def test_what_was_signed_a_day_ago_is_signed_anew_long_before_it_expires(key_file: Path, gate: Gate) -> None:
    ahead = [0.0]
    clock = Clock(now=lambda: time.time() + ahead[0], monotonic=lambda: time.monotonic() + ahead[0])
    signer = Signer(gate.is_live, clock, threads=1)
    try:
        signer.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file)),))
        first = await _sign(signer, _message())
        ahead[0] = 23 * 3600.0
        assert not signer.is_old()
        assert await _sign(signer, _message()) == first
        ahead[0] = 25 * 3600.0
        assert signer.is_old()
        signer.renew()
        assert not signer.is_old()
        second = await _sign(signer, _message())
        assert isinstance(second, bytes)
        assert second != first
    finally:
        signer.close()


async def test_what_waits_signed_does_not_leave_when_its_selector_has_gone(signer: Signer, gate: Gate) -> None:
    peer = Peer({"mail": STALL})
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await until(lambda: _asked(peer) == 1 and signer.signed == 4)
        gate.live.clear()
        peer.script["mail"] = b"250 ok\r\n"
        peer.release.set()
        await until(lambda: delivery.dispatcher.figures().held == 3)
    assert peer.messages == []


async def test_a_message_that_cannot_be_signed_does_not_end_the_signing_of_others(
    signer: Signer, key_file: Path, gate: Gate
) -> None:
    gate.live.add("odd.test")
    odd = SigningDomain(name="odd.test", selector="s\u00e9lecteur", key_file=str(key_file))
    signer.apply((odd, SigningDomain(name="sender.test", selector="s1", key_file=str(key_file))))
    for number in range(3):  # more than there are threads
        held = await asyncio.wait_for(_sign(signer, _message(number, from_domain="odd.test")), 10)
        assert isinstance(held, Held)
    assert isinstance(await asyncio.wait_for(_sign(signer, _message(9)), 10), bytes)


async def test_a_subdomain_is_signed_by_its_parent_and_a_stranger_by_nobody(signer: Signer) -> None:
    field = await _sign(signer, _message(from_domain="news.sender.test"))
    assert isinstance(field, bytes)
    assert b"d=sender.test" in field
    assert isinstance(await _sign(signer, _message(2, from_domain="other.test")), Held)


async def test_our_own_notifications_are_signed_by_the_lane_s_domain(signer: Signer) -> None:
    field = await _sign(signer, _message(from_domain="out.host.test", sender=""))
    assert isinstance(field, bytes)
    assert b"d=sender.test" in field


def _with_second(key_file: Path, pem: bytes | None = None) -> SigningDomain:
    file = key_file.with_name("ed25519.pem")
    file.write_bytes(pem or generate_ed25519_key())
    second = SecondKey(selector="s1-ed", key_file=str(file))
    return SigningDomain(name="sender.test", selector="s1", key_file=str(key_file), ed25519=second)


async def test_an_ed25519_key_signs_beside_the_rsa_one_and_both_verify(signer: Signer, key_file: Path) -> None:
    signer.apply((_with_second(key_file),))
    fields = await _sign(signer, _message())
    assert isinstance(fields, bytes)
    assert [fields.count(b"a=rsa-sha256;"), fields.count(b"a=ed25519-sha256;")] == [1, 1]
    records = {
        one.record_name: f"v=DKIM1; k={'rsa' if one.holds_mail else 'ed25519'}; p={one.public_half}"
        for one in signer.publications()
    }
    verifier = dkim.DKIM(fields + BODY)
    for number in range(2):
        assert verifier.verify(number, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode())


async def test_mail_waits_for_no_ed25519_record_and_is_not_signed_with_it_before(
    signer: Signer, key_file: Path, gate: Gate
) -> None:
    gate.absent.add("s1-ed")
    signer.apply((_with_second(key_file),))
    alone = await _sign(signer, _message())
    assert isinstance(alone, bytes)
    assert b"ed25519" not in alone
    gate.absent.clear()
    signer.renew()
    both = await _sign(signer, _message())
    assert isinstance(both, bytes)
    assert b"ed25519" in both


async def test_the_next_key_is_asked_for_and_signs_nothing_until_it_is_the_present_one(
    signer: Signer, key_file: Path, gate: Gate
) -> None:
    later, second = key_file.with_name("next.key"), key_file.with_name("next.ed25519")
    following = NextKey(
        selector="s2", key_file=str(later), ed25519=SecondKey(selector="s2-ed25519", key_file=str(second))
    )
    signer.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file), next=following),))
    assert (signer.problems, [one.record_name for one in signer.publications()]) == ({}, ["s1._domainkey.sender.test"])
    pem = generate_key()
    later.write_bytes(pem)
    second.write_bytes(generate_ed25519_key())
    assert signer.reload()
    assert {one.record_name: one.holds_mail for one in signer.publications()} == {
        "s1._domainkey.sender.test": True,
        "s2._domainkey.sender.test": False,
        "s2-ed25519._domainkey.sender.test": False,
    }
    assert _verifies(signer.trial("s2._domainkey.sender.test", time.time()), b"", pem)
    field = await _sign(signer, _message())
    assert isinstance(field, bytes)
    assert field.count(b"DKIM-Signature:") == 1
    assert b"s=s1;" in field

    signer.apply((SigningDomain(name="sender.test", selector="s2", key_file=str(later)),))
    field = await _sign(signer, _message())
    assert isinstance(field, bytes)
    assert b"s=s2;" in field
    assert _verifies(field, pem=pem)
    gate.absent.add("s2")
    assert isinstance(await _sign(signer, _message()), Held)


async def test_a_key_of_the_other_kind_is_not_used_and_says_so(signer: Signer, key_file: Path) -> None:
    signer.apply((_with_second(key_file, generate_key()),))
    alone = await _sign(signer, _message())
    assert isinstance(alone, bytes)
    assert b"ed25519" not in alone
    assert "domains[sender.test].ed25519.keyFile" in signer.problems["sender.test"]
    key_file.write_bytes(generate_ed25519_key())
    signer.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file)),))
    held = await _sign(signer, _message())
    assert isinstance(held, Held)
    assert "RSA is wanted" in held.reason


async def test_a_trial_message_verifies_with_the_key_s_own_record_and_with_no_other(
    signer: Signer, key_file: Path
) -> None:
    signer.apply((_with_second(key_file),))
    now = SYSTEM_CLOCK.now()
    first, second = signer.publications()
    for key, kind in ((first, "rsa"), (second, "ed25519")):
        trial = signer.trial(key.record_name, now)
        assert signature_problem(trial, f"v=DKIM1; k={kind}; p={key.public_half}") == ""
    trial = signer.trial(first.record_name, now)
    assert "does not verify" in signature_problem(trial, f"v=DKIM1; k=ed25519; p={first.public_half}")
    assert "does not verify" in signature_problem(
        trial, f"v=DKIM1; k=rsa; p={DkimKey.load(generate_key()).public_half()}"
    )
    assert "remove h=" in signature_problem(trial, f"k=rsa; h=sha1; p={first.public_half}")
    assert "remove s=" in signature_problem(trial, f"k=rsa; s=tlsrpt; p={first.public_half}")
    assert "list of tags" in signature_problem(trial, f"k=rsa; k=rsa; p={first.public_half}")
    assert signer.trial("gone._domainkey.sender.test", now) == b""


async def test_off_is_the_only_way_to_send_unsigned(signer: Signer, key_file: Path) -> None:
    signer.apply((SigningDomain(name="sender.test", mode="Off"),))
    assert await _sign(signer, _message()) == b""
    signer.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(key_file) + ".gone"),))
    held = await _sign(signer, _message())
    assert isinstance(held, Held)
    assert ".gone" in held.reason
    signer.apply(())  # the domain was taken out while its mail was queued
    assert isinstance(await _sign(signer, _message()), Held)


async def test_a_key_file_that_changes_is_read_again_and_a_broken_one_is_not_used(
    signer: Signer, key_file: Path
) -> None:
    (before,) = signer.publications()
    assert not signer.reload()
    key_file.write_bytes(generate_key())
    assert signer.reload()
    (after,) = signer.publications()
    assert before != after
    key_file.write_bytes(b"broken")
    assert not signer.reload()
    assert "keyFile" in signer.problems["sender.test"]
    assert signer.publications() == (after,)


@pytest.mark.parametrize(
    ("text", "cores", "threads"),
    [("max 100000", 8, 8), ("50000 100000", 8, 1), ("250000 100000", 8, 3), ("900000 100000", 4, 4), ("junk", 2, 2)],
)
def test_signer_threads_follow_the_cgroup_quota(text: str, cores: int, threads: int) -> None:
    assert quota_cores(text, cores) == threads


async def test_recovered_mail_that_must_not_leave_opens_no_connection(signer: Signer, gate: Gate) -> None:
    gate.live.clear()
    peer = Peer()
    async with running(peer), delivering(signing=signer, connections=3) as delivery:
        delivery.messages.cold = True
        for number in range(30):
            delivery.send(route_to(peer.port, site=f"site-{number % 3}"))
        await until(lambda: delivery.dispatcher.figures().held == 30)
        assert (peer.connections, delivery.messages.loaded) == (0, 30)
        gate.live.add("sender.test")
        delivery.dispatcher.release("sender.test")
        for entry in delivery.rerouted:
            delivery.dispatcher.add(entry, route_to(peer.port))
        await delivery.attempted(30)
    assert len(peer.messages) == 30


async def test_recovered_mail_that_may_leave_follows_what_must_not_or_cannot_be_read(
    signer: Signer, gate: Gate, key_file: Path
) -> None:
    domains = [SigningDomain(name=name, selector="s1", key_file=str(key_file)) for name in ("sender.test", "new.test")]
    signer.apply(tuple(domains))
    peer = Peer()
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        delivery.messages.cold = True
        delivery.send(route_to(peer.port), from_domain="new.test")
        damaged = delivery.send(route_to(peer.port))
        delivery.messages.damaged.add(damaged.id)
        delivery.send(route_to(peer.port))
        delivery.send(route_to(peer.port))
        await delivery.attempted(2)
        figures = delivery.dispatcher.figures()
    assert (figures.held, figures.unreadable, figures.waiting) == (1, 1, 0)
    assert (len(peer.messages), peer.connections) == (2, 1)


async def test_mail_arrives_signed_and_waits_for_its_selector(signer: Signer, gate: Gate) -> None:
    gate.live.clear()
    peer = Peer()
    async with running(peer), delivering(signing=signer, connections=3) as delivery:
        entries = [delivery.send(route_to(peer.port)) for _ in range(30)]
        await until(lambda: delivery.dispatcher.figures().held == 30)
        assert peer.connections == 0  # nobody is called to be told nothing
        (hold,) = delivery.dispatcher.explain_entry(entries[0].id)
        assert getattr(hold, "limit", None) == "dkim-selector"
        gate.live.add("sender.test")
        delivery.dispatcher.release("sender.test")
        assert delivery.rerouted == entries  # what was held for hours may belong to another site, with other limits
        for entry in delivery.rerouted:
            delivery.dispatcher.add(entry, route_to(peer.port))
        await delivery.attempted(30)
    assert len(peer.messages) == 30
    assert all(_verifies(message.content.replace(b"\r\n..", b"\r\n."), b"") for message in peer.messages)
