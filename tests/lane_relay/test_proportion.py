"""What counts prove, against the figures of research/06 part 5."""

import pytest

from lane_relay.proportion import at_least


@pytest.mark.parametrize(
    ("of", "beyond_a_thousandth", "beyond_three"), [(1_000, 3, 7), (10_000, 17, 41), (100_000, 120, 334)]
)
def test_so_many_complaints_prove_a_rate_and_one_fewer_does_not(
    of: int, beyond_a_thousandth: int, beyond_three: int
) -> None:
    for count, share in ((beyond_a_thousandth, 0.001), (beyond_three, 0.003)):
        assert at_least(count, of) > share >= at_least(count - 1, of)


def test_of_nothing_nothing_is_known_and_no_share_is_more_than_all() -> None:
    assert at_least(0, 0) == at_least(0, 10) == 0.0
    assert at_least(20, 10) == at_least(10, 10) < 1.0
