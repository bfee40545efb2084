"""The settler over a real spool in memory: one outcome, one record, and no report lost."""

import asyncio
import json
from collections.abc import Callable
from email import message_from_bytes

from lane_api.relayconfig import RelayRetry
from lane_relay.account.counters import Counters
from lane_relay.account.settle import Outcome
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import Message, QueueEntry, RecipientResult
from lane_relay.spool.entries import entries_of
from lane_relay.spool.memory import MemorySpool
from tests.lane_relay.account.attempts import BOUNCE, NOW, OK, RETRY, attempt, config, message

CLOCK = Clock(now=lambda: NOW + 1, monotonic=lambda: 0.0)


class Rig:
    def __init__(self) -> None:
        self.spool = MemorySpool(CLOCK, asyncio.get_running_loop())
        self.counters = Counters()
        self.waiting: list[QueueEntry] = []
        self.finished: list[QueueEntry] = []
        self.reports: list[Message] = []
        self.latencies: list[tuple[float, int]] = []
        self.full = False
        around = Surroundings(self.waiting.append, self.finished.append, self._deposit, self._delivered, lambda: 0.5)
        self.settler = Settler(self.spool, config(), CLOCK, around, self.counters)

    def _delivered(self, seconds: float, recipients: int) -> None:
        self.latencies.append((round(seconds, 3), recipients))

    def _deposit(self, report: Message, done: Callable[[SpoolError | None], None]) -> None:
        if self.full:
            raise SpoolFullError("full")
        self.reports.append(report)
        self.counters.accepted += len(report.envelope.recipients)
        self.spool.put(report, self.settler.writer.reception(report, NOW), lambda _, error: done(error))

    async def stored(self, of: Message) -> QueueEntry:
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.spool.put(of, self.settler.writer.reception(of, NOW), lambda at, _: answered.set_result(at))
        self.counters.accepted += len(of.envelope.recipients)
        (entry,) = entries_of(of, await answered, NOW)
        return entry

    async def settle(self, *results: RecipientResult, sender: str = "app@lane.example", age: float = 0.0) -> QueueEntry:
        of = message(len(results), sender, accepted=NOW - age)
        entry = await self.stored(of)
        self.settler.on_attempt(attempt(*results, of=of, entry=entry))
        await self.spool.flush()
        return entry

    def types(self) -> list[str]:
        return [json.loads(record)["type"] for record in self.spool.volume.records]


async def test_a_delivered_message_is_gone_and_counted() -> None:
    rig = Rig()
    entry = await rig.settle(OK)

    assert rig.finished == [entry]
    assert rig.latencies == [(0.25, 1)]
    assert rig.types() == ["Reception", "Delivery"]
    assert rig.spool.state.live_messages == 0
    assert rig.counters.attempts == {("example-isp", "delivered"): 1}
    assert rig.counters.unaccounted(queued=0) == 0


async def test_a_deferred_entry_comes_back_with_its_next_time() -> None:
    rig = Rig()
    entry = await rig.settle(RETRY)

    assert rig.waiting == [entry]
    assert (entry.attempts, entry.due) == (1, NOW + 61)
    assert next(iter(rig.spool.recover())).due == NOW + 61
    assert rig.types() == ["Reception", "TransientFailure"]
    assert rig.counters.unaccounted(queued=1) == 0


async def test_partial_success_keeps_only_those_who_wait() -> None:
    rig = Rig()
    entry = await rig.settle(OK, RETRY, BOUNCE)

    assert rig.waiting == [entry]
    assert entry.recipients == (1,)
    assert rig.finished == []
    assert [found.recipients for found in rig.spool.recover() if found.id == entry.id] == [(1,)]
    assert sorted(rig.types()) == ["Bounce", "Delivery", "Reception", "Reception", "TransientFailure"]
    assert rig.counters.unaccounted(queued=1 + 1) == 0  # the one who waits, and the report


async def test_a_bounce_reports_to_the_sender_before_the_recipient_is_given_up() -> None:
    rig = Rig()
    entry = await rig.settle(BOUNCE)

    (report,) = rig.reports
    assert (report.envelope.sender, report.envelope.recipients) == ("", ("app@lane.example",))
    assert report.from_domain == "lane.example"
    parsed = message_from_bytes(report.body)
    assert parsed.get_content_type() == "multipart/report"
    assert b"Status: 5.1.1" in report.body
    assert b"user0@example.com" in report.body
    assert rig.types() == ["Reception", "Reception", "Bounce"]
    assert rig.finished == [entry]


async def test_an_expired_message_says_547_and_the_last_reply() -> None:
    rig = Rig()
    await rig.settle(RETRY, age=3590.0)

    (report,) = rig.reports
    assert b"Status: 5.4.7" in report.body
    assert b"451 4.3.0 try later" in report.body
    assert "Expiration" in rig.types()
    assert rig.counters.finished[Outcome.EXPIRED] == 1


async def test_the_null_sender_never_gets_a_report() -> None:
    rig = Rig()
    entry = await rig.settle(BOUNCE, sender="")

    assert rig.reports == []
    assert rig.finished == [entry]
    assert rig.counters.unaccounted(queued=0) == 0


async def test_without_room_for_the_report_the_recipient_is_not_given_up() -> None:
    rig = Rig()
    rig.full = True
    entry = await rig.settle(OK, BOUNCE)

    assert rig.waiting == [entry]
    assert entry.recipients == (1,)
    assert entry.due == NOW + 61
    assert rig.types() == ["Reception", "Delivery", "TransientFailure"]
    assert rig.counters.unaccounted(queued=1) == 0


async def test_a_failed_spool_keeps_the_entry_for_the_restart() -> None:
    rig = Rig()
    of = message()
    entry = await rig.stored(of)
    rig.spool.fail("fsync failed")
    rig.settler.on_attempt(attempt(OK, of=of, entry=entry))

    assert (rig.waiting, rig.finished) == ([], [])
    assert [found.id for found in rig.spool.recover()] == [entry.id]
    assert rig.counters.unaccounted(queued=1) == 0


async def test_a_new_configuration_is_in_force_at_once() -> None:
    rig = Rig()
    changed = config()
    delivery = changed.delivery.model_copy(update={"retry": RelayRetry(first=7.0), "policies": ()})
    rig.settler.apply(changed.model_copy(update={"delivery": delivery}))
    entry = await rig.settle(RETRY)

    assert entry.due == NOW + 8
    assert rig.counters.attempts == {("other", "deferred"): 1}
