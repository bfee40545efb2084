"""Does what `settle` decided: tells the spool, gives waiting entries back to the schedule, sends reports.

Invariants: a recipient that failed is settled only after the report about it is on disk (a crash between the two
repeats the attempt, it loses no report); an entry is either given back, or finished, or left to a failed spool.
Before: `deliver` and `resolve` report attempts. After: the spool, the schedule, the counters.
"""

from collections.abc import Callable
from functools import partial

import structlog
from msgspec import Struct

from lane_api.relayconfig import RelayConfig
from lane_relay.account.counters import Counters
from lane_relay.account.records import RecordWriter
from lane_relay.account.settle import Outcome, OutcomeOf, Settlement, settle
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.mail.dsn import FailedRecipient, ReportRequest, failure_report
from lane_relay.metrics import OTHER_POLICY
from lane_relay.records import Attempt, Envelope, Message, QueueEntry, message_id_text, received_at
from lane_relay.spool.base import Spool

__all__ = ["Settler", "Surroundings"]

_log = structlog.get_logger("account")
_FINAL = (Outcome.BOUNCED, Outcome.EXPIRED)


class Surroundings(Struct, frozen=True):
    """What the settler calls; all on the event loop, none blocks."""

    reschedule: Callable[[QueueEntry], None]
    """Takes back an entry that waits until its `due`."""
    finished: Callable[[QueueEntry], None]
    """The entry's last recipient is settled."""
    deposit: Callable[[Message, Callable[[SpoolError | None], None]], None]
    """Stores and queues a new message, as intake does; raises SpoolError if it is refused at once."""
    delivered: Callable[[float, int], None]
    """(seconds since acceptance, recipients) of a delivery."""
    jitter: Callable[[], float]
    """A random number in [0, 1)."""


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
        self._retry = config.delivery.retry
        self._lifetime = config.delivery.lifetime
        self._hostname = config.slot.hostname
        self._policies = frozenset(policy.name for policy in config.delivery.policies)
        self._writer = RecordWriter(config.lane, config.slot)

    @property
    def writer(self) -> RecordWriter:
        """Makes the records of this slot; also for receptions, rejections and actions."""
        return self._writer

    def on_attempt(self, attempt: Attempt) -> None:
        """Settles an attempt; after it the entry belongs to the schedule, or to nobody."""
        now = self._clock.now()
        settlement = settle(attempt, self._retry, self._lifetime, now, self._around.jitter())
        try:
            if settlement.delivered:
                self._settle_delivered(attempt, settlement)
            if settlement.reports:
                self._report(attempt, settlement, now)
            else:
                self._conclude(attempt, settlement.outcomes, settlement.due)
        except SpoolError as error:
            self._left_to_restart(attempt.entry, error)

    def _settle_delivered(self, attempt: Attempt, settlement: Settlement) -> None:
        outcomes = [one for one in settlement.outcomes if one.outcome is Outcome.DELIVERED]
        self._spool.settle(attempt.entry, settlement.delivered, self._records(attempt, outcomes))
        self._count(attempt, outcomes)
        self._around.delivered(attempt.ended_at - received_at(attempt.entry.id), len(outcomes))

    def _conclude(self, attempt: Attempt, outcomes: tuple[OutcomeOf, ...], due: float) -> None:
        """Everybody but the delivered: failed ones leave the spool, the others wait."""
        entry = attempt.entry
        failed = [one for one in outcomes if one.outcome in _FINAL]
        waiting = [one for one in outcomes if one.outcome is Outcome.DEFERRED]
        if failed:
            indexes = tuple(one.result.index for one in failed)
            self._spool.settle(entry, indexes, self._records(attempt, failed))
            self._count(attempt, failed)
        if not waiting:
            self._around.finished(entry)
            return
        records = self._records(attempt, waiting)
        if len(waiting) < len(entry.recipients):
            entry.recipients = tuple(one.result.index for one in waiting)
        entry.attempts += 1
        entry.due = due
        self._spool.defer(entry, records)
        self._count(attempt, waiting)
        self._around.reschedule(entry)

    def _records(self, attempt: Attempt, outcomes: list[OutcomeOf]) -> list[bytes]:
        return [self._writer.attempt(attempt, one.result, one.outcome) for one in outcomes]

    def _count(self, attempt: Attempt, outcomes: list[OutcomeOf]) -> None:
        policy = attempt.site if attempt.site in self._policies else OTHER_POLICY
        for one in outcomes:
            self._counters.count(policy, one)

    # --- reports ---

    def _report(self, attempt: Attempt, settlement: Settlement, now: float) -> None:
        report = self._compose(attempt, settlement, now)
        answered = partial(self._reported, attempt, settlement)
        try:
            self._around.deposit(report, answered)
        except SpoolError as error:
            answered(error)

    def _reported(self, attempt: Attempt, settlement: Settlement, error: SpoolError | None) -> None:
        outcomes, due = settlement.outcomes, settlement.due
        if error is not None:  # no room for the report: nobody is given up without one
            _log.warning(
                "report is not stored, recipients wait", id=message_id_text(attempt.entry.id), error=str(error)
            )
            due = max(due, self._clock.now() + self._retry.first)
            outcomes = tuple(
                OutcomeOf(one.result, Outcome.DEFERRED) if one.outcome in _FINAL else one for one in outcomes
            )
        try:
            self._conclude(attempt, outcomes, due)
        except SpoolError as failed:
            self._left_to_restart(attempt.entry, failed)

    def _compose(self, attempt: Attempt, settlement: Settlement, now: float) -> Message:
        message = attempt.message
        report_id = self._spool.new_id()
        author = message.from_domain or self._hostname
        request = ReportRequest(
            id=message_id_text(report_id),
            now=now,
            hostname=self._hostname,
            author=f"MAILER-DAEMON@{author}",
            sender=message.envelope.sender,
            arrived=received_at(message.id),
            content=message.body,
            message_id=message.message_id,
            recipients=tuple(_failed(attempt, one) for one in settlement.outcomes if one.outcome in _FINAL),
        )
        body = failure_report(request) or b""  # there is a sender: `reports` says so
        ascii_header = body[: body.find(b"\r\n\r\n")].isascii()
        return Message(
            report_id,
            Envelope("", (message.envelope.sender,), eight_bit=not body.isascii(), smtp_utf8=not ascii_header),
            body,
            message_id=f"<dsn-{request.id}@{self._hostname}>",
            correlation_id=message.correlation_id,
            from_domain=author,
        )

    def _left_to_restart(self, entry: QueueEntry, error: SpoolError) -> None:
        """A failed spool keeps the entry as it was last told; a restart finds it there."""
        _log.error("attempt cannot be settled", id=message_id_text(entry.id), error=str(error))


def _failed(attempt: Attempt, one: OutcomeOf) -> FailedRecipient:
    return FailedRecipient(
        attempt.message.envelope.recipients[one.result.index],
        one.result.reply,
        attempt.peer.host if attempt.peer is not None else "",
        attempt.ended_at,
        expired=one.outcome is Outcome.EXPIRED,
    )
