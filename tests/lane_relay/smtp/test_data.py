"""Dot-stuffing and line ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.smtp.data import END_OF_DATA, MAX_LINE, has_bare_line_end, has_long_line, stuff, unfit_content, unstuff

_lines = st.lists(st.text("ab. ", max_size=6).map(str.encode), max_size=8)


@given(_lines, st.integers(min_value=0, max_value=8))
def test_what_is_stuffed_comes_back_and_ends_only_where_it_ends(lines: list[bytes], cut: int) -> None:
    chunks = [b"".join(line + b"\r\n" for line in part) for part in (lines[:cut], lines[cut:])]
    sent = b"".join(stuff(chunks))

    assert sent.endswith(END_OF_DATA)
    assert (b"\r\n" + sent).find(b"\r\n.\r\n") == len(sent) - 3
    assert unstuff(sent[:-3]) == b"".join(chunks)


def test_a_chunk_without_leading_dots_is_not_copied() -> None:
    chunk = b"a\r\nb.\r\n"

    assert stuff([chunk])[0] is chunk


def test_content_without_a_last_line_end_gets_one() -> None:
    assert b"".join(stuff([b"a"])) == b"a\r\n.\r\n"


def test_empty_content_is_the_dot_alone() -> None:
    assert stuff([]) == stuff([b""]) == (b".\r\n",)


def test_chunks_that_are_cut_inside_a_line_are_joined() -> None:
    assert b"".join(stuff([b"a\r", b"\n", b".b\r\n"])) == b"a\r\n..b\r\n.\r\n"
    assert b"".join(stuff([b"a", b".b\r\n"])) == b"a.b\r\n.\r\n"


@pytest.mark.parametrize(
    "content", [b"a\nb\r\n", b"a\rb\r\n", b"\n", b"\r", b"a\r\r\n", b"a\r\n\n", b"\r\n.\n", b"\n.\r\n"]
)
def test_a_lone_cr_or_lf_is_found(content: bytes) -> None:
    assert has_bare_line_end(content)


@given(_lines)
def test_whole_lines_have_no_lone_line_end(lines: list[bytes]) -> None:
    assert not has_bare_line_end(b"".join(line + b"\r\n" for line in lines))


@given(st.text("a\r\n.", max_size=12).map(str.encode))
def test_a_lone_line_end_is_one_that_no_pair_explains(content: bytes) -> None:
    rest = content.split(b"\r\n")

    assert has_bare_line_end(content) == any(b"\r" in part or b"\n" in part for part in rest)


@given(st.lists(st.sampled_from([0, 1, 3, 76, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 2 * MAX_LINE + 3]), max_size=8))
def test_a_long_line_is_seen_wherever_it_is_and_only_then(lengths: list[int]) -> None:
    content = b"".join(b"x" * length + b"\r\n" for length in lengths)

    assert has_long_line(content) is any(length > MAX_LINE for length in lengths)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a\nb\r\n", "CR or LF"), (b"a\0b\r\n", "NUL"), (b"\r\n\0.\r\n", "NUL"), (b"x" * 999 + b"\r\n", "998 octets")],
)
def test_unfit_content_is_told_what_to_mend(content: bytes, said: str) -> None:
    refusal = unfit_content(content)

    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (550, "5.6.0")
    assert said in refusal.text
