"""A volume that fails for good under a running relay, or gets another budget: clients hear why, nothing is lost."""

import resource
import smtplib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import pytest

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_promises import arrived_numbers

pytestmark = pytest.mark.timeout(300)

WRITABLE = 128 * 1024
"""Bytes of a file that may still be written: the log, the journal, but no longer the spool's segment."""


def heavy(number: int) -> EmailMessage:
    """A letter that brings the segment beyond WRITABLE."""
    message = letter(number)
    message.add_attachment(b"x" * WRITABLE, "application", "octet-stream")
    return message


def break_volume(relay: Relay) -> None:
    """From now on the kernel refuses what is written behind WRITABLE (EFBIG): an error that no waiting heals."""
    assert relay.process is not None
    resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (WRITABLE, WRITABLE))


def answer_to(relay: Relay, number: int) -> int:
    """The code that a client hears at the end of its message."""
    with relay.session() as client:
        assert client.sock is not None
        client.sock.settimeout(60)  # an answer that does not come is a failure, not a wait
        try:
            client.send_message(letter(number))
        except smtplib.SMTPResponseException as refused:
            return refused.smtp_code
        return 250


def test_promise_1_a_failed_write_stops_intake_with_a_reason_and_delivery_too(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"}).start()
    with relay.session() as client:
        client.send_message(heavy(1))
        client.send_message(heavy(2))
    break_volume(relay)
    with ThreadPoolExecutor(8) as clients:
        codes = list(clients.map(lambda number: answer_to(relay, number), range(10, 18)))
    assert Counter(codes) == Counter([451] * 8)
    eventually(lambda: relay.probe("/readyz")[0] == 503, "the relay says that it cannot accept")
    relay.change(delivery={"state": "Running"})
    assert [answer_to(relay, number) for number in range(20, 23)] == [451] * 3
    assert sink.asked == []  # what leaves now could not be recorded, and would leave again after a restart
    relay.kill()
    relay.start()
    sink.wait(2)
    eventually(lambda: relay.metric("queue_messages") == 0, "an empty queue")
    assert arrived_numbers(sink) == Counter([1, 2])


def test_another_spool_budget_is_in_force_without_a_restart(new_relay: NewRelay, sink: Sink) -> None:
    relay = new_relay(delivery={"routes": [fixed_route(sink)], "state": "Held"}).start()
    with relay.session() as client:
        client.send_message(heavy(1))
    relay.change(spool={"maxSize": "64Ki"})
    assert answer_to(relay, 2) == 452
    relay.change(spool={"maxSize": "64Mi"})
    assert answer_to(relay, 3) == 250
