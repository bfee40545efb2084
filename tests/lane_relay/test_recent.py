"""What a slot says of its last minutes, from totals that it counts anyway."""

from lane_relay.account.counters import Counters
from lane_relay.account.settle import Outcome
from lane_relay.metrics import LatencyHistogram
from lane_relay.recent import LastHour, Recent


class Slot:
    """The totals of one process that began at 1000."""

    def __init__(self) -> None:
        self.counters, self.latency, self.recent = Counters(), LatencyHistogram(60.0), Recent(1000.0)

    def delivered(self, count: int, seconds: float) -> None:
        self.counters.finished[Outcome.DELIVERED] += count
        self.latency.observe(seconds, count)

    def look(self, after: float) -> dict[str, object] | None:
        return self.recent.look(1000.0 + after, self.counters, self.latency)


def test_the_first_seconds_of_a_process_clear_what_waited_and_say_nothing() -> None:
    slot = Slot()
    slot.delivered(500, 40.0)

    assert slot.look(14.0) is None
    assert slot.look(16.0) == {"seconds": 0.0, "delivered": 0, "failed": 0, "p90": None}


def test_figures_are_of_the_last_minutes_and_no_longer() -> None:
    slot = Slot()
    slot.look(20.0)
    slot.delivered(90, 0.2)
    slot.delivered(10, 8.0)
    slot.counters.deferred += 4
    slot.counters.missed += 1
    assert slot.look(80.0) == {"seconds": 60.0, "delivered": 100, "failed": 5, "p90": 0.25}

    slot.delivered(10, 2.0)
    later = slot.look(400.0)
    assert later is not None
    assert (later["delivered"], later["failed"], later["p90"], later["seconds"]) == (10, 0, 2.5, 320.0)


def test_what_is_slower_than_the_last_edge_is_said_by_that_edge() -> None:
    slot = Slot()
    slot.look(20.0)
    slot.delivered(1, 1e6)
    found = slot.look(30.0)

    assert found is not None
    assert found["p90"] == 14400.0


def test_another_objective_begins_anew() -> None:
    slot = Slot()
    slot.look(20.0)
    slot.delivered(5, 1.0)
    slot.latency = LatencyHistogram(77.0)
    found = slot.look(30.0)

    assert found is not None
    assert found["seconds"] == 0.0


def test_the_last_hour_is_what_was_counted_in_it_and_no_longer() -> None:
    counters, hour = Counters(), LastHour(1000.0)
    assert hour.look(1001.0, counters) == {"delivered": 0, "deferred": 0, "bounced": 0}
    for minute in range(1, 121):  # one a minute, looked at twice a minute
        counters.finished[Outcome.DELIVERED] += 1
        hour.look(1000.0 + 60 * minute, counters)
        said = hour.look(1030.0 + 60 * minute, counters)
        assert said["delivered"] == min(minute, 60), minute
    counters.deferred += 7
    counters.finished[Outcome.BOUNCED] += 2
    counters.finished[Outcome.EXPIRED] += 1
    assert hour.look(8231.0, counters) == {"delivered": 60, "deferred": 7, "bounced": 3}


def test_an_hour_in_which_nobody_looked_is_not_told_as_the_last_one() -> None:
    counters, hour = Counters(), LastHour(1000.0)
    hour.look(1060.0, counters)
    counters.finished[Outcome.DELIVERED] += 500
    hour.look(1120.0, counters)
    assert hour.look(1130.0, counters)["delivered"] == 500
    assert hour.look(1120.0 + 3600.0, counters)["delivered"] == 0
