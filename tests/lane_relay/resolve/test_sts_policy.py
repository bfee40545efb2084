"""The texts of MTA-STS, from those of RFC 8461 to those that break its grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.resolve.sts_policy import StsPolicy, lists, read_policy, read_record

EXAMPLE = (
    "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800"
)
"""RFC 8461 section 3.2."""


def _made(text: str) -> StsPolicy:
    found = read_policy(text, "1", 5.0)
    assert isinstance(found, StsPolicy), found
    return found


def test_the_example_of_the_rfc_is_read() -> None:
    assert _made(EXAMPLE) == StsPolicy(
        "1", "enforce", ("mail.example.com", "*.example.net", "backupmx.example.com"), 604800.0, 5.0
    )
    assert _made(EXAMPLE.replace("\n", "\r\n")) == _made(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no version"),
        (EXAMPLE.replace("STSv1", "STSv2"), "no version"),
        (EXAMPLE.replace("enforce", "strict"), "mode is 'strict'"),
        (EXAMPLE.replace("604800", "a week"), "max_age is 'a week'"),
        (EXAMPLE.replace("604800", "-1"), "max_age"),
        ("version: STSv1\nmode: enforce\nmax_age: 5", "no mx"),
        (EXAMPLE + "\n<html>", "without a colon"),
        (EXAMPLE + "\nmx: ", "mx is ''"),
        (EXAMPLE + "\nmx: *", "mx is '*'"),
        (EXAMPLE + "\nmx: *.*.com", "mx is '*.*.com'"),
        (EXAMPLE + "\nmx: mail.*", "mx is 'mail.*'"),
        (EXAMPLE + "\nmx: a b", "mx is 'a b'"),
        (EXAMPLE + "\nmx: mx1.example.com, mx2.example.com", "one line for each"),
    ],
)
def test_a_text_that_breaks_the_grammar_is_no_policy_and_says_why(text: str, problem: str) -> None:
    found = read_policy(text, "1", 5.0)
    assert isinstance(found, str)
    assert problem in found


def test_hosts_are_read_however_they_are_written() -> None:
    assert _made(EXAMPLE + "\nmx: *.BÜCHER.example.").mx[-1] == "*.xn--bcher-kva.example"


def test_unknown_fields_are_passed_over_and_of_double_ones_the_first_counts() -> None:
    found = _made(EXAMPLE + "\nfuture: whatever\nmode: none\nmax_age: 1\n\n")
    assert (found.mode, found.max_age) == ("enforce", 604800.0)


def test_a_policy_lives_for_a_year_at_most_and_mode_none_needs_no_hosts() -> None:
    assert _made(EXAMPLE.replace("604800", "9999999999")).max_age == 31_557_600
    assert _made("version: STSv1\nmode: none\nmax_age: 60").expires_at == 65.0


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("mail.example.com", True),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("aexample.net", False),
        ("mail.example.com.evil.test", False),
    ],
)
def test_a_star_stands_for_exactly_one_label(host: str, listed: bool) -> None:
    assert lists(_made(EXAMPLE), host) == listed


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1\t;\tid\t=\t1"], "1"),
        (["v=STSv1; id=1;", "v=spf1 -all"], "1"),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], ""),
        (["v=STSv1; id=;"], ""),
        (["v=STSv1; id=a b;"], ""),
        (["v=STSv1; id=" + "1" * 33], ""),
        (["v=STSv12; id=1"], ""),
        (["STSv1; id=1"], ""),
        ([], ""),
    ],
)
def test_one_record_announces_a_policy_and_none_or_several_do_not(records: list[str], found: str) -> None:
    assert read_record(records) == found


@given(st.text(max_size=400))
def test_whatever_a_web_server_says_is_a_policy_or_a_reason(text: str) -> None:
    assert read_policy(text, "1", 0.0)
    assert isinstance(read_record([text]), str)
