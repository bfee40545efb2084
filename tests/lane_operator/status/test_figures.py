"""Figures of a lane: the slots' together, to two digits."""

from lane_api.lane_status import HourFigures
from lane_operator.seen import Hour
from lane_operator.status.figures import last_hour
from tests.lane_operator import made


def test_the_last_hour_is_the_slots_together_to_two_digits() -> None:
    slots = (made.seen(0, last_hour=Hour(1234, 5, 1)), made.seen(1, last_hour=Hour(1111, 96, 0)), made.seen(2))
    assert last_hour(slots) == HourFigures(delivered=2300, deferred=100, bounced=1)


def test_where_no_slot_says_nothing_is_told() -> None:
    assert last_hour((made.seen(0), made.seen(1))) is None
