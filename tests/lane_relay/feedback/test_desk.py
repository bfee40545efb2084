"""Returned mail at the desk: what is kept, and in which order."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lane_api.classes import TrafficClass
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import Suppression
from lane_relay.account.records import RecordWriter
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.deliver.rules import ReplyTable
from lane_relay.feedback.addresses import Addressee, Desk
from lane_relay.feedback.desk import TAKEN, Around, FeedbackDesk, Heard
from lane_relay.feedback.samples import Samples
from lane_relay.feedback.suppression_list import Choice, SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source
from lane_relay.mail.dkim import DkimKey, cover, generate_key
from lane_relay.mail.token import Token, TokenKind, address_digest, write_token
from lane_relay.records import Reply
from lane_relay.resolve.answers import Answer, Status

KEY = b"k" * 32
PEM = generate_key()


class Spool:
    """Notes what is recorded, and numbers samples; nothing else of a spool is asked for here."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def record(self, records: list[bytes]) -> None:
        self.records += records

    def new_id(self) -> int:
        return 7

    async def flush(self) -> None:
        return


def config() -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "spool": {"path": "/unused"},
            "records": {"path": "/unused"},
        }
    )


DSN = b"""From: <>\nTo: b\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n
--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.isp.test\n
Final-Recipient: rfc822; ann@isp.test\nAction: failed\nStatus: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user here\n\n--x--\n"""


class Desks:
    """A desk over a list of this many entries."""

    def __init__(self, tmp_path: Path, entries: int) -> None:
        self.store, self.spool = SuppressionStore.open(tmp_path / "list", entries), Spool()
        self.wanted = Suppression(path=str(tmp_path / "list"), key_file="/unused", max_entries=entries)
        self.list = SuppressionList(self.wanted, TrafficClass.BULK, KEY, self.store, SYSTEM_CLOCK)
        self.forwarded: list[Heard] = []
        self.counted: list[tuple[Token, str]] = []
        self.doubted: list[str] = []
        self.person_says: Reply | None = None
        self.published: Answer[str] = Answer(Status.FOUND, (DkimKey.load(PEM).public_record(),), 60.0)
        table = ReplyTable(())
        self.desk = FeedbackDesk(
            cast("Any", self.spool),
            SimpleNamespace(writer=RecordWriter(config().lane, config().slot)),
            self.list,
            Samples(tmp_path / "samples"),
            SYSTEM_CLOCK,
            Around(
                table.judge,
                self._forward,
                self._to_people,
                self._complained,
                self._txt,
                self._site_of,
                self.doubted.__contains__,
            ),
        )
        self.desk.apply(KEY, KEY)

    async def _complained(self, token: Token, reporter: str) -> str:
        self.counted.append((token, reporter))
        return "isp"

    async def _to_people(self, _addressee: Addressee, _content: bytes) -> Reply | None:
        return self.person_says

    async def _site_of(self, _message_id: int) -> str:
        return "isp"

    async def _txt(self, _name: str) -> Answer[str]:
        return self.published

    async def _forward(self, heard: Heard) -> None:
        self.forwarded.append(heard)

    def resize(self, entries: int) -> None:
        self.list.apply(self.wanted.model_copy(update={"max_entries": entries}), KEY)

    async def close(self) -> None:
        self.desk.close()
        await self.list.close()


def person(number: int) -> Token:
    return Token(TokenKind.PERSON, 7, number, bytes([number + 1]) * 12)


async def test_who_writes_to_the_postmaster_hears_what_the_person_takes_and_the_rest_is_a_sample(
    tmp_path: Path,
) -> None:
    of = Desks(tmp_path, 1)
    postmaster, content = Addressee(Desk.PEOPLE, "b.brand.test"), b"From: a@isp.test\r\n\r\nWho are you?\r\n"
    for answer in (TAKEN, Reply(552, ("5.3.4 too large",))):
        of.person_says = answer
        assert await of.desk.take(postmaster, content, "192.0.2.1", "mx.isp.test") == answer
    assert not list(tmp_path.glob("samples/*"))
    of.person_says = None
    assert await of.desk.take(postmaster, content, "192.0.2.1", "mx.isp.test") == TAKEN
    assert len(list(tmp_path.glob("samples/*"))) == 1
    await of.close()


async def test_what_a_full_list_does_not_take_is_on_record_once_it_does(tmp_path: Path) -> None:
    of = Desks(tmp_path, 1)
    ann, bob = person(0), person(1)
    await of.desk.unsubscribe(ann, Source.LINK)
    for _ in range(3):
        with pytest.raises(SuppressionsFullError):
            await of.desk.unsubscribe(bob, Source.LINK)
    assert len(of.spool.records) == 1
    of.resize(2)
    await of.desk.unsubscribe(bob, Source.LINK)
    assert len(of.spool.records) == 2
    await of.close()


async def test_a_report_that_a_full_list_has_no_room_for_is_taken_on_record_and_forwarded(tmp_path: Path) -> None:
    of = Desks(tmp_path, 1)
    await of.desk.unsubscribe(person(0), Source.LINK)
    token = Token(TokenKind.BOUNCE, 8, 0, address_digest(KEY, "ann@isp.test", ""))
    reply = await of.desk.take(Addressee(Desk.BOUNCES, "b.brand.test", token), DSN, "192.0.2.1", "mx.isp.test")
    assert reply.code == 250
    assert len(of.spool.records) == 2
    assert [heard.finding.suppress for heard in of.forwarded] == [None]
    assert of.desk.counters.left_out == {"hard-bounce": 1}
    assert of.list.is_suppressed("ann@isp.test", TrafficClass.BULK) == ""
    await of.close()


async def test_a_bounce_of_mail_from_before_the_scope_was_another_suppresses_its_recipient(tmp_path: Path) -> None:
    of, shared = Desks(tmp_path, 10), b"n" * 32
    of.desk.apply(KEY, shared, KEY)
    of.list.apply(of.wanted, shared, KEY)
    for number, key in enumerate((KEY, shared)):
        token = Token(TokenKind.BOUNCE, 8, number, address_digest(key, "ann@isp.test", ""))
        await of.desk.take(Addressee(Desk.BOUNCES, "b.brand.test", token), DSN, "192.0.2.1", "mx.isp.test")
        assert of.list.is_suppressed("ann@isp.test", TrafficClass.BULK) == "hard-bounce"
        assert await of.list.lift(token.digest) == 1
        assert of.list.is_suppressed("ann@isp.test", TrafficClass.BULK) == ""
    await of.close()


def complaint(token: Token, sender: str = "fbl@isp.test") -> bytes:
    """An ARF report as its ISP signs it."""
    text = f"""From: Loop <{sender}>
MIME-Version: 1.0
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: L/1
Original-Mail-From: <b-{write_token(KEY, token)}@b.brand.test>
""".replace("\n", "\r\n").encode()
    field = DkimKey.load(PEM).sign(cover(text), domain="isp.test", selector="s1", now=SYSTEM_CLOCK.now())
    return field + text


async def _told(made: Desks, content: bytes, to: Token | None = None) -> Any:
    """What the desk answers; its last record, if it made one."""
    before = len(made.spool.records)
    reply = await made.desk.take(Addressee(Desk.COMPLAINTS, "b.brand.test", to), content, "192.0.2.1", "mx.isp.test")
    return reply.code, (json.loads(made.spool.records[-1]) if len(made.spool.records) > before else None)


async def test_only_a_complaint_that_a_named_reporter_signed_is_counted(tmp_path: Path) -> None:
    made = Desks(tmp_path, 1000)
    made.desk.reporters = ("fbl@isp.test",)
    code, record = await _told(made, complaint(person(1)))
    assert (code, made.counted) == (250, [(person(1), "fbl@isp.test")])
    assert record["meta"]["authenticated_reporter"] == "fbl@isp.test"
    (word,) = made.list.page("")[0]
    assert word.expires == 0
    unsigned = b"From:" + complaint(person(2)).partition(b"\r\nFrom:")[2]
    for number, forged in enumerate(
        (unsigned, complaint(person(1))), 1
    ):  # the latter is about somebody else than it is brought to
        code, record = await _told(made, forged, person(2))
        assert (code, made.counted[1:]) == (250, [(person(2), "")] * number)
        assert record["meta"]["unauthenticated"] == "true"
        assert record["site"] == "isp"  # who else can find out which loop lacks a name
    assert made.desk.counters.reports == {"complaint": 1, "unauthenticated": 2}
    await made.close()


async def test_an_unauthenticated_complaint_suppresses_for_a_month_and_shortens_no_other(tmp_path: Path) -> None:
    made = Desks(tmp_path, 1000)
    await _told(made, complaint(person(1)))
    (word,) = made.list.page("")[0]
    assert 29 * 86400 < word.expires - SYSTEM_CLOCK.now() <= 30 * 86400
    made.desk.reporters = ("fbl@isp.test",)
    await _told(made, complaint(person(1)))
    made.desk.reporters = ()
    await _told(made, complaint(person(1)))
    assert [one.expires for one in made.store.table.about(person(1).digest)] == [0]
    await made.close()


async def test_a_complaint_is_brought_again_while_its_reporter_s_key_cannot_be_asked_for(tmp_path: Path) -> None:
    made = Desks(tmp_path, 1000)
    made.desk.reporters = ("isp.test",)
    made.published = Answer(Status.TIMEOUT)
    assert await _told(made, complaint(person(1))) == (451, None)
    assert made.list.rows == 0
    assert not made.desk.counters.reports
    await made.close()


async def test_a_bounce_report_says_its_site_and_is_held_back_while_that_is_not_believed(tmp_path: Path) -> None:
    of = Desks(tmp_path, 10)
    token = Token(TokenKind.BOUNCE, 8, 0, address_digest(KEY, "ann@isp.test", ""))
    of.doubted.append("isp")
    for _ in range(2):
        await of.desk.take(Addressee(Desk.BOUNCES, "b.brand.test", token), DSN, "192.0.2.1", "mx.isp.test")
    assert b'"site":"isp"' in of.spool.records[0]
    assert of.list.is_suppressed("ann@isp.test", TrafficClass.BULK) == ""
    assert len(await of.list.chosen(Choice(Reason.HELD_BACK, "isp"))) == 1
    assert of.desk.counters.held_back == {"isp": 1}
    of.doubted.clear()
    await of.desk.take(Addressee(Desk.BOUNCES, "b.brand.test", token), DSN, "192.0.2.1", "mx.isp.test")
    assert of.list.is_suppressed("ann@isp.test", TrafficClass.BULK) == "hard-bounce"
    await of.close()


def of_ann(domain: str = "") -> Token:
    return Token(TokenKind.PERSON, 7, 1, address_digest(KEY, "ann@isp.test", domain), bool(domain))


@pytest.mark.parametrize(
    ("sender", "is_believed"),
    [("ann@isp.test", True), ("Ann@ISP.test", True), ("eve@isp.test", False), ("abuse@isp.test", False)],
)
async def test_a_complaint_is_believed_for_good_of_the_mailbox_itself_and_of_no_other_of_its_domain(
    tmp_path: Path, sender: str, is_believed: bool
) -> None:
    made = Desks(tmp_path, 1000)  # a provider signs the mail of each of its users
    code, record = await _told(made, complaint(of_ann(), sender))
    (word,) = made.list.page("")[0]
    assert (code, word.expires == 0) == (250, is_believed)
    assert record["meta"].get("authenticated_reporter", "") == ("ann@isp.test" if is_believed else "")
    assert made.desk.counters.reports == {"complaint" if is_believed else "unauthenticated": 1}
    assert made.counted == [(of_ann(), "ann@isp.test" if is_believed else "")]
    await made.close()


async def test_who_says_so_without_its_domains_signature_is_not_the_mailbox(tmp_path: Path) -> None:
    made = Desks(tmp_path, 1000)
    unsigned = b"From:" + complaint(of_ann(), "ann@isp.test").partition(b"\r\nFrom:")[2]
    _, record = await _told(made, unsigned)
    (word,) = made.list.page("")[0]
    assert (word.expires > 0, record["meta"]["unauthenticated"]) == (True, "true")
    await made.close()


@pytest.mark.parametrize(("domain", "is_believed"), [("brand.test", True), ("other.test", False)])
async def test_in_the_scope_of_a_domain_the_mailbox_is_known_with_the_from_that_comes_back(
    tmp_path: Path, domain: str, is_believed: bool
) -> None:
    made = Desks(tmp_path, 1000)
    token = of_ann("brand.test")
    report = complaint(token).partition(b"\r\n\r\n")[2]
    form = "multipart/report; report-type=feedback-report; boundary=x"
    head = f"From: ann@isp.test\r\nMIME-Version: 1.0\r\nContent-Type: {form}\r\n\r\n--x\r\n"
    kind = "Content-Type: message/feedback-report\r\n\r\n"
    returned = f"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: Shop <shop@{domain}>\r\n\r\n--x--\r\n"
    text = head.encode() + kind.encode() + report + b"\r\n" + returned.encode()
    field = DkimKey.load(PEM).sign(cover(text), domain="isp.test", selector="s1", now=SYSTEM_CLOCK.now())
    await _told(made, field + text)
    (word,) = made.list.page("")[0]
    assert (word.expires == 0) == is_believed
    await made.close()
