"""What becomes of the recipients of one attempt: the only place that decides it; pure.

Invariant: every recipient of the attempt is in exactly one outcome, delivered, deferred, bounced or expired, and has
exactly one accounting record of that type. Before: `deliver` or `resolve` made the Attempt. After: `settler` does it.
"""

from enum import Enum
from typing import Final

from msgspec import Struct

from lane_api.isppolicy import Action
from lane_api.relayconfig import RelayRetry
from lane_relay.account.backoff import asked_delay, is_expired, last_try, scheduled_delay
from lane_relay.records import Attempt, RecipientResult, received_at

__all__ = ["Outcome", "OutcomeOf", "Settlement", "settle"]


class Outcome(Enum):
    """What became of one recipient."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    """Not attempted: the address is on the suppression list."""
    HANDED_OVER = "handed_over"
    """Another slot of the lane has it on its disk and answers for it."""
    DROPPED = "dropped"
    """Given up by order of a person or of `delivery: Discard`, without a report."""


class OutcomeOf(Struct, frozen=True, gc=False):
    """One recipient's result and what it comes to."""

    result: RecipientResult
    outcome: Outcome


class Settlement(Struct, frozen=True, gc=False):
    """What is to be done about one attempt."""

    outcomes: tuple[OutcomeOf, ...]
    delivered: tuple[int, ...] = ()
    deferred: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    """Bounced or expired: settled once their report, if one is due, is stored."""
    due: float = 0.0
    """Unix time of the next attempt for the deferred ones."""
    reports: bool = False
    """A DSN is due for the failed ones; never to the null sender (RFC 5321 section 4.5.5)."""


_FINAL: Final = (Outcome.BOUNCED, Outcome.EXPIRED)


def settle(attempt: Attempt, retry: RelayRetry, lifetime: float, now: float, jitter: float) -> Settlement:
    """Decides; `lifetime` in seconds from acceptance, `now` in Unix time, jitter in [0, 1).

    Recipients that wait share one due time, the latest of theirs: nobody is tried earlier than was asked for.
    """
    attempts = attempt.entry.attempts + 1
    received = received_at(attempt.entry.id)
    outcomes = []
    due = 0.0
    for result in attempt.results:
        outcome, next_try = _outcome(result, retry, lifetime, now, jitter, attempts, received)
        outcomes.append(OutcomeOf(result, outcome))
        due = max(due, next_try)
    failed = tuple(one.result.index for one in outcomes if one.outcome in _FINAL)
    return Settlement(
        tuple(outcomes),
        tuple(one.result.index for one in outcomes if one.outcome is Outcome.DELIVERED),
        tuple(one.result.index for one in outcomes if one.outcome is Outcome.DEFERRED),
        failed,
        due,
        bool(failed and attempt.message.envelope.sender),
    )


def _outcome(
    result: RecipientResult,
    retry: RelayRetry,
    lifetime: float,
    now: float,
    jitter: float,
    attempts: int,
    received: float,
) -> tuple[Outcome, float]:
    verdict = result.verdict
    if verdict.action is None:
        return Outcome.DELIVERED, 0.0
    if verdict.action is Action.BOUNCE:
        return Outcome.BOUNCED, 0.0
    if verdict.retry_after is None:
        wait = scheduled_delay(retry, attempts, jitter)
    else:
        wait = asked_delay(verdict.retry_after, jitter)
    due = last_try(received, lifetime, now, now + wait)
    if is_expired(received, lifetime, due):
        return Outcome.EXPIRED, 0.0
    return Outcome.DEFERRED, due
