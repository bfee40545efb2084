"""Mail that waits without an attempt, over a real spool in memory: its sender hears, and it goes on waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lane_api.relayconfig import DelayNotice
from lane_relay.account.late import LateMail
from lane_relay.errors import SpoolError
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.memory import MemorySpool
from tests.lane_relay.account.attempts import NOW, config, message
from tests.lane_relay.account.test_settler import CLOCK, Rig
from tests.lane_relay.spool.making import until

LONG_AGO = int(NOW - 5 * 3600)


@asynccontextmanager
async def running(late: LateMail) -> AsyncIterator[None]:
    task = asyncio.create_task(late.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Damaged(MemorySpool):
    """Gives no message back."""

    def cached(self, entry: QueueEntry) -> Message | None:
        return None

    async def load(self, entry: QueueEntry) -> Message:
        raise SpoolError("the message is damaged")


async def test_a_sender_hears_once_and_the_mail_waits_on_though_a_restart_looks_at_it_at_once() -> None:
    rig = Rig()
    delivery = config().delivery.model_copy(update={"delay_notice": DelayNotice(after=1800.0, unasked=True)})
    rig.settler.apply(config().model_copy(update={"delivery": delivery}))
    waits: list[QueueEntry] = []
    late = LateMail(rig.spool, rig.settler, waits.append)
    entry = await rig.stored(message(accepted=LONG_AGO))
    entry.sender_domain = "lane.test"
    due = entry.due
    assert rig.settler.late_at(entry) <= CLOCK.now()
    async with running(late):
        late.add(entry, "the address is new", NOW + 900)
        await until(lambda: waits == [entry])
    assert (entry.due, entry.notified, len(rig.reports)) == (NOW + 900, True, 1)
    assert b"the address is new" in rig.reports[0].body.replace(b"\r\n    ", b" ")
    assert rig.settler.late_at(entry) == float("inf")
    found = {one.id: one for one in MemorySpool(CLOCK, asyncio.get_running_loop(), rig.spool.volume).recover()}
    assert (found[entry.id].due, found[entry.id].notified) == (due, True)


async def test_a_message_that_cannot_be_read_waits_on_and_is_not_tried_again_and_again() -> None:
    rig = Rig()
    waits: list[QueueEntry] = []
    late = LateMail(Damaged(CLOCK, asyncio.get_running_loop()), rig.settler, waits.append)
    entry = await rig.stored(message(accepted=LONG_AGO))
    entry.sender_domain = "lane.test"
    async with running(late):
        late.add(entry, "x", NOW + 900)
        await until(lambda: waits == [entry])
    assert (entry.notified, rig.reports) == (True, [])
