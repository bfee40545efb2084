"""What each spool owns while nobody runs, read from copies of the volumes: no recipient may have two owners.

A transfer that its giver has noted and that is not answered belongs to the receiver if that has stored it, as hand-over
says; all else that is live in a spool is that spool's. Before: `kills`, between two lives. After: `judge`.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from lane_api.relayconfig import Records as RecordsConfig
from lane_api.relayconfig import Spool as SpoolConfig
from lane_relay.account.journal import Journal
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.handover.book import Book
from lane_relay.records import message_id_text
from lane_relay.spool.log import SegmentSpool
from tests.chaos.judge import MAIL, REPORT, Key


def owned(folder: Path) -> tuple[frozenset[Key], frozenset[Key]]:
    """(what the slot of this folder would send, what of it is noted as on its way to its sibling)."""
    with tempfile.TemporaryDirectory(prefix="chaos-census-") as aside:
        copy = Path(aside)
        shutil.copytree(folder / "spool", copy / "spool", symlinks=True)
        shutil.copytree(folder / "records", copy / "records", symlinks=True)
        return asyncio.run(_owned(copy))


async def _owned(folder: Path) -> tuple[frozenset[Key], frozenset[Key]]:
    book = Book(folder / "spool" / "handover")
    on_their_way = {
        (origin, index) for given in book.given.values() for origin, indexes in given.parcels for index in indexes
    }
    journal = Journal.open(RecordsConfig(path=str(folder / "records")), SYSTEM_CLOCK)
    spool = SegmentSpool.open(
        SpoolConfig(path=str(folder / "spool")), journal, SYSTEM_CLOCK, asyncio.get_running_loop(), asked=book.asked
    )
    mine: set[Key] = set()
    leaving: set[Key] = set()
    try:
        for entry in list(spool.recover()):
            message = await spool.load(entry)
            for index in entry.recipients:
                recipient = message.envelope.recipients[index]
                key = (MAIL if message.envelope.sender else REPORT, recipient)
                (leaving if (message_id_text(entry.id), index) in on_their_way else mine).add(key)
    finally:
        await spool.close()
    return frozenset(mine), frozenset(leaving)
