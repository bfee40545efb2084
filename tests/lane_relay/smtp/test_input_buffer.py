"""Lines and content cut out of a stream."""

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.smtp.command import MAX_SASL_LINE
from lane_relay.smtp.input_buffer import InputBuffer


def test_lines_are_cut_with_their_ends() -> None:
    buffer = InputBuffer()
    buffer.data += b"one\r\ntwo\nthr"

    assert [buffer.cut_line(), buffer.cut_line(), buffer.cut_line()] == [b"one\r\n", b"two\n", None]
    assert buffer.data == b"thr"


def test_a_line_without_an_end_is_cut_off_behind_every_limit() -> None:
    buffer = InputBuffer()
    buffer.data += b"x" * (MAX_SASL_LINE + 5)

    assert buffer.cut_line() == b"x" * MAX_SASL_LINE


@given(st.text(".\r\nx", max_size=30).map(str.encode), st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_content_ends_at_the_first_lone_dot_however_it_comes(content: bytes, cuts: list[int], drop: bool) -> None:
    stream = content + b"\r\n.\r\nQUIT\r\n"
    expected = (b"\r\n" + stream).find(b"\r\n.\r\n")
    buffer = InputBuffer()
    buffer.begin_content()
    fed, dropped, end = 0, 0, -1
    for edge in [*sorted(cuts), len(stream)]:
        buffer.data += stream[fed:edge]
        fed = max(fed, edge)
        end = buffer.find_end()
        if end >= 0:
            break
        if drop:
            before = len(buffer.data)
            buffer.drop_content()
            dropped += before - len(buffer.data)

    assert end + dropped == expected
    assert drop or buffer.take_content(end) == stream[:expected]
