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
from lane_relay.feedback.desk import Around, FeedbackDesk
from lane_relay.feedback.samples import Samples
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import Source
from lane_relay.mail.token import Token, TokenKind

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


async def test_what_a_full_list_does_not_take_is_on_record_once_it_does(tmp_path: Path) -> None:
    store, spool = SuppressionStore.open(tmp_path / "list", 1), Spool()
    wanted = Suppression(path=str(tmp_path / "list"), key_file="/unused")
    known = SuppressionList(wanted, TrafficClass.BULK, KEY, store, SYSTEM_CLOCK)
    store.apply(1)
    desk = FeedbackDesk(
        cast("Any", spool),
        SimpleNamespace(writer=RecordWriter(config().lane, config().slot)),
        known,
        Samples(tmp_path / "samples"),
        SYSTEM_CLOCK,
        cast("Around", None),  # for reports alone
    )
    ann, bob = (Token(TokenKind.PERSON, 7, at, bytes([at + 1]) * 12) for at in range(2))
    await desk.unsubscribe(ann, Source.LINK)
    for _ in range(3):
        with pytest.raises(SuppressionsFullError):
            await desk.unsubscribe(bob, Source.LINK)
    assert len(spool.records) == 1
    store.apply(2)
    await desk.unsubscribe(bob, Source.LINK)
    assert len(spool.records) == 2
    desk.close()
    await known.close()
