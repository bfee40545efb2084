"""What a peer offered, and what it must therefore not be sent."""

import pytest

from lane_relay.records import Envelope, Notify, RecipientOptions, Reply
from lane_relay.smtp.extensions import Extensions, read_extensions
from lane_relay.smtp.transaction import begin_transaction

NONE = Extensions()
ALL = Extensions(eight_bit=True, smtp_utf8=True, has_size=True, size=1000)
PLAIN = Envelope("a@x.example", ("b@y.example", "ö@y.example"))
BODY = (b"Subject: x\r\n\r\n",)


def test_a_message_over_the_peers_size_is_refused_here() -> None:
    reply = ALL.unfit(PLAIN, (0,), (b"x" * 600, b"x" * 401))

    assert reply is not None
    assert str(reply) == "552 5.3.4 Message of 1001 bytes is over the host's limit of 1000"
    assert ALL.unfit(PLAIN, (0,), (b"x" * 600, b"x" * 400)) is None


def test_a_size_of_zero_is_no_limit() -> None:
    assert Extensions(has_size=True).unfit(PLAIN, (0,), (b"x" * 5000,)) is None


@pytest.mark.parametrize(
    ("envelope", "recipients", "body", "enhanced"),
    [
        (PLAIN, (0,), "Subject: x\r\n\r\nü\r\n", "5.6.3"),
        (Envelope("ä@x.example", ("b@y.example",), smtp_utf8=True), (0,), "Subject: x\r\n\r\n", "5.6.7"),
        (Envelope("a@x.example", PLAIN.recipients, smtp_utf8=True), (0, 1), "Subject: x\r\n\r\n", "5.6.7"),
        (Envelope("a@x.example", ("b@y.example",), smtp_utf8=True), (0,), "Subject: ü\r\n\r\n", "5.6.7"),
    ],
)
def test_a_peer_gets_nothing_that_it_did_not_offer_to_take(
    envelope: Envelope, recipients: tuple[int, ...], body: str, enhanced: str
) -> None:
    reply = NONE.unfit(envelope, recipients, (body.encode(),))

    assert reply is not None
    assert reply.enhanced == enhanced
    assert ALL.unfit(envelope, recipients, (body.encode(),)) is None


def test_a_message_that_turns_out_to_be_ascii_goes_to_any_peer() -> None:
    envelope = Envelope("a@x.example", PLAIN.recipients, eight_bit=True, smtp_utf8=True)

    assert NONE.unfit(envelope, (0,), BODY) is None
    assert NONE.mail_parameters(envelope, (0,), BODY) == b""


ASKED = Envelope(
    "a@x.example",
    ("b@y.example", "c@y.example", "d@y.example"),
    ret="FULL",
    envid="QQ+3D1",
    options=(
        RecipientOptions(Notify.NEVER),
        RecipientOptions(Notify.SUCCESS | Notify.DELAY, "rfc822;b+2B1@y.example"),
        RecipientOptions(Notify.DEFAULT, "utf-8;ö@y.example"),
    ),
)


def test_a_peer_that_offers_dsn_is_told_what_was_asked() -> None:
    sent = begin_transaction(Extensions(dsn=True), ASKED, (0, 1, 2), BODY).commands

    assert sent == [
        b"MAIL FROM:<a@x.example> RET=FULL ENVID=QQ+3D1\r\n",
        b"RCPT TO:<b@y.example> NOTIFY=NEVER\r\n",
        b"RCPT TO:<c@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2B1@y.example\r\n",
        b"RCPT TO:<d@y.example>\r\n",
        b"DATA\r\n",
    ]


def test_a_peer_that_does_not_offer_dsn_hears_nothing_of_it() -> None:
    sent = b"".join(begin_transaction(NONE, ASKED, (0, 1, 2), BODY).commands)

    assert not any(word in sent for word in (b"RET", b"ENVID", b"NOTIFY", b"ORCPT"))


def test_an_original_recipient_beyond_ascii_goes_where_such_addresses_are_taken() -> None:
    sent = Extensions(dsn=True, smtp_utf8=True).recipient_parameters(ASKED.options[2])

    assert sent == " ORCPT=utf-8;ö@y.example".encode()


def test_parameters_are_sent_where_they_are_needed_and_offered() -> None:
    envelope = Envelope("ä@x.example", PLAIN.recipients, smtp_utf8=True)

    assert ALL.mail_parameters(envelope, (0,), ("Subject: ü\r\n\r\nü\r\n".encode(),)) == (
        b" SIZE=19 BODY=8BITMIME SMTPUTF8"
    )
    assert ALL.mail_parameters(PLAIN, (0,), BODY) == b" SIZE=14"


@pytest.mark.parametrize("size", ["\u00b2", "\u0661\u0662", "1" * 21, "-1", "x", ""])
def test_a_size_that_is_no_number_is_none(size: str) -> None:
    offered = read_extensions(Reply(250, ("mx.isp.test", f"SIZE {size}", "8BITMIME")))
    assert (offered.has_size, offered.size, offered.eight_bit) == (True, None, True)
