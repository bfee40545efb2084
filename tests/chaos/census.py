"""What each spool owns while nobody runs, read from copies of the volumes: no recipient may have two owners.

A transfer that its giver has noted and that is not answered belongs to the receiver if that has stored it, as hand-over
says; all else that is live in a spool is that spool's. Before: `kills`, between two lives. After: `judge`.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lane_api.relayconfig import Records as RecordsConfig
from lane_api.relayconfig import Spool as SpoolConfig
from lane_relay.account.journal import Journal
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.handover.book import Book
from lane_relay.records import message_id_text
from lane_relay.spool.log import SegmentSpool
from tests.chaos.judge import MAIL, REPORT, Key

Held = Counter[tuple[Key, str]]
"""How many copies of each (key, Message-ID)."""


@dataclass(frozen=True)
class Owned:
    """What one spool holds, each as (its key, Message-ID): a bounce that a kill repeats has two reports, not two
    owners."""

    mine: frozenset[tuple[Key, str]]
    """What the slot would send."""
    leaving: frozenset[tuple[Key, str]]
    """What is noted as on its way to its sibling."""

    @property
    def keys(self) -> frozenset[Key]:
        """Whom all of it is for."""
        return frozenset(key for key, _ in self.mine | self.leaving)


def owned(folder: Path) -> Owned:
    """What the slot of this folder has, read from a copy."""
    mine, leaving = copies(folder)
    return Owned(frozenset(mine), frozenset(leaving))


def copies(folder: Path) -> tuple[Held, Held]:
    """The same with how often it is there: what is the slot's, and what is on its way; nobody may write meanwhile."""
    with tempfile.TemporaryDirectory(prefix="chaos-census-") as aside:
        copy = Path(aside)
        shutil.copytree(folder / "spool", copy / "spool", symlinks=True)
        shutil.copytree(folder / "records", copy / "records", symlinks=True)
        return asyncio.run(_copies(copy))


async def _copies(folder: Path) -> tuple[Held, Held]:
    book = Book(folder / "spool" / "handover")
    on_their_way = {
        (origin, index) for given in book.given.values() for origin, indexes in given.parcels for index in indexes
    }
    journal = Journal.open(RecordsConfig(path=str(folder / "records")), SYSTEM_CLOCK)
    spool = SegmentSpool.open(
        SpoolConfig(path=str(folder / "spool")), journal, SYSTEM_CLOCK, asyncio.get_running_loop(), asked=book.asked
    )
    mine: Held = Counter()
    leaving: Held = Counter()
    try:
        for entry in list(spool.recover()):
            message = await spool.load(entry)
            for index in entry.recipients:
                recipient = message.envelope.recipients[index]
                key = (MAIL if message.envelope.sender else REPORT, recipient), message.message_id
                (leaving if (message_id_text(entry.id), index) in on_their_way else mine)[key] += 1
    finally:
        await spool.close()
    return mine, leaving
