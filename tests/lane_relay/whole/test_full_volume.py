"""Promise 5 on a real volume that is smaller than the queue's budget: it says so, and empties itself."""

import smtplib
from collections import Counter

import pytest

from tests.chaos.ground import small_volume
from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter
from tests.lane_relay.whole.conftest import NewRelay

pytestmark = pytest.mark.timeout(300)


def _fill(relay: Relay, first: int, lines: int) -> tuple[int, smtplib.SMTPResponseException]:
    """Sends letters until one is refused; the next one's number, and the refusal."""
    number = first
    with relay.session() as client:
        while True:
            message = letter(number, recipient=f"gone{number}@isp.test")
            message.set_content(("x" * 70 + "\r\n") * lines)
            try:
                client.send_message(message)
            except smtplib.SMTPResponseException as refusal:
                return number, refusal
            number += 1


def _is_taken(relay: Relay, number: int) -> bool:
    try:
        relay.submit(number)
    except smtplib.SMTPResponseException:  # what is dead is copied about just now
        return False
    return True


def test_a_volume_that_is_full_of_mail_that_fails_gets_empty_and_asks_nobody_twice(
    new_relay: NewRelay, sink: Sink
) -> None:
    asked = Counter[str]()

    def answer(stage: str, line: str) -> str | None:
        if stage != "RCPT" or "gone" not in line:
            return None
        asked[line] += 1
        return "550 5.1.1 no such user"

    sink.answer_with = answer
    delivery = {"routes": [fixed_route(sink)], "state": "Suspended"}
    relay = new_relay(delivery=delivery, spool={"maxSize": "1Gi"})
    with small_volume(relay.folder / "spool", "24m"):
        relay.start()
        accepted, _ = _fill(relay, 0, 3500)
        accepted, refusal = _fill(relay, accepted, 400)  # what large ones leave free
        assert (refusal.smtp_code, refusal.smtp_error) == (
            452,
            b"4.3.1 The queue's volume is full, try again later; a larger queue.size gives it room",
        )
        assert "volume is full" in relay.probe("/readyz")[1]

        relay.change(delivery={"state": "Running"})
        eventually(lambda: relay.metric("queue_messages") == 0, "all is told and gone", 120)
        assert accepted > 60
        assert len(sink.arrived) == len(asked) == accepted, "a report of each"
        assert set(asked.values()) == {1}
        eventually(relay.is_ready, "it takes mail again")
        eventually(lambda: _is_taken(relay, accepted), "a message is taken")
        sink.wait(accepted + 1)
        relay.stop()
