"""ISPPolicy.status: whether its rules can do what they say, and whether another policy ties with it; pure."""

import datetime as dt
from collections.abc import Iterable

import re2

from lane_api.conditions import ConditionType, Reason
from lane_api.isppolicy import ISPPolicyStatus, Match
from lane_api.responses import Compile, check_rules
from lane_operator.inputs import Policy
from lane_operator.status.book import Book
from lane_operator.status.waiting import put_waiting

__all__ = ["policy_status"]


def policy_status(
    policy: Policy, neighbours: Iterable[Policy], now: dt.datetime, compile_pattern: Compile = re2.compile
) -> ISPPolicyStatus:
    """The status; `neighbours` are the other policies of its namespace."""
    book = Book(policy.status.conditions, policy.generation, now)
    problems = check_rules(policy.spec.responses, compile_pattern)
    ties = dict(sorted(_ties(policy, neighbours)))
    if problems:
        message = (
            f"{'; '.join(problems)}. The last good version stays in force where a slot has one, "
            "the other rules where it has none: correct or remove the rule"
        )
        book.put(ConditionType.READY, False, Reason.DEAD_RULE, message)
        book.put(ConditionType.STALLED, True, Reason.DEAD_RULE, message)
        book.put(ConditionType.VALID, False, Reason.DEAD_RULE, message)
    else:
        count = len(policy.spec.responses)
        book.put(ConditionType.READY, True, Reason.ACCEPTED, f"{count} response rules match their examples")
        if ties:
            message = f"{'; '.join(ties.values())}: the first by name wins; give one of them a higher priority"
            book.put(ConditionType.VALID, False, Reason.POLICY_CONFLICT, message)
            if any(name < policy.name for name in ties):  # else all that it asks for is so
                put_waiting(book, Reason.POLICY_CONFLICT, message, now)
        else:
            book.put(
                ConditionType.VALID, True, Reason.ACCEPTED, "no other policy of this priority has its destinations"
            )
    return ISPPolicyStatus(observed_generation=policy.generation, conditions=book.conditions())


def _ties(policy: Policy, neighbours: Iterable[Policy]) -> Iterable[tuple[str, str]]:
    """The name of each policy that it ties with, and what is to be said of it."""
    for other in neighbours:
        if other.spec.priority != policy.spec.priority or other.name == policy.name:
            continue
        shared = _shared(policy.spec.match, other.spec.match)
        if shared:
            yield other.name, f"ISPPolicy {other.name} has priority {other.spec.priority} too and matches {shared}"


def _shared(one: Match, other: Match) -> str:
    """A destination that both match; empty where there is none."""
    both = sorted(set(one.domains) & set(other.domains))
    if both:
        return both[0]
    for left in one.mx:
        for right in other.mx:
            if _covers(left, right):
                return right
            if _covers(right, left):
                return left
    return ""


def _covers(pattern: str, host: str) -> bool:
    """Whether an MX host, or every one of a narrower pattern, is matched by the pattern."""
    return pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:]))
