"""From fields that somebody has made to hurt: each is an answer, and none costs more than its length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.mail.author import Author, NoAuthor, parse_author

HOSTILE = st.text(st.sampled_from('ab.@<>()[]",:;\\ \t=?\r\n\x00ü'), max_size=600)


@pytest.mark.parametrize("depth", [11, 200, 1000, 100_000])
def test_nested_comments_are_refused_however_deep_they_go(depth: int) -> None:
    author = parse_author([b"(" * depth + b")" * depth + b" a@x.example"])

    assert isinstance(author, NoAuthor)


@pytest.mark.parametrize("value", [b'"(' * 250, b'("' * 250, b"a:;" * 170, b"a(" * 250, b"=?" * 250, b"\\" * 500])
def test_a_value_that_the_library_stumbles_over_is_malformed(value: bytes) -> None:
    assert isinstance(parse_author([value]), NoAuthor)


@given(HOSTILE)
def test_no_value_makes_reading_it_fail(text: str) -> None:
    assert isinstance(parse_author([text.encode()]), Author | NoAuthor)


def test_a_value_is_read_up_to_a_length_that_no_author_needs() -> None:
    assert isinstance(parse_author([b'"' + b"n" * 1900 + b'" <a@x.example>']), Author)
    refused = parse_author([b'"' + b"n" * 2100 + b'" <a@x.example>'])

    assert isinstance(refused, NoAuthor)
    assert "longer than 2048 octets" in refused.reason


def test_a_value_with_comments_is_read_up_to_a_shorter_length() -> None:
    """The library's parser takes a time that grows with the square of the length."""
    assert isinstance(parse_author([b"a@x.example (" + b"n" * 400 + b")"]), Author)
    refused = parse_author([b"a@x.example (" + b"n" * 600 + b")"])

    assert isinstance(refused, NoAuthor)
    assert "Name <address>" in refused.reason


@pytest.mark.parametrize(
    "shape",
    [
        "{blanks}(",
        "a{blanks}(",
        "{blanks}a",
        "{blanks}a{blanks}(",
        "a{blanks}<",
        '"a"{blanks}(',
        "<a@x.example>{blanks}(",
    ],
)
def test_blanks_cost_no_more_than_other_characters(shape: str) -> None:
    """One alone could take more than a second, and these are a hundred: only the runner's limit is asked."""
    for count in range(1900, 2000):
        author = parse_author([shape.format(blanks=" " * (count // shape.count("{"))).encode()])
        assert isinstance(author, NoAuthor)
