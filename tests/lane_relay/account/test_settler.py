"""The settler over a real spool in memory: one outcome, one record, and no report lost."""

import asyncio
import json
from collections.abc import Callable
from email import message_from_bytes

import pytest
from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_api.relayconfig import DelayNotice, RelayRetry
from lane_relay.account.counters import Counters
from lane_relay.account.settle import Ending, Outcome, OutcomeOf
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import WAY_OUT, Envelope, Message, Notify, QueueEntry, RecipientOptions, RecipientResult, Reply
from lane_relay.spool.entries import entries_of
from lane_relay.spool.memory import MemorySpool
from tests.lane_relay.account.attempts import BOUNCE, GREYLISTED, NOW, OK, RETRY, attempt, config, message

CLOCK = Clock(now=lambda: NOW + 1, monotonic=lambda: 0.0)


class Rig:
    def __init__(self) -> None:
        self.spool = MemorySpool(CLOCK, asyncio.get_running_loop())
        self.counters = Counters()
        self.waiting: list[QueueEntry] = []
        self.finished: list[QueueEntry] = []
        self.parts: list[QueueEntry] = []
        self.reports: list[Message] = []
        self.latencies: list[tuple[float, int]] = []
        self.since_trigger: list[float] = []
        self.counted: list[Outcome] = []
        self.settled: list[OutcomeOf] = []
        self.withdrawn: list[QueueEntry] = []
        self.tried: list[int] = []
        self.full = False
        self.delivered_to: list[str] = []
        around = Surroundings(
            self.waiting.append, self.finished.append, self.parts.append, self._deposit, self._delivered, lambda: 0.5,
            counted=self._counted, withdrawn=self.withdrawn.append,
            tried=lambda entry: self.tried.append(entry.attempts),
        )  # fmt: skip
        self.settler = Settler(self.spool, config(), CLOCK, around, self.counters)

    def _counted(self, _policy: str, _entry: QueueEntry, one: OutcomeOf) -> None:
        self.counted.append(one.outcome)
        self.settled.append(one)

    def _delivered(self, policy: str, seconds: float, recipients: int, since_trigger: float) -> None:
        self.latencies.append((round(seconds, 3), recipients))
        self.delivered_to.append(policy)
        self.since_trigger.append(round(since_trigger, 3))

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


async def test_what_waits_by_our_own_will_has_used_nothing_and_what_a_peer_did_has() -> None:
    rig = Rig()
    of = message(2)
    entry = await rig.stored(of)
    ours = tuple(replace(one, ours=True) for one in (RETRY, replace(RETRY, index=1)))
    for results, peer in ((ours, None), (ours, attempt(RETRY).peer), ((ours[0], replace(RETRY, index=1)), None)):
        made = replace(attempt(*results, of=of, entry=entry), peer=peer)
        rig.settler.on_attempt(made)

    assert rig.withdrawn == [entry]


async def test_a_failure_that_waits_for_room_for_its_report_is_not_the_peer_s_deferral() -> None:
    rig = Rig()
    rig.full = True
    await rig.settle(BOUNCE)

    assert [(one.outcome, one.result.ours) for one in rig.settled] == [(Outcome.DEFERRED, True)]


@pytest.mark.parametrize(("triggered_at", "seconds"), [(NOW - 5.0, 5.25), (0.0, 0.0), (NOW + 60.0, 0.0)])
async def test_the_time_since_the_trigger_is_told_where_the_sender_said_when(
    triggered_at: float, seconds: float
) -> None:
    rig = Rig()
    of = replace(message(), triggered_at=triggered_at)
    made = attempt(OK, of=of, entry=await rig.stored(of))
    rig.settler.on_attempt(made)

    assert rig.since_trigger == [seconds]


async def test_mail_that_was_accepted_by_a_clock_that_was_ahead_took_no_time_and_never_less() -> None:
    rig = Rig()
    of = message(accepted=NOW + 86_400.0)
    rig.settler.on_attempt(attempt(OK, of=of, entry=await rig.stored(of)))
    assert rig.latencies == [(0.0, 1)]


async def test_a_delivered_message_is_gone_and_counted() -> None:
    rig = Rig()
    entry = await rig.settle(OK)

    assert rig.finished == [entry]
    assert rig.latencies == [(0.25, 1)]
    assert rig.delivered_to == ["example-isp"]
    assert rig.types() == ["Reception", "Delivery"]
    assert rig.spool.state.live_messages == 0
    assert rig.counters.attempts == {("example-isp", "delivered"): 1}
    assert rig.counters.unaccounted(queued=0) == 0


async def test_an_entry_is_untried_until_its_first_attempt_is_over() -> None:
    rig = Rig()
    of = message()
    entry = await rig.stored(of)
    for _ in range(2):
        rig.settler.on_attempt(attempt(RETRY, of=of, entry=entry))
    assert (rig.tried, entry.attempts) == ([0], 2)
    rig.settler.on_attempt(attempt(OK, of=of, entry=entry))
    assert (rig.tried, rig.finished) == ([0], [entry])


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


async def test_recipients_that_wait_differently_are_entries_of_their_own() -> None:
    rig = Rig()
    entry = await rig.settle(RETRY, GREYLISTED)

    (part,) = rig.parts
    assert rig.waiting == [entry, part]
    assert [(one.recipients, one.attempts) for one in rig.waiting] == [((0,), 1), ((1,), 1)]
    assert part.due > entry.due + 200
    assert {found.recipients: found.due for found in rig.spool.recover()} == {(0,): entry.due, (1,): part.due}
    assert [json.loads(line).get("num_attempts", 0) for line in rig.spool.volume.records] == [0, 0, 0]
    assert rig.counters.unaccounted(rig.spool.state.live_recipients) == 0


async def test_recipients_that_are_not_attempted_leave_the_others_where_they_are() -> None:
    rig = Rig()
    of = message(3)
    entry = await rig.stored(of)
    suppressed = Ending((0,), Outcome.SUPPRESSED, Reply(550, ("5.7.1 suppressed",)), Category.POLICY_RELATED)
    dropped = Ending((2,), Outcome.DROPPED, Reply(550, ("5.7.0 dropped",)), Category.OTHER, "order/o1")
    rig.settler.end(entry, of, (suppressed, dropped))
    await rig.spool.flush()

    assert entry.recipients == (1,)
    (part,) = rig.parts
    assert rig.finished == rig.withdrawn == [part]
    (report,) = rig.reports
    assert b"user0@example.com" in report.body
    assert b"user2@example.com" not in report.body
    assert sorted(rig.types()) == ["AdminAction", "Reception", "Reception", "Suppression"]
    assert [found.recipients for found in rig.spool.recover() if found.id == entry.id] == [(1,)]
    assert rig.counters.unaccounted(rig.spool.state.live_recipients) == 0


async def test_an_entry_whose_recipients_are_all_done_with_is_finished() -> None:
    rig = Rig()
    of = message(1)
    entry = await rig.stored(of)
    rig.settler.end(entry, of, (Ending((0,), Outcome.DROPPED, Reply(550, ("5.7.0 x",)), Category.OTHER),))

    assert (rig.counted, rig.withdrawn) == ([], [entry])  # an ISP has said nothing
    await rig.spool.flush()

    assert (rig.parts, rig.finished, rig.reports) == ([], [entry], [])
    assert rig.spool.state.live_messages == 0


async def test_a_sender_that_asked_hears_that_a_host_without_dsn_took_the_message() -> None:
    rig = Rig()
    asked = Envelope("app@lane.example", ("a@x.test",), options=(RecipientOptions(Notify.SUCCESS),), envid="Q+3D1")
    of = replace(message(1), envelope=asked)
    rig.settler.on_attempt(attempt(OK, of=of, entry=await rig.stored(of)))
    await rig.spool.flush()

    (report,) = rig.reports
    assert b"Action: relayed\r\nStatus: 2.0.0\r\n" in report.body
    assert b"Original-Envelope-Id: Q=1\r\n" in report.body
    assert rig.types() == ["Reception", "Reception", "Delivery"]


async def test_what_the_way_out_has_is_gone_and_counted_as_handed_over_and_its_sender_hears_of_it() -> None:
    rig = Rig()
    asked = Envelope("app@lane.example", ("a@x.test",), options=(RecipientOptions(Notify.SUCCESS),))
    of = replace(message(1), envelope=asked)
    entry = await rig.stored(of)
    rig.settler.on_attempt(replace(attempt(OK, of=of, entry=entry), site=WAY_OUT))
    await rig.spool.flush()

    assert (rig.finished, rig.latencies, len(rig.reports)) == ([entry], [], 1)
    assert rig.types() == ["Reception", "Reception", "HandOver"]
    assert rig.counters.unaccounted(queued=1) == 0, "the report is queued"


async def test_a_late_message_is_reported_once_over_many_attempts() -> None:
    rig = Rig()
    delivery = config().delivery.model_copy(update={"delay_notice": DelayNotice(after=1800.0)})
    rig.settler.apply(config().model_copy(update={"delivery": delivery}))
    asked = Envelope("app@lane.example", ("a@x.test",), options=(RecipientOptions(Notify.DELAY),))
    of = replace(message(1, accepted=NOW - 2000), envelope=asked)
    entry = await rig.stored(of)
    for _ in range(3):
        rig.settler.on_attempt(attempt(RETRY, of=of, entry=entry))
        await rig.spool.flush()

    (report,) = rig.reports
    assert b"Action: delayed\r\nStatus: 4.3.0\r\n" in report.body
    assert b"Will-Retry-Until: " in report.body
    assert next(one for one in rig.spool.recover() if one.id == of.id).notified


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
    assert entry.due == NOW + 1 + config().delivery.retry.max, "nobody who has refused is asked again soon"
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


async def test_a_part_that_is_delivered_is_settled_and_the_entry_stays_for_the_others() -> None:
    rig = Rig()
    of = message(3)
    entry = await rig.stored(of)
    rig.settler.on_attempt(attempt(OK, of=of, entry=entry))
    await rig.spool.flush()
    assert (entry.recipients, rig.finished, rig.waiting, rig.counted) == ((1, 2), [], [], [Outcome.DELIVERED])
    assert [one.recipients for one in rig.spool.recover()] == [(1, 2)]
    others = tuple([replace(OK, index=index) for index in entry.recipients])
    rig.settler.on_attempt(replace(attempt(OK, OK, of=of, entry=entry), results=others))
    await rig.spool.flush()
    assert (rig.finished, list(rig.spool.recover())) == ([entry], [])


@pytest.mark.parametrize("notify", [Notify.DELAY, Notify.FAILURE])
async def test_a_sender_hears_once_that_mail_is_late_which_nobody_has_attempted(notify: Notify) -> None:
    rig = Rig()
    of = message(1, accepted=NOW - 5 * 3600)
    of = replace(of, envelope=replace(of.envelope, options=(RecipientOptions(notify),)))
    entry = await rig.stored(of)
    entry.due, entry.attempts = NOW + 77, 2
    rig.settler.on_late(entry, of, "suspended: QuarantineIP by gmx/r")
    rig.settler.on_late(entry, of, "suspended: QuarantineIP by gmx/r")
    await rig.spool.flush()

    asked = notify is Notify.DELAY
    assert entry.notified
    assert len(rig.reports) == asked
    if asked:
        assert b"Action: delayed" in rig.reports[0].body
        assert b"QuarantineIP by gmx/r" in rig.reports[0].body
        kept = next(one for one in rig.spool.recover() if one.id == of.id)
        assert (kept.notified, kept.due, kept.attempts) == (True, NOW + 77, 2)
    assert (rig.waiting, rig.finished) == ([], [])


async def test_a_report_of_delay_that_has_no_room_is_tried_again() -> None:
    rig = Rig()
    of = message(1, accepted=NOW - 5 * 3600)
    of = replace(of, envelope=replace(of.envelope, options=(RecipientOptions(Notify.DELAY),)))
    entry = await rig.stored(of)
    rig.full = True
    rig.settler.on_late(entry, of, "gate")
    assert not entry.notified
    rig.full = False
    rig.settler.on_late(entry, of, "gate")
    assert (entry.notified, len(rig.reports)) == (True, 1)
