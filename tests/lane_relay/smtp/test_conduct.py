"""The tarpit: who errs too often is answered slowly."""

from lane_relay.records import Reply
from lane_relay.smtp.server import Closed, Options, Pause
from tests.lane_relay.smtp.talking import GROUP, codes, server, talk

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
