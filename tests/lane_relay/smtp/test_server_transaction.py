"""What an envelope makes of recipients that are named more than once."""

from lane_relay.records import Notify
from lane_relay.smtp.server import MessageReceived
from tests.lane_relay.smtp.talking import codes, server, talk


def test_a_recipient_that_is_named_again_is_one_and_each_is_told_250() -> None:
    machine = server()
    names = [b"<ann@y.example>", b"<bob@y.example>", b"<ann@Y.Example>", b'<"ann"@y.example>', b"<bob@y.example>"]
    _, output = talk(machine, b"MAIL FROM:<a@x.example>\r\n" + b"".join(b"RCPT TO:%s\r\n" % one for one in names))
    talk(machine, b"DATA\r\n")
    events, _ = talk(machine, b"x\r\n.\r\n")

    assert codes(output) == [250] * 6
    assert [one.envelope.recipients for one in events if isinstance(one, MessageReceived)] == [
        ("ann@y.example", "bob@y.example")
    ]


def test_local_parts_that_differ_in_case_are_two() -> None:
    machine = server()
    talk(machine, b"MAIL FROM:<a@x.example>\r\nRCPT TO:<ann@y.example>\r\nRCPT TO:<Ann@y.example>\r\nDATA\r\n")
    (event,), _ = talk(machine, b"x\r\n.\r\n")
    assert isinstance(event, MessageReceived)
    assert event.envelope.recipients == ("ann@y.example", "Ann@y.example")


def test_what_was_asked_for_the_first_time_holds_and_stays_with_its_recipient() -> None:
    machine = server()
    talk(
        machine,
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<ann@y.example>\r\nRCPT TO:<ann@y.example> NOTIFY=NEVER\r\n"
        b"RCPT TO:<bob@y.example> NOTIFY=SUCCESS\r\nDATA\r\n",
    )
    (event,), _ = talk(machine, b"x\r\n.\r\n")
    assert isinstance(event, MessageReceived)
    assert event.envelope.recipients == ("ann@y.example", "bob@y.example")
    assert [one.notify for one in event.envelope.options][1] == Notify.SUCCESS
    assert event.envelope.options[0].notify != Notify.NEVER


def test_a_recipient_that_is_known_takes_no_place_of_those_that_a_message_may_have() -> None:
    machine = server()  # three at most
    _, output = talk(
        machine,
        b"MAIL FROM:<a@x.example>\r\n"
        + b"".join(b"RCPT TO:<%s@y.example>\r\n" % one for one in (b"a", b"b", b"c", b"a", b"d")),
    )
    assert codes(output) == [250, 250, 250, 250, 250, 452]


def test_the_next_message_knows_nothing_of_the_last_ones_recipients() -> None:
    machine = server()
    for _ in range(2):
        talk(machine, b"MAIL FROM:<a@x.example>\r\nRCPT TO:<a@y.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n")
        (event,), _ = talk(machine, b"x\r\n.\r\n")
        assert isinstance(event, MessageReceived)
        assert event.envelope.recipients == ("a@y.example", "b@y.example")
