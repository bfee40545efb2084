"""What content becomes when it is taken."""

import time

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.accept.message import MAX_HEADER, Origin, make_message
from lane_relay.accept.policy import Policy
from lane_relay.records import Envelope, Message, Notify, RecipientOptions, Reply
from tests.lane_relay.accept.conftest import make_config

NOW = 1_790_000_000.0
ORIGIN = Origin("out1.example.com", "192.0.2.7", "app.example.net", "app", "ESMTPSA")
ENVELOPE = Envelope("otp@notify.example.com", ("b@isp.example",))
FROM = b"From: otp@notify.example.com\r\n"


def made(fields: bytes, config: RelayConfig | None = None, envelope: Envelope = ENVELOPE) -> Message | Reply:
    content = FROM + fields + b"\r\nhi\r\n"
    return make_message(Policy(config or make_config()), content, envelope, ORIGIN, new_id=lambda: 7, now=NOW)


def accepted(fields: bytes, config: RelayConfig | None = None, envelope: Envelope = ENVELOPE) -> Message:
    message = made(fields, config, envelope)
    assert isinstance(message, Message), message
    return message


def test_a_message_says_who_handed_it_in_and_how() -> None:
    message = accepted(b"X-Correlation-Id: o-1\r\n")

    assert (message.id, message.client, message.user, message.correlation_id) == (7, "192.0.2.7", "app", "o-1")
    assert (message.envelope, message.from_domain) == (ENVELOPE, "notify.example.com")
    assert message.body.startswith(
        b"Received: from app.example.net ([192.0.2.7])\r\n\tby out1.example.com with ESMTPSA"
    )


def test_a_foreign_author_takes_no_spool_id() -> None:
    def never() -> int:
        raise AssertionError

    content = b"From: x@other.example\r\n\r\nhi\r\n"
    refusal = make_message(
        Policy(make_config(senders=["@a.example"])), content, ENVELOPE, ORIGIN, new_id=never, now=NOW
    )

    assert isinstance(refusal, Reply)
    assert refusal.enhanced == "5.7.1"


# -- what a sender tells its lane


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("300", 300), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("0.5", 0.5), ("720h", 2_592_000), (" 4h ", 14_400)],
)
def test_a_message_expires_when_its_sender_says(value: str, seconds: float) -> None:
    message = accepted(f"X-Lane-Expires-In: {value}\r\n".encode())

    assert message.expires_at == NOW + seconds
    assert b"X-Lane-" not in message.body


@pytest.mark.parametrize(
    "value",
    ["1790000000", "1790000000.0", "2026-09-21T14:13:20Z", "2026-09-21t16:13:20.000+02:00", "2026-09-21 14:13:20Z"],
)
def test_a_message_says_when_it_was_triggered(value: str) -> None:
    message = accepted(f"x-lane-triggered-at:{value}\r\n".encode())

    assert message.triggered_at == 1_790_000_000.0
    assert b"triggered" not in message.body


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("X-Lane-Expires-In: soon", "X-Lane-Expires-In is seconds or a duration, such as 300, 90s, 15m or 4h"),
        ("X-Lane-Expires-In: 0", "X-Lane-Expires-In is seconds"), ("X-Lane-Expires-In: -5", "X-Lane-Expires-In is"),
        ("X-Lane-Expires-In:", "X-Lane-Expires-In is seconds"), ("X-Lane-Expires-In: 721h", "X-Lane-Expires-In is"),
        ("X-Lane-Expires-In: 5d", "X-Lane-Expires-In is seconds"),
        ("X-Lane-Expires-In: 5\r\nX-Lane-Expires-In: 6", "The message has X-Lane-Expires-In more than once"),
        ("X-Lane-Triggered-At: today", "X-Lane-Triggered-At is a time such as 2026-11-28T13:00:00Z, or Unix seconds"),
        ("X-Lane-Triggered-At: 2026-11-28T13:00:00", "X-Lane-Triggered-At is a time"),
        ("X-Lane-Triggered-At: 2026-02-30T13:00:00Z", "X-Lane-Triggered-At is a time"),
        ("X-Lane-Triggered-At: 1790000000000", "X-Lane-Triggered-At is a time"),
        ("X-Lane-Triggered-At: 1790009999", "X-Lane-Triggered-At is in the future: write Unix seconds (not ms)"),
        ("X-Lane-Expire-In: 300", "There is no field X-Lane-Expire-In: a lane reads X-Lane-Campaign, X-Lane-Expires-"),
        (f"X-Lane-Campaign: {'x' * 101}", "X-Lane-Campaign names a campaign in at most 100 characters"),
    ],
)  # fmt: skip
def test_what_a_lane_does_not_understand_is_refused_with_its_form(fields: str, text: str) -> None:
    refusal = made(fields.encode() + b"\r\n")

    assert isinstance(refusal, Reply)
    assert str(refusal).startswith(f"550 5.6.0 {text}")


def test_a_campaign_is_named_and_its_field_stays_inside() -> None:
    message = accepted(b"X-Lane-Campaign: spring\r\n sale\r\n")

    assert message.campaign == "spring sale"
    assert b"sale" not in message.body


def test_priority_does_nothing_and_leaves_with_nothing() -> None:
    """Isolation, not priority: what must not wait has a lane of its own."""
    message = accepted(b"X-Lane-Priority: urgent\r\nX-LANE-PRIORITY: 1\r\n")

    assert (message.expires_at, message.triggered_at, message.campaign) == (0.0, 0.0, "")
    assert b"riority" not in message.body.replace(b"PRIORITY", b"riority")


# -- header hygiene


@pytest.mark.parametrize(
    "name",
    ["Date", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject", "MIME-Version",
     "Content-Type", "Content-Transfer-Encoding"],
)  # fmt: skip
def test_a_field_that_may_stand_once_is_refused_by_name_when_it_stands_twice(name: str) -> None:
    refusal = made(f"{name}: a\r\nX: y\r\n{name.upper()}: b\r\n".encode())

    assert isinstance(refusal, Reply)
    assert str(refusal) == (f"550 5.6.0 The message has more than one {name} field: keep one (RFC 5322 section 3.6)")


def test_fields_that_may_stand_often_stand_often() -> None:
    fields = b"Received: a\r\nReceived: b\r\nComments: a\r\nComments: b\r\nX-Y: 1\r\nX-Y: 2\r\n"

    assert fields in accepted(fields).body


@pytest.mark.parametrize(
    "line", [b"no field", b"From nobody Mon Jan  1 00:00:00 2026", b": empty", "Ü: x".encode(), b"a b: c", b"X-A : b"]
)
def test_a_line_that_is_no_field_is_refused(line: bytes) -> None:
    refusal = made(line + b"\r\nSubject: x\r\n", envelope=Envelope("", ("b@isp.example",), smtp_utf8=True))

    assert isinstance(refusal, Reply)
    assert str(refusal).startswith("550 5.6.0 The header has a line that is no field: ")
    assert refusal.text.isascii()


def test_fields_for_nobody_else_do_not_leave() -> None:
    fields = (
        b"Bcc: a@x.example,\r\n b@x.example\r\nReturn-Path: <r@x.example>\r\nSubject: kept\r\n"
        b"Resent-Bcc: c@x.example\r\nX-Lane-Priority: 1\r\n"
    )
    body = accepted(fields).body

    assert b"Subject: kept\r\n\r\nhi\r\n" in body
    assert not any(word in body for word in (b"x.example", b"Return-Path", b"X-Lane"))


def test_a_campaign_may_be_read_from_another_field_which_stays() -> None:
    of_feedback = make_config(campaign_field="Feedback-ID")

    message = accepted(b"Feedback-ID: spring:shop:promo:notify\r\n", of_feedback)
    assert message.campaign == "spring"
    assert b"Feedback-ID: spring:shop:promo:notify\r\n" in message.body
    assert isinstance(made(b"X-Lane-Campaign: spring\r\n", of_feedback), Reply)


@pytest.mark.parametrize(
    ("tag", "sender", "campaign"),
    [
        ({"after": "+", "before": "-"}, "bounce+spring-4711=isp.example@notify.example.com", "spring"),
        ({"after": "+"}, "bounce+spring@notify.example.com", "spring"),
        ({"before": "."}, "spring.4711@notify.example.com", "spring"),
        ({"after": "+", "before": "-"}, "bounce+spring@notify.example.com", ""),
        ({"after": "+"}, "bounce@notify.example.com", ""),
        ({"after": "+"}, f"b+{'x' * 101}@notify.example.com", ""),
        ({"after": "+"}, "", ""),
    ],
)
def test_a_campaign_may_be_read_from_the_tag_of_the_envelope_sender(
    tag: dict[str, str], sender: str, campaign: str
) -> None:
    config, envelope = make_config(campaign_tag=tag), Envelope(sender, ("b@isp.example",))
    assert accepted(b"", config, envelope).campaign == campaign
    assert accepted(b"X-Lane-Campaign: autumn\r\n", config, envelope).campaign == "autumn"
    assert accepted(b"", make_config(), envelope).campaign == ""


@pytest.mark.parametrize(("field", "envelope", "expected"), [("300", 60.0, 60.0), ("30", 60.0, 30.0), ("", 60.0, 60.0)])
def test_of_two_times_to_expire_the_sooner_counts(field: str, envelope: float, expected: float) -> None:
    content = FROM + (f"X-Lane-Expires-In: {field}\r\n".encode() if field else b"") + b"\r\nhi\r\n"
    message = make_message(
        Policy(make_config()), content, ENVELOPE, ORIGIN, new_id=lambda: 7, now=NOW, expires_in=envelope
    )

    assert isinstance(message, Message)
    assert message.expires_at == NOW + expected


def test_a_sender_may_want_to_hear_that_it_is_late() -> None:
    content = FROM + b"\r\nhi\r\n"
    message = make_message(Policy(make_config()), content, ENVELOPE, ORIGIN, new_id=lambda: 7, now=NOW, notice_in=60)

    assert isinstance(message, Message)
    assert (message.notice_at, message.expires_at) == (NOW + 60, 0.0)
    assert accepted(b"").notice_at == 0.0


# -- delivery: Redirect


def redirecting() -> RelayConfig:
    config = make_config()
    delivery = config.delivery.model_copy(update={"mode": "Redirect", "redirect_to": "staging@test.example"})
    return config.model_copy(update={"delivery": delivery})


def test_redirected_mail_goes_to_one_address_and_says_whom_it_was_for() -> None:
    asked = (RecipientOptions(Notify.SUCCESS), RecipientOptions())
    envelope = Envelope(
        "otp@notify.example.com", ("b@isp.example", "bücher@isp.example"), smtp_utf8=True, options=asked
    )
    message = accepted(b"To: b@isp.example\r\n", redirecting(), envelope)

    assert message.envelope.recipients == ("staging@test.example",)
    assert message.envelope.options_of(0) == RecipientOptions()
    assert message.redirected_from == envelope.recipients
    assert b"\r\nX-Lane-Redirected-From: b@isp.example,\r\n b\\xfccher@isp.example\r\n" in message.body
    assert b"To: b@isp.example\r\n" in message.body


def test_a_redirected_crowd_is_counted_beyond_its_fiftieth() -> None:
    crowd = Envelope("otp@notify.example.com", tuple(f"r{number}@isp.example" for number in range(60)))
    body = accepted(b"", redirecting(), crowd).body

    assert b" r49@isp.example,\r\n and 10 more\r\n" in body
    assert b"r50@" not in body


def test_nobody_else_says_that_mail_was_redirected() -> None:
    assert isinstance(made(b"X-Lane-Redirected-From: b@isp.example\r\n"), Reply)
    assert accepted(b"").redirected_from == ()


def test_a_header_that_no_provider_takes_is_refused_with_the_fix() -> None:
    refusal = made(b"Subject: x\r\n" + b" and so on\r\n" * (MAX_HEADER // 12))

    assert isinstance(refusal, Reply)
    assert str(refusal).startswith(f"552 5.3.4 The header is larger than {MAX_HEADER} octets: take fields out")


def test_a_large_body_behind_a_small_header_is_no_large_header() -> None:
    content = FROM + b"\r\n" + b"and so on\r\n" * (MAX_HEADER // 10)
    message = make_message(Policy(make_config()), content, ENVELOPE, ORIGIN, new_id=lambda: 7, now=NOW)

    assert isinstance(message, Message)


def test_a_header_full_of_fields_for_the_lane_is_read_no_further_than_the_first_that_there_is_not() -> None:
    begun = time.thread_time()
    refusal = made(b"".join([b"x-lane-%d:\r\n" % number for number in range(15_000)]))

    assert isinstance(refusal, Reply)
    assert "There is no field X-Lane-0" in str(refusal)
    assert time.thread_time() - begun < 0.5  # for each of them, all of it was read: 2 s
