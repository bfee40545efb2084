"""Returned mail at the desk: what is kept, and in which order."""

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
from lane_relay.feedback.desk import Around, FeedbackDesk, Heard
from lane_relay.feedback.samples import Samples
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import Source
from lane_relay.mail.token import Token, TokenKind, address_digest

KEY = b"k" * 32


class Spool:
    """Notes what is recorded; nothing else of a spool is asked for here."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def record(self, records: list[bytes]) -> None:
        self.records += records

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
        table = ReplyTable(())
        self.desk = FeedbackDesk(
            cast("Any", self.spool),
            SimpleNamespace(writer=RecordWriter(config().lane, config().slot)),
            self.list,
            Samples(tmp_path / "samples"),
            SYSTEM_CLOCK,
            Around(table.judge, self._forward, cast("Any", None), cast("Any", None)),
        )
        self.desk.apply(KEY, KEY)

    async def _forward(self, heard: Heard) -> None:
        self.forwarded.append(heard)

    def resize(self, entries: int) -> None:
        self.list.apply(self.wanted.model_copy(update={"max_entries": entries}), KEY)

    async def close(self) -> None:
        self.desk.close()
        await self.list.close()


def person(number: int) -> Token:
    return Token(TokenKind.PERSON, 7, number, bytes([number + 1]) * 12)


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
