"""What content becomes when it is taken."""

from lane_api.relayconfig import RelayConfig
from lane_relay.accept.message import Origin, make_message
from lane_relay.accept.policy import Policy
from lane_relay.records import Envelope, Message, Reply
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
