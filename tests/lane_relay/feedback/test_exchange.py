"""Times that a list of another tool has, and the last one that a word has room for."""

import pytest

from lane_relay.feedback.exchange import BadLine, Brought, read_line, read_time


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("", 0),
        ("1970-01-01", 0),
        ("2026-11-28", 1_795_824_000),
        ("2026-11-28T01:00:00+01:00", 1_795_824_000),
        ("1795824000", 1_795_824_000),
        ("4294967295", 2**32 - 1),
        ("2106-02-07T06:28:15Z", 2**32 - 1),
    ],
)
def test_a_time_is_read_in_each_form(text: str, unix: int) -> None:
    assert read_time(text, "expires") == unix


@pytest.mark.parametrize(
    "text", ["-1", "1969-12-31", "4294967296", "2106-02-07T06:28:16Z", "9999-12-31", "9" * 5000, "²", "tomorrow"]
)
def test_a_time_that_four_octets_cannot_hold_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"expires: .* is no time: write 2026-11-28"):
        read_time(text, "expires")


def test_a_line_with_such_a_time_is_bad_and_no_other() -> None:
    assert isinstance(read_line(("address", "expires"), "ann@isp.test,9999-12-31"), BadLine)
    assert isinstance(read_line(("address", "expires"), "ann@isp.test,2106-02-07"), Brought)
