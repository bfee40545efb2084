"""Where a warm-up begins of which nothing is known but since when the address's owner has sent from it."""

from typing import Any

import pytest

from lane_api.relayconfig import Delivery
from lane_relay.warmup.warmer import Warmer
from tests.lane_relay.warmup.test_warmer import DAY, Rig, config, rig

__all__ = ["rig"]

NOVEMBER = 1_793_491_200.0
"""2026-11-01T00:00:00Z"""
STEPS: dict[str, Any] = {"steps": [10, 20, 40, 80], "started_on": "2026-11-01"}


def steps_of(warmer: Warmer) -> dict[str, int]:
    return {name: isp.step for name, isp, _ in warmer.states()}


@pytest.mark.parametrize(
    ("days", "step"), [(-1.0, 0), (0.0, 0), (0.9, 0), (1.0, 1), (2.5, 2), (3.0, 3), (4.0, 3), (400.0, 3)]
)
def test_a_warm_up_of_which_nothing_is_known_begins_on_the_step_that_its_owner_s_days_give(
    rig: Rig, days: float, step: int
) -> None:
    rig.now = NOVEMBER + days * DAY
    warmer = rig.warmer(**STEPS)
    assert steps_of(warmer) == {"gmail": step, "other": step, "yahoo": step}
    assert all("since 2026-11-01" in isp.reason for _, isp, _ in warmer.states())
    assert rig.all_day(warmer, "gmail", 1000) == (10, 20, 40, 80)[step], "the address is cold still"
    assert {name: amount for name, _, amount in warmer.states()} | {"gmail": None} == {
        "gmail": None,
        "other": (10, 20, 40, 80)[step],
        "yahoo": (10, 20, 40, 80)[step],
    }


def test_steps_of_another_length_are_what_the_days_are_counted_in(rig: Rig) -> None:
    rig.now = NOVEMBER + 1.6 * DAY
    assert set(steps_of(rig.warmer(**STEPS, step_every="12h")).values()) == {3}
    assert set(steps_of(rig.warmer(**STEPS, step_every="48h")).values()) == {0}


def test_the_usual_ladder_is_begun_within_as_well_and_never_left_by_days_alone(rig: Rig) -> None:
    rig.now = NOVEMBER + 20 * DAY
    found = {name: (isp.step, amount) for name, isp, amount in rig.warmer(started_on="2026-11-01").states()}
    assert found["gmail"][0] == 20
    assert found["gmail"][1]
    rig.kept, rig.now = "", NOVEMBER + 4000 * DAY
    assert all(amount for _, _, amount in rig.warmer(started_on="2026-11-01").states())


def test_what_is_known_counts_more_than_what_the_owner_says(rig: Rig) -> None:
    rig.now = NOVEMBER + 2 * DAY
    first = rig.warmer(steps=[10, 20, 40, 80])
    assert rig.all_day(first, "gmail", 1000) == 10
    first.keep(at_once=True)
    again = rig.warmer(**STEPS)
    assert steps_of(again) == {"gmail": 1}
    assert rig.all_day(again, "yahoo", 1000) == 10, "nobody said anything when this began"


def test_it_is_said_once_and_a_restart_changes_nothing(rig: Rig) -> None:
    rig.now = NOVEMBER + 1 * DAY
    rig.warmer(**STEPS).keep(at_once=True)
    rig.now += 2 * DAY
    assert set(steps_of(rig.warmer(**STEPS)).values()) == {1}


def test_an_isp_that_has_its_policy_later_begins_where_it_would_have_and_is_forgotten_as_others(rig: Rig) -> None:
    rig.now = NOVEMBER + 3 * DAY
    warmer = rig.warmer(**STEPS)
    policies = [{"name": name} for name in ("gmail", "yahoo", "gmx")]
    warmer.apply(config(**STEPS).model_copy(update={"delivery": Delivery.model_validate({"policies": policies})}))
    rig.now += 10 * DAY  # as if it had been seen when all of this began, and it is no climb that it was not asked for
    assert warmer.room("gmx", rig.entry(100)) == 7  # a twelfth of 80
    assert steps_of(warmer)["gmx"] == 3
    rig.now += 10 * DAY
    assert steps_of(warmer) == {"gmail": 1, "gmx": 1, "other": 1, "yahoo": 1}
    policies.append({"name": "web-de"})
    warmer.apply(config(**STEPS).model_copy(update={"delivery": Delivery.model_validate({"policies": policies})}))
    assert warmer.rooms()["web-de"] == 2
    warmer.room("web-de", rig.entry())
    assert steps_of(warmer)["web-de"] == 1


def test_the_days_are_believed_where_they_are_said_before_the_first_mail_and_forgotten_with_the_warm_up(
    rig: Rig,
) -> None:
    rig.now = NOVEMBER + 2 * DAY
    warmer = rig.warmer(steps=[10, 20, 40, 80])
    warmer.apply(config(**STEPS))
    assert set(steps_of(warmer).values()) == {2}
    warmer.apply(config(warm=True))
    rig.now += 1 * DAY
    warmer.apply(config(**STEPS))
    assert set(steps_of(warmer).values()) == {3}
