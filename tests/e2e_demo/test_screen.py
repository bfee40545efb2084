"""What the demo shows while it runs, and the commands that it ends with."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from e2e.cluster.progress import status_line
from e2e.demo import report
from e2e.demo.__main__ import CONTROL, next_commands, step_title
from e2e.demo.lanes import lane_of_class, manifests
from e2e.demo.measure import Scale, news
from e2e.internet import addresses

CODES = [("warm-up", 100), ("OTPs", 1000)]


def test_a_quiet_phase_counts_the_codes_that_its_title_names() -> None:
    assert news(None, CODES[:1], 17) == "warm-up: 17 of 100 arrived"
    assert news(None, CODES, 100) == "OTPs: 0 of 1,000 arrived"
    assert news(None, CODES, 1100) == "OTPs: 1,000 of 1,000 arrived"


def test_a_code_that_comes_twice_or_out_of_turn_leaves_the_count_in_its_bounds() -> None:
    assert news(None, CODES, 1101) == "OTPs: 1,000 of 1,000 arrived"
    assert news(None, CODES, 90) == "OTPs: 0 of 1,000 arrived"


def test_a_flood_says_how_many_newsletters_wait() -> None:
    assert news(9876, [], 0) == "9,876 newsletters wait"
    assert news(34_947, CODES, 1087) == "34,947 wait; OTPs: 987 of 1,000 arrived"


@pytest.mark.parametrize("way", report.TITLES)
def test_the_counters_of_a_flood_are_whole_on_a_terminal_of_80_columns(way: str) -> None:
    counters = news(Scale().flood, CODES, 1100)

    line = status_line(step_title("flood", way), "up to 2 min 59 s", 179.0, counters, 80 - 4)

    assert line.endswith(counters)


def test_estimates_follow_from_the_scale() -> None:
    scale = Scale()

    assert scale.quiet_s == 44.0
    assert scale.flood_at_least_s == pytest.approx(58.8, abs=0.1)  # 50,000 newsletters at 850 a second
    assert scale.cut_short_s == 179.0
    assert CONTROL.flood_at_least_s == pytest.approx(14.4, abs=0.1)  # 2,000 must wait before 300 codes are sent


def test_the_next_commands_fit_the_screen_and_their_recipient_exists() -> None:
    text = next_commands(lane_of_class(manifests(), "Transactional"), "build/demo")

    assert max(map(len, text.splitlines())) <= 80
    (recipient,) = {word for line in text.splitlines() for word in line.split() if word.startswith("me@")}
    assert any(fnmatchcase(recipient.partition("@")[2], pattern) for pattern in addresses.GMAIL.domains)
    assert "docs/quickstart/README.md" in text
