"""What is to be ended by order, over a real spool on a simulated disk whose bytes are damaged."""

import asyncio
import errno
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lane_relay.account.counters import Counters
from lane_relay.account.settle import Outcome
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.deliver.explain import Place
from lane_relay.orders.book import OrderBook
from lane_relay.orders.finisher import Finisher
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.orders.order import By, Order, Selector, Verb
from lane_relay.orders.places import Places
from lane_relay.records import QueueEntry
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from lane_relay.spool.format import Kind, Record, SegmentHeader, salt_of, scan
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.account.attempts import config
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import CLOCK, NOW, SPOOL, message_for, open_spool, put, until

FIRST = str(SPOOL / "000000000001.0.seg")


def drop() -> Order:
    return Order(
        id="aa", verb=Verb.DROP, selector=Selector(By.ALL), owner="jane", reason="why not", created=NOW,
        expires=NOW + 9, before="f" * 24,
    )  # fmt: skip


@dataclass
class Slot:
    """As it stands after a restart with that disk."""

    disk: SimulatedDisk
    spool: SegmentSpool
    settler: Settler
    book: OrderBook
    entries: list[QueueEntry]
    counters: Counters
    given_back: list[QueueEntry] = field(default_factory=list)

    def finisher(self, patience_s: float = 30.0) -> Finisher:
        return Finisher(self.spool, self.book, self.settler, CLOCK, self.given_back.append, patience_s)


def _damaged(image: Image, which: int) -> Image:
    """One bit of the body of one message."""
    header = SegmentHeader.decode(image[FIRST])
    assert header is not None
    found = scan(image[FIRST], salt_of(header.spool_id, 1))
    record = [one for one in found if isinstance(one, Record) and one.kind == Kind.MESSAGE][which]
    content = bytearray(image[FIRST])
    content[record.offset + record.length - 2] ^= 0x10
    return {**image, FIRST: bytes(content)}


@asynccontextmanager
async def restarted(messages: int, damaged: int | None = None) -> AsyncIterator[Slot]:
    """With so many messages on a disk, one of them damaged."""
    before = SimulatedDisk()
    spool = open_spool(before)
    stored = [entry.id for _ in range(messages) for entry in await put(spool, message_for(spool))]
    await spool.close()
    image = before.image() if damaged is None else _damaged(before.image(), damaged)
    disk = SimulatedDisk(image)
    spool = open_spool(disk, active_bytes=0)
    counters = Counters()
    counters.recovered = spool.state.live_recipients
    around = Surroundings(
        lambda _: None, lambda _: None, lambda _: None, lambda _message, done: done(None), lambda *_: None, lambda: 0.5
    )
    entries = sorted(spool.recover(), key=lambda entry: stored.index(entry.id))
    settler = Settler(spool, config(), CLOCK, around, counters)
    yield Slot(disk, spool, settler, OrderBook(spool), entries, counters)
    await spool.close()


async def test_a_message_that_is_damaged_stops_no_other_and_is_counted() -> None:
    async with restarted(4, damaged=1) as slot:
        slot.book.add(order := drop())
        finisher = slot.finisher()
        for entry in slot.entries:
            finisher.add(order, entry)
        await finisher.finish()
        await slot.spool.flush()

        assert slot.counters.finished[Outcome.DROPPED] == 3
        assert (order.entries, dict(finisher.unreadable)) == (3, {"aa": 1})
        assert slot.spool.state.live_messages == 1  # it stays where it is, for a person to look at
        assert finisher.is_empty


async def test_a_message_that_cannot_be_read_for_now_is_given_back_and_the_others_end() -> None:
    async with restarted(3) as slot:
        slot.book.add(order := drop())
        finisher = slot.finisher(patience_s=0.9)  # the spool itself tries again each quarter of a second
        slot.disk.fail_reads = [errno.EMFILE] * 4
        for entry in slot.entries:
            finisher.add(order, entry)
        await finisher.finish()

        assert [entry.id for entry in slot.given_back] == [slot.entries[0].id]
        assert slot.given_back[0].due > NOW
        assert (order.entries, dict(finisher.unreadable)) == (2, {})


async def _nothing() -> AsyncGenerator[tuple[Place, QueueEntry]]:
    return
    yield


async def test_an_order_says_what_it_could_not_read_and_is_done_with_the_rest() -> None:
    async with restarted(3, damaged=0) as slot:
        schedule = ScheduledQueue()
        for entry in slot.entries:
            schedule.add(entry)
        places = Places(
            schedule.sweep, schedule.add, lambda: None, lambda *_: None, lambda _: None, lambda _: 0, lambda _: True
        )
        keeper = OrderKeeper(slot.spool, slot.book, slot.settler, CLOCK, places, config)
        running = asyncio.create_task(keeper.run())
        said = {"action": "drop", "all": True, "owner": "jane", "reason": "why not"}
        await keeper.place(json.dumps(said).encode(), _nothing)
        await until(lambda: keeper.standing()[0]["state"] == "standing")

        (order,) = keeper.standing()
        assert (order["entries"], order["unreadable"], keeper.unreadable) == (2, 1, 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
