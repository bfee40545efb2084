"""Does what `settle` decided: tells the spool, gives waiting entries back to the schedule, sends reports.

Invariants: a recipient that failed is settled only after the report about it is on disk (a crash between the two
repeats the attempt, it loses no report); an entry is either given back, or finished, or left to a failed spool.
Before: `deliver` and `resolve` report attempts. After: the spool, the schedule, the counters.
"""

from collections.abc import Callable
from functools import partial
from math import inf

import structlog
from msgspec.structs import replace

from lane_api.relayconfig import RelayConfig
from lane_relay.account.counters import Counters
from lane_relay.account.records import RecordWriter
from lane_relay.account.reports import compose
from lane_relay.account.settle import (
    FAILED,
    Ending,
    Outcome,
    OutcomeOf,
    Settlement,
    Terms,
    Wait,
    end_of_life,
    ended,
    late,
    late_attempt,
    left_open,
    result_of,
    settle,
)
from lane_relay.audit.recipients import read_key
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.mail.dsn import News
from lane_relay.metrics import OTHER_POLICY
from lane_relay.records import Attempt, Message, QueueEntry, TrackedRecord, message_id_text, received_at
from lane_relay.spool.base import Spool

__all__ = ["Settler", "Surroundings"]

_log = structlog.get_logger("account")
_UNKNOWN = "4.4.2 it is not known whether it was delivered"
_GOES_ON = (Outcome.DELIVERED, Outcome.DEFERRED)


class Surroundings(TrackedRecord, frozen=True):
    """What the settler calls; all on the event loop, none blocks."""

    reschedule: Callable[[QueueEntry], None]
    """Takes back an entry that waits until its `due`."""
    finished: Callable[[QueueEntry], None]
    """The entry's last recipient is settled."""
    parted: Callable[[QueueEntry], None]
    """A part of an entry is one of its own from now on."""
    deposit: Callable[[Message, Callable[[SpoolError | None], None]], None]
    """Stores and queues a new message, as intake does; raises SpoolError if it is refused at once."""
    delivered: Callable[[str, float, int, float], None]
    """(ISP policy, seconds since acceptance, recipients, seconds since it was triggered or 0 if its sender did not say
    when)."""
    jitter: Callable[[], float]
    """A random number in [0, 1)."""
    counted: Callable[[str, QueueEntry, OutcomeOf], None] = lambda _policy, _entry, _one: None
    """(ISP policy, entry, one recipient's outcome) of an attempt, also of those that wait."""
    withdrawn: Callable[[QueueEntry], None] = lambda _entry: None
    """Nothing of the entry was sent, and nobody asked: it ended without that, or waits by our own will."""
    tried: Callable[[QueueEntry], None] = lambda _entry: None
    """The entry waits after its first attempt."""
    policy_id: Callable[[str], str] = lambda _domain: ""
    """The id of a domain's MTA-STS policy, or an empty string."""


class Settler:
    """The end of every attempt."""

    def __init__(
        self, spool: Spool, config: RelayConfig, clock: Clock, around: Surroundings, counters: Counters
    ) -> None:
        """Takes its figures from the configuration; see `apply`."""
        self._spool = spool
        self._clock = clock
        self._around = around
        self._counters = counters
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """A new configuration is in force."""
        delivery, notice = config.delivery, config.delivery.delay_notice
        self._terms = Terms(delivery.retry, delivery.lifetime, notice.after, notice.unasked)
        self._hostname = config.slot.hostname
        self._policies = frozenset(policy.name for policy in config.delivery.policies)
        self._writer = RecordWriter(config.lane, config.slot, self._around.policy_id, read_key(config.records))

    @property
    def writer(self) -> RecordWriter:
        """Makes the records of this slot; also for receptions, rejections and actions."""
        return self._writer

    def on_attempt(self, attempt: Attempt) -> None:
        """Settles an attempt; after it the entry belongs to the schedule, or to nobody.

        With results of a part of its recipients, all delivered, it stays with the caller, for the others.
        """
        if attempt.peer is None and (not attempt.site or all(one.ours for one in attempt.results)):
            self._around.withdrawn(attempt.entry)
        now = self._clock.now()
        self._carry_out(attempt, settle(attempt, self._terms, now, self._around.jitter()), now)

    def late_at(self, entry: QueueEntry) -> float:
        """Unix time from which the sender of an entry that waits may want to hear of it; infinity: nobody looks."""
        after = self._terms.delay_after
        if not after or entry.notified or not entry.sender_domain:
            return inf
        return received_at(entry.id) + after

    def on_late(self, entry: QueueEntry, message: Message, why: str) -> None:
        """Tells the sender of an entry that waits without an attempt that it is late, if he wants that; it stays the
        caller's, and is not asked about again."""
        now = self._clock.now()
        about = late(entry, message, entry.recipients, self._terms, now)
        if about:
            attempt = late_attempt(entry, message, why)
            outcomes = tuple([OutcomeOf(one, Outcome.DEFERRED) for one in attempt.results])
            if not self._tell(attempt, self._compose(attempt, Settlement(outcomes), about, News.DELAYED, now)):
                return  # in the next round
        entry.notified = True
        if about:
            try:
                self._spool.defer(entry, ())
            except SpoolError as error:
                self._left_to_restart(entry, error)

    def report_unknown(self, entry: QueueEntry, message: Message, why: str) -> Message | None:
        """The report that nobody knows whether an entry was delivered, for `deposit`; None: its sender wants none."""
        about = left_open(message, entry.recipients)
        if not about:
            return None
        attempt = late_attempt(entry, message, why, _UNKNOWN)
        outcomes = tuple([OutcomeOf(one, Outcome.DEFERRED) for one in attempt.results])
        return self._compose(attempt, Settlement(outcomes), about, News.UNKNOWN, self._clock.now())

    def end(self, entry: QueueEntry, message: Message, endings: tuple[Ending, ...], site: str = "") -> None:
        """Settles recipients without an attempt; the others stay with the caller, in `entry.recipients`.

        If none is left, the entry belongs to nobody after it.
        """
        gone = tuple([index for ending in endings for index in ending.recipients])
        left = tuple([index for index in entry.recipients if index not in gone])
        part = entry
        if left:
            part = replace(entry, recipients=gone)
            entry.recipients = left
            self._around.parted(part)
        self._around.withdrawn(part)
        now = self._clock.now()
        outcomes = tuple([result_of(ending, index) for ending in endings for index in ending.recipients])
        attempt = Attempt(part, message, site, 0.0, now, tuple([one.result for one in outcomes]))
        self._carry_out(attempt, ended(attempt, outcomes), now)

    def _carry_out(self, attempt: Attempt, settlement: Settlement, now: float) -> None:
        try:
            if settlement.relayed:  # said before: it is on disk no later than that they are done with
                self._tell(attempt, self._compose(attempt, settlement, settlement.relayed, News.RELAYED, now))
            if settlement.delivered:
                self._settle_delivered(attempt, settlement)
            if settlement.reported:
                report = self._compose(attempt, settlement, settlement.reported, News.FAILED, now)
                self.deposit(report, partial(self._reported, attempt, settlement))
            else:
                self._conclude(attempt, settlement)
        except SpoolError as error:
            self._left_to_restart(attempt.entry, error)

    def _settle_delivered(self, attempt: Attempt, settlement: Settlement) -> None:
        outcomes = [one for one in settlement.outcomes if one.outcome is Outcome.DELIVERED]
        self._spool.settle(attempt.entry, settlement.delivered, self._records(attempt, outcomes))
        self._count(attempt, outcomes)
        policy = self._policy_of(attempt)
        triggered, ended = attempt.message.triggered_at, attempt.ended_at
        since_trigger = max(ended - triggered, 0.0) if triggered else 0.0
        self._around.delivered(policy, max(ended - received_at(attempt.entry.id), 0.0), len(outcomes), since_trigger)

    def _conclude(self, attempt: Attempt, settlement: Settlement) -> None:
        """Everybody but the delivered: those done with leave the spool, the others wait."""
        entry = attempt.entry
        done = [one for one in settlement.outcomes if one.outcome not in _GOES_ON]
        if done:
            indexes = tuple([one.result.index for one in done])
            self._spool.settle(entry, indexes, self._records(attempt, done))
            self._count(attempt, done)
        if settlement.waits:
            self._wait(attempt, settlement)
        elif len(attempt.results) < len(entry.recipients):  # further transactions are under way for the others
            settled = {result.index for result in attempt.results}
            entry.recipients = tuple([index for index in entry.recipients if index not in settled])
        else:
            self._around.finished(entry)

    def _wait(self, attempt: Attempt, settlement: Settlement) -> None:
        """Each group of those who wait is an entry; the first one stays the one that was attempted."""
        entry = attempt.entry
        found = {one.result.index: one for one in settlement.outcomes}
        waiting = [[found[index] for index in wait.recipients] for wait in settlement.waits]
        records = [self._records(attempt, outcomes) for outcomes in waiting]
        if not entry.attempts:
            self._around.tried(entry)
        entry.attempts += 1
        if settlement.delayed and self._tell_delay(attempt, settlement):
            entry.notified = True
        first, *others = settlement.waits
        parts = [entry, *[replace(entry, recipients=wait.recipients, due=wait.due) for wait in others]]
        if len(first.recipients) < len(entry.recipients):
            entry.recipients = first.recipients
        entry.due = first.due
        for part, lines, outcomes in zip(parts, records, waiting, strict=True):
            self._spool.defer(part, lines)
            self._count(attempt, outcomes)
            if part is not entry:
                self._around.parted(part)
            self._around.reschedule(part)

    def _records(self, attempt: Attempt, outcomes: list[OutcomeOf]) -> list[bytes]:
        return [self._writer.attempt(attempt, one.result, one.outcome) for one in outcomes]

    def _policy_of(self, attempt: Attempt) -> str:
        return attempt.site if attempt.site in self._policies else OTHER_POLICY

    def _count(self, attempt: Attempt, outcomes: list[OutcomeOf]) -> None:
        policy = self._policy_of(attempt)
        for one in outcomes:
            self._counters.count(policy, one)
            if attempt.site:  # else nobody was asked
                self._around.counted(policy, attempt.entry, one)

    # --- reports ---

    def _compose(
        self, attempt: Attempt, settlement: Settlement, about: tuple[int, ...], news: News, now: float
    ) -> Message:
        return compose(
            attempt,
            settlement.outcomes,
            about,
            news,
            report_id=self._spool.new_id(),
            hostname=self._hostname,
            now=now,
            retry_until=end_of_life(attempt.message, self._terms.lifetime),
        )

    def deposit(self, report: Message, answered: Callable[[SpoolError | None], None]) -> None:
        """Stores and queues a report; `answered` is called in any case."""
        try:
            self._around.deposit(report, answered)
        except SpoolError as error:
            answered(error)

    def _tell(self, attempt: Attempt, report: Message) -> bool:
        """Deposits a report that nothing waits for; False if it was refused at once."""
        told = True

        def answered(error: SpoolError | None) -> None:
            nonlocal told
            if error is not None:
                told = False
                _log.warning("report is not stored", id=message_id_text(attempt.entry.id), error=str(error))

        self.deposit(report, answered)
        return told

    def _tell_delay(self, attempt: Attempt, settlement: Settlement) -> bool:
        now = self._clock.now()
        return self._tell(attempt, self._compose(attempt, settlement, settlement.delayed, News.DELAYED, now))

    def _reported(self, attempt: Attempt, settlement: Settlement, error: SpoolError | None) -> None:
        if error is not None:  # no room for the report: nobody is given up without one
            _log.warning(
                "report is not stored, recipients wait", id=message_id_text(attempt.entry.id), error=str(error)
            )
            settlement = self._put_off(settlement)
        try:
            self._conclude(attempt, settlement)
        except SpoolError as failed:
            self._left_to_restart(attempt.entry, failed)

    def _put_off(self, settlement: Settlement) -> Settlement:
        """The failed ones wait as well, for the longest retry: who has refused is not to be asked again and again."""
        outcomes = tuple(
            [
                OutcomeOf(replace(one.result, ours=True), Outcome.DEFERRED) if one.outcome in FAILED else one
                for one in settlement.outcomes
            ]
        )
        wait = Wait(settlement.failed, self._clock.now() + self._terms.retry.max)
        return Settlement(outcomes, settlement.delivered, waits=(wait, *settlement.waits))

    def _left_to_restart(self, entry: QueueEntry, error: SpoolError) -> None:
        """A failed spool keeps the entry as it was last told; a restart finds it there."""
        _log.error("attempt cannot be settled", id=message_id_text(entry.id), error=str(error))
