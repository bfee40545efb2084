"""Replies, whole and in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.records import Reply
from lane_relay.smtp.reply import MAX_REPLY_BYTES, MAX_REPLY_LINES, ReplyParser, format_reply

STREAM = b"220 hello\r\n250-one\r\n250-two\r\n250 three\r\n354\r\n550 5.1.1 no such user\r\n"
REPLIES = [
    Reply(220, ("hello",)),
    Reply(250, ("one", "two", "three")),
    Reply(354, ("",)),
    Reply(550, ("5.1.1 no such user",)),
]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_replies_are_the_same_wherever_the_bytes_are_cut(cut: int) -> None:
    parser = ReplyParser()

    assert parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:]) == REPLIES
    assert not parser.is_pending
    assert not parser.broken


def test_replies_come_byte_by_byte() -> None:
    parser = ReplyParser()

    assert [reply for byte in STREAM for reply in parser.feed(bytes([byte]))] == REPLIES


def test_a_line_may_end_in_lf_alone() -> None:
    assert ReplyParser().feed(b"250-a\n250 b\n") == [Reply(250, ("a", "b"))]


def test_the_last_line_gives_the_code() -> None:
    assert ReplyParser().feed(b"250-a\r\n550 b\r\n") == [Reply(550, ("a", "b"))]


@pytest.mark.parametrize(
    "line", [b"hello", b"25 x", b"2500 x", b"150 x", b"650 x", b"250_x", b"", b"\xff\xff\xff x", b"HTTP/1.1 400"]
)
def test_what_is_no_reply_breaks_the_stream_for_good(line: bytes) -> None:
    parser = ReplyParser()

    assert parser.feed(b"220 hi\r\n" + line + b"\r\n250 ok\r\n") == [REPLIES[0].__class__(220, ("hi",))]
    assert "not an SMTP reply" in parser.broken
    assert parser.feed(b"250 ok\r\n") == []


def test_a_reply_of_too_many_lines_breaks_the_stream() -> None:
    parser = ReplyParser()

    assert parser.feed(b"250-x\r\n" * (MAX_REPLY_LINES + 1)) == []
    assert "lines" in parser.broken


@pytest.mark.parametrize("piece", [b"x" * 1000, b"250-" + b"x" * 996 + b"\r\n"])
def test_a_reply_without_an_end_is_bounded(piece: bytes) -> None:
    parser = ReplyParser()
    for _ in range(2 * MAX_REPLY_BYTES // 1000):
        parser.feed(piece if piece.endswith(b"\n") else b"250 " + piece if not parser.is_pending else piece)
        if parser.broken:
            break

    assert parser.broken


def test_control_characters_do_not_reach_records() -> None:
    assert ReplyParser().feed(b"550 a\x00\x1b[31m\rb\r\n") == [Reply(550, ("a??[31m?b",))]


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert ReplyParser().feed(b"550 \xff\r\n") == [Reply(550, ("\ufffd",))]


def test_a_reply_is_written_with_its_code_on_each_line() -> None:
    assert format_reply(250, "a", "b", "") == b"250-a\r\n250-b\r\n250\r\n"
    assert format_reply(354) == b"354\r\n"


@given(st.integers(200, 599), st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_text_can_forge_a_line(code: int, lines: list[str]) -> None:
    (reply,) = ReplyParser().feed(format_reply(code, *lines))

    assert reply.code == code
    assert len(reply.lines) == len(lines)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_no_bytes_make_the_parser_fail(pieces: list[bytes]) -> None:
    parser = ReplyParser()

    for piece in pieces:
        assert all(200 <= reply.code < 600 for reply in parser.feed(piece))
