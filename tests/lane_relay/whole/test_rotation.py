"""A lane's authority is followed by another one while a slot hands its mail over: no step of it stands in the way.

Each slot has its own Secret, as the operator makes them (`lane_operator.provision`), and gets each new one at another
time. What happened where the new authority signed at once is shown beside it.
"""

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lane_operator import credentials
from tests.lane_relay.running import Relay, Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane, is_empty
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)

BATCH = 20


class Rotating(Lane):
    """A lane whose slots each have files of their own, and two authorities, one after the other."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.first, self.second = self.authority, credentials.make_ca("otp", dt.datetime.now(dt.UTC))
        for slot in self.ports:
            self.give(slot, 0)

    def give(self, slot: str, step: int) -> None:
        """The slot's Secret. 0: before; 1: the next authority is trusted as well; 2: it has signed."""
        old, new = self.first.certificate, self.second.certificate
        self.authority = self.second if step == 2 else self.first
        self.write(f"{slot}.ca", (old, old + new, new + old)[step])
        self.certify(slot, ("localhost",))

    def slot(self, name: str, sink: Sink, state: str, **more: Any) -> dict[str, Any]:
        found = super().slot(name, sink, state, **more)
        found["handover"]["caFile"] = str(self.folder / f"{name}.ca")
        return found

    def leaf(self, slot: str) -> bytes:
        """What its newest Secret has."""
        return (self.folder / f"{slot}.crt").read_bytes()

    def shown(self, slot: str) -> bytes:
        """What it shows whoever connects."""
        shown = ssl.get_server_certificate(("127.0.0.1", self.ports[slot]))
        return x509.load_pem_x509_certificate(shown.encode()).public_bytes(Encoding.PEM)


def test_mail_changes_hands_at_each_step_of_a_rotation(tmp_path: Path, new_relay: NewRelay, sink: Sink) -> None:
    lane = Rotating(tmp_path)
    giver, taker = _slots(lane, new_relay, sink)
    given = _hand_over(giver, taker, 0)
    for slot, step in (("otp-0", 1), ("otp-1", 1), ("otp-0", 2), ("otp-1", 2)):
        lane.give(slot, step)
        eventually(lambda slot=slot: lane.shown(slot) == lane.leaf(slot), f"{slot} shows its new leaf")  # type: ignore[misc]
        given = _hand_over(giver, taker, given)
    eventually(lambda: is_empty(giver) and giver.metric("handover_in_doubt") == 0, "the giver has its answer")
    assert taker.metric("queue_messages") == given


def test_an_authority_that_signs_at_once_would_be_refused_and_the_mail_stays_where_it_is(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Rotating(tmp_path)
    giver, taker = _slots(lane, new_relay, sink)
    given = _hand_over(giver, taker, 0)

    lane.give("otp-0", 2)
    eventually(lambda: lane.shown("otp-0") == lane.leaf("otp-0"), "the giver shows its new leaf")
    giver.submit(*range(given, given + BATCH))
    # TLS 1.3 refuses a client's certificate only after the client has written: the giver cannot know what was read
    eventually(lambda: giver.metric("handover_in_doubt") == 1, "the giver cannot know")
    assert giver.metric("queue_messages") == BATCH
    assert taker.metric("handover_taken_total") == given

    lane.give("otp-1", 1)
    eventually(lambda: taker.metric("handover_taken_total") == given + BATCH, "it goes on by itself")
    eventually(lambda: giver.metric("queue_messages") == 0 and not giver.metric("handover_in_doubt"), "nothing is left")


def _slots(lane: Rotating, new_relay: NewRelay, sink: Sink) -> tuple[Relay, Relay]:
    """One that gives all it gets and can send nothing, and one that takes it and keeps it."""
    alone = lane.slot("otp-0", sink, "Transferring")
    alone["delivery"]["routes"] = [{**alone["delivery"]["routes"][0], "port": free_port()}]
    taker = new_relay(**lane.slot("otp-1", sink, "Held")).start()
    return new_relay(**alone).start(), taker


def _hand_over(giver: Relay, taker: Relay, before: int) -> int:
    """Hands some more over; how many that makes."""
    giver.submit(*range(before, before + BATCH))
    eventually(lambda: taker.metric("handover_taken_total") == before + BATCH, "handed over")
    return before + BATCH
