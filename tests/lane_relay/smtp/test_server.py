"""The receiving machine: bytes in, events and replies out."""

from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Notify, RecipientOptions, Reply
from lane_relay.smtp.errors import LocalProtocolError
from lane_relay.smtp.server import AuthAttempt, Closed, Event, MessageReceived, StartTls
from tests.lane_relay.smtp.talking import EHLO, GROUP, STORED, Policy, codes, server, talk

NAMED = [b"RCPT TO:<b%d@y.example>\r\n" % number for number in range(60)]
SESSION = (
    EHLO + GROUP + b"Subject: x\r\n\r\n..dot\r\n.\r\n"
    b"MAIL FROM:<> SIZE=10\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<\"q q\"@y.example>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n"
)  # fmt: skip
SESSION_EVENTS: list[Event] = [
    MessageReceived(Envelope("a@x.example", ("b@y.example",)), b"Subject: x\r\n\r\n.dot\r\n"),
    MessageReceived(Envelope("", ("b@y.example", '"q q"@y.example')), b""),
    Closed(),
]


@pytest.mark.parametrize("cut", range(len(SESSION) + 1))
def test_a_session_is_the_same_wherever_its_bytes_are_cut(cut: int) -> None:
    machine = server(greeted=False)
    first, output = talk(machine, SESSION[:cut])
    second, more = talk(machine, SESSION[cut:])

    assert first + second == SESSION_EVENTS
    assert codes(output + more) == [250, 250, 250, 354, 250, 250, 250, 250, 354, 250, 250, 221]


@given(st.lists(st.integers(0, len(SESSION)), max_size=12))
def test_a_session_is_the_same_in_any_pieces(cuts: list[int]) -> None:
    machine = server(greeted=False)
    edges = [0, *sorted(cuts), len(SESSION)]
    events = [event for start, end in pairwise(edges) for event in talk(machine, SESSION[start:end])[0]]

    assert events == SESSION_EVENTS


def test_the_banner_and_the_offer_name_what_we_do() -> None:
    machine = server(greeted=False)

    assert machine.greet() == b"220 relay.example.com ESMTP\r\n"
    machine.receive(EHLO)
    offered = machine.take_output().decode().split("\r\n")
    assert offered[:-1] == [
        "250-relay.example.com", "250-PIPELINING", "250-SIZE 2000", "250-8BITMIME", "250-ENHANCEDSTATUSCODES",
        "250-SMTPUTF8", "250-CHUNKING", "250-DSN", "250-DELIVERBY", "250 STARTTLS",
    ]  # fmt: skip


def test_auth_is_offered_inside_tls_only() -> None:
    machine = server(tls=True, greeted=False)
    machine.receive(EHLO)

    assert b"250 AUTH PLAIN LOGIN" in machine.take_output()


def test_replies_of_one_read_leave_in_one_write_and_250_waits_for_the_answer() -> None:
    machine = server()
    event = machine.receive(GROUP + b"x\r\n.\r\nNOOP\r\n")

    assert isinstance(event, MessageReceived)
    assert codes(machine.take_output()) == [250, 250, 354]
    assert machine.is_waiting
    assert machine.receive(b"NOOP\r\n") is None
    assert machine.take_output() == b""
    assert machine.reply(STORED) is None
    assert codes(machine.take_output()) == [250, 250, 250]


def test_several_recipients_share_one_message() -> None:
    policy = Policy(recipients={"no@y.example": Reply(550, ("5.1.1 no",))})
    machine = server(policy)
    group = b"MAIL FROM:<a@x.example>\r\n" + b"".join(
        b"RCPT TO:<%b@y.example>\r\n" % name for name in (b"b", b"no", b"c")
    )
    events, output = talk(machine, group + b"DATA\r\nx\r\n.\r\n")

    assert events == [MessageReceived(Envelope("a@x.example", ("b@y.example", "c@y.example")), b"x\r\n")]
    assert codes(output) == [250, 250, 550, 250, 354, 250]
    assert policy.refusals == [(Stage.RCPT, 550, "a@x.example", ("no@y.example",))]


# -- smuggling: content ends at CRLF.CRLF only, and lone CR or LF is refused (CVE-2023-51764 and its kin)


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n", b"\n.\n\r\n"]
)
def test_no_other_end_of_data_lets_a_second_message_in(end: bytes) -> None:
    machine = server()
    smuggled = b"x" + end + b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<v@y.example>\r\nDATA\r\nevil\r\n.\r\n"
    talk(machine, GROUP)
    events, output = talk(machine, smuggled)

    assert len(events) <= 1
    if events:  # only the one whose line ends are in order: all of it is content
        assert isinstance(events[0], MessageReceived)
        assert events[0].envelope.sender == "a@x.example"
    assert codes(output) == [250 if events else 550]


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"\n", b"a\r\r\n"])
def test_content_with_a_lone_cr_or_lf_is_refused_and_the_session_goes_on(content: bytes) -> None:
    policy = Policy()
    machine = server(policy)
    events, output = talk(machine, GROUP + content + b"\r\n.\r\nNOOP\r\n")

    assert events == []
    assert b"550 5.6.0 The message has a CR or LF" in output
    assert codes(output)[-1] == 250
    assert policy.refusals == [(Stage.END_OF_DATA, 550, "a@x.example", ("b@y.example",))]


@pytest.mark.parametrize(("line", "code"), [(b"x" * 998, 250), (b"x" * 999, 550), (b".." + b"x" * 997, 250)])
def test_a_line_that_other_servers_would_cut_or_refuse_is_refused(line: bytes, code: int) -> None:
    """The dot that was put before a line's own does not count (RFC 5321 section 4.5.3.1.6)."""
    machine = server()
    machine.receive(GROUP)
    machine.take_output()
    _, output = talk(machine, b"Subject: x\r\n\r\n" + line + b"\r\n.\r\n")

    assert output.startswith(b"%d " % code), output
    assert code == 250 or b"5.6.0 A line of the message is longer than 998 octets" in output


@pytest.mark.parametrize("line", [b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\x00OP\nQUIT\r\n", b"\n"])
def test_a_command_line_with_a_lone_cr_or_lf_ends_the_session(line: bytes) -> None:
    events, output = talk(server(), line)

    assert events == [Closed()]
    assert output.startswith(b"500 5.5.2 Lines end with CRLF")


# -- STARTTLS and AUTH


def test_a_handshake_that_ends_after_its_session_was_stopped_begins_nothing() -> None:
    machine = server()
    machine.receive(b"STARTTLS\r\n")
    assert machine.stop(STORED) == Closed()
    machine.tls_started()
    assert machine.receive(b"EHLO c.example\r\n") is None


def test_what_was_pipelined_behind_starttls_is_dropped() -> None:
    machine = server()
    event = machine.receive(b"STARTTLS\r\n" + GROUP)

    assert event == StartTls()
    assert codes(machine.take_output()) == [220]
    assert machine.receive(b"MAIL FROM:<evil@x.example>\r\n") is None  # plain text before the handshake
    machine.tls_started()
    assert machine.held_bytes == 0
    assert codes(talk(machine, b"RCPT TO:<b@y.example>\r\n")[1]) == [503]
    assert talk(machine, b"MAIL FROM:<a@x.example>\r\n")[1].startswith(b"503 5.5.1 Say EHLO first")


def test_tls_is_not_started_twice_nor_inside_a_transaction() -> None:
    assert codes(talk(server(tls=True), b"STARTTLS\r\n")[1]) == [503]
    assert codes(talk(server(), b"MAIL FROM:<a@x.example>\r\nSTARTTLS\r\n")[1]) == [250, 503]


PLAIN = b64encode(b"\0user\0secret")


@pytest.mark.parametrize(
    "lines",
    [
        b"AUTH PLAIN " + PLAIN + b"\r\n",
        b"AUTH PLAIN\r\n" + PLAIN + b"\r\n",
        b"auth login\r\n" + b64encode(b"user") + b"\r\n" + b64encode(b"secret") + b"\r\n",
        b"AUTH LOGIN " + b64encode(b"user") + b"\r\n" + b64encode(b"secret") + b"\r\n",
        b"AUTH PLAIN " + b64encode(b"user\0user\0secret") + b"\r\n",
    ],
)
def test_credentials_come_out_of_plain_and_login(lines: bytes) -> None:
    machine = server(tls=True)

    assert machine.receive(lines) == AuthAttempt("user", "secret")
    machine.take_output()
    assert machine.auth_result("user") is None
    assert machine.take_output().startswith(b"235 2.7.0")
    assert machine.user == "user"
    assert talk(machine, b"AUTH PLAIN\r\n")[1].startswith(b"503 5.5.1 AUTH is done")


def test_auth_before_tls_is_refused() -> None:
    assert talk(server(), b"AUTH PLAIN " + PLAIN + b"\r\n")[1].startswith(b"538 5.7.11 AUTH needs TLS")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b"AUTH PLAIN !!!\r\n", 501), (b"AUTH PLAIN " + PLAIN + b"\x1d\r\n", 501),
        (b"AUTH PLAIN\r\n*\r\n", 501), (b"AUTH LOGIN\r\n=\r\n*\r\n", 501),
        (b"AUTH CRAM-MD5\r\n", 504), (b"AUTH PLAIN " + b64encode(b"other\0user\0x") + b"\r\n", 535),
        (b"AUTH PLAIN " + b64encode(b"no separators") + b"\r\n", 535),
        (b"AUTH PLAIN " + b64encode(b"\xff\0\0") + b"\r\n", 501),
        (b"MAIL FROM:<a@x.example>\r\nAUTH PLAIN\r\n", 503),
    ],
)  # fmt: skip
def test_malformed_authentication_is_refused(lines: bytes, code: int) -> None:
    events, output = talk(server(tls=True), lines)

    assert events == []
    assert codes(output)[-1] == code


@pytest.mark.parametrize("begun", [b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH LOGIN\r\nYXBw\r\n"])
def test_an_answer_that_is_no_text_ends_the_exchange_and_what_follows_is_a_command(begun: bytes) -> None:
    events, output = talk(server(tls=True), begun + b"\xff\r\nNOOP\r\n")

    assert events == []
    assert codes(output)[-2:] == [500, 250]


def test_the_third_failed_authentication_ends_the_session() -> None:
    machine = server(tls=True)
    attempts = b"AUTH PLAIN " + PLAIN + b"\r\n"
    events, output = talk(machine, attempts * 4)

    assert [type(event) for event in events] == [AuthAttempt] * 3 + [Closed]
    assert codes(output) == [535, 535, 535, 421]


# -- limits and refusals, each with its text


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (b"EHLO\r\n", "501 5.5.4 EHLO needs a domain name"),
        (b"EHLO two words\r\n", "501 5.5.4 EHLO needs"),
        (b"HELO\r\n", "501 5.5.4 HELO needs a domain name"),
        (b"MAIL FROM:a@x.example\r\n", "501 5.5.4 Write MAIL FROM:<address>"),
        (b"MAIL TO:<a@x.example>\r\n", "501 5.5.4 Write MAIL FROM:<address>"),
        (b"MAIL FROM:<a@x.example> RET=SOME\r\n", "501 5.5.4 RET is FULL or HDRS"),
        (b"MAIL FROM:<a@x.example> SIZE=x\r\n", "555 5.5.4 Parameter SIZE=x is not supported"),
        (b"MAIL FROM:<a@x.example> SIZE=2001\r\n", "552 5.3.4 The message is over the limit of 2000 bytes"),
        (b"MAIL FROM:<a@[192.0.2.1]>\r\n", "553 5.1.8 Sender: address literals are not accepted"),
        (b"MAIL FROM:<a>\r\n", "553 5.1.7 Sender: an address needs a local part, @ and a domain"),
        ("MAIL FROM:<ä@x.example>\r\n".encode(), "553 5.6.7 This sender needs the SMTPUTF8 parameter"),
        (b"MAIL FROM:<a@x.example>\r\nMAIL FROM:<a@x.example>\r\n", "503 5.5.1 A transaction is open: send RSET first"),
        (b"RCPT TO:<b@y.example>\r\n", "503 5.5.1 Send MAIL first"),
        (b"MAIL FROM:<>\r\nRCPT TO:<>\r\n", "501 5.5.4 Write RCPT TO:<address>"),
        (b"MAIL FROM:<>\r\nRCPT TO:<b@y.example> NOTIFY=YES\r\n", "501 5.5.4 NOTIFY is NEVER, or a list"),
        (b"MAIL FROM:<>\r\nRCPT TO:<b@[192.0.2.1]>\r\n", "553 5.1.2 Recipient: address literals are not accepted"),
        (b"MAIL FROM:<>\r\nRCPT TO:<b>\r\n", "553 5.1.3 Recipient: an address needs"),
        ("MAIL FROM:<>\r\nRCPT TO:<ö@y.example>\r\n".encode(), "553 5.6.7 This recipient needs the SMTPUTF8 parameter"),
        (b"MAIL FROM:<>\r\n" + b"".join(NAMED[:4]), "452 4.5.3 At most 3 recipients a message"),
        (b"DATA\r\n", "503 5.5.1 Send MAIL first"),
        (b"MAIL FROM:<>\r\nDATA\r\n", "554 5.5.1 No valid recipients"),
        (GROUP[:-2] + b" now\r\n", "501 5.5.4 DATA takes no argument"),
        (b"RSET now\r\n", "501 5.5.4 RSET takes no argument"),
        (b"STARTTLS now\r\n", "501 5.5.4 STARTTLS takes no argument"),
        (b"EXPN list\r\n", "502 5.5.1 Command not implemented"),
        (b"BDAT 3 LAST\r\nabc", "503 5.5.1 Send MAIL first"),
        (b"BDAT 0\r\n", "503 5.5.1 Send MAIL first"),
        (b"MAIL FROM:<>\r\nBDAT 3\r\nabc", "554 5.5.1 No valid recipients"),
        (b"FROBNICATE\r\n", "500 5.5.1 Command not recognised"),
        (b"\r\n", "500 5.5.1 Command not recognised"),
        (b"NOOP \xff\r\n", "500 5.5.2 The line is not UTF-8"),
        (b"VRFY a\r\n", "252 2.0.0 Not verified"),
        (b"HELP\r\n", "214 2.0.0"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_text_and_the_session_goes_on(lines: bytes, text: str) -> None:
    machine = server()
    events, output = talk(machine, lines)

    assert events == []
    assert output.decode().split("\r\n")[-2].startswith(text)
    assert codes(talk(machine, b"RSET\r\n")[1]) == [250]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (b"NOOP " + b"x" * 1200 + b"\r\n", "500 5.5.6 The line is longer than 1198 octets"),
        (b"x" * 13000, "500 5.5.6 The line is longer than 1198 octets"),
        (b"GET / HTTP/1.1\r\n", "421 4.7.0 This is an SMTP server"),
        (b"FROBNICATE\r\n" * 20, "421 4.7.0 Too many errors"),
        (b"NOOP\r\n" * 401, None),
        (b"RSET\r\n" * 401, "421 4.7.0 Too many commands without mail"),
        (b"QUIT\r\n", "221 2.0.0 Bye"),
    ],
)
def test_what_goes_too_far_ends_the_session(lines: bytes, text: str | None) -> None:
    events, output = talk(server(), lines)

    assert events == [Closed()]
    assert text is None or output.decode().split("\r\n")[-2].startswith(text)


def test_too_many_recipients_do_not_count_as_errors() -> None:
    events, output = talk(server(), b"MAIL FROM:<>\r\n" + b"".join(NAMED) + b"DATA\r\nx\r\n.\r\n")

    assert len(events) == 1
    assert codes(output) == [250] * 4 + [452] * 57 + [354, 250]


@pytest.mark.parametrize("piece", [1, 7, 100, 4000])
def test_content_over_the_limit_is_not_kept_and_is_refused_at_its_end(piece: int) -> None:
    policy = Policy()
    machine = server(policy)
    talk(machine, GROUP)
    content = b"0123456789\r\n" * 1000 + b".\r\n"
    held = 0
    output = b""
    for start in range(0, len(content), piece):
        output += talk(machine, content[start : start + piece])[1]
        held = max(held, machine.held_bytes)

    assert output.startswith(b"552 5.3.4 The message is over the limit of 2000 bytes")
    assert held < 2000 + 2000 // 64 + 1024 + piece
    assert machine.held_bytes == 0
    assert policy.refusals == [(Stage.END_OF_DATA, 552, "a@x.example", ("b@y.example",))]
    assert len(talk(machine, GROUP + b"x\r\n.\r\n")[0]) == 1


def test_dots_are_not_counted_against_the_limit() -> None:
    content = b".\r\n" * 660

    events, _ = talk(server(), GROUP + b"." + content.replace(b"\r\n.", b"\r\n..") + b".\r\n")

    assert [event.content for event in events if isinstance(event, MessageReceived)] == [content]


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize("content", [b"a.\r\n..b", b".\r\n", b"x", b"\r\n..\r\n\r"])
def test_discarded_content_ends_where_it_would_have_ended(content: bytes, piece: int) -> None:
    machine = server()
    talk(machine, GROUP)
    machine.discard(Reply(452, ("4.3.1 full",)))
    stream = b"x" + content + b"\r\n.\r\nNOOP\r\n"
    output = b"".join(talk(machine, stream[at : at + piece])[1] for at in range(0, len(stream), piece))

    assert codes(output) == [452, 250]


def test_refused_messages_pipelined_by_the_thousand_end_the_session_without_a_crash() -> None:
    events, output = talk(server(), (GROUP + b"\n\r\n.\r\n") * 3000)

    assert events == [Closed()]
    assert codes(output)[-1] == 421


# -- the policy's answers


def test_a_refused_sender_opens_no_transaction() -> None:
    policy = Policy(senders={"a@x.example": Reply(550, ("5.7.1 not yours",))})
    _, output = talk(server(policy), GROUP)

    assert codes(output) == [550, 503, 503]
    assert policy.refusals == [(Stage.MAIL, 550, "a@x.example", ())]


def test_a_421_of_the_policy_closes_the_session() -> None:
    events, output = talk(server(Policy(senders={"a@x.example": Reply(421, ("4.3.2 closed",))})), GROUP)

    assert events == [Closed()]
    assert codes(output) == [421]


def test_a_refused_message_ends_its_transaction_only() -> None:
    policy = Policy()
    machine = server(policy)
    assert isinstance(machine.receive(GROUP + b"x\r\n.\r\n"), MessageReceived)
    machine.take_output()

    assert machine.reply(Reply(550, ("5.7.1 From is not yours",))) is None
    assert machine.take_output() == b"550 5.7.1 From is not yours\r\n"
    assert len(talk(machine, GROUP + b"x\r\n.\r\n")[0]) == 1
    assert policy.refusals == [(Stage.END_OF_DATA, 550, "a@x.example", ("b@y.example",))]


def test_a_stop_waits_for_the_message_under_way() -> None:
    machine = server()
    machine.receive(GROUP + b"x\r\n")
    machine.take_output()

    assert machine.stop(Reply(421, ("4.3.2 going",))) is None
    assert isinstance(machine.receive(b".\r\n" + GROUP), MessageReceived)
    assert machine.reply(STORED) == Closed()
    assert codes(machine.take_output()) == [250, 421]


def test_a_stop_without_a_transaction_is_at_once() -> None:
    machine = server()

    assert machine.stop(Reply(421, ("4.3.2 going",))) == Closed()
    assert codes(machine.take_output()) == [421]
    assert machine.receive(GROUP) is None


def test_a_stop_is_not_put_off_by_a_reset() -> None:
    machine = server()
    machine.receive(b"MAIL FROM:<>\r\n")
    machine.stop(Reply(421, ("4.3.2 going",)))

    assert talk(machine, b"RSET\r\nNOOP\r\n")[0] == [Closed()]


def test_parameters_reach_the_envelope() -> None:
    mail = "MAIL FROM:<ä@x.example> SIZE=3 BODY=8BITMIME SMTPUTF8 AUTH=<>\r\nRCPT TO:<ö@bücher.example>\r\n"
    events, _ = talk(server(), mail.encode() + b"DATA\r\nx\r\n.\r\n")

    assert events == [
        MessageReceived(Envelope("ä@x.example", ("ö@xn--bcher-kva.example",), eight_bit=True, smtp_utf8=True), b"x\r\n")
    ]


def test_answers_out_of_turn_are_our_own_bug() -> None:
    machine = server()

    calls: list[Callable[[], object]] = [
        lambda: machine.reply(STORED),
        lambda: machine.auth_result("u"),
        machine.tls_started,
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()


# -- DSN and DELIVERBY


def test_what_is_asked_of_reports_reaches_the_envelope() -> None:
    lines = (
        b"MAIL FROM:<a@x.example> RET=HDRS ENVID=e1\r\nRCPT TO:<b@y.example>\r\n"
        b"RCPT TO:<c@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@old.example\r\nRCPT TO:<d@y.example>\r\n"
    )
    machine = server()
    (event,), _ = talk(machine, lines + b"DATA\r\nx\r\n.\r\n")

    assert isinstance(event, MessageReceived)
    assert (event.envelope.ret, event.envelope.envid) == ("HDRS", "e1")
    assert [event.envelope.options_of(index) for index in range(3)] == [
        RecipientOptions(),
        RecipientOptions(Notify.SUCCESS | Notify.DELAY, "rfc822;c@old.example"),
        RecipientOptions(),
    ]
    (plain,), _ = talk(machine, GROUP + b"x\r\n.\r\n")
    assert isinstance(plain, MessageReceived)
    assert (plain.envelope.ret, plain.envelope.envid, plain.envelope.options) == ("", "", ())


@pytest.mark.parametrize(
    ("by", "expires_in", "notice_in"),
    [(b"", 0, None), (b" BY=90;R", 90, None), (b" BY=60;N", 0, 60), (b" BY=-7;N", 0, 0)],
)
def test_when_it_is_to_be_delivered_by_reaches_the_driver(by: bytes, expires_in: int, notice_in: int | None) -> None:
    lines = b"MAIL FROM:<a@x.example>%b\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\r\n.\r\n" % by
    (event,), _ = talk(server(), lines)

    assert isinstance(event, MessageReceived)
    assert (event.expires_in, event.notice_in) == (expires_in, notice_in)


_commands = st.sampled_from(
    [b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@x.example>\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@y.example>\r\n",
     b"BDAT 3\r\nabc", b"BDAT 2 LAST\r\n\r\n", b"BDAT 0 LAST\r\n", b"BDAT x\r\n",
     b"DATA\r\n", b"x\r\n.\r\n", b".\r\n", b"\r\n", b"RSET\r\n", b"STARTTLS\r\n", b"AUTH LOGIN\r\n",
     b"AUTH PLAIN =\r\n",
     b"*\r\n", PLAIN + b"\r\n", b"QUIT\r\n", b"NOOP\n", b"y" * 3000]
)  # fmt: skip


@given(st.lists(_commands | st.binary(max_size=30), max_size=25), st.booleans())
def test_nothing_a_peer_sends_raises(pieces: list[bytes], tls: bool) -> None:
    machine = server(tls=tls, greeted=False)
    for piece in pieces:
        events, output = talk(machine, piece)
        assert output == b"" or output.endswith(b"\r\n")
        assert machine.held_bytes <= 2000 + 2000 // 64 + 1024 + 13000
        if StartTls() in events:
            machine.tls_started()
