"""Ids over a wall clock that goes as it likes: each greater than the last, none twice, and true as to the time."""

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.records import FOREIGN, received_at
from lane_relay.spool.ids import SpoolIds, stamp_of

NOW = 1_800_000_000.0
DAY = 86_400.0


class Rig:
    def __init__(self, after: int = 0) -> None:
        self.now = NOW
        self.eras: list[int] = []
        self.ids = SpoolIds(lambda: self.now, 0xABCDEF, after, self.eras.append)

    def at(self, now: float) -> int:
        self.now = now
        return self.ids.new()


def test_an_id_says_when_it_was_given_and_is_greater_than_the_last() -> None:
    rig = Rig()
    given_out = [rig.at(NOW), rig.at(NOW), rig.at(NOW + 0.25)]
    assert given_out == sorted(set(given_out))
    assert [received_at(one) for one in given_out] == [NOW, NOW, NOW + 0.25]
    assert [one >> 90 for one in given_out] == [0, 0, 0]


def test_a_clock_set_back_begins_another_era_in_which_ids_say_the_true_time_and_are_greater_still() -> None:
    rig = Rig()
    ahead, true = rig.at(NOW + DAY), rig.at(NOW)
    assert true > ahead
    assert (received_at(ahead), received_at(true)) == (NOW + DAY, NOW)
    assert rig.eras == [1]
    later = rig.at(NOW + 5)
    assert later > true
    assert rig.eras == [1]


def test_a_clock_that_is_a_little_behind_begins_none() -> None:
    rig = Rig()
    first = rig.at(NOW)
    second = rig.at(NOW - 1)
    assert second > first
    assert (received_at(second), rig.eras) == (NOW, [])


def test_a_siblings_mail_keeps_its_time_in_every_era_and_is_known_as_such() -> None:
    rig = Rig(after=stamp_of(3, 0))
    one, another = rig.ids.foreign(NOW - 500), rig.ids.foreign(NOW - 500)
    assert one != another
    assert (received_at(one), one & FOREIGN, one >> 90) == (NOW - 500, FOREIGN, 3)


def test_ids_of_the_next_life_are_greater_in_whatever_era_the_last_one_ended() -> None:
    first = Rig()
    first.at(NOW + DAY)
    last = first.at(NOW)
    second = Rig(after=(last >> 48) + 1)
    assert second.at(NOW) > last
    assert second.at(NOW - DAY) > last
    assert second.eras == [2]


def test_eras_do_not_run_out_by_small_steps() -> None:
    rig = Rig()
    last = 0
    for _ in range(5000):
        now = rig.at(rig.now - 1.5)
        assert now > last
        last = now
    assert 1 < rig.eras[-1] < 63


@given(st.lists(st.floats(-3 * DAY, 3 * DAY), min_size=1, max_size=300))
def test_whatever_the_clock_does_ids_grow_and_eras_are_counted_one_by_one(steps: list[float]) -> None:
    rig = Rig()
    given_out = [rig.at(rig.now + step) for step in steps]
    assert given_out == sorted(set(given_out))
    assert rig.eras == list(range(1, len(rig.eras) + 1))
    assert given_out[-1] >> 90 == len(rig.eras) <= 63
