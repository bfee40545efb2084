"""How many recipients came in and what became of them, as plain integers.

Invariant: recovered + accepted = delivered + bounced + expired + suppressed + handed over + dropped + queued, in
recipients, at any instant at which the caller knows how many are queued; `unaccounted` is the check.
Before: `settler` and the pipeline count. After: metrics.
"""

from typing import Final

from lane_api.isppolicy import Category
from lane_relay.account.settle import THEIR_OWN, Outcome, OutcomeOf

__all__ = ["Counters"]

FINAL: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.DEFERRED)

_GIVEN_UP: Final = (Outcome.BOUNCED, Outcome.EXPIRED)


class Counters:
    """Counts of this process's life; `settler` and the pipeline are the only writers."""

    __slots__ = ("accepted", "attempts", "deferred", "failures", "finished", "missed", "recovered")

    def __init__(self) -> None:
        """Nothing happened yet."""
        self.accepted = 0
        self.recovered = 0
        """Recipients that waited in the spool at the start, by what the log and the records say of it: one that is not
        found there is unaccounted for."""
        self.deferred = 0
        """Attempts that ended in waiting; a recipient may be in it many times."""
        self.finished = dict.fromkeys(FINAL, 0)
        """Recipients by what became of them; each is in it once."""
        self.missed = 0
        """Recipients that are bounced or expired for another reason than their own mailbox or domain."""
        self.attempts: dict[tuple[str, str], int] = {}
        """By (policy, outcome)."""
        self.failures: dict[tuple[str, str, str], int] = {}
        """By (policy, outcome, category), of all but deliveries."""

    def count(self, policy: str, one: OutcomeOf) -> None:
        """One recipient's outcome at a destination of this policy."""
        outcome = one.outcome
        name = outcome.value
        self.attempts[policy, name] = self.attempts.get((policy, name), 0) + 1
        if outcome is Outcome.DEFERRED:
            self.deferred += 1
        else:
            self.finished[outcome] += 1
        if outcome is not Outcome.DELIVERED:
            category: Category = one.result.verdict.category
            key = (policy, name, str(category))
            self.failures[key] = self.failures.get(key, 0) + 1
            if outcome in _GIVEN_UP and category not in THEIR_OWN:
                self.missed += 1

    def unaccounted(self, queued: int) -> int:
        """Recipients of whom nobody knows what became of them; 0 while all is well."""
        return self.recovered + self.accepted - sum(self.finished.values()) - queued
