"""Mail without a way, over a real spool in memory: however much there is, the loop has its turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lane_api.isppolicy import Category
from lane_relay.account.settle import Outcome
from lane_relay.account.unroutable import UnroutableMail
from lane_relay.records import Reply, Unroutable
from tests.lane_relay.account.attempts import message
from tests.lane_relay.account.test_settler import CLOCK, Rig
from tests.lane_relay.spool.making import until

GONE = Unroutable(Reply(556, ("5.1.10 example.com takes no mail",)), Category.BAD_DOMAIN)
LATER = Unroutable(Reply(451, ("4.4.3 DNS lookup failed",)), Category.DNS_FAILURE)


@asynccontextmanager
async def running(unroutable: UnroutableMail) -> AsyncIterator[None]:
    task = asyncio.create_task(unroutable.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_has_no_way_is_returned_or_waits_as_the_reply_says() -> None:
    rig = Rig()
    unroutable = UnroutableMail(rig.spool, rig.settler, CLOCK)
    async with running(unroutable):
        unroutable.add(await rig.stored(message()), GONE)
        await until(lambda: rig.counters.finished[Outcome.BOUNCED] == 1)
        assert len(rig.reports) == 1
        unroutable.add(entry := await rig.stored(message()), LATER)
        await until(lambda: rig.waiting == [entry])


async def test_a_dead_domain_with_a_long_queue_leaves_the_loop_its_turns() -> None:
    """Bodies in memory: nothing awaits the disk. Turns are counted, since nothing here may depend on the clock."""
    rig, count = Rig(), 2000
    unroutable = UnroutableMail(rig.spool, rig.settler, CLOCK)
    entries = [await rig.stored(message(accepted=1_800_000_000 + number)) for number in range(count)]
    portions = []
    async with running(unroutable):
        for entry in entries:
            unroutable.add(entry, GONE)
        while left := len(unroutable):
            await asyncio.sleep(0)
            portions.append(left - len(unroutable))
    assert max(portions) <= 16
    assert len(rig.reports) == sum(portions) == count


async def test_campaigns_take_turns_in_being_returned() -> None:
    rig = Rig()
    unroutable = UnroutableMail(rig.spool, rig.settler, CLOCK)
    entries = [await rig.stored(message(accepted=1_800_000_000 + number)) for number in range(101)]
    for entry in entries[:100]:
        entry.campaign = "large"
        unroutable.add(entry, LATER)
    entries[100].campaign = "small"
    unroutable.add(entries[100], LATER)
    async with running(unroutable):
        await until(lambda: len(unroutable) == 0)
    assert rig.waiting.index(entries[100]) <= 1
