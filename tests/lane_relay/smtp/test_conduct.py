"""The tarpit: who errs too often is answered slowly."""

import pytest

from lane_relay.records import Reply
from lane_relay.smtp.server import Closed, Options, Pause
from tests.lane_relay.smtp.talking import GROUP, Policy, codes, server, talk

SLOW = Options("relay.example.com", errors_at_once=2, first_pause=1.0, longest_pause=5.0)


def test_answers_to_errors_take_longer_and_longer_up_to_a_limit() -> None:
    machine = server(options=SLOW)
    pauses = []
    for _ in range(8):
        event = machine.receive(b"EXPN a\r\n")
        if isinstance(event, Pause):
            pauses.append(event.seconds)
            assert machine.is_paused
            assert machine.resume() is None

    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_what_comes_into_a_pause_is_kept_until_it_is_over() -> None:
    machine = server(options=SLOW)
    assert machine.receive(b"EXPN a\r\n" * 3 + b"NOOP\r\n") == Pause(1.0)
    assert machine.receive(b"NOOP\r\n") is None

    assert machine.resume() is None
    assert codes(machine.take_output()) == [502, 502, 502, 250, 250]
    assert machine.resume() is None


def test_a_message_makes_up_for_errors() -> None:
    machine = server(options=SLOW)
    assert machine.receive(b"EXPN a\r\n" * 2) is None
    talk(machine, GROUP + b"x\r\n.\r\n")
    assert machine.receive(b"EXPN a\r\n" * 2) is None
    assert machine.errors == 4


def test_a_stop_does_not_wait_for_a_pause() -> None:
    machine = server(options=SLOW)
    assert machine.receive(b"EXPN a\r\n" * 3) == Pause(1.0)

    assert machine.stop(Reply(421, ("4.3.2 going",))) == Closed()
    assert codes(machine.take_output()) == [502, 502, 502, 421]
    assert machine.resume() is None


def test_a_stop_inside_a_transaction_comes_into_force_behind_the_pause() -> None:
    machine = server(options=SLOW)
    assert machine.receive(b"MAIL FROM:<>\r\n" + b"EXPN a\r\n" * 3 + b"RSET\r\nNOOP\r\n") == Pause(1.0)
    assert machine.stop(Reply(421, ("4.3.2 going",))) is None

    assert machine.resume() == Closed()
    assert codes(machine.take_output()) == [250, 502, 502, 502, 250, 421]


def test_a_refused_message_is_an_error_like_others() -> None:
    machine = server(options=SLOW)
    assert machine.receive((GROUP + b"a\nb\r\n.\r\n") * 3) == Pause(1.0)
    assert machine.resume() is None
    assert codes(machine.take_output()) == [250, 250, 354, 550] * 3


def _suppressing() -> Policy:
    return Policy({"no@x.example": Reply(550, ("5.7.1 no",))}, {"gone@y.example": Reply(550, ("5.7.1 suppressed",))})


REFUSED_MAIL = {
    "a recipient": (b"MAIL FROM:<a@x.example>\r\nRCPT TO:<gone@y.example>\r\nRSET\r\n", [250, 550, 250]),
    "a recipient and DATA": (
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<gone@y.example>\r\nDATA\r\nRSET\r\n", [250, 550, 554, 250],
    ),
    "a recipient and BDAT": (
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<gone@y.example>\r\nBDAT 3 LAST\r\nx\r\n", [250, 550, 554],
    ),
    "a sender": (b"MAIL FROM:<no@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n", [550, 503, 503]),
    "an address": (b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@[1.2.3.4]>\r\nRSET\r\n", [250, 553, 250]),
    "content": (GROUP + b"a\nb\r\n.\r\n", [250, 250, 354, 550]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_MAIL)
def test_refused_mail_is_no_error_of_who_may_submit_however_often(what: str) -> None:
    policy, (said, answers) = _suppressing(), REFUSED_MAIL[what]
    policy.may_submit = True
    machine = server(policy, options=SLOW)
    for _ in range(700):
        assert machine.receive(said) is None
        assert codes(machine.take_output()) == answers
    assert machine.errors == 0


@pytest.mark.parametrize("what", REFUSED_MAIL)
def test_refused_mail_is_an_error_of_a_stranger(what: str) -> None:
    machine = server(_suppressing(), options=SLOW)
    events = [machine.receive(REFUSED_MAIL[what][0]) for _ in range(3)]
    assert any(isinstance(event, Pause) for event in events)


def test_what_is_out_of_turn_is_an_error_of_everybody_again_once_the_next_mail_begins() -> None:
    policy = _suppressing()
    policy.may_submit = True
    machine = server(policy, options=SLOW)
    assert machine.receive(b"MAIL FROM:<no@x.example>\r\nRSET\r\nDATA\r\nDATA\r\n") is None
    assert machine.receive(b"DATA\r\n") == Pause(1.0)
