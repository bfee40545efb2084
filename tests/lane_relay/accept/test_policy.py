"""Who may send what, and the texts that say how to mend it."""

from ipaddress import ip_address
from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.accept.policy import Policy, client_address
from lane_relay.mail.headers import read_header
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox

SENDERS = ("@notify.example.com", "Boss@plain.example.com", "@foreign.example")


def policy(**intake: Any) -> Policy:
    return Policy(
        RelayConfig.model_validate(
            {
                "lane": {"namespace": "shop", "name": "otp"},
                "slot": {"name": "otp-0", "hostname": "out1.example.com"},
                "intake": {"senders": SENDERS, "clients": ["10.0.0.0/8", "2001:db8::/32"]} | intake,
                "spool": {"path": "/nowhere"},
                "records": {"path": "/nowhere"},
                "domains": [
                    {"name": "notify.example.com", "selector": "s", "key_file": "k"},
                    {"name": "plain.example.com", "mode": "Off"},
                ],
            }
        )
    )


def judge_from(author: str, **intake: Any) -> Reply | None:
    return policy(**intake).judge_content(read_header(f"From: {author}\r\n\r\nx\r\n".encode()), smtp_utf8=False)


@pytest.mark.parametrize(
    ("sender", "admitted"),
    [
        (None, True), (Mailbox("otp", "notify.example.com"), True), (Mailbox("boss", "plain.example.com"), True),
        (Mailbox("clerk", "plain.example.com"), False), (Mailbox("x", "sub.notify.example.com"), False),
    ],
)  # fmt: skip
def test_the_envelope_sender_must_be_one_of_the_lane_s(sender: Mailbox | None, admitted: bool) -> None:
    assert (policy().judge_sender(sender, may_submit=True) is None) is admitted


def test_a_foreign_sender_is_told_what_to_add() -> None:
    assert str(policy().judge_sender(Mailbox("x", "other.example"), may_submit=True)) == (
        '550 5.7.1 The envelope sender x@other.example is not one of lane shop/otp: add "@other.example" to its '
        "submission.senders"
    )


@pytest.mark.parametrize("sender", [None, Mailbox("otp", "notify.example.com")])
def test_a_client_that_is_nobody_must_authenticate_also_for_the_null_sender(sender: Mailbox | None) -> None:
    assert str(policy().judge_sender(sender, may_submit=False)) == (
        "530 5.7.0 Authenticate first, or submit from a network named in submission.clients.cidrs"
    )


def test_a_closed_intake_sends_everybody_elsewhere() -> None:
    closed = policy(state="Closed").judge_sender(None, may_submit=True)

    why = "it is drained, or its lane is deleted; try the lane's Service again"
    assert str(closed) == f"421 4.3.2 This slot takes no new mail: {why}"


def test_without_senders_every_sender_is_admitted() -> None:
    assert policy(senders=()).judge_sender(Mailbox("x", "other.example"), may_submit=True) is None


@pytest.mark.parametrize("author", ["otp@notify.example.com", "App <OTP@Notify.Example.COM>", "boss@plain.example.com"])
def test_a_from_of_the_lane_is_admitted(author: str) -> None:
    assert judge_from(author) is None


def test_a_foreign_from_is_told_what_to_add() -> None:
    assert str(judge_from("x@other.example")) == (
        '550 5.7.1 The header From x@other.example is not one of lane shop/otp: add "@other.example" to its '
        "submission.senders"
    )


def test_a_from_that_nothing_could_sign_is_told_what_to_add() -> None:
    assert str(judge_from("x@foreign.example")) == (
        "550 5.7.1 Nothing leaves unsigned: add foreign.example to the domains of lane shop/otp, with a DKIM key "
        "or with dkim.mode Off"
    )
    assert judge_from("x@foreign.example", senders=()) is not None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Subject: x\r\n\r\n", "550 5.6.0 The message has no From field, it needs exactly one"),
        (b"From: otp@notify.example.com\r\n" * 2 + b"\r\n", "550 5.6.0 The message has 2 From fields"),
        (b"From: otp@notify.example.com, x@other.example\r\n\r\n", "550 5.6.0 The From field must name exactly one"),
        (b"From: Joe, X <otp@notify.example.com>\r\n\r\n", "550 5.6.0 The From field is malformed: write it as Name <"),
        (
            b"From: otp@notify.example.com\r\nMessage-ID: foo\r\n\r\n",
            "550 5.6.0 The Message-ID field has no identifier",
        ),
        (
            b"From: otp@notify.example.com\r\nDate: yesterday\r\n\r\n",
            "550 5.6.0 The Date field is no date: write it like",
        ),
        (
            b"From: otp@notify.example.com\r\nSubject: Hallo\x0b\r\n\r\n",
            "550 5.6.0 The Subject field has a control character (0x0B), for which",
        ),
        (b" From: otp@notify.example.com\r\n\r\n", "550 5.6.0 The message begins with a continuation line"),
        ("From: otp@notify.example.com\r\nSubject: ü\r\n\r\n".encode(), "550 5.6.7 The header is not ASCII: encode it"),
        (b"Received: x\r\n" * 51 + b"From: otp@notify.example.com\r\n\r\n", "554 5.4.6 Mail loop: 51 Received fields"),
    ],
)
def test_content_is_refused_with_its_reason(content: bytes, text: str) -> None:
    assert str(policy().judge_content(read_header(content), smtp_utf8=False)).startswith(text)


def test_smtputf8_allows_a_header_beyond_ascii() -> None:
    content = "From: otp@notify.example.com\r\nSubject: ü\r\n\r\n".encode()

    assert policy().judge_content(read_header(content), smtp_utf8=True) is None


def test_a_recipient_without_a_dot_in_its_domain_is_refused() -> None:
    assert str(policy().judge_recipient(Mailbox("u", "localhost"))) == (
        "550 5.1.2 localhost is not a fully qualified domain"
    )
    assert policy().judge_recipient(Mailbox("u", "isp.example")) is None


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
    ],
)
def test_clients_are_trusted_by_network(client: str, trusted: bool) -> None:
    assert policy().is_trusted(client_address(client)) is trusted


def test_an_ipv4_client_on_an_ipv6_socket_is_ipv4() -> None:
    assert client_address("::ffff:192.0.2.1") == ip_address("192.0.2.1")


USERS = [{"name": "codes", "senders": ["otp@notify.example.com"]}, {"name": "all", "rate": "1/m"}]


@pytest.mark.parametrize(
    ("user", "sender", "admitted"),
    [
        ("codes", "otp", True),
        ("codes", "OTP", True),
        ("codes", "boss", False),
        ("all", "boss", True),
        ("", "boss", True),
    ],
)
def test_a_user_with_senders_of_its_own_may_use_those_alone(user: str, sender: str, admitted: bool) -> None:
    mailbox = Mailbox(sender, "notify.example.com")
    assert (policy(users=USERS).judge_sender(mailbox, may_submit=True, user=user) is None) is admitted

    header = read_header(f"From: {mailbox}\r\n\r\n".encode())
    assert (policy(users=USERS).judge_content(header, smtp_utf8=False, user=user) is None) is admitted


def test_a_user_who_may_not_is_told_where_it_is_said() -> None:
    refusal = policy(users=USERS).judge_sender(Mailbox("x", "notify.example.com"), may_submit=True, user="codes")

    assert str(refusal) == (
        '550 5.7.1 The envelope sender x@notify.example.com is not one of user codes: add "@notify.example.com" to the '
        "senders of that user in submission.auth.users of lane shop/otp"
    )


def test_a_users_senders_add_nothing_to_the_lanes() -> None:
    wider = [{"name": "wide", "senders": ["@other.example"]}]
    assert policy(users=wider).judge_sender(Mailbox("x", "other.example"), may_submit=True, user="wide") is not None


def test_a_sender_of_the_lane_next_door_is_told_which_it_is_once_it_may_submit() -> None:
    neighbours = [{"lane": "news", "senders": ["@news.example", "ceo@corp.example"]}]
    near = policy(neighbours=neighbours)

    assert str(near.judge_sender(Mailbox("x", "news.example"), may_submit=True)) == (
        "550 5.7.1 The envelope sender x@news.example belongs to lane news, not to shop/otp: submit it there"
    )
    assert "belongs to lane news" in str(judge_from("CEO@corp.example", neighbours=neighbours))
    assert "submission.senders" in str(near.judge_sender(Mailbox("x", "corp.example"), may_submit=True))
    assert str(near.judge_sender(Mailbox("x", "news.example"), may_submit=False)).startswith("530 5.7.0")
