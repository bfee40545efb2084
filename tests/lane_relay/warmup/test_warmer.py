"""The daily amounts of a cold address, over restarts and days."""

from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.records import QueueEntry
from lane_relay.warmup.warmer import Warmer

DAY = 86_400.0


class Rig:
    """A clock turned by hand, and what the spool keeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.kept = ""
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)
        self.number = 0

    def write(self, _name: str, value: str) -> None:
        self.kept = value

    def warmer(self, **warmup: Any) -> Warmer:
        return Warmer(config(**warmup), self.clock, self.kept, self.write)

    def entry(self, recipients: int = 1) -> QueueEntry:
        self.number += 1
        return QueueEntry(self.number, 0, "d.test", tuple(range(recipients)), 1, 0.0)

    def send(self, warmer: Warmer, policy: str, count: int, **became: int) -> int:
        """How many of `count` there was room for; each was delivered unless `became` says otherwise."""
        sent = 0
        for _ in range(count):
            entry = self.entry()
            if not warmer.room(policy, entry):
                break
            warmer.admit(policy, entry)
            delivered, deferred = (became or {"delivered": 1}).get("delivered", 0), became.get("deferred", 0)
            warmer.attempted(policy, entry, 0, delivered=delivered, deferred=deferred)
            sent += 1
        return sent

    def all_day(self, warmer: Warmer, policy: str, count: int, **became: int) -> int:
        """A whole step, hour by hour."""
        sent = 0
        for _ in range(24):
            sent += self.send(warmer, policy, count - sent, **became)
            self.now += DAY / 24
        return sent


def config(*, warm: bool = False, **warmup: Any) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "delivery": {"policies": [{"name": "gmail", "connections": 8}, {"name": "yahoo", "connections": 1}]},
            "warmup": None if warm else warmup,
        }
    )


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_day_s_amount_is_a_bound_for_each_isp_and_one_for_all_others(rig: Rig) -> None:
    warmer = rig.warmer()
    assert rig.all_day(warmer, "gmail", 1000) == 50
    assert rig.all_day(rig.warmer(), "yahoo", 1000) == 50
    other = rig.warmer()
    sent = rig.send(other, "", 1000)
    assert (sent, rig.send(other, "small-isp", 1000)) == (17, 0)  # a twelfth of 200 in the first hour


def test_the_next_day_is_more_where_the_last_one_was_liked_and_less_where_it_was_not(rig: Rig) -> None:
    warmer = rig.warmer()
    assert [rig.all_day(warmer, "gmail", 1000) for _ in range(4)] == [50, 100, 200, 400]
    assert rig.all_day(warmer, "gmail", 1000, deferred=1) == 800
    assert rig.all_day(warmer, "gmail", 1000) == 200  # two steps back
    assert rig.all_day(warmer, "gmail", 100) == 100  # of 400
    assert rig.all_day(warmer, "gmail", 1000) == 400  # too little was sent to climb


def test_a_restart_begins_no_day_anew(rig: Rig) -> None:
    warmer = rig.warmer()
    rig.now += DAY / 2
    sent = rig.send(warmer, "gmail", 30)
    warmer.keep(at_once=True)
    again = rig.warmer()
    rig.now += DAY / 4
    assert rig.send(again, "gmail", 1000) <= 50 - sent + 25
    ((name, isp, amount),) = again.states()
    assert (name, isp.step, amount) == ("gmail", 0, 50)


def test_a_few_days_without_mail_change_nothing(rig: Rig) -> None:
    warmer = rig.warmer()
    rig.all_day(warmer, "gmail", 1000)
    rig.now += 10 * DAY
    assert rig.all_day(warmer, "gmail", 1000) == 100


def kept(isp: str, step: int, began: float) -> str:
    """As a release kept it that knew nothing of the last delivery."""
    return f'{{"{isp}": {{"step": {step}, "began": {began}}}}}'


@pytest.mark.parametrize(("idle_days", "step"), [(13, 15), (20, 13), (60, 7), (180, 0)])
def test_an_address_that_sends_nothing_for_weeks_goes_down_its_ladder(rig: Rig, idle_days: int, step: int) -> None:
    rig.kept = kept("gmail", 15, rig.now)
    warmer = rig.warmer()
    assert rig.send(warmer, "gmail", 1) == 1
    warmer.keep(at_once=True)
    for _ in range(idle_days):  # whether anybody looks meanwhile or not
        rig.now += DAY
        warmer.rooms()
    (looked,) = warmer.states()
    (slept,) = rig.warmer().states()
    assert looked[1].step == slept[1].step == step
    assert ("took too little" in looked[1].reason) is (step < 15)


def test_the_amount_of_an_address_that_was_forgotten_is_spread_over_its_first_day(rig: Rig) -> None:
    warmer = rig.warmer()
    rig.all_day(warmer, "gmail", 1000)
    rig.now += 100.6 * DAY
    assert rig.send(warmer, "gmail", 1000) == 5  # the first hour's of 50
    assert rig.all_day(warmer, "gmail", 1000) == 45
    ((_, isp, _),) = warmer.states()
    assert isp.step == 1, "what it delivered since counts again"


def test_attempts_that_deliver_nothing_do_not_keep_an_address_known(rig: Rig) -> None:
    rig.kept = kept("gmail", 15, rig.now)
    warmer = rig.warmer()
    for _ in range(20):
        entry = rig.entry()
        warmer.admit("gmail", entry)
        warmer.attempted("gmail", entry, 0, bounced=1)
        rig.now += DAY
    ((_, isp, _),) = warmer.states()
    assert isp.step == 13


def test_a_message_now_and_then_does_not_keep_an_address_on_its_step(rig: Rig) -> None:
    rig.kept = kept("gmail", 15, rig.now)
    warmer = rig.warmer()
    steps = []
    for _ in range(28):
        assert rig.send(warmer, "gmail", 1) == 1
        rig.now += 13 * DAY
        ((_, isp, amount),) = warmer.states()
        steps.append((isp.step, amount))
    assert steps[0] == (15, 78_125)
    assert steps[-1] == (0, 50)
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize(("a_day", "stays"), [(7813, (15, 78_125)), (5000, (13, 50_000)), (2000, (10, 16_875))])
def test_an_address_that_sends_steadily_comes_to_the_step_of_which_that_is_a_tenth(
    rig: Rig, a_day: int, stays: tuple[int, int]
) -> None:
    rig.kept = kept("gmail", 15, rig.now)
    warmer = rig.warmer()
    for _ in range(60):
        assert rig.all_day(warmer, "gmail", a_day) == a_day
    ((_, isp, amount),) = warmer.states()
    assert (isp.step, amount) == stays


LONG_STRIDES = (5, 50, 500, 10_000)
SHORT_STRIDES = tuple(int(10 * 1.3**step) for step in range(24))
BEYOND_A_TENTH = (10, 1000)


@pytest.mark.parametrize(
    ("steps", "step", "a_day", "rests_on"),
    [
        (LONG_STRIDES, 4, 480, 3),  # no tenth of the last one, to which it climbs from the one before
        (SHORT_STRIDES, 24, 240, 20),  # more than the step half-way up
        (BEYOND_A_TENTH, 2, 90, 1),
    ],
)
def test_steady_mail_never_waits_for_that_the_address_was_known_for_more(
    rig: Rig, steps: tuple[int, ...], step: int, a_day: int, rests_on: int
) -> None:
    rig.kept = kept("gmail", step, rig.now)
    for _ in range(10):
        warmer = rig.warmer(steps=steps)
        for _ in range(10):
            assert rig.all_day(warmer, "gmail", a_day) == a_day
        warmer.keep(at_once=True)
    ((_, isp, _),) = warmer.states()
    assert isp.step == rests_on


def test_one_day_a_week_keeps_what_it_brings(rig: Rig) -> None:
    rig.kept = kept("gmail", 24, rig.now)
    warmer = rig.warmer(steps=SHORT_STRIDES)
    for _ in range(15):
        assert rig.all_day(warmer, "gmail", 240) == 240
        rig.now += 6 * DAY


@pytest.mark.parametrize(("idle_days", "step"), [(13, 20), (15, 18), (31, 10), (91, 0)])
def test_an_address_whose_steady_mail_ends_is_known_less_for_that(rig: Rig, idle_days: int, step: int) -> None:
    rig.kept = kept("gmail", 24, rig.now)
    warmer = rig.warmer(steps=SHORT_STRIDES)
    for _ in range(100):
        rig.all_day(warmer, "gmail", 240)
    rig.now += idle_days * DAY
    ((_, isp, _),) = warmer.states()
    assert isp.step == step


def test_a_step_that_was_climbed_is_kept_for_two_weeks_without_mail(rig: Rig) -> None:
    warmer = rig.warmer()
    for _ in range(4):
        rig.all_day(warmer, "gmail", 1000)
    steps = []
    for _ in range(16):
        rig.now += DAY
        ((_, isp, _),) = warmer.states()
        steps.append(isp.step)
    assert steps == [4] * 14 + [1] * 2, "two below the last one that it used"


def test_an_address_that_was_warm_and_was_idle_for_months_is_cold_again(rig: Rig) -> None:
    warmer = rig.warmer(steps=[12, 24])
    for _ in range(2):
        rig.all_day(warmer, "gmail", 100)
    assert rig.send(warmer, "gmail", 500) == 500
    warmer.lay_over(config())
    rig.now += 92 * DAY  # more than 90 since the end of that day
    assert rig.send(warmer, "gmail", 500) == 1
    assert warmer.is_outdated
    assert [policy.connections for policy in warmer.lay_over(config()).delivery.policies] == [2, 1]


def test_an_isp_that_refuses_the_address_sends_it_two_steps_back(rig: Rig) -> None:
    rig.kept = kept("gmail", 5, rig.now)
    warmer = rig.warmer()
    rig.send(warmer, "gmail", 100)
    warmer.admit("gmail", entry := rig.entry(recipients=3))
    for index in entry.recipients:
        warmer.attempted("gmail", entry, index, deferred=1, blocked=1)
    warmer.keep(at_once=True)
    rig.now += DAY
    ((_, isp, _),) = rig.warmer().states()
    assert (isp.step, isp.reason) == (3, "the ISP refused the address")


def test_a_clock_that_was_ahead_does_not_keep_an_address_known(rig: Rig) -> None:
    rig.kept = kept("gmail", 15, rig.now)
    warmer = rig.warmer()
    rig.now += 5 * DAY
    rig.send(warmer, "gmail", 1)
    rig.now -= 5 * DAY
    warmer.rooms()
    rig.now += 15 * DAY
    ((_, isp, _),) = warmer.states()
    assert isp.step == 13


def test_an_entry_whose_route_is_asked_for_again_counts_once(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24])
    entry = rig.entry()
    for _ in range(10):
        warmer.admit("gmail", entry)
    ((_, isp, _),) = warmer.states()
    assert isp.admitted == 1
    warmer.attempted("gmail", entry, 0, deferred=1)
    warmer.admit("gmail", entry)  # its next attempt is another message to the ISP
    assert isp.admitted == 2


def test_beyond_the_last_step_and_without_a_warm_up_nothing_is_bounded(rig: Rig) -> None:
    warmer = rig.warmer(steps=[12])
    rig.all_day(warmer, "gmail", 100)
    assert rig.send(warmer, "gmail", 5000) == 5000
    warm = rig.warmer(warm=True)
    assert (warm.is_active, rig.send(warm, "gmail", 5000)) == (False, 5000)
    warm.keep(at_once=True)
    assert rig.kept == ""


def test_it_says_when_there_will_be_room(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24])
    began = rig.now
    assert rig.send(warmer, "gmail", 100) == 2
    assert warmer.room_at("gmail") == began + DAY / 24
    rig.now = began + 23.5 * DAY / 24
    assert rig.send(warmer, "gmail", 100) == 2
    assert warmer.room_at("gmail") == began + DAY


def test_it_says_when_there_will_be_room_after_a_day_s_amount(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24, 24])
    rig.now += 18 * DAY / 24
    began = rig.now
    assert rig.all_day(warmer, "gmail", 24, deferred=1) == 24  # all in twelve hours; deferred, so no step is climbed
    rig.now = began + 12 * DAY / 24
    assert warmer.rooms()["gmail"] == 0
    assert warmer.room_at("gmail") == began + DAY


def test_a_campaign_late_in_a_step_is_spread_as_well(rig: Rig) -> None:
    warmer = rig.warmer(steps=[1200, 1200, 1200])
    assert rig.send(warmer, "gmail", 1) == 1
    sent = []
    for hour in range(20, 70):
        rig.now = 1_800_000_000.0 + hour * DAY / 24
        sent.append(rig.send(warmer, "gmail", 5000, deferred=1))
    assert max(sent) == 100, "a twelfth in an hour"
    assert max(sum(sent[at : at + 24]) for at in range(len(sent))) == 1200, "and the amount in any day"


def test_what_was_used_before_a_restart_of_a_release_that_kept_no_parts_counts(rig: Rig) -> None:
    rig.kept = f'{{"gmail": {{"step": 0, "began": {rig.now - 60}, "admitted": 3}}}}'
    assert rig.send(rig.warmer(steps=[48]), "gmail", 100) == 1


def test_a_cold_isp_gets_few_connections(rig: Rig) -> None:
    warmer = rig.warmer(steps=[12])
    cold = warmer.lay_over(config(steps=[12]))
    assert [policy.connections for policy in cold.delivery.policies] == [2, 1]
    assert cold.delivery.connections == 2
    rig.all_day(warmer, "gmail", 100)
    warmer.room("gmail", rig.entry())
    assert [policy.connections for policy in warmer.lay_over(config()).delivery.policies] == [8, 1]


def test_a_kept_state_that_cannot_be_read_begins_anew(rig: Rig) -> None:
    rig.kept = "rubbish"
    assert rig.send(rig.warmer(), "gmail", 3) == 3


def test_a_clock_that_was_set_back_stops_nothing(rig: Rig) -> None:
    rig.now += 400 * DAY
    warmer = rig.warmer(steps=[24])
    assert rig.send(warmer, "gmail", 100) == 2
    rig.now -= 400 * DAY
    assert warmer.room_at("gmail") <= rig.now + DAY
    rig.now += 12 * DAY / 24
    assert rig.send(warmer, "gmail", 100) == 2


def test_what_is_on_its_way_keeps_its_room_when_its_route_is_asked_for_again(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24])
    first, second = rig.entry(), rig.entry()
    for entry in (first, second):
        warmer.admit("gmail", entry)
    assert not warmer.room("gmail", rig.entry())
    assert warmer.room("gmail", first)
    assert warmer.room("yahoo", first)  # of its own
    warmer.attempted("gmail", first, 0, deferred=1)
    assert not warmer.room("gmail", first)


def test_what_ends_without_an_attempt_uses_nothing_of_the_day(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24])
    for _ in range(10):
        entry = rig.entry()
        assert warmer.room("gmail", entry)
        warmer.admit("gmail", entry)
        warmer.withdrawn(entry)
        warmer.withdrawn(entry)
    assert rig.send(warmer, "gmail", 100) == 2


def test_recipients_are_counted_as_the_isp_counts_them(rig: Rig) -> None:
    warmer = rig.warmer(steps=[60])  # five in the first hour
    entry = rig.entry(recipients=3)
    assert warmer.room("gmail", entry) == 3
    warmer.admit("gmail", entry)
    assert warmer.room("gmail", rig.entry(recipients=100)) == 2
    assert warmer.room("gmail", entry) == 3, "it has its room"
    for index in entry.recipients:
        warmer.attempted("gmail", entry, index, delivered=1)
    ((_, isp, _),) = warmer.states()
    assert (isp.admitted, isp.delivered) == (3, 3)
    assert warmer.rooms()["gmail"] == 2


def test_recipients_that_the_peer_never_heard_of_use_nothing_of_the_day(rig: Rig) -> None:
    warmer = rig.warmer(steps=[60])
    entry = rig.entry(recipients=5)
    warmer.admit("gmail", entry)
    warmer.attempted("gmail", entry, 0, delivered=1)
    for index in (1, 2, 3):
        warmer.attempted("gmail", entry, index, is_sent=False)
    entry.recipients = (4,)
    warmer.withdrawn(entry)
    ((_, isp, _),) = warmer.states()
    assert (isp.admitted, isp.delivered, isp.deferred) == (1, 1, 0)


def test_parts_of_a_message_have_each_their_own_room(rig: Rig) -> None:
    warmer = rig.warmer(steps=[60])
    part, rest = rig.entry(), rig.entry()
    rest.id, part.recipients, rest.recipients = part.id, (0, 1), (2, 3)
    warmer.admit("gmail", part)
    assert warmer.room("gmail", rest) == 2
    warmer.admit("gmail", rest)
    warmer.withdrawn(part)
    assert warmer.room("gmail", rest) == 2
    assert warmer.rooms()["gmail"] == 3


def test_complaints_hold_an_address_on_its_step_over_a_restart(rig: Rig) -> None:
    warmer = rig.warmer()
    sent = rig.send(warmer, "gmail", 4)
    for _ in range(2):
        warmer.complained("gmail")
    warmer.keep(at_once=True)
    warmer = rig.warmer()
    assert sent + rig.all_day(warmer, "gmail", 1000) == 50
    ((_, isp, amount),) = warmer.states()
    assert (isp.step, amount) == (0, 50)
    assert "2 complaints of 50" in isp.reason


def test_it_says_how_much_room_there_is_for_each_cold_isp_and_begins_nothing_by_that(rig: Rig) -> None:
    warmer = rig.warmer(steps=[24])
    assert warmer.rooms() == {"gmail": 2, "yahoo": 2, "other": 2}
    assert list(warmer.states()) == []
    rig.send(warmer, "gmail", 1)
    rig.send(warmer, "yahoo", 9)
    assert warmer.rooms() == {"gmail": 1, "yahoo": 0, "other": 2}
    rig.now += DAY / 24
    assert warmer.rooms()["yahoo"] == 2, "another hour"
    assert rig.all_day(warmer, "gmail", 24) > 0
    assert rig.warmer().rooms().keys() == {"gmail", "yahoo", "other"}
    assert Warmer(config(warm=True), rig.clock, "", rig.write).rooms() == {}
