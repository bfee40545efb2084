"""Mail with 8-bit bodies at hosts without 8BITMIME: it goes in 7-bit form, and is signed in that form."""

import asyncio
import threading
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import dkim
import pytest
import pytest_asyncio

from lane_api.isppolicy import Action
from lane_api.relayconfig import SigningDomain
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.deliver.signer import Signer
from lane_relay.mail.dkim import DkimKey, generate_key
from tests.lane_relay.deliver.delivery import BODY, Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, Script, running

PEM = generate_key()
OLD: Script = {"ehlo": b"250-old.peer.test\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n"}
LATIN = "Grüße\r\n".encode()
HEAD = b"From: a@sender.test\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
EIGHT = HEAD + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + LATIN
FRAGMENT = b"From: a@sender.test\r\nMIME-Version: 1.0\r\nContent-Type: message/partial\r\n\r\n" + LATIN


@pytest_asyncio.fixture
async def signer(tmp_path: Path) -> AsyncIterator[Signer]:
    (tmp_path / "dkim.pem").write_bytes(PEM)
    made = Signer(lambda _name: True, SYSTEM_CLOCK, threads=1)
    made.apply((SigningDomain(name="sender.test", selector="s1", key_file=str(tmp_path / "dkim.pem")),))
    yield made
    made.close()


def _verifies(content: bytes) -> bool:
    record = DkimKey.load(PEM).public_record().encode()
    return bool(dkim.verify(content, dnsfunc=lambda _name, timeout=5: record))


def _delivered(delivery: Delivery) -> list[Action | None]:
    return [result.verdict.action for attempt in delivery.attempts for result in attempt.results]


@pytest.mark.parametrize("cold", [False, True])
async def test_a_host_without_8bitmime_gets_it_in_7_bit_form_signed_as_it_is_sent(signer: Signer, cold: bool) -> None:
    peer = Peer(script=OLD)
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        delivery.messages.cold = cold
        for _ in range(6):
            delivery.send(route_to(peer.port), body=EIGHT)
        delivery.send(route_to(peer.port), body=BODY)
        await delivery.attempted(7)
        assert delivery.messages.lent == 0

    assert _delivered(delivery) == [None] * 7
    assert not [command for command in peer.commands if "8BITMIME" in command]
    contents = [one.content.replace(b"\r\n..", b"\r\n.") for one in peer.messages]
    assert all(one.isascii() and _verifies(one) for one in contents)
    bodies = [message_from_bytes(one).get_payload(decode=True) for one in contents]
    assert bodies.count(LATIN) == 6
    assert peer.connections == 1


async def test_other_hosts_get_it_as_it_is_with_the_signature_of_that(signer: Signer) -> None:
    old, new = Peer(script=OLD), Peer()
    async with running(old), running(new), delivering(signing=signer) as delivery:
        entry = delivery.send(route_to(old.port, site="old"), body=EIGHT)
        await delivery.attempted(1)
        delivery.dispatcher.add(entry, route_to(new.port, site="new"))
        await delivery.attempted(2)

    assert _delivered(delivery) == [None, None]
    assert (old.messages[0].content.isascii(), new.messages[0].content.isascii()) == (True, False)
    assert _verifies(old.messages[0].content)
    assert _verifies(new.messages[0].content)


async def test_without_a_signature_of_ours_it_is_converted_too_unless_that_breaks_the_senders() -> None:
    peer = Peer(script=OLD)
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port), body=EIGHT)
        delivery.send(route_to(peer.port), body=b"DKIM-Signature: v=1; d=sender.test\r\n" + EIGHT)
        await delivery.attempted(2)

    assert sorted(map(str, _delivered(delivery))) == ["Bounce", "None"]
    assert len(peer.messages) == 1
    assert b"Gr=C3=BC=C3=9Fe" in peer.messages[0].content


async def test_what_must_not_be_changed_bounces_and_what_comes_after_it_does_not(signer: Signer) -> None:
    peer = Peer(script=OLD)
    async with running(peer), delivering(signing=signer, connections=1) as delivery:
        delivery.send(route_to(peer.port), body=FRAGMENT)
        delivery.send(route_to(peer.port), body=EIGHT)
        attempts = await delivery.attempted(2)

    assert _delivered(delivery) == [Action.BOUNCE, None]
    assert attempts[0].results[0].reply.enhanced == "5.6.3"
    assert len(peer.messages) == 1


LARGE = EIGHT + LATIN * (300_000 // len(LATIN))


async def test_large_messages_are_made_anew_while_others_are_sent() -> None:
    old, quick, count = Peer(script=OLD), Peer(), 10
    async with running(old), running(quick), delivering() as delivery:
        for _ in range(count):
            delivery.send(route_to(old.port, site="old"), body=LARGE)
        await until(lambda: any(thread.name.startswith("seven-bit") for thread in threading.enumerate()))
        delivery.send(route_to(quick.port, site="quick"), body=BODY)
        attempts = await delivery.attempted(count + 1)
        assert delivery.messages.lent_most >= 2 * len(LARGE)
        await until(lambda: delivery.messages.lent == 0)

    assert [attempt.entry.size for attempt in attempts].index(len(BODY)) < count // 2
    assert all(message.content.isascii() for message in old.messages)


async def test_both_forms_of_a_message_count_among_the_bodies_in_memory() -> None:
    peer = Peer(script=OLD)
    body = EIGHT + LATIN * (60_000 // len(LATIN))
    async with running(peer), delivering(connections=1, active_bytes="256Ki") as delivery:
        route = route_to(peer.port)
        delivery.send(route, body=EIGHT)
        await delivery.attempted(1)  # from now on its host is known to be without 8BITMIME
        delivery.messages.cold = True
        delivery.messages.gate.clear()
        for _ in range(4):
            delivery.send(route, body=body)
        await until(lambda: delivery.messages.loading > 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert delivery.messages.loading == 1
        delivery.messages.gate.set()
        await delivery.attempted(5)
        await until(lambda: delivery.messages.lent == 0)

    assert all(one.content.isascii() for one in peer.messages)
