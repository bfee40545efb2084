"""The sending machine: replies in, events and commands out."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.client import (
    AuthDone,
    AuthRefused,
    Client,
    Closed,
    Event,
    Extensions,
    Ready,
    RecipientReply,
    TlsReady,
    TlsRefused,
    TransactionDone,
    Write,
)
from lane_relay.smtp.errors import LocalProtocolError

FULL = (
    b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
    b"250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
)
BARE = b"250 mx.example\r\n"
ENVELOPE = Envelope("a@x.example", ("b@y.example", "c@y.example", "d@y.example"))
BODY = (b"Subject: x\r\n\r\n", b".dot\r\n")
CONTENT = b"Subject: x\r\n\r\n..dot\r\n.\r\n"
OK = Reply(250, ("2.0.0 ok",))


def ready(offer: bytes = FULL, *, tls: bool = False) -> Client:
    client = Client("out1.example.com", tls=tls)
    assert client.receive(b"220 mx.example ESMTP\r\n") == [Write((b"EHLO out1.example.com\r\n",))]
    (event,) = client.receive(offer)
    assert isinstance(event, Ready)
    return client


def written(events: list[Event]) -> bytes:
    return b"".join(chunk for event in events if isinstance(event, Write) for chunk in event.chunks)


def results(events: list[Event]) -> list[list[tuple[int, Stage, int]]]:
    return [
        [(result.index, result.stage, result.reply.code) for result in event.results]
        for event in events
        if isinstance(event, TransactionDone)
    ]


# -- greeting


def test_the_offer_is_read() -> None:
    assert ready().extensions == Extensions(
        host="mx.example", pipelining=True, eight_bit=True, smtp_utf8=True, starttls=True, size=1000, has_size=True,
        auth=("PLAIN", "LOGIN"),
    )  # fmt: skip


@pytest.mark.parametrize("offer", [b"250-x\r\n250 AUTH=LOGIN\r\n", b"250-x\r\n250 auth login\r\n"])
def test_odd_spellings_of_the_offer_are_understood(offer: bytes) -> None:
    assert ready(offer).extensions.auth_mechanism == "LOGIN"


def test_a_peer_that_does_not_know_ehlo_is_asked_with_helo() -> None:
    client = Client("out1.example.com")
    client.receive(b"220 hi\r\n")

    assert client.receive(b"502 what?\r\n") == [Write((b"HELO out1.example.com\r\n",))]
    assert client.receive(b"250 old.example\r\n") == [Ready(Extensions(host="old.example", by_helo=True))]


@pytest.mark.parametrize(
    ("replies", "stage", "code"),
    [
        (b"554 go away\r\n", Stage.CONNECT, 554),
        (b"421 busy\r\n", Stage.CONNECT, 421),
        (b"220 hi\r\n421 busy\r\n", Stage.EHLO, 421),
        (b"220 hi\r\n451 later\r\n", Stage.EHLO, 451),
        (b"220 hi\r\n500 no\r\n550 no\r\n", Stage.EHLO, 550),
    ],
)
def test_a_refused_greeting_closes_with_its_stage(replies: bytes, stage: Stage, code: int) -> None:
    client = Client("out1.example.com")
    closed = client.receive(replies)[-1]

    assert isinstance(closed, Closed)
    assert closed.reply is not None
    assert (closed.stage, closed.reply.code) == (stage, code)
    assert client.connection_lost() == []


# -- TLS and AUTH


def test_after_the_handshake_the_peer_is_asked_again() -> None:
    client = ready()

    assert client.starttls() == b"STARTTLS\r\n"
    assert client.receive(b"220 go\r\n") == [TlsReady()]
    assert client.greet() == b"EHLO out1.example.com\r\n"
    assert client.extensions == Extensions()
    assert client.receive(b"250-mx.example\r\n250 AUTH PLAIN\r\n") == [
        Ready(Extensions(host="mx.example", auth=("PLAIN",)))
    ]
    with pytest.raises(LocalProtocolError):
        client.starttls()


def test_a_refused_starttls_leaves_the_choice_to_the_driver() -> None:
    client = ready()
    client.starttls()

    assert client.receive(b"454 not now\r\n") == [TlsRefused(Reply(454, ("not now",)))]
    assert client.can_send


@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"250-ev", b"x", b"not a reply\r\n"])
def test_plain_text_behind_the_answer_to_starttls_closes(injected: bytes) -> None:
    client = ready()
    client.starttls()
    events = client.receive(b"220 go\r\n" + injected)

    assert [type(event) for event in events] == [Closed]


def test_plain_text_that_comes_before_the_handshake_closes() -> None:
    client = ready()
    client.starttls()
    client.receive(b"220 go\r\n")

    assert [type(event) for event in client.receive(b"250 evil\r\n")] == [Closed]


def test_plain_sends_the_credentials_at_once() -> None:
    client = ready(tls=True)

    assert client.auth("user", "pässword") == b"AUTH PLAIN AHVzZXIAcMOkc3N3b3Jk\r\n"
    assert client.receive(b"235 ok\r\n") == [AuthDone()]


def test_login_answers_the_two_questions() -> None:
    client = ready(b"250-x\r\n250 AUTH LOGIN XOAUTH2\r\n", tls=True)

    assert client.auth("user", "pass") == b"AUTH LOGIN\r\n"
    assert client.receive(b"334 VXNlcm5hbWU6\r\n") == [Write((b"dXNlcg==\r\n",))]
    assert client.receive(b"334 UGFzc3dvcmQ6\r\n") == [Write((b"cGFzcw==\r\n",))]
    assert client.receive(b"535 no\r\n") == [AuthRefused(Reply(535, ("no",)))]
    assert client.can_send


def test_credentials_are_never_sent_in_plain_text() -> None:
    with pytest.raises(LocalProtocolError, match="TLS"):
        ready().auth("user", "pass")


def test_a_challenge_that_plain_does_not_have_closes() -> None:
    client = ready(tls=True)
    client.auth("user", "pass")

    assert isinstance(client.receive(b"334 more?\r\n")[0], Closed)


# -- transactions


def test_mail_rcpt_and_data_leave_in_one_write_and_each_recipient_has_its_reply() -> None:
    client = ready()

    assert client.send(ENVELOPE, (0, 2), BODY) == (
        b"MAIL FROM:<a@x.example> SIZE=20\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<d@y.example>\r\nDATA\r\n"
    )
    assert client.receive(b"250 ok\r\n250 ok\r\n") == []
    assert client.receive(b"550 5.1.1 no\r\n354 go\r\n") == [Write((CONTENT,))]
    assert client.stage is Stage.END_OF_DATA
    assert client.receive(b"250 2.0.0 ok\r\n") == [
        TransactionDone(
            (
                RecipientReply(0, Stage.END_OF_DATA, OK),
                RecipientReply(2, Stage.RCPT, Reply(550, ("5.1.1 no",))),
            )
        )
    ]
    assert client.can_send


REPLIES = b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 done\r\n"


@pytest.mark.parametrize("cut", range(len(REPLIES) + 1))
def test_a_transaction_is_the_same_wherever_the_replies_are_cut(cut: int) -> None:
    client = ready()
    client.send(ENVELOPE, (0, 1), BODY)
    events = client.receive(REPLIES[:cut]) + client.receive(REPLIES[cut:])

    assert written(events) == CONTENT
    assert results(events) == [[(0, Stage.END_OF_DATA, 250), (1, Stage.RCPT, 550)]]


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    client = ready(BARE)

    assert client.send(ENVELOPE, (0, 1), BODY) == b"MAIL FROM:<a@x.example>\r\n"
    assert written(client.receive(b"250 ok\r\n")) == b"RCPT TO:<b@y.example>\r\n"
    assert written(client.receive(b"250 ok\r\n")) == b"RCPT TO:<c@y.example>\r\n"
    assert written(client.receive(b"450 later\r\n")) == b"DATA\r\n"
    assert written(client.receive(b"354 go\r\n")) == CONTENT
    assert results(client.receive(b"250 ok\r\n")) == [[(0, Stage.END_OF_DATA, 250), (1, Stage.RCPT, 450)]]


@pytest.mark.parametrize("offer", [FULL, BARE])
def test_a_refused_mail_speaks_for_all_recipients(offer: bytes) -> None:
    client = ready(offer)
    client.send(ENVELOPE, (0, 1), BODY)
    events = client.receive(b"550 5.7.1 not you\r\n")
    if offer is FULL:
        events += client.receive(b"503 no\r\n503 no\r\n503 no\r\n")

    assert results(events) == [[(0, Stage.MAIL, 550), (1, Stage.MAIL, 550)]]
    assert not client.send(ENVELOPE, (0,), BODY).startswith(b"RSET")


@pytest.mark.parametrize("offer", [FULL, BARE])
def test_a_transaction_left_open_is_reset_before_the_next(offer: bytes) -> None:
    client = ready(offer)
    client.send(ENVELOPE, (0,), BODY)
    replies = b"250 ok\r\n550 no\r\n" + (b"554 no valid recipients\r\n" if offer is FULL else b"")
    assert results(client.receive(replies)) == [[(0, Stage.RCPT, 550)]]

    sent = client.send(ENVELOPE, (1,), BODY)
    assert sent.startswith(b"RSET\r\n")
    assert (b"MAIL" in sent) is (offer is FULL)
    events = []
    for reply in (b"250 reset\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 done\r\n"):
        events += client.receive(reply)
    assert results(events) == [[(1, Stage.END_OF_DATA, 250)]]


def test_a_354_that_nobody_is_to_get_is_ended_with_a_lone_dot() -> None:
    client = ready()
    client.send(ENVELOPE, (0,), BODY)

    assert client.receive(b"250 ok\r\n550 no\r\n354 go\r\n") == [Write((b".\r\n",))]
    assert results(client.receive(b"554 nobody\r\n")) == [[(0, Stage.RCPT, 550)]]


def test_a_refused_data_is_the_answer_to_those_that_were_accepted() -> None:
    client = ready()
    client.send(ENVELOPE, (0, 1), BODY)
    events = client.receive(b"250 ok\r\n250 ok\r\n550 no\r\n451 later\r\n")

    assert results(events) == [[(0, Stage.DATA, 451), (1, Stage.RCPT, 550)]]


def test_quit_closes() -> None:
    client = ready()

    assert client.quit() == b"QUIT\r\n"
    assert client.receive(b"221 bye\r\n") == [Closed(Stage.ANY, Reply(221, ("bye",)))]
    assert client.quit() == b""


def test_one_transaction_is_under_way_at_a_time() -> None:
    client = ready()
    client.send(ENVELOPE, (0,), BODY)
    assert not client.can_send
    with pytest.raises(LocalProtocolError):
        client.send(ENVELOPE, (1,), BODY)


# -- the end of a connection


STEPS = [
    (b"", Stage.MAIL, False), (b"250 ok\r\n", Stage.RCPT, False), (b"250 ok\r\n550 no\r\n", Stage.DATA, False),
    (b"250 ok\r\n550 no\r\n250 ok\r\n", Stage.DATA, False),
    (b"250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n", Stage.END_OF_DATA, True),
]  # fmt: skip


@pytest.mark.parametrize(("replies", "stage", "after_dot"), STEPS)
def test_a_lost_connection_says_where_and_whether_the_dot_had_gone(
    replies: bytes, stage: Stage, after_dot: bool
) -> None:
    client = ready()
    client.send(ENVELOPE, (0, 1), BODY)
    client.receive(replies)
    (closed,) = client.connection_lost()

    assert isinstance(closed, Closed)
    assert closed.after_dot is after_dot
    assert closed.stage is (stage if replies.count(b"\r\n") != 2 else Stage.RCPT)
    assert [result.index for result in closed.refused] == ([0] if b"550" in replies else [])
    assert client.connection_lost() == []


@pytest.mark.parametrize(("replies", "stage", "after_dot"), STEPS)
def test_a_421_ends_the_transaction_and_the_session_wherever_it_comes(
    replies: bytes, stage: Stage, after_dot: bool
) -> None:
    client = ready()
    client.send(ENVELOPE, (0, 1), BODY)
    client.receive(replies)
    events = client.receive(b"421 4.3.2 bye\r\n250 ok\r\n")

    assert [type(event) for event in events] == [TransactionDone, Closed]
    assert {code for _, _, code in results(events)[0]} <= {421, 550}
    assert isinstance(events[1], Closed)
    assert not events[1].after_dot


def test_a_421_between_transactions_closes() -> None:
    assert ready().receive(b"421 idle\r\n") == [Closed(Stage.ANY, Reply(421, ("idle",)))]


@pytest.mark.parametrize("junk", [b"250 unasked\r\n", b"hello\r\n", b"x" * 40_000])
def test_what_nothing_asked_for_closes_with_the_problem(junk: bytes) -> None:
    (closed,) = ready().receive(junk)

    assert isinstance(closed, Closed)
    assert closed.reply is None
    assert closed.problem


@pytest.mark.parametrize(
    "replies", [b"354 go\r\n", b"250 ok\r\n354 go\r\n", b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"]
)
def test_replies_out_of_step_close_before_any_body_is_sent(replies: bytes) -> None:
    client = ready()
    client.send(ENVELOPE, (0, 1), BODY)
    events = client.receive(replies)

    assert written(events) == b""
    assert isinstance(events[-1], Closed)
    assert not events[-1].after_dot


def test_a_broken_reply_after_the_dot_leaves_the_message_in_doubt() -> None:
    client = ready()
    client.send(ENVELOPE, (0,), BODY)
    (closed,) = client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n?\r\n")[1:]

    assert isinstance(closed, Closed)
    assert closed.after_dot
    assert "not an SMTP reply" in closed.problem


@pytest.mark.parametrize("address", ["a@x.example>\r\nRCPT TO:<v@y.example", "a\n@x", "a\x00@x"])
def test_no_address_can_become_a_command(address: str) -> None:
    for envelope in (Envelope(address, ("b@y.example",)), Envelope("a@x.example", (address,))):
        with pytest.raises(LocalProtocolError, match="control"):
            ready().send(envelope, (0,), BODY)


def test_calls_out_of_turn_are_our_own_bug() -> None:
    waiting = Client("out1.example.com")
    calls: list[Callable[[], object]] = [
        waiting.starttls, waiting.greet, lambda: waiting.auth("u", "p"),
        lambda: waiting.send(ENVELOPE, (0,), BODY), lambda: ready().send(ENVELOPE, (), BODY),
        lambda: ready(BARE, tls=True).auth("u", "p"), lambda: Client("a\r\nb"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()


_replies = st.sampled_from(
    [b"220 hi\r\n", b"250 ok\r\n", b"250-a\r\n", b"250 PIPELINING\r\n", b"354 go\r\n", b"334 eA==\r\n", b"421 bye\r\n",
     b"450 later\r\n", b"550 no\r\n", b"235 ok\r\n", b"221 bye\r\n", b"junk\r\n"]
)  # fmt: skip
_calls: list[Callable[[Client], object]] = [
    lambda client: client.starttls(),
    lambda client: client.greet(),
    lambda client: client.auth("u", "p"),
    lambda client: client.send(ENVELOPE, (0, 1), BODY),
    lambda client: client.quit(),
    lambda client: client.connection_lost(),
]


@given(st.lists(_replies | st.binary(max_size=20) | st.sampled_from(_calls), max_size=30), st.booleans())
def test_nothing_but_our_own_misuse_raises_and_every_transaction_ends_once(
    steps: list[bytes | Callable[[Client], object]], tls: bool
) -> None:
    client = Client("out1.example.com", tls=tls)
    begun, events = 0, list[Event]()
    for step in steps:
        if isinstance(step, bytes):
            events += client.receive(step)
            continue
        try:
            outcome = step(client)
        except LocalProtocolError:
            continue
        begun += step is _calls[3]
        if isinstance(outcome, list):
            events += outcome
    events += client.connection_lost()

    closed = [event for event in events if isinstance(event, Closed)]
    assert len(closed) == 1
    assert events[-1] is closed[0]
    assert len(results(events)) <= begun
    assert all([index for index, _, _ in done] == [0, 1] for done in results(events))
