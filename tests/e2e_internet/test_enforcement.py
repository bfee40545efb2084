"""What an ISP refuses, with the time as an argument."""

from __future__ import annotations

from e2e.internet.enforcement import GREYLISTED, TOO_FAST, TOO_MANY_CONNECTIONS, Enforcer
from e2e.internet.policy import Fault, Greylist, Policy, Rate, RecipientRule, Reply, Stage

ONE, OTHER = "203.0.113.10", "203.0.113.11"


def test_the_connection_after_the_limit_is_refused_per_source_ip() -> None:
    enforcer = Enforcer(Policy(max_connections_per_ip=2))

    assert [enforcer.connected(ONE) for _ in range(3)] == [None, None, TOO_MANY_CONNECTIONS]
    assert enforcer.connected(OTHER) is None
    enforcer.disconnected(ONE)
    enforcer.disconnected(ONE)
    assert enforcer.connected(ONE) is None


def test_observing_refuses_no_limit() -> None:
    enforcer = Enforcer(Policy(enforce="observe", max_connections_per_ip=1, message_rate=Rate(messages=1)))

    assert [enforcer.connected(ONE) for _ in range(3)] == [None] * 3
    assert [enforcer.message(ONE, 0.0) for _ in range(3)] == [None] * 3


def test_the_rate_holds_in_any_sliding_window() -> None:
    enforcer = Enforcer(Policy(message_rate=Rate(messages=2, seconds=1.0)))

    answers = [enforcer.message(ONE, now) for now in (0.8, 0.9, 1.1, 1.79, 1.81, 1.89, 1.91)]

    assert answers == [None, None, TOO_FAST, TOO_FAST, None, TOO_FAST, None]
    assert enforcer.message(OTHER, 1.91) is None


def test_greylisting_lets_the_second_try_in_from_the_same_ip_only() -> None:
    enforcer = Enforcer(Policy(greylist=Greylist(delay_s=5)))

    assert enforcer.recipient(ONE, "s@a.test", "r@b.test", 100.0) == GREYLISTED
    assert enforcer.recipient(ONE, "s@a.test", "r@b.test", 104.9) == GREYLISTED
    assert enforcer.recipient(OTHER, "s@a.test", "r@b.test", 106.0) == GREYLISTED
    assert enforcer.recipient(ONE, "s@a.test", "r@b.test", 105.0) is None


def test_greylisting_without_a_delay_still_refuses_the_first_try() -> None:
    enforcer = Enforcer(Policy(greylist=Greylist(delay_s=0)))

    assert enforcer.recipient(ONE, "s@a.test", "r@b.test", 100.0) == GREYLISTED
    assert enforcer.recipient(ONE, "s@a.test", "r@b.test", 100.1) is None


def test_a_recipient_rule_ends_after_its_number_of_tries() -> None:
    full = Reply(code=452, text="4.2.2 Mailbox full")
    enforcer = Enforcer(Policy(recipients=(RecipientRule(match="full*@b.test", reply=full, times=2),)))

    answers = [enforcer.recipient(ONE, "", "Full1@b.test", 0.0) for _ in range(3)]

    assert answers == [full, full, None]
    assert enforcer.recipient(ONE, "", "full2@b.test", 0.0) == full
    assert enforcer.recipient(ONE, "", "other@b.test", 0.0) is None


def test_a_fault_strikes_every_nth_time_and_no_more_often_than_allowed() -> None:
    fault = Fault(action="drop", every=3, times=2)
    enforcer = Enforcer(Policy(faults={Stage.DATA: fault}))

    strikes = [enforcer.fault(Stage.DATA) is fault for _ in range(12)]

    assert [index for index, struck in enumerate(strikes, 1) if struck] == [3, 6]
    assert enforcer.fault(Stage.MAIL) is None
