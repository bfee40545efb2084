"""What becomes of the recipients of one attempt, and whom their sender is told about: the only place that decides it.

Pure. Invariants: every recipient of the attempt is in exactly one outcome and has exactly one accounting record of that
type; nobody is tried earlier than was asked for. Before: `deliver` or `resolve` made the Attempt, or `screen` decided
that there will be none. After: `settler` does it.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayRetry
from lane_relay.account.backoff import asked_delay, is_expired, last_try, scheduled_delay
from lane_relay.records import (
    WAY_OUT,
    Attempt,
    Message,
    Notify,
    QueueEntry,
    RecipientResult,
    Record,
    Reply,
    Verdict,
    received_at,
)

__all__ = [
    "FAILED",
    "THEIR_OWN",
    "Ending",
    "Outcome",
    "OutcomeOf",
    "Settlement",
    "Terms",
    "Wait",
    "end_of_life",
    "ended",
    "late",
    "late_attempt",
    "left_open",
    "result_of",
    "settle",
]

THEIR_OWN: Final = frozenset(
    {Category.BAD_MAILBOX, Category.INACTIVE_MAILBOX, Category.BAD_DOMAIN, Category.QUOTA_ISSUES}
)
"""What is about the recipient: no sender gets mail there, in however much time."""

_OF_FAILURE: Final = Notify.FAILURE | Notify.DEFAULT


class Outcome(Enum):
    """What became of one recipient."""

    __hash__ = object.__hash__  # there is one of each; Enum's own is looked up in Python, twice a message

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    """Not attempted: the address is on the suppression list."""
    HANDED_OVER = "handed_over"
    """Another slot of the lane has it on its disk and answers for it, or the host that `drain.to` names has."""
    DROPPED = "dropped"
    """Given up by order of a person or of `delivery: Discard`, without a report."""


FAILED: Final = (Outcome.BOUNCED, Outcome.EXPIRED, Outcome.SUPPRESSED)
"""What a sender is told of unless it asked not to be (RFC 3461 section 4.1)."""

_TOGETHER_S: Final = 60.0
_TOGETHER: Final = 0.1
"""Recipients of one entry wait together for the latest of them if that costs nobody more than so many seconds, or so
much of its own wait."""


class OutcomeOf(Record, frozen=True, gc=False):
    """One recipient's result and what it comes to."""

    result: RecipientResult
    outcome: Outcome


class Wait(Record, frozen=True, gc=False):
    """Recipients that are tried again together, and when, in Unix time."""

    recipients: tuple[int, ...]
    due: float


class Terms(Record, frozen=True, gc=False):
    """How long the lane goes on trying, and when it says that it still does; seconds."""

    retry: RelayRetry
    lifetime: float
    """From acceptance."""
    delay_after: float = 0.0
    """A late message is reported once when it is so old; 0: never."""
    delay_unasked: bool = False
    """Also where its sender did not ask for it."""


class Settlement(Record, frozen=True, gc=False):
    """What is to be done about one attempt; recipients by their indexes."""

    outcomes: tuple[OutcomeOf, ...]
    delivered: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    """Settled once their report, if one is due, is stored."""
    waits: tuple[Wait, ...] = ()
    """The deferred ones, the soonest first."""
    reported: tuple[int, ...] = ()
    """Of the failed, those whom a report is due about."""
    relayed: tuple[int, ...] = ()
    """Of those that the peer took, those whose sender asked for success, of a peer that will not tell it to him."""
    delayed: tuple[int, ...] = ()
    """Of the deferred, those whose sender is to hear that they are late."""


class Ending(Record, frozen=True, gc=False):
    """What becomes of recipients that are not attempted, and why."""

    recipients: tuple[int, ...]
    outcome: Outcome
    reply: Reply
    """Our own words, as if a peer had said them."""
    category: Category
    rule: str = ""


def end_of_life(message: Message, lifetime: float) -> float:
    """Unix time after which a message is not attempted any more: the lane's lifetime, or its own time if sooner."""
    end = received_at(message.id) + lifetime
    return min(end, message.expires_at) if message.expires_at else end


def settle(attempt: Attempt, terms: Terms, now: float, jitter: float) -> Settlement:
    """Decides; `now` in Unix time, jitter in [0, 1)."""
    outcomes, dues = [], {}
    for result in attempt.results:
        outcome, due = _outcome(result, attempt, terms, now, jitter)
        outcomes.append(OutcomeOf(result, outcome))
        if outcome is Outcome.DEFERRED:
            dues[result.index] = due
    return _settlement(attempt, tuple(outcomes), _waits(dues, now), terms, now)


def ended(attempt: Attempt, outcomes: tuple[OutcomeOf, ...]) -> Settlement:
    """The same for recipients whose outcome is known, none of them deferred."""
    return _settlement(attempt, outcomes, (), None, 0.0)


def result_of(ending: Ending, index: int) -> OutcomeOf:
    """The ending of one recipient as a result, for its record and report."""
    verdict = Verdict(ending.category, Action.BOUNCE, Scope.MESSAGE, rule=ending.rule)
    return OutcomeOf(RecipientResult(index, Stage.CONNECT, ending.reply, verdict, own_words=True), ending.outcome)


def _settlement(
    attempt: Attempt, outcomes: tuple[OutcomeOf, ...], waits: tuple[Wait, ...], terms: Terms | None, now: float
) -> Settlement:
    delivered = tuple([one.result.index for one in outcomes if one.outcome is Outcome.DELIVERED])
    failed: tuple[int, ...] = ()
    if len(delivered) < len(outcomes):
        failed = tuple([one.result.index for one in outcomes if one.outcome in FAILED])
    envelope = attempt.message.envelope
    if not envelope.sender:  # never to the null sender (RFC 5321 section 4.5.5)
        return Settlement(outcomes, delivered, failed, waits)
    relayed: tuple[int, ...] = ()
    if envelope.options and not attempt.passed_on:
        taken = _handed_over(outcomes) if attempt.site == WAY_OUT else delivered
        relayed = tuple([index for index in taken if Notify.SUCCESS in envelope.options_of(index).notify])
    reported = tuple([index for index in failed if envelope.options_of(index).notify & _OF_FAILURE]) if failed else ()
    delayed = _delayed(attempt, waits, terms, now) if waits and terms is not None else ()
    return Settlement(outcomes, delivered, failed, waits, reported, relayed, delayed)


def _handed_over(outcomes: tuple[OutcomeOf, ...]) -> tuple[int, ...]:
    return tuple([one.result.index for one in outcomes if one.outcome is Outcome.HANDED_OVER])


def _delayed(attempt: Attempt, waits: tuple[Wait, ...], terms: Terms, now: float) -> tuple[int, ...]:
    return late(attempt.entry, attempt.message, [index for wait in waits for index in wait.recipients], terms, now)


def late(entry: QueueEntry, message: Message, recipients: Iterable[int], terms: Terms, now: float) -> tuple[int, ...]:
    """Those of the recipients, who wait, whose sender is to hear now that they are late."""
    asked_at, envelope = message.notice_at, message.envelope
    if entry.notified or not envelope.sender or not (asked_at or terms.delay_after):
        return ()
    if now < (asked_at or received_at(entry.id) + terms.delay_after):
        return ()
    wanted = Notify.DELAY | Notify.DEFAULT if terms.delay_unasked or asked_at else Notify.DELAY
    return tuple([index for index in recipients if envelope.options_of(index).notify & wanted])


def left_open(message: Message, recipients: Iterable[int]) -> tuple[int, ...]:
    """Those of the recipients whose sender is to hear that nobody knows whether they were delivered to.

    All but those of whom he asked to be told something else, or nothing (RFC 3461 4.1: without DELAY, no `delayed`).
    """
    envelope, wanted = message.envelope, Notify.DELAY | Notify.DEFAULT
    if not envelope.sender:
        return ()
    return tuple([index for index in recipients if envelope.options_of(index).notify & wanted])


def late_attempt(
    entry: QueueEntry, message: Message, why: str, said: str = "4.4.7 not tried yet, it goes on waiting"
) -> Attempt:
    """Stands for the attempt that an entry waits for, in the report about it."""
    verdict = Verdict(Category.OTHER, Action.RETRY, Scope.MESSAGE)
    reply = Reply(451, (f"{said}: {why}",))
    results = tuple(
        [RecipientResult(index, Stage.CONNECT, reply, verdict, ours=True, own_words=True) for index in entry.recipients]
    )
    return Attempt(entry, message, "", 0.0, 0.0, results)


def _waits(dues: dict[int, float], now: float) -> tuple[Wait, ...]:
    """Groups of those that may as well wait together, each due when the latest of it is."""
    if not dues:
        return ()
    latest = max(dues.values())
    if latest - min(dues.values()) <= _slack(min(dues.values()), now):  # nearly always
        return (Wait(tuple(dues), latest),)
    groups: list[Wait] = []
    group: list[int] = []
    for index in sorted(dues, key=lambda index: dues[index]):
        if group and dues[index] - dues[group[0]] > _slack(dues[group[0]], now):
            groups.append(Wait(tuple(sorted(group)), dues[group[-1]]))
            group = []
        group.append(index)
    return (*groups, Wait(tuple(sorted(group)), dues[group[-1]]))


def _slack(due: float, now: float) -> float:
    return max(_TOGETHER_S, _TOGETHER * (due - now))


def _outcome(
    result: RecipientResult, attempt: Attempt, terms: Terms, now: float, jitter: float
) -> tuple[Outcome, float]:
    verdict = result.verdict
    if verdict.action is None:
        return (Outcome.DELIVERED if attempt.site != WAY_OUT else Outcome.HANDED_OVER), 0.0
    if verdict.action is Action.BOUNCE and (attempt.site != WAY_OUT or verdict.category in THEIR_OWN):
        return Outcome.BOUNCED, 0.0  # else the way out is shut, which is nothing that the recipient can help
    if verdict.retry_after is None:
        wait = scheduled_delay(terms.retry, attempt.entry.attempts + 1, jitter)
    else:
        wait = asked_delay(verdict.retry_after, jitter)
    received = received_at(attempt.entry.id)
    lifetime = end_of_life(attempt.message, terms.lifetime) - received
    due = last_try(received, lifetime, now, now + wait)
    asked_at = attempt.message.notice_at
    if now < asked_at < due and not attempt.entry.notified and verdict.retry_after is None:
        due = asked_at  # tried once more then, so that what its sender hears at the time asked for is true
    if is_expired(received, lifetime, due):
        return Outcome.EXPIRED, 0.0
    return Outcome.DEFERRED, due
