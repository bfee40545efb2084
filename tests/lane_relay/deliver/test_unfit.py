"""Messages that one host of a domain cannot take, by what it offers, and another perhaps can."""

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Action
from lane_relay.deliver.ready_queue import place_of
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.deliver.unfit import other_hosts
from tests.lane_relay.deliver.delivery import BODY, PATIENT, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import EHLO, STALL, Peer, running

FIRST, SECOND, THIRD = "127.0.0.5", "127.0.0.6", "127.0.0.7"
SMALL = EHLO.replace(b"1000000", b"40")
NO_EIGHT_BIT = EHLO.replace(b"250-8BITMIME\r\n", b"")
RAW = b"From: a@sender.test\r\nSubject: gr\xc3\xbc\xc3\x9fe\r\n\r\nHello\r\n"
"""A header that no 7-bit form exists of."""


def test_a_route_without_a_host_keeps_the_others_in_their_order() -> None:
    route = route_to(25, FIRST, SECOND, THIRD)
    left, was_on_it = other_hosts(route, "mx1.peer.test")
    assert left is not None
    assert ([hop.host for hop in left.hops], was_on_it) == (["mx0.peer.test", "mx2.peer.test"], True)
    natural = replace(left, without=())  # a domain's that names no others: what waits for it may be sure of them
    assert place_of(left) != place_of(natural)
    assert other_hosts(route_to(25), "mx0.peer.test") == (None, True)
    assert other_hosts(route, "gone.peer.test") == (None, False)


async def test_what_is_too_large_for_one_host_goes_to_the_next() -> None:
    small, large = Peer({"ehlo": SMALL}, hosts=(FIRST,)), Peer(hosts=(SECOND, THIRD))
    async with running(small, large), delivering() as delivery:
        for _ in range(3):
            delivery.send(route_to(small.port, FIRST, SECOND))
        attempts = await delivery.attempted(3)
    assert (len(small.messages), len(large.messages)) == (0, 3)
    assert [attempt.results[0].verdict.action for attempt in attempts] == [None] * 3
    assert {attempt.peer.host for attempt in attempts if attempt.peer is not None} == {"mx1.peer.test"}


async def test_it_bounces_when_each_host_has_said_so() -> None:
    one, other = Peer({"ehlo": SMALL}, hosts=(FIRST,)), Peer({"ehlo": SMALL}, hosts=(SECOND,))
    async with running(one, other), delivering() as delivery:
        delivery.send(route_to(one.port, FIRST, SECOND))
        (attempt,) = await delivery.attempted(1)
    assert (one.connections, other.connections) == (1, 1)
    assert attempt.results[0].verdict.action is Action.BOUNCE
    assert attempt.results[0].own_words
    assert str(attempt.results[0].reply) == f"552 5.3.4 Message of {len(BODY)} bytes is over the host's limit of 40"


async def test_a_small_backup_bounces_nothing_while_the_first_host_is_away() -> None:
    small = Peer({"ehlo": SMALL}, hosts=(SECOND,))
    async with running(small), delivering() as delivery:
        delivery.send(route_to(small.port, FIRST, SECOND))  # nobody listens at the first
        (attempt,) = await delivery.attempted(1)
    assert small.connections == 1
    assert attempt.results[0].verdict.action is Action.RETRY
    assert "connect to mx0.peer.test" in str(attempt.results[0].reply)


async def test_what_is_too_large_once_other_tls_is_asked_for_goes_by_no_route_of_before() -> None:
    small, large = Peer({"ehlo": STALL}, hosts=(FIRST,), late_answer=SMALL), Peer(hosts=(SECOND,))
    async with running(small, large), delivering(timeouts=Timeouts(stages=PATIENT)) as delivery:
        entries = [delivery.send(route_to(small.port, FIRST, SECOND)) for _ in range(3)]
        await until(lambda: "EHLO out.sender.test" in small.commands)
        delivery.dispatcher.apply(make_config(outbound_tls="DANE", trust_ad=True))
        small.release.set()
        await until(lambda: not small.open)
    assert sorted(entry.id for entry in delivery.rerouted) == [entry.id for entry in entries]
    assert (large.connections, delivery.attempts) == (0, [])


async def test_what_has_no_7_bit_form_goes_to_the_host_that_takes_8_bits() -> None:
    narrow, wide = Peer({"ehlo": NO_EIGHT_BIT}, hosts=(FIRST,)), Peer(hosts=(SECOND,))
    async with running(narrow, wide), delivering() as delivery:
        delivery.send(route_to(narrow.port, FIRST, SECOND), body=RAW)
        (attempt,) = await delivery.attempted(1)
    assert attempt.results[0].verdict.action is None
    assert [seen.content for seen in wide.messages] == [RAW]


@pytest.mark.parametrize("others", [(), (SECOND,)], ids=["alone", "beside one that says no"])
async def test_a_refused_ehlo_says_nothing_of_what_a_host_offers(others: tuple[str, ...]) -> None:
    """Of a busy or tired server: with HELO there are no extensions at all, this time."""
    tired = Peer({"ehlo": b"502 5.5.1 not now\r\n"}, hosts=(FIRST,))
    narrow = Peer({"ehlo": NO_EIGHT_BIT}, hosts=(SECOND,))
    async with running(tired, narrow), delivering(timeouts=Timeouts(stages=PATIENT)) as delivery:
        delivery.send(route_to(tired.port, FIRST, *others), body=RAW)
        (attempt,) = await delivery.attempted(1)
    (result,) = attempt.results
    assert (tired.connections, narrow.connections) == (1, len(others))
    assert result.verdict.action is Action.RETRY
    assert result.reply.code == 451
    assert str(result.reply).startswith("451 4.6.3 The host does not offer 8BITMIME")
