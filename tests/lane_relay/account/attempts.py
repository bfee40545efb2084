"""Attempts as the tests of this room need them."""

from msgspec.structs import replace

from lane_api.isppolicy import Action, Category, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.records import (
    Attempt,
    Envelope,
    Message,
    Peer,
    QueueEntry,
    RecipientResult,
    Reply,
    TlsResult,
    Verdict,
)

NOW = 1_800_000_000.0

OK = RecipientResult(0, Stage.END_OF_DATA, Reply(250, ("2.0.0 queued",)), Verdict(Category.OTHER, None))
BOUNCE = RecipientResult(
    0,
    Stage.RCPT,
    Reply(550, ("5.1.1 no such user",)),
    Verdict(Category.BAD_MAILBOX, Action.BOUNCE, rule="default/bad-mailbox"),
)
RETRY = RecipientResult(
    0, Stage.RCPT, Reply(451, ("4.3.0 try later",)), Verdict(Category.OTHER, Action.RETRY, rule="default/4xx")
)
GREYLISTED = RecipientResult(
    0,
    Stage.RCPT,
    Reply(450, ("4.2.0 greylisted",)),
    Verdict(Category.GREYLISTED, Action.RETRY, retry_after=300.0),
)


def message(recipients: int = 1, sender: str = "app@lane.example", accepted: float = NOW) -> Message:
    return Message(
        int(accepted * 1000) << 48 | 5,
        Envelope(sender, tuple(f"user{number}@example.com" for number in range(recipients))),
        b"From: app@lane.example\r\nSubject: hello\r\n\r\nbody\r\n",
        client="192.0.2.9",
        user="app",
        message_id="<m1@lane.example>",
        correlation_id="order-17",
        from_domain="lane.example",
    )


def entry_of(of: Message, attempts: int = 0, location: int = 0) -> QueueEntry:
    indexes = tuple(range(len(of.envelope.recipients)))
    entry = QueueEntry(of.id, location, "example.com", indexes, len(of.body), NOW)
    entry.attempts = attempts
    return entry


def attempt(
    *results: RecipientResult, of: Message | None = None, entry: QueueEntry | None = None, attempts: int = 0
) -> Attempt:
    """The results in order of the recipients."""
    of = of or message(len(results))
    numbered = tuple(replace(one, index=index) for index, one in enumerate(results))
    return Attempt(
        entry or entry_of(of, attempts),
        of,
        "example-isp",
        NOW,
        NOW + 0.25,
        numbered,
        Peer("mx1.example.com", "198.51.100.7", 25, "203.0.113.10"),
        TlsResult("TLSv1.3", "TLS_AES_256_GCM_SHA384", verified=True),
        session=42,
    )


def config() -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"namespace": "shop", "name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.lane.example"},
            "spool": {"path": "/spool"},
            "records": {"path": "/records"},
            "delivery": {
                "lifetime": 3600,
                "retry": {"first": 60, "factor": 2, "max": 900},
                "policies": [{"name": "example-isp", "domains": ["example.com"]}],
            },
        }
    )
