"""Who vouches for a complaint: only a named reporter's signature, and only for what is under it. dkimpy signs."""

import asyncio
import hashlib
from collections.abc import Iterator
from functools import partial

import dkim
import pytest

from lane_relay.feedback.readers import Readers
from lane_relay.feedback.reporters import Unknown, Vouched, claim_of, is_named, vouched
from lane_relay.mail.dkim import Covered, DkimKey, cover, generate_key
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
    content: bytes = REPORT, *, domain: str = "arf.isp.test", form: str = "relaxed/relaxed", **more: object
) -> bytes:
    header, body = (one.encode() for one in form.split("/"))
    made: bytes = dkim.sign(content, b"s1", domain.encode(), PEM, canonicalize=(header, body), **more)
    return made + content


def signed_without_from() -> bytes:
    """As no signer of the RFC does it: whoever has any mail of the reporter's domain could put another From on it."""
    covered = Covered(b"subject", b"subject:complaint\r\n", cover(REPORT).body_hash)
    return DkimKey.load(PEM).sign(covered, domain="arf.isp.test", selector="s1", now=NOW) + REPORT


def signed_by_a_user() -> bytes:
    """As an ISP signs its users' mail: From once in h=, so that one on top of it is not covered."""
    return signed(
        REPORT.replace(b"feedback@", b"user@"), include_headers=[b"From", b"Subject", b"MIME-Version", b"Content-Type"]
    )


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

    return await vouched(readers, txt, "192.0.2.1", content, partial(is_named, named=NAMED), now)


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
        signed_without_from(),
        signed(domain="evil.test"),
        signed(domain="test"),
        signed(REPORT.replace(b"feedback@arf", b"user@arf")),
        signed(REPORT.replace(b"feedback@arf.isp.test", b"x@evil.test"), domain="evil.test"),
        b"From: feedback@arf.isp.test\r\n" + signed(REPORT.replace(b"feedback@", b"user@")),
        b"From: feedback@arf.isp.test\r\n" + signed_by_a_user().replace(b"\r\nFrom:", b"\r\nFrom :"),
        b"From\t: feedback@arf.isp.test\r\n" + signed_by_a_user(),
        b" From: feedback@arf.isp.test\r\n" + signed_by_a_user(),
        signed(REPORT.replace(b"<feedback@arf.isp.test>", b"feedback@arf.isp.test, <x@evil.test>")),
        signed(REPORT.replace(b"\r\nSubject", b" <x@evil.test>\r\nSubject")),
        signed().replace(b"h=", b"h=" + b"to:" * 300),
        b"DKIM-Signature: v=1; a=rsa-sha256; d=arf.isp.test; s=s1; h=from; bh=!; b=!\r\n" + REPORT,
        b"X: y\r\n" * 600 + signed(),
        signed(REPORT + b"x" * 2**20),
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
        Answer(Status.FOUND, ("v=DKIM1; p=MAwwBQYDKgMEAwMAYWE=",), 60.0),  # of a kind that no library here knows
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
    assert claim_of(signed(), partial(is_named, named=())) is None


async def test_a_reporter_who_signs_from_but_once_is_believed(readers: Readers) -> None:
    content = signed(include_headers=[b"From", b"Subject", b"MIME-Version", b"Content-Type"])
    assert isinstance(await found(readers, content), Vouched)
    spaced = content.replace(b"\r\nFrom:", b"\r\nFrom :")
    outcome = await found(readers, spaced)
    assert isinstance(outcome, Vouched)
    assert outcome.reporter == "feedback@arf.isp.test"


async def test_of_signatures_that_are_not_over_this_body_nobody_asks_dns(readers: Readers) -> None:
    nonsense = b"DKIM-Signature: v=1; a=rsa-sha256; d=arf.isp.test; s=s2; h=from; bh=AAAA; b=AAAA\r\n"
    assert await found(readers, nonsense * 4 + REPORT) is None  # `found` knows the selector s1 alone
    assert isinstance(await found(readers, nonsense + signed()), Vouched)


async def test_one_key_is_asked_for_once_whatever_names_it(readers: Readers) -> None:
    field = signed()[: -len(REPORT)]
    damaged = field.replace(b" b=", b" b=AAAA", 1)
    answer: Answer[str] = Answer(Status.FOUND, (RECORD,), 60.0)
    assert isinstance(
        await found(readers, damaged * 3 + field + REPORT, answer), Vouched
    )  # a second question: IndexError


async def test_a_body_is_read_through_once_a_form_however_many_signatures_it_has(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    sha256 = hashlib.sha256

    def counted(content: bytes) -> object:
        read.append(len(content))
        return sha256(content)

    body = b"a \r\n" * 1000
    mail = signed(REPORT + body)
    field = mail[: -len(REPORT + body)].replace(b" b=", b" b=AAAA", 1)
    monkeypatch.setattr(hashlib, "sha256", counted)
    outcome = await found(readers, field * 3 + mail)
    assert isinstance(outcome, Vouched)
    assert sum(size > 2000 for size in read) == 1


@pytest.mark.parametrize("form", ["relaxed/relaxed", "relaxed/simple"])
@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"\r\n\r\n",
        b" \t\r\n \r\n",
        b"a\tb  c \t \r\n\r\n\r\n",
        b"x\r\r\n",
    ],
)
async def test_bodies_are_hashed_as_dkimpy_hashes_them(readers: Readers, form: str, end: bytes) -> None:
    assert isinstance(await found(readers, signed(REPORT + end, form=form)), Vouched)


MULTIPART = f"""From: ISP Feedback <feedback@arf.isp.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
 boundary=x
To: fbl@b.brand.test
Subject: ISP Abuse Report

--x
Content-Transfer-Encoding: quoted-printable
Content-Type: text/plain; charset=UTF-8

This is an abuse report for an email message received from domain bran=
d.test

--x
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: L/2.0
Original-Mail-From: b-{TOKEN}@b.brand.test
Version: 1

--x
Content-Type: message/rfc822

Return-Path: b-{TOKEN}@b.brand.test

--x--
""".replace("\n", "\r\n").encode()


async def test_three_signed_fields_are_enough_as_validity_has_them(readers: Readers) -> None:
    """As in a report of Yandex's loop of 2020-05-18 that its addressee published: Content-Type is not under it."""
    content = signed(MULTIPART, domain="isp.test", form="relaxed/simple", include_headers=[b"From", b"To", b"Subject"])
    outcome = await found(readers, content)
    assert isinstance(outcome, Vouched)
    assert outcome.reading.tokens == (TOKEN,)
    other = content.replace(b"boundary=x", b"boundary=y").replace(b"report-type=feedback-report", b"report-type=other")
    assert (await found(readers, other)) == outcome
