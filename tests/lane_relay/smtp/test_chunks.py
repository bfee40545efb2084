"""Content that comes by BDAT."""

import pytest

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.server import Closed, MessageReceived
from tests.lane_relay.smtp.talking import GROUP, Policy, codes, server, talk

ENVELOPE_ONLY = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"
WHOLE = b"Subject: x\r\n\r\n.\r\n.\r\nQUIT\r\nx"


def chunked(*chunks: bytes) -> bytes:
    """All of it pipelined, the last one marked."""
    last = len(chunks) - 1
    return ENVELOPE_ONLY + b"".join(
        b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" if at == last else b"", chunk) for at, chunk in enumerate(chunks)
    )


@pytest.mark.parametrize("cut", range(len(chunked(WHOLE, b"end\r\n")) + 1))
def test_chunks_are_the_same_wherever_their_bytes_are_cut(cut: int) -> None:
    machine, stream = server(), chunked(WHOLE, b"end\r\n")
    first, output = talk(machine, stream[:cut])
    second, more = talk(machine, stream[cut:] + b"NOOP\r\n")

    content = WHOLE + b"end\r\n"
    assert first + second == [MessageReceived(Envelope("a@x.example", ("b@y.example",)), content)]
    assert codes(output + more) == [250, 250, 250, 250, 250]
    assert machine.held_bytes == 0


def test_nothing_inside_a_chunk_is_a_command_or_an_end_of_data() -> None:
    inside = b"Subject: x\r\n\r\n.\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<v@y.example>\r\nDATA\r\nevil\r\n.\r\n"
    events, output = talk(server(), chunked(inside))

    assert events == [MessageReceived(Envelope("a@x.example", ("b@y.example",)), inside)]
    assert codes(output) == [250, 250, 250]


@pytest.mark.parametrize(
    "argument", [b"", b" x", b" -1", b" 5 FIRST", b" 5LAST", b" 0x5", b" 5 LAST now", b" " + b"9" * 20]
)
def test_a_chunk_of_unknown_length_ends_the_session_for_nobody_knows_what_follows(argument: bytes) -> None:
    events, output = talk(server(), ENVELOPE_ONLY + b"BDAT" + argument + b"\r\nMAIL FROM:<evil@x.example>\r\n")

    assert events == [Closed()]
    assert codes(output) == [250, 250, 501]


@pytest.mark.parametrize("chunk", [b"a\nb\r\n", b"a\rb\r\n", b"x\r", b"a\0b\r\n", b"x" * 999])
def test_what_is_refused_behind_data_is_refused_in_chunks(chunk: bytes) -> None:
    policy = Policy()
    machine = server(policy)
    events, output = talk(machine, chunked(chunk))

    assert events == []
    assert codes(output) == [250, 250, 550]
    assert policy.refusals == [(Stage.END_OF_DATA, 550, "a@x.example", ("b@y.example",))]
    assert len(talk(machine, chunked(b"x\r\n"))[0]) == 1


def test_a_line_end_that_two_chunks_share_is_whole() -> None:
    (event,), _ = talk(server(), chunked(b"Subject: x\r", b"\n\r\nbody"))

    assert isinstance(event, MessageReceived)
    assert event.content == b"Subject: x\r\n\r\nbody\r\n"


@pytest.mark.parametrize("piece", [1, 50, 5000])
def test_chunks_over_the_limit_are_not_kept_and_what_follows_them_is_read_past(piece: int) -> None:
    policy = Policy()
    machine = server(policy)
    stream = chunked(b"x" * 1500, b"y" * 501, b"QUIT\r\n") + b"NOOP\r\n"
    held, output = 0, b""
    for start in range(0, len(stream), piece):
        output += talk(machine, stream[start : start + piece])[1]
        held = max(held, machine.held_bytes)

    assert codes(output) == [250, 250, 250, 552, 503, 250]
    assert b"552 5.3.4 The message is over the limit of 2000 bytes" in output
    assert held <= 2000 + piece
    assert policy.refusals == [(Stage.END_OF_DATA, 552, "a@x.example", ("b@y.example",))]


def test_a_message_that_comes_in_chunks_takes_no_recipient_and_no_data_between_them() -> None:
    machine = server()
    _, output = talk(machine, ENVELOPE_ONLY + b"BDAT 1\r\nxRCPT TO:<c@y.example>\r\nDATA\r\nRSET\r\n")

    assert codes(output) == [250, 250, 250, 503, 503, 250]
    assert machine.held_bytes == 0
    assert len(talk(machine, GROUP + b"x\r\n.\r\n")[0]) == 1


def test_a_chunk_that_is_discarded_ends_where_it_would_have_ended() -> None:
    machine = server()
    talk(machine, ENVELOPE_ONLY + b"BDAT 10\r\nxxx")
    assert machine.is_receiving
    machine.discard(Reply(452, ("4.3.1 full",)))
    assert machine.held_bytes == 0
    _, output = talk(machine, b"QUIT\r\nxNOOP\r\n")

    assert codes(output) == [452, 250]


def test_chunks_are_no_commands_without_mail() -> None:
    (event,), output = talk(server(), chunked(*[b"x"] * 900, b"\r\n"))

    assert isinstance(event, MessageReceived)
    assert codes(output) == [250] * 903


def test_an_empty_last_chunk_ends_the_message() -> None:
    (event,), _ = talk(server(), chunked(b"Subject: x\r\n\r\n", b""))

    assert event == MessageReceived(Envelope("a@x.example", ("b@y.example",)), b"Subject: x\r\n\r\n")


def test_a_stop_waits_for_the_chunks_under_way() -> None:
    machine = server()
    talk(machine, ENVELOPE_ONLY + b"BDAT 3\r\na")
    assert machine.stop(Reply(421, ("4.3.2 going",))) is None
    (event, closed), output = talk(machine, b"bcBDAT 2 LAST\r\n\r\n")

    assert (type(event), closed) == (MessageReceived, Closed())
    assert codes(output) == [250, 250, 421]
