"""A connection between two slots that breaks, and nobody dies: what comes back goes there again."""

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.crossing import Door
from tests.lane_relay.running import Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane, arrived, is_empty

pytestmark = pytest.mark.timeout(300)


def test_what_a_slot_that_sends_nothing_itself_gets_back_after_an_instant_is_offered_again(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    lane.certify("door", ("localhost",))
    with Door(tmp_path, lane.ports["otp-1"]) as door:
        taker = new_relay(**lane.slot("otp-1", sink, "Running")).start()
        giver = new_relay(**lane.slot("otp-0", sink, "TransferringSuspended", port=door.port)).start()
        giver.submit(0)
        sink.wait(1)  # so that the giver knows that its sibling is there
        for number in (1, 2):
            stop = door.stop_at("offer", "half")
            giver.submit(number)
            assert stop.reached.wait(60)
            stop.cut()
            sink.wait(1 + number)
        eventually(lambda: is_empty(giver) and is_empty(taker), "two empty queues")
    assert arrived(sink) == Counter([0, 1, 2])
    assert door.seen["ask", "over"] == 2
