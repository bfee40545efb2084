"""SMTP smuggling: nothing but CRLF.CRLF ends content, and nothing leaves that another server could take for an end.

Sources of the sequences: "smuggled in", "smuggled out": the lists of The-Login/SMTP-Smuggling-Tools
(smtp_smuggling_scanner.py, inbound_eod_sequences and outbound_eod_sequences, by the finder, SEC Consult 2023);
postfix: CVE-2023-51764; sendmail: CVE-2023-51765; exim: CVE-2023-51766; aiosmtpd: CVE-2024-27305.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.smtp.data import stuff
from lane_relay.smtp.server import Closed, MessageReceived
from tests.lane_relay.smtp.talking import GROUP, codes, server, talk

SMUGGLED_IN = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n\x00.\r\n"]
SMUGGLED_OUT = [*SMUGGLED_IN, b"\r\n.\r\r\n", b"\r\r\n.\r\r\n"]
PAYLOADS = {
    **{f"smuggled in {sequence!r}": sequence for sequence in SMUGGLED_IN},
    **{f"smuggled out {sequence!r}": sequence for sequence in SMUGGLED_OUT},
    "postfix": b"\n.\r\n", "sendmail": b"\r\n.\n", "exim": b"\n.\n\r\n", "aiosmtpd": b"\r\n.\r",
    "aiosmtpd, lone LF before": b"\n\r\n.\n", "dot and blank": b"\r\n. \r\n", "two dots": b"\r\n..\r\n",
    "vertical tab": b"\r\n\x0b.\r\n", "form feed": b"\x0c.\x0c", "NEL": b"\xc2\x85.\xc2\x85",
    "line separator": "\u2028.\u2028".encode(), "NUL behind the dot": b"\r\n.\x00\r\n",
}  # fmt: skip
SEQUENCES = frozenset(PAYLOADS.values())
"""What is counted: some are on several lists under names of their own."""
PIECES = [1, 5000]
WAYS = len(PIECES) + 1
"""Each is tried behind DATA in pieces of either size, and in a chunk of BDAT."""
SECOND = (
    b"mail FROM:<evil@x.example>\r\nrcpt TO:<v@y.example>\r\ndata\r\nFrom: evil@x.example\r\n\r\nx\r\n.\r\nQUIT\r\n"
)


def ends_somewhere(sent: bytes) -> bool:
    """A careless server would see an end before the last line: any line end ends a line, NUL and blanks are nothing."""
    lines = re.split(rb"\r\n|\n|\r", re.sub(rb"[\x00]", b"", sent))
    assert lines[-2:] == [b".", b""]
    return b"." in [line.rstrip(b" \t") for line in lines[:-2]]


@pytest.mark.parametrize("sequence", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("piece", PIECES)
def test_a_payload_ends_no_content_and_what_is_taken_leaves_as_one_message(sequence: bytes, piece: int) -> None:
    machine, events = server(), []
    stream = GROUP + b"Subject: x\r\n\r\nhello" + sequence + SECOND
    for start in range(0, len(stream), piece):
        events += talk(machine, stream[start : start + piece])[0]
    messages = [event for event in events if isinstance(event, MessageReceived)]

    assert [event.envelope.sender for event in messages] in ([], ["a@x.example"])
    assert events[-1] == Closed()  # by the QUIT behind the only end
    for event in messages:
        assert not ends_somewhere(b"".join(stuff([event.content])))


@pytest.mark.parametrize("sequence", [*PAYLOADS.values(), b"\r\n.\r\n"], ids=[*PAYLOADS, "the true end"])
def test_a_payload_in_a_chunk_is_content_or_nothing(sequence: bytes) -> None:
    content = b"Subject: x\r\n\r\nhello" + sequence + SECOND
    machine = server()
    envelope = GROUP.removesuffix(b"DATA\r\n")
    events, output = talk(machine, envelope + b"BDAT %d LAST\r\n" % len(content) + content + b"NOOP\r\n")

    assert codes(output)[:2] == [250, 250]
    assert codes(output)[2] in (250, 550)
    assert codes(output)[3:] == [250]  # the NOOP: nothing of the chunk was a command
    for event in events:
        assert isinstance(event, MessageReceived)
        assert (event.envelope.sender, event.content) == ("a@x.example", content)
        assert not ends_somewhere(b"".join(stuff([event.content])))


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\0", b"\r\n", b"\r\n.", b"a", b" "]), max_size=12))
def test_whatever_is_put_together_of_line_ends_and_dots_stays_one_message(parts: list[bytes]) -> None:
    machine = server()
    talk(machine, GROUP)
    events, _ = talk(machine, b"x" + b"".join(parts) + b"\r\n.\r\nNOOP\r\n")

    senders = [event.envelope.sender for event in events if isinstance(event, MessageReceived)]
    assert senders in ([], ["a@x.example"])
    for event in events:
        if isinstance(event, MessageReceived):
            assert not ends_somewhere(b"".join(stuff([event.content])))


def test_a_server_that_took_a_lone_line_feed_would_be_seen_here() -> None:
    """What the checks above would say of a careless relay."""
    assert ends_somewhere(b"hello\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n")
    assert ends_somewhere(b"hello\r\n\x00.\r\nmore\r\n.\r\n")
    assert not ends_somewhere(b"hello\r\n..\r\nmore\r\n.\r\n")
