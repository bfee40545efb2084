"""A daily limit counts any 24 hours, and goes on counting after a restart."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.relayconfig import Delivery
from lane_relay.clock import Clock
from lane_relay.deliver.day_count import KEPT_EVERY_S, DayCount, DayCounts
from lane_relay.deliver.pacing import Hold, Limit, Pacing, site_limits
from lane_relay.errors import SpoolError
from tests.lane_relay.deliver.delivery import delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running

DAY = 24 * 3600.0
SLICE = 900.0
OFFSET = 1_700_000_000.0


def test_an_attempt_counts_for_a_day_and_at_most_a_slice_longer() -> None:
    count = DayCount(OFFSET)
    count.add(100.0)
    assert count.count(100.0 + DAY) == 1
    assert count.count(100.0 + DAY + SLICE) == 0


def test_room_comes_when_so_many_have_left_as_are_too_many() -> None:
    count = DayCount(OFFSET)
    for number in range(10):
        count.add(number * 3600.0)
    now = 10 * 3600.0
    assert count.room_at(11, now) == now
    assert DAY < count.room_at(10, now) <= DAY + SLICE
    assert DAY + 3 * 3600.0 < count.room_at(7, now) <= DAY + 3 * 3600.0 + SLICE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 3 * DAY), max_size=60), st.floats(0.0, 3 * DAY))
def test_no_attempt_of_the_last_day_is_ever_left_out_also_as_it_is_kept(times: list[float], later: float) -> None:
    count = DayCount(OFFSET)
    for at in sorted(times):
        count.add(at)
    now = max([*times, later])
    again = DayCount(OFFSET)
    again.load(str(count))
    exact = [at for at in times if at > now - DAY]
    generous = [at for at in times if at >= now - DAY - SLICE]
    assert len(exact) <= again.count(now) <= len(generous)
    assert again.count(now) == count.count(now)


def test_a_clock_that_is_set_back_counts_nothing_twice_and_nothing_away() -> None:
    count = DayCount(OFFSET)
    count.add(5000.0)
    count.add(100.0)
    assert count.count(5000.0) == 2


def test_what_cannot_be_read_counts_nothing_and_holds_nothing_up() -> None:
    for text in ("nonsense", "5:x,1", ":", "12"):
        count = DayCount(OFFSET)
        count.load(text)
        assert count.count(0.0) == 0


class Kept:
    """The spool's facts, and a clock."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.writes = 0
        self.full = False
        self.now = 1000.0

    def write(self, name: str, value: str) -> None:
        if self.full:
            raise SpoolError("failed")
        self.writes += 1
        self.facts[name] = value

    def open(self) -> DayCounts:
        return DayCounts(
            Clock(lambda: OFFSET + self.now, lambda: self.now), lambda name: self.facts.get(name, ""), self.write
        )


def test_counts_of_several_sites_outlive_a_restart() -> None:
    kept = Kept()
    days = kept.open()
    for site, attempts in (("gmail", 3), ("yahoo", 1)):
        for _ in range(attempts):
            days.of(site).add(kept.now)
    days.keep(kept.now)
    kept.now += 60.0
    again = kept.open()
    assert [again.of(site).count(kept.now) for site in ("gmail", "yahoo", "other")] == [3, 1, 0]


def test_what_a_site_has_not_asked_for_yet_is_not_lost_when_another_is_written() -> None:
    kept = Kept()
    days = kept.open()
    days.of("gmail").add(kept.now)
    days.keep(kept.now)
    second = kept.open()
    second.of("yahoo").add(kept.now)
    second.keep(kept.now)
    assert kept.open().of("gmail").count(kept.now) == 1


def test_it_is_written_only_when_something_changed_and_not_too_often_but_at_once_at_a_stop() -> None:
    kept = Kept()
    days = kept.open()
    days.keep(kept.now)
    assert kept.writes == 0
    for _ in range(100):
        days.of("gmail").add(kept.now)
        days.keep(kept.now)
        kept.now += 0.1
    assert kept.writes <= 1 + 10 / KEPT_EVERY_S
    days.of("gmail").add(kept.now)
    days.keep(kept.now, at_once=True)
    assert kept.open().of("gmail").count(kept.now) == 101


def test_a_spool_that_failed_keeps_nothing_and_breaks_nothing() -> None:
    kept = Kept()
    days = kept.open()
    days.of("gmail").add(kept.now)
    kept.full = True
    days.keep(kept.now)
    assert days.of("gmail").count(kept.now) == 1


def test_a_site_whose_limit_was_taken_away_is_forgotten() -> None:
    kept = Kept()
    days = kept.open()
    days.of("gmail").add(kept.now)
    days.limit_to(())
    assert days.of("gmail").count(kept.now) == 0


def test_a_site_that_had_its_day_s_messages_says_until_when() -> None:
    delivery = Delivery.model_validate({"policies": [{"name": "isp", "messages_per_day": 2}]})
    day = DayCount(OFFSET)
    pacing = Pacing(site_limits(delivery, "isp"), day)
    for _ in range(2):
        assert pacing.hold_message(1000.0) is None
        pacing.begin_message(1000.0)
        pacing.end_message(1000.0, 1000.0)
    hold = pacing.hold_connect(1000.0)
    assert isinstance(hold, Hold)
    assert (hold.limit, hold.detail) == (Limit.DAY, "2 in 24 hours")
    assert 1000.0 + DAY < hold.until <= 1000.0 + DAY + SLICE
    assert pacing.hold_message(hold.until) is None


async def test_no_more_than_the_day_s_messages_leave_and_another_site_s_go_on() -> None:
    policy = {"name": "isp", "domains": ["x.test"], "messages_per_day": 3}
    peer = Peer()
    async with running(peer), delivering(policies=[policy]) as relay:
        for _ in range(10):
            relay.send(route_to(peer.port, site="isp", policy="isp"))
        await relay.attempted(3)
        relay.send(route_to(peer.port, site="other"))
        await until(lambda: relay.attempts[-1].site == "other")
        assert [attempt.site for attempt in relay.attempts].count("isp") == 3
        state = relay.dispatcher.explain_site("isp")
        assert state is not None
        assert (state.hold.limit, state.waiting) == (Limit.DAY, 7)
        relay.dispatcher.apply(relay.dispatcher._config.model_copy(update={"generation": 2}))
        assert (state.hold.limit, len(peer.messages)) == (Limit.DAY, 4)
