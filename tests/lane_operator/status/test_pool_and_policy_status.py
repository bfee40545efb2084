"""What is said of pools and policies."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.conditions import Condition
from lane_api.ippool import AddressStatus, Capacity, IPPoolStatus
from lane_api.isppolicy import ISPPolicyStatus
from lane_operator.inputs import Policy
from lane_operator.status import next_end, policy_status, pool_status
from tests.lane_operator import made


def verdicts(said: IPPoolStatus | ISPPolicyStatus) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in said.conditions}


def text(said: IPPoolStatus | ISPPolicyStatus, kind: str) -> str:
    found: Condition = next(one for one in said.conditions if one.type == kind)
    return found.message


def rule(name: str, pattern: str, example: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "pattern": pattern, "category": "other", "action": "Retry", "examples": [example], **more}


def judged(policy: Policy, *neighbours: Policy) -> ISPPolicyStatus:
    return policy_status(policy, neighbours, made.NOW)


def test_a_pool_says_who_holds_what() -> None:
    allocated = IPPoolStatus(capacity=Capacity(total=3, assigned=1, cooling=1, free=1))
    said = pool_status(made.pool(), allocated, made.NOW)

    assert verdicts(said) == {"Ready": ("True", "Accepted"), "Valid": ("True", "Accepted")}
    assert text(said, "Ready") == "1 assigned, 1 cooling down, 1 free of 3"
    assert said.observed_generation == 1


def test_a_pool_that_is_deleted_names_the_lanes_that_it_waits_for() -> None:
    held = (AddressStatus(ip="203.0.113.10", lane="mail/otp"), AddressStatus(ip="203.0.113.11", lane="mail/otp"))
    rests = AddressStatus(ip="203.0.113.12", lane="mail/gone", released_at="2026-11-23T07:00:00Z")
    going = replace(made.pool(), deleting=True)

    assert text(pool_status(going, IPPoolStatus(addresses=(*held, rests)), made.NOW), "Ready").endswith(": mail/otp")
    assert text(pool_status(going, IPPoolStatus(addresses=(rests,)), made.NOW), "Ready").endswith(": none")


def test_an_address_of_another_pool_is_named_with_the_fix() -> None:
    allocated = IPPoolStatus(addresses=(AddressStatus(ip="203.0.113.10", held_elsewhere="mail/other"),))
    said = pool_status(made.pool(), allocated, made.NOW)

    assert verdicts(said)["Valid"] == ("False", "AddressConflict")
    assert "203.0.113.10 is in IPPool mail/other" in text(said, "Valid")


def test_an_address_that_left_the_pool_while_held_is_named_with_the_fix() -> None:
    allocated = IPPoolStatus(addresses=(AddressStatus(ip="203.0.113.10", lane="mail/otp", slot="otp-0"),))
    said = pool_status(made.pool(), allocated, made.NOW)

    assert verdicts(said)["Valid"] == ("False", "AddressRemoved")
    assert "scale the lane in, or put the address back" in text(said, "Valid")


def test_a_policy_whose_rules_match_their_examples_is_accepted() -> None:
    said = judged(made.policy(responses=[rule("a", "^421", "421 slow down")]))

    assert verdicts(said) == {"Ready": ("True", "Accepted"), "Valid": ("True", "Accepted")}


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([rule("a", "^550", "421 slow down")], "rule a: the pattern misses its own example"),
        ([rule("a", "^4", "421 slow"), rule("b", "^421", "421 slow")], "rule b: shadowed"),
        ([rule("a", "(", "421 slow")], "rule a: the pattern is no RE2 expression"),
        ([rule("a", "(?=x)", "421 slow")], "rule a: the pattern is no RE2 expression"),
    ],
    ids=["misses-its-example", "shadowed", "no-pattern", "no-re2"],
)
def test_a_dead_rule_is_the_policys_own_condition(rules: list[dict[str, Any]], says: str) -> None:
    said = judged(made.policy(responses=rules))

    assert verdicts(said) == {
        "Ready": ("False", "DeadRule"),
        "Stalled": ("True", "DeadRule"),
        "Valid": ("False", "DeadRule"),
    }
    assert says in text(said, "Valid")
    assert "last good version stays in force" in text(said, "Valid")


@pytest.mark.parametrize(
    ("match", "shared"),
    [
        ({"domains": ["gmail.com"]}, "gmail.com"),
        ({"mx": ["alt1.gmail-smtp-in.l.google.com"]}, "alt1.gmail-smtp-in.l.google.com"),
        ({"mx": ["*.l.google.com"]}, "*.l.google.com"),
    ],
    ids=["domain", "host-in-pattern", "pattern-in-pattern"],
)
def test_a_tie_is_said_on_both(match: dict[str, list[str]], shared: str) -> None:
    one, other = made.policy("gmail"), made.policy("google", match=match)

    for said in (judged(one, other), judged(other, one)):
        assert verdicts(said)["Valid"] == ("False", "PolicyConflict")
        assert shared in text(said, "Valid")
        assert verdicts(said)["Ready"] == ("True", "Accepted")


def test_priorities_settle_a_tie() -> None:
    one, other = made.policy("gmail"), made.policy("google", priority=1)

    assert verdicts(judged(one, other))["Valid"] == ("True", "Accepted")


def test_a_repeated_verdict_keeps_its_time() -> None:
    policy = made.policy()
    first = judged(policy)
    second = policy_status(replace(policy, status=first), (), made.NOW.replace(hour=20))

    assert second == first


def test_who_loses_a_tie_is_stalled_in_the_end_and_who_wins_it_is_in_force() -> None:
    loser, winner = made.policy("google"), made.policy("gmail")
    first = judged(loser, winner)
    late = policy_status(replace(loser, status=first), (winner,), made.NOW.replace(minute=1))

    assert verdicts(first)["Reconciling"] == ("True", "PolicyConflict")
    assert next_end(first.conditions, made.NOW) == 30
    assert verdicts(late)["Stalled"] == ("True", "PolicyConflict")
    assert not {"Reconciling", "Stalled"} & verdicts(judged(winner, loser)).keys()
