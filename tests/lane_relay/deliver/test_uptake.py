"""When a peer that takes a long message goes on, from looks at how much of it is left where."""

import pytest

from lane_relay.deliver.uptake import Uptake

STEP = 16 * 1024


@pytest.mark.parametrize(
    ("before", "looks"),
    [
        pytest.param(
            (90_000, 100_000), [(80_000, 100_000 - STEP + 1, False), (80_000, 100_000 - STEP, True)], id="a step"
        ),
        pytest.param((0, 900), [(0, 1, False), (0, 0, True), (0, 0, False)], id="the last of it is confirmed"),
        pytest.param(
            (300, 900), [(1, 800, False), (0, 800, True), (0, 700, False)], id="the last has left this process"
        ),
        pytest.param(
            (0, STEP * 2), [(0, STEP, True), (0, 1, False), (0, 0, True)], id="a step counts from the one before"
        ),
    ],
)
def test_a_peer_goes_on(before: tuple[int, int], looks: list[tuple[int, int, bool]]) -> None:
    uptake = Uptake(1.0, *before)
    assert [uptake.goes_on(here, left) for here, left, _ in looks] == [goes_on for *_, goes_on in looks]


def test_another_message_is_one_that_began_at_another_time_or_of_which_more_is_left() -> None:
    uptake = Uptake(1.0, 0, 900)
    assert [uptake.is_of(*of) for of in ((1.0, 900), (2.0, 900), (1.0, 901))] == [True, False, False]
