"""Complaint rates: when they say something, what they ask for, and what a restart and a reporter's repeats change."""

import pytest

from lane_api.classes import Protection
from lane_api.isppolicy import Action
from lane_api.relayfeedback import ComplaintRates
from lane_relay.feedback.complaints import LEAST, Asked, Complaints, Rated, weigh
from lane_relay.metrics import OTHER_POLICY

DAY = 24 * 3600
NOW = 1_790_000_000.0
RATES = ComplaintRates()


def message(number: int = 0, days_ago: float = 0.0) -> int:
    return (int((NOW - days_ago * DAY) * 1000) << 48) + number


def counted(delivered: int, days_ago: float = 0.0) -> Complaints:
    counts = Complaints("", NOW - 30 * DAY)
    for number in range(delivered):
        counts.delivered("isp", message(number, days_ago))
    return counts


def complain(counts: Complaints, times: int, days_ago: float = 0.0, first: int = 0) -> Rated | None:
    asked = None
    for number in range(first, first + times):
        asked = counts.complained("isp", message(number, days_ago), 0, NOW, RATES)
    return asked


@pytest.mark.parametrize(("times", "level"), [(2, ""), (3, "act"), (6, "act"), (7, "stop")])
def test_a_rate_counts_as_far_as_it_is_proved(times: int, level: str) -> None:
    asked = complain(counted(1000), times)
    assert (asked.level if asked is not None else "") == level
    if asked is not None:
        assert asked.text.startswith(f"{times} complaints of 1000 delivered in a day: ")


def test_a_few_deliveries_say_nothing_and_seven_days_of_few_do() -> None:
    assert complain(counted(LEAST - 1), 20) is None
    counts = counted(LEAST // 2)
    for number in range(LEAST // 2):
        counts.delivered("isp", message(number, days_ago=5))
    asked = complain(counts, 20)
    assert asked is not None
    assert "in 7 days" in asked.text


def test_a_bad_day_that_is_over_stops_nothing_any_more() -> None:
    assert complain(counted(1000, days_ago=3), 50, days_ago=3) is None


def test_one_mail_to_one_recipient_is_one_complaint() -> None:
    counts = counted(1000)
    for _ in range(50):
        assert counts.complained("isp", message(1), 0, NOW, RATES) is None
    assert counts.levels(NOW, RATES) == {"isp": 0}


def test_mail_from_before_counting_began_is_in_neither_count() -> None:
    counts = Complaints("", NOW)
    for number in range(1000):
        counts.delivered("isp", message(number))
    assert complain(counts, 50, days_ago=0.1) is None


def test_a_restart_keeps_the_counts_and_nonsense_costs_no_more_than_them() -> None:
    counts = counted(1000)
    complain(counts, 6)
    assert counts.is_changed
    again = Complaints(counts.dump(NOW), NOW + 1)
    assert not counts.is_changed
    assert again.levels(NOW, RATES) == {"isp": 2}
    asked = complain(again, 1, first=100)
    assert asked is not None
    assert asked.level == "stop"
    assert Complaints("[nonsense", NOW).levels(NOW, RATES) == {}
    assert Complaints(again.dump(NOW + 9 * DAY), NOW).levels(NOW, RATES) == {}


def test_a_complaint_that_is_repeated_after_a_restart_is_the_same_one() -> None:
    counts = counted(1000)
    complain(counts, 2)
    again = Complaints(counts.dump(NOW), NOW + 1)
    for number in range(2):
        assert again.knows(message(number), 0)
    assert complain(again, 2) is None
    assert complain(again, 2, first=2) is not None


def test_what_is_kept_of_complaints_is_bounded_and_is_of_the_latest() -> None:
    counts = counted(1)
    complain(counts, 3_000)
    again = Complaints(counts.dump(NOW), NOW + 1)
    assert again.knows(message(2_999), 0)
    assert not again.knows(message(0), 0)
    assert len(counts.dump(NOW)) < 100_000
    older = '{"since": 0.0, "counts": [["isp", 1, 2, 3]]}'  # as the release before wrote it
    assert not Complaints(older, NOW).knows(message(0), 0)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("protection", "level", "done"),
    [
        (Protection.NEVER_PAUSE, "stop", (Action.ALERT, 0.0, False)),
        (Protection.PAUSABLE, "warn", (Action.ALERT, 0.0, False)),
        (Protection.PAUSABLE, "act", (Action.SUSPEND_SITE, 4 * HOUR, False)),
        (Protection.PAUSABLE, "stop", (Action.SUSPEND_SITE, 24 * HOUR, False)),
        (Protection.CONSERVATIVE, "act", (Action.SUSPEND_SITE, 24 * HOUR, False)),
        (Protection.CONSERVATIVE, "stop", (Action.SUSPEND_SITE, 24 * HOUR, True)),
    ],
)
def test_the_lanes_protection_has_its_say(protection: Protection, level: str, done: tuple[Action, float, bool]) -> None:
    action, lasts, everywhere = done
    rated = Rated(level, "isp", "so many")
    assert weigh(rated, protection, observe=False) == Asked(level, "so many", action, lasts, everywhere)
    observed = action is not Action.ALERT
    assert weigh(rated, protection, observe=True) == Asked(level, "so many", action, lasts, everywhere, observed)


def test_isps_that_are_counted_together_are_not_stopped_one_by_one() -> None:
    other = Rated("stop", OTHER_POLICY, "")
    assert weigh(other, Protection.PAUSABLE, observe=False).action is Action.ALERT
    found = weigh(other, Protection.CONSERVATIVE, observe=False)
    assert (found.action, found.everywhere) == (Action.SUSPEND_SITE, True)
