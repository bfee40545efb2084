"""What is passed on to people: on the volume before its sender is told so, and not without end."""

import asyncio
import itertools
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import msgspec
import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.audit.recipients import digest, hide
from lane_relay.clock import Clock
from lane_relay.errors import RelayError, SpoolError
from lane_relay.feedback.addresses import Addressee, Desk
from lane_relay.feedback.desk import TAKEN, Heard
from lane_relay.feedback.forwarding import FOR_PEOPLE, MOST_FOR_PEOPLE, NOBODY_KNOWN, Forwarder
from lane_relay.feedback.judge import Finding
from lane_relay.feedback.outbox import Outbox
from lane_relay.mail.reports.reading import Kind, Reading
from lane_relay.mail.token import Token, TokenKind
from lane_relay.records import Message, Reply

POSTMASTER = Addressee(Desk.PEOPLE, "b.brand.test")
CONTENT = b"From: a@isp.test\r\nSubject: hello\r\n\r\nWho are you?\r\n"


class Volume:
    """Takes messages; each is on the volume once the test says so."""

    def __init__(self) -> None:
        self.under_way: list[tuple[Message, Callable[[SpoolError | None], None]]] = []
        self.at_once = False
        self.time = 1000.0

    def deposit(self, message: Message, done: Callable[[SpoolError | None], None]) -> None:
        self.under_way.append((message, done))
        if self.at_once:
            done(None)


def config() -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "spool": {"path": "/unused"},
            "records": {"path": "/unused"},
            "domains": [{"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}],
            "feedback": {"keyFile": "/unused", "postmaster": "ops@people.test"},
        }
    )


@pytest.fixture
def volume() -> Volume:
    return Volume()


@pytest.fixture
def forwarder(volume: Volume, tmp_path: Path) -> Forwarder:
    clock = Clock(now=lambda: 1_790_000_000.0, monotonic=lambda: volume.time)
    made = Forwarder(volume.deposit, itertools.count(1).__next__, Outbox(tmp_path), clock)
    made.apply(config())
    return made


async def test_mail_to_the_postmaster_is_passed_on_once_it_is_on_the_volume(
    forwarder: Forwarder, volume: Volume
) -> None:
    passing = asyncio.ensure_future(forwarder.to_people(POSTMASTER, CONTENT))
    await asyncio.sleep(0)
    ((message, done),) = volume.under_way
    assert not passing.done()
    done(None)
    assert await passing == TAKEN
    assert message.envelope.recipients == ("ops@people.test",)
    assert message.body.endswith(CONTENT)


async def test_mail_to_the_postmaster_that_is_not_kept_is_not_taken(forwarder: Forwarder, volume: Volume) -> None:
    passing = asyncio.ensure_future(forwarder.to_people(POSTMASTER, CONTENT))
    await asyncio.sleep(0)
    volume.under_way[0][1](SpoolError("the volume is gone"))
    with pytest.raises(RelayError, match="the volume is gone"):
        await passing


async def test_a_flood_for_the_postmaster_does_not_become_one_of_ours(forwarder: Forwarder, volume: Volume) -> None:
    volume.at_once = True
    passed = [await forwarder.to_people(POSTMASTER, CONTENT) for _ in range(FOR_PEOPLE.count + 5)]
    assert passed.count(TAKEN) == len(volume.under_way) == FOR_PEOPLE.count
    volume.time += 2 * FOR_PEOPLE.per_s
    assert await forwarder.to_people(POSTMASTER, CONTENT) == TAKEN


async def test_mail_to_the_postmaster_goes_byte_for_byte_to_a_host_without_8bitmime(
    forwarder: Forwarder, volume: Volume
) -> None:
    volume.at_once = True
    for broken in (b"no field\r\n", b"Subject: \xc3\xbc\r\n", b"Content-Type: multipart/mixed\r\n"):
        content = b"From: a@isp.test\r\n" + broken + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n" * 20
        assert await forwarder.to_people(POSTMASTER, content) == TAKEN
        message, _ = volume.under_way.pop()
        assert message.body.isascii()
        assert max(map(len, message.body.split(b"\r\n"))) <= 100
        assert message_from_bytes(message.body).get_payload(decode=True) == content


async def test_large_mail_to_the_postmaster_counts_more_and_its_sender_hears_of_what_is_too_large(
    forwarder: Forwarder, volume: Volume
) -> None:
    volume.at_once = True
    large = CONTENT + b"x" * (MOST_FOR_PEOPLE - len(CONTENT))
    passed = [await forwarder.to_people(POSTMASTER, large) for _ in range(20)]
    assert passed == [TAKEN] * 9 + [None] * 11
    refusal = await forwarder.to_people(POSTMASTER, large + b"x")
    assert refusal is not None
    assert str(refusal).startswith("552 5.3.4 The postmaster takes 10 MiB at most")


# -- records with digests of recipients

DIGEST = digest(b"r" * 32, "ann@isp.test")


async def told(
    tmp_path: Path, volume: Volume, sender: str, recipient: str, forward: dict[str, str], **meta: str
) -> tuple[Forwarder, Path]:
    """Forwards a bounce of ann's, whose Reception is as records with digests have it."""
    number = 1_790_000_000_000 << 48
    hidden = hide(b"r" * 32, ("ann@isp.test",))(sender)
    record = {"type": "Reception", "id": f"{number:024x}", "timestamp": 1_790_000_000, "sender": hidden}
    line = msgspec.json.encode(record | {"recipient": DIGEST, "message_id": "<1@brand.test>", "meta": meta})
    (tmp_path / "records-0000000000000000.jsonl").write_bytes(line + b"\n")
    clock = Clock(now=lambda: 1_790_000_000.0, monotonic=lambda: volume.time)
    forwarder = Forwarder(volume.deposit, itertools.count(1).__next__, Outbox(tmp_path / "outbox"), clock)
    tree = config().model_dump(by_alias=True, mode="json", exclude_none=True)
    tree["records"]["path"] = str(tmp_path)
    tree["domains"][0]["returnPath"] |= forward
    forwarder.apply(RelayConfig.model_validate(tree))
    volume.at_once = True
    finding = Finding("bounce", recipient=recipient, reply=Reply(550, ("5.1.1 no",)), is_bounce=True)
    reading = Reading(Kind.BOUNCE, "rfc3464")
    await forwarder.forward(Heard(Token(TokenKind.BOUNCE, number, 0), reading, finding, "b.brand.test"))
    return forwarder, tmp_path / "outbox"


async def test_a_report_has_the_address_that_the_bounce_names_and_else_none_but_never_a_digest(
    tmp_path: Path, volume: Volume
) -> None:
    for recipient, final in (("Ann@isp.test", "Ann@isp.test"), ("", NOBODY_KNOWN)):
        await told(tmp_path, volume, "otp@brand.test", recipient, {"forward": "Sender"})
        message, _ = volume.under_way.pop()
        assert message.envelope.recipients == ("otp@brand.test",)
        assert f"Final-Recipient: rfc822; {final}".encode() in message.body
        assert b"h:" not in message.body


async def test_a_sender_made_of_its_recipients_address_is_made_again_or_not_written_to(
    tmp_path: Path, volume: Volume
) -> None:
    await told(tmp_path, volume, "otp-ann=isp.test@brand.test", "ann@isp.test", {"forward": "Sender"})
    message, _ = volume.under_way.pop()
    assert message.envelope.recipients == ("otp-ann=isp.test@brand.test",)
    forwarder, _ = await told(tmp_path, volume, "otp-ann=isp.test@brand.test", "", {"forward": "Sender"})
    assert volume.under_way == []
    assert forwarder.not_found == 1


async def test_a_webhook_gets_the_digest_in_a_field_of_its_own(tmp_path: Path, volume: Volume) -> None:
    hook = {"forward": "Webhook", "webhook": "https://app.example.com/bounces"}
    _, outbox = await told(tmp_path, volume, "otp@brand.test", "", hook)
    (path,) = outbox.glob("*.json")
    event = msgspec.json.decode(path.read_bytes())["event"]
    assert (event["recipient"], event["recipientDigest"]) == ("", DIGEST)


# -- what its sender asked for (RFC 3461)

SENDER = {"forward": "Sender"}


async def test_a_report_says_the_senders_own_name_for_the_message_and_for_the_recipient(
    tmp_path: Path, volume: Volume
) -> None:
    wishes = {"envid": "Q+3D1", "orcpt": "rfc822;ann+2Bold@x.test", "notify": "SUCCESS,FAILURE"}
    await told(tmp_path, volume, "otp@brand.test", "ann@isp.test", SENDER, **wishes)
    message, _ = volume.under_way.pop()
    assert b"\r\nOriginal-Envelope-Id: Q=1\r\n" in message.body
    assert (
        b"\r\nOriginal-Recipient: rfc822; ann+old@x.test\r\nFinal-Recipient: rfc822; ann@isp.test\r\n" in message.body
    )


async def test_no_digest_stands_for_the_senders_name_for_the_message(tmp_path: Path, volume: Volume) -> None:
    await told(tmp_path, volume, "otp@brand.test", "ann@isp.test", SENDER, envid=f"for-{DIGEST}")
    message, _ = volume.under_way.pop()
    assert b"Original-Envelope-Id" not in message.body
    assert b"h:" not in message.body


@pytest.mark.parametrize(
    ("notify", "is_told"), [("NEVER", False), ("SUCCESS,DELAY", False), ("FAILURE", True), ("", True)]
)
async def test_who_asked_not_to_hear_of_failures_hears_of_none_and_the_webhook_does(
    tmp_path: Path, volume: Volume, notify: str, is_told: bool
) -> None:
    forwarder, _ = await told(tmp_path, volume, "otp@brand.test", "ann@isp.test", SENDER, notify=notify)
    assert (len(volume.under_way), forwarder.not_found) == (is_told, 0)
    hook = {"forward": "Webhook", "webhook": "https://app.example.com/bounces"}
    _, outbox = await told(tmp_path, volume, "otp@brand.test", "ann@isp.test", hook, notify=notify)
    assert len(list(outbox.glob("*.json"))) == 1
