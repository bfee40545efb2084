"""Reports that a sender asked for (RFC 3461): what peers are asked to tell, with and without a return path of ours."""

import pytest

from lane_relay.records import Message, Notify, RecipientOptions
from tests.lane_relay.deliver.delivery import delivering, route_to
from tests.lane_relay.deliver.scripted_peer import EHLO, Peer, running

OFFERS_DSN = EHLO.replace(b"250-PIPELINING", b"250-PIPELINING\r\n250-DSN")
ASKED = (RecipientOptions(Notify.SUCCESS | Notify.DELAY, "rfc822;old@x.test"), RecipientOptions(Notify.NEVER))
RECIPIENTS = ("b@peer.test", "c@peer.test")


class Paths:
    """Rewrites the sender of mail of the lane's own domain."""

    rewrites = True

    def sender(self, message: Message, recipients: tuple[int, ...]) -> str | None:
        return f"b-{recipients[0]}@b.sender.test" if message.from_domain == "sender.test" else None


async def test_a_peer_reports_failure_alone_to_a_return_path_of_ours_and_the_rest_is_for_us_to_tell() -> None:
    peer = Peer({"ehlo": OFFERS_DSN})
    async with running(peer), delivering(return_paths=Paths(), connections=1) as delivery:
        delivery.send(route_to(peer.port), *RECIPIENTS, options=ASKED)
        attempts = await delivery.attempted(1)
    said = [line for line in peer.commands if line.startswith(("MAIL", "RCPT"))]
    assert [line.partition(" SIZE")[0] for line in said[::2]] == [
        "MAIL FROM:<b-0@b.sender.test>",
        "MAIL FROM:<b-1@b.sender.test>",
    ]
    assert said[1::2] == [
        "RCPT TO:<b@peer.test> NOTIFY=FAILURE ORCPT=rfc822;old@x.test",
        "RCPT TO:<c@peer.test> NOTIFY=FAILURE",
    ]
    assert {attempt.passed_on for attempt in attempts} == {False}


@pytest.mark.parametrize(("ehlo", "is_passed_on"), [(OFFERS_DSN, True), (EHLO, False)])
async def test_with_the_senders_own_return_path_the_peer_is_asked_as_we_were(ehlo: bytes, is_passed_on: bool) -> None:
    peer = Peer({"ehlo": ehlo})
    async with running(peer), delivering(return_paths=Paths()) as delivery:
        delivery.send(route_to(peer.port), RECIPIENTS[0], options=ASKED[:1], from_domain="other.test")
        (attempt,) = await delivery.attempted(1)
    wished = " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@x.test" if is_passed_on else ""
    assert f"RCPT TO:<b@peer.test>{wished}" in peer.commands
    assert attempt.passed_on is is_passed_on


async def test_a_session_tells_one_message_from_the_next() -> None:
    peer = Peer({"ehlo": OFFERS_DSN})
    async with running(peer), delivering(return_paths=Paths(), connections=1) as delivery:
        for domain in ("sender.test", "other.test", "sender.test"):
            delivery.send(route_to(peer.port), RECIPIENTS[0], options=ASKED[:1], from_domain=domain)
        attempts = await delivery.attempted(3)
    by_message = {attempt.message.id & 0xFFFF: attempt.passed_on for attempt in attempts}
    assert (peer.connections, by_message) == (1, {1: False, 2: True, 3: False})
