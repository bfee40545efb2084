"""Who vouches for a complaint: only a named reporter's signature, and only for what is under it. dkimpy signs."""

import asyncio
from collections.abc import Iterator

import dkim
import pytest

from lane_relay.feedback.readers import Readers
from lane_relay.feedback.reporters import Unknown, Vouched, claim_of, is_named, vouched
from lane_relay.mail.dkim import DkimKey, cover, generate_key
from lane_relay.resolve.answers import Answer, Status

PEM = generate_key()
RECORD = DkimKey.load(PEM).public_record()
TOKEN = "a" * 59 + "q"
NAMED = ("feedback@arf.isp.test",)
NOW = 1_800_000_000.0
REPORT = f"""From: ISP Feedback <feedback@arf.isp.test>
Subject: complaint
MIME-Version: 1.0
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: L/1
Original-Mail-From: <b-{TOKEN}@b.brand.test>
""".replace("\n", "\r\n").encode()


def signed(
    content: bytes = REPORT, *, domain: str = "arf.isp.test", form: str = "relaxed/relaxed", **more: bool
) -> bytes:
    header, body = (one.encode() for one in form.split("/"))
    made: bytes = dkim.sign(content, b"s1", domain.encode(), PEM, canonicalize=(header, body), **more)
    return made + content


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.close()


async def found(readers: Readers, content: bytes, *answers: Answer[str], now: float = NOW) -> Vouched | Unknown | None:
    asked = list(answers or (Answer(Status.FOUND, (RECORD,), 60.0),) * 9)

    async def txt(name: str) -> Answer[str]:
        assert name.startswith("s1._domainkey.")
        await asyncio.sleep(0)
        return asked.pop(0)

    return await vouched(readers, txt, "192.0.2.1", content, NAMED, now)


@pytest.mark.parametrize("form", ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"])
@pytest.mark.parametrize("domain", ["arf.isp.test", "isp.test"])
async def test_a_named_reporter_is_believed_by_its_own_signature_or_one_above(
    readers: Readers, form: str, domain: str
) -> None:
    outcome = await found(readers, signed(form=form, domain=domain))
    assert isinstance(outcome, Vouched)
    assert (outcome.reporter, outcome.reading.tokens) == ("feedback@arf.isp.test", (TOKEN,))


@pytest.mark.parametrize(
    "content",
    [
        REPORT,
        signed().replace(b"aaaq@", b"aaab@"),
        signed().replace(b"ISP Feedback", b"ISP feedback"),
        signed() + b"more\r\n",
        signed(length=True) + b"more\r\n",
        signed(length=True),
        signed(domain="evil.test"),
        signed(domain="test"),
        signed(REPORT.replace(b"feedback@arf", b"user@arf")),
        signed(REPORT.replace(b"feedback@arf.isp.test", b"x@evil.test"), domain="evil.test"),
        b"From: feedback@arf.isp.test\r\n" + signed(REPORT.replace(b"feedback@", b"user@")),
        signed(REPORT.replace(b"<feedback@arf.isp.test>", b"feedback@arf.isp.test, <x@evil.test>")),
        signed(REPORT.replace(b"\r\nSubject", b" <x@evil.test>\r\nSubject")),
        signed().replace(b"h=", b"h=" + b"to:" * 300),
        b"DKIM-Signature: v=1; a=rsa-sha256; d=arf.isp.test; s=s1; h=from; bh=!; b=!\r\n" + REPORT,
        b"X: y\r\n" * 600 + signed(),
        signed(REPORT + b"x" * (4 * 2**20)),
    ],
    ids=lambda _content: "",
)
async def test_nobody_else_is(readers: Readers, content: bytes) -> None:
    assert await found(readers, content) is None


@pytest.mark.parametrize(
    "sender", ["feedback@arf.isp.test", "<Feedback@ARF.isp.test>", '"A, B" <feedback@arf.isp.test>']
)
async def test_a_reporter_writes_its_mailbox_as_mail_programs_do(readers: Readers, sender: str) -> None:
    outcome = await found(readers, signed(REPORT.replace(b"ISP Feedback <feedback@arf.isp.test>", sender.encode())))
    assert isinstance(outcome, Vouched)
    assert outcome.reporter == "feedback@arf.isp.test"


async def test_what_somebody_added_above_the_signature_is_not_read(readers: Readers) -> None:
    body = REPORT.replace(f"Original-Mail-From: <b-{TOKEN}@b.brand.test>\r\n".encode(), b"")
    content = b"CFBL-Feedback-ID: " + TOKEN.encode() + b"\r\n" + signed(body)
    outcome = await found(readers, content)
    assert isinstance(outcome, Vouched)
    assert outcome.reading.tokens == ()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Status.NXDOMAIN),
        Answer(Status.FOUND, ("v=DKIM1; p=",), 60.0),
        Answer(Status.FOUND, ("nonsense",), 60.0),
        Answer(Status.FOUND, (DkimKey.load(generate_key()).public_record(),), 60.0),
        Answer(Status.FOUND, (RECORD, RECORD), 60.0),
    ],
)
async def test_without_the_key_that_dns_has_nobody_is(readers: Readers, answer: Answer[str]) -> None:
    assert await found(readers, signed(), answer) is None


async def test_while_dns_is_silent_it_is_not_known(readers: Readers) -> None:
    assert await found(readers, signed(), Answer(Status.TIMEOUT)) == Unknown()


async def test_a_signature_that_has_run_out_is_none(readers: Readers) -> None:
    field = DkimKey.load(PEM).sign(cover(REPORT), domain="arf.isp.test", selector="s1", now=NOW)
    assert isinstance(await found(readers, field + REPORT), Vouched)
    assert await found(readers, field + REPORT, now=NOW + 8 * 86400) is None


def test_a_domain_names_all_its_mailboxes_and_none_below() -> None:
    assert is_named("a@arf.isp.test", ["arf.isp.test"])
    assert not is_named("a@x.arf.isp.test", ["arf.isp.test"])
    assert not is_named("", ["arf.isp.test"])


def test_nothing_is_asked_of_dns_for_a_mail_of_nobody_named() -> None:
    assert claim_of(signed(), ()) is None
