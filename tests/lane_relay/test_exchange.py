"""What must not leave from a slot and has nowhere else to go."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.account.counters import Counters
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError, SpoolError
from lane_relay.exchange import Exchange, Neighbourhood, open_transfers
from lane_relay.handover.book import Given
from lane_relay.handover.consignment import Parcel
from lane_relay.handover.giver import DOWN_S
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.records import FOREIGN, Envelope, Message, Notify, QueueEntry, RecipientOptions, message_id_text
from lane_relay.spool.base import Done
from lane_relay.spool.entries import Waiting
from lane_relay.spool.memory import MemorySpool
from tests.lane_relay.spool.making import put, until

CLOCK = Clock(now=lambda: 1_800_000_000.0, monotonic=lambda: 1000.0)
COUNT = 3000
Siblings = Sequence[dict[str, Any]]


def config(folder: Path, *isps: str, state: str = "Running", siblings: Siblings = ()) -> RelayConfig:
    """A slot without siblings; `isps`: its address is for these alone."""
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.test"},
            "spool": {"path": str(folder)},
            "records": {"path": str(folder / "r")},
            "egress": {"isps": isps},
            "delivery": {"state": state},
            "admin": {
                "listen": {"host": "127.0.0.1", "port": 0},
                "tls": {"certificate": "/crt", "key": "/key"},
                "tokenFile": "/token",
            },
            "handover": {"caFile": "/ca", "siblings": siblings},
        }
    )


class Spool(MemorySpool):
    """Remembers with what state each message was stored."""

    def __init__(self) -> None:
        super().__init__(CLOCK, asyncio.get_running_loop())
        self.laid: list[Waiting | None] = []

    def put(self, message: Message, record: bytes, done: Done, waiting: Waiting | None = None) -> None:
        self.laid.append(waiting)
        super().put(message, record, done, waiting)


class Rig:
    asked_for = looked_again = 0

    def _scheduled(self, count: int) -> list[QueueEntry]:
        self.asked_for += count
        return []

    def _deposit(self, report: Message, done: Callable[[SpoolError | None], None]) -> None:
        self.deposited.append(report)
        done(None)

    def _look_again(self) -> None:
        self.looked_again += 1

    def __init__(self, folder: Path, pauses: Pauses = USUAL) -> None:
        spool = self.spool = Spool()
        running = config(folder, "gmail")
        around = Surroundings(
            lambda _entry: None,
            lambda _entry: None,
            lambda _entry: None,
            self._deposit,
            lambda _policy, _seconds, _count, _since: None,
            lambda: 0.5,
        )
        settler = Settler(spool, running, CLOCK, around, Counters())
        book = open_transfers(running)
        assert book is not None
        self.resumed: list[QueueEntry] = []
        self.waiting: list[QueueEntry] = []
        self.over: set[int] = set()
        self.deposited: list[Message] = []
        neighbours = Neighbourhood(
            queued=lambda _entry: None,
            accepted=lambda _count: None,
            resume=self.resumed.append,
            wait=self.waiting.append,
            look_again=self._look_again,
            scheduled=self._scheduled,
            is_over=lambda entry: entry.id in self.over,
            is_ordered=lambda _entry, _sender: False,
            unwilling=lambda: "",
            quarantined=frozenset,
        )
        self.exchange = Exchange(book, running, spool, settler, CLOCK, neighbours, pauses=pauses)


async def test_what_came_over_keeps_its_attempts_and_its_time_if_the_process_dies_before_anybody_hears_of_it(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    message = Message(0, Envelope("otp@brand.test", ("ann@isp.test",)), b"Subject: x\r\n\r\n")
    parcel = Parcel(message_id_text(7 << 48), message, attempts=3, due=CLOCK.now() + 300, notified=True)
    rig.exchange.store(parcel, 8 << 48 | FOREIGN, "t-1", lambda _error: None)
    (found,) = MemorySpool(CLOCK, asyncio.get_running_loop(), rig.spool.volume).recover()
    assert (found.due, found.attempts, found.notified) == (CLOCK.now() + 300, 3, True)
    assert [one.said_at for one in rig.spool.laid if one is not None] == [CLOCK.now()], "a clock ahead is found out"


async def test_mail_without_a_way_chooses_again_in_portions_and_at_once_after_a_change(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for number in range(COUNT):
        assert not rig.exchange.sends_here(QueueEntry(number + 1, 0, "d.test", (0,), 1, 0.0), "")
    assert rig.exchange.waiting == COUNT
    task = asyncio.create_task(rig.exchange.run())
    rig.exchange.apply(config(tmp_path))
    sizes = [len(rig.resumed)]
    while sizes[-1] < COUNT:
        await asyncio.sleep(0)
        sizes.append(len(rig.resumed))
        assert rig.exchange.waiting == COUNT - sizes[-1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert max(now - before for before, now in pairwise([0, *sizes])) <= 500
    assert all(rig.exchange.sends_here(entry, "") for entry in rig.resumed)


@pytest.mark.parametrize("between", range(4))
async def test_a_slot_that_stops_in_the_turn_of_a_change_stops(tmp_path: Path, between: int) -> None:
    rig = Rig(tmp_path)
    task = asyncio.create_task(rig.exchange.run())
    for _ in range(5):
        await asyncio.sleep(0)
    rig.exchange.look_again()
    for _ in range(between):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=3 * DOWN_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert done


async def test_mail_without_a_way_ends_in_its_time_and_its_sender_hears_once_that_it_is_late(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, Pauses(look_at_stranded=0.01))
    entries = []
    for hours in (1, 5, 200):
        received = (int(CLOCK.now()) - hours * 3600) * 1000 << 48
        envelope = Envelope("otp@brand.test", ("ann@isp.test",), options=(RecipientOptions(Notify.DELAY),))
        message = Message(received + 1, envelope, b"Subject: x\r\n\r\n")
        entries += await put(rig.spool, message)
    fresh, late, over = entries
    rig.over.add(over.id)
    for entry in entries:
        assert not rig.exchange.sends_here(entry, "")
    assert rig.exchange.stranded == 3
    task = asyncio.create_task(rig.exchange.run())
    await until(lambda: rig.resumed == [over] and late.notified)
    await until(lambda: rig.exchange.stranded == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (report,) = rig.deposited
    assert report.envelope.recipients == ("otp@brand.test",)
    assert b"Action: delayed" in report.body
    assert b"no other slot can take it" in report.body.replace(b"\r\n    ", b" ")
    assert not fresh.notified


async def test_mail_without_a_way_comes_by_once_an_order_is_given(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    entry = QueueEntry(1, 0, "d.test", (0,), 1, 0.0)
    assert not rig.exchange.sends_here(entry, "")
    task = asyncio.create_task(rig.exchange.run())
    await asyncio.sleep(0)
    rig.exchange.look_again()
    await until(lambda: rig.resumed == [entry])
    assert rig.exchange.stranded == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_not_due_and_has_no_way_to_a_sibling_keeps_its_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.exchange.apply(
        config(
            tmp_path, state="Transferring", siblings=[{"slot": "t-1", "host": "t-1.test", "port": 1, "role": "Leaving"}]
        )
    )
    greylisted = QueueEntry(1, 0, "d.test", (0,), 1, CLOCK.now() + 300)
    due = QueueEntry(2, 0, "d.test", (0,), 1, CLOCK.now())
    rig.exchange.take_back(greylisted)
    rig.exchange.take_back(due)
    assert (rig.waiting, rig.resumed) == ([greylisted], [due])


async def test_a_slot_that_is_emptied_takes_nothing_out_of_the_schedule_for_siblings_that_leave_themselves(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.exchange.apply(
        config(
            tmp_path, state="Transferring", siblings=[{"slot": "t-1", "host": "t-1.test", "port": 1, "role": "Leaving"}]
        )
    )
    task = asyncio.create_task(rig.exchange.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert rig.asked_for == 0
    rig.exchange.apply(
        config(tmp_path, state="Transferring", siblings=[{"slot": "t-2", "host": "t-2.test", "port": 1}])
    )
    await until(lambda: rig.asked_for > 0)
    assert rig.looked_again == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_slot_whose_configuration_forgot_its_siblings_does_not_send_what_one_may_have(tmp_path: Path) -> None:
    alone = config(tmp_path).model_copy(update={"handover": None})
    assert open_transfers(alone) is None
    book = open_transfers(config(tmp_path))
    assert book is not None
    book.put_given("0" * 32, Given("t-1", (("0" * 24, (0,)),)))
    with pytest.raises(ConfigError, match="take-back"):
        open_transfers(alone)
    book.drop_given("0" * 32)
    assert open_transfers(alone) is None
