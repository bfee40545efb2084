"""What a long step shows of itself on a narrow terminal."""

import pytest

from e2e.cluster.progress import status_line

NEWS = "34,947 wait; OTPs: 987 of 1,000 arrived"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (100, f"flood: two lanes (at least 59.0 s) - 1 min 24 s {NEWS}"),
        (76, f"flood: two lanes - 1 min 24 s {NEWS}"),
        (40, "flood: two lanes - 1 min 24 s 34,947 wai"),
    ],
)
def test_where_room_is_short_the_estimate_goes_before_the_news(width: int, line: str) -> None:
    assert status_line("flood: two lanes", "at least 59.0 s", 84.0, NEWS, width) == line


def test_a_step_without_an_estimate_has_no_brackets() -> None:
    assert status_line("operator", "", 1.0, "images", 80) == "operator - 1.0 s images"
