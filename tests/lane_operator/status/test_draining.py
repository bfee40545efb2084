"""How far a drain is: what is left, how fast it leaves, and when it is over."""

import datetime as dt
from dataclasses import replace
from typing import Any

from lane_api.lane_status import DrainStatus, LaneStatus, RestartStatus, SlotRole
from lane_operator.inputs import Assignment, Desired, References
from lane_operator.status import lane_status
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import status

GOES = made.assignment(made.claim(0), made.claim(1, role=SlotRole.DRAINING))
SINCE = "2026-11-23T07:00:00Z"


def at(minutes: float) -> dt.datetime:
    return made.NOW + dt.timedelta(minutes=minutes)


def look(before: DrainStatus | None, left: int, minutes: float, claims: Assignment = GOES, **slot: Any) -> DrainStatus:
    lane = made.lane(status=LaneStatus(observed_generation=3, drain=before))
    seen = made.observation(made.seen(0, queued=7), made.seen(1, queued=left, oldest_since=SINCE, **slot))
    found = status(lane, seen, claims=claims, now=at(minutes)).drain
    assert found is not None
    return found


def test_a_lane_of_which_nothing_goes_says_nothing() -> None:
    assert status().drain is None


def test_what_is_left_is_rounded_and_has_no_end_before_there_is_a_rate() -> None:
    found = look(None, 12345, 0)

    assert (found.slots, found.queued, found.oldest_since) == (("otp-1",), 12000, SINCE)
    assert (found.per_hour, found.ends_at) == (0, None)


def test_the_rate_is_of_half_a_minute_at_least_and_its_end_is_a_time_to_the_minute() -> None:
    first = look(None, 1000, 0)

    assert look(first, 900, 0.4).per_hour == 0
    found = look(first, 900, 1)
    assert (found.per_hour, found.ends_at) == (6000, "2026-11-23T08:11:00Z")  # 900 more, in nine minutes


def test_the_rate_is_of_the_last_minutes() -> None:
    first = look(None, 1000, 0)
    fast = look(first, 500, 5)
    slow = look(fast, 490, 6)

    assert (fast.per_hour, fast.measured) == (6000, 500)
    assert (slow.per_hour, slow.ends_at) == (600, "2026-11-23T08:56:00Z")


def test_a_drain_that_stands_still_has_no_end_and_its_status_stays_as_it_is() -> None:
    stuck = look(look(look(None, 1000, 0), 500, 5), 500, 6)

    assert (stuck.per_hour, stuck.ends_at) == (0, None)
    assert look(stuck, 500, 60) == stuck


def test_an_end_in_months_is_none() -> None:
    assert look(look(None, 1_000_000, 0), 999_999, 4).ends_at is None


def test_a_slot_more_begins_the_measuring_anew() -> None:
    both = made.assignment(made.claim(0, role=SlotRole.DRAINING), made.claim(1, role=SlotRole.DRAINING))
    found = look(look(None, 100, 0), 50, 1, both)

    assert (found.slots, found.queued, found.per_hour, found.measured) == (("otp-0", "otp-1"), 57, 0, 57)


def test_one_slot_less_goes_on_measuring() -> None:
    both = made.assignment(made.claim(0, role=SlotRole.DRAINING), made.claim(1, role=SlotRole.DRAINING))
    found = look(look(None, 100, 0, both), 47, 1)

    assert (found.measured, found.per_hour) == (107, 3600)


def test_a_slot_that_has_stopped_is_no_longer_in_it() -> None:
    lane = made.lane(status=LaneStatus(observed_generation=3))
    seen = made.observation(made.seen(0), made.seen(1, stopped=True, queued=3))

    assert status(lane, seen, claims=GOES).drain is None


def test_a_slot_whose_node_is_emptied_and_one_that_restarts_drain_as_well() -> None:
    moving = made.assignment(made.claim(0), replace(made.claim(1), moves=True))
    assert look(None, 5, 0, moving).slots == ("otp-1",)

    restart = replace(Desired(), restart=RestartStatus(slot="otp-0", since=SINCE))
    claims = made.assignment(replace(made.claim(0), hands_over=True), made.claim(1))
    said = lane_status(made.lane(), References(), claims, restart, made.observation(), made.NOW)
    assert said.drain is not None
    assert said.drain.slots == ("otp-0",)
