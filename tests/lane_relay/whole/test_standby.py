"""A slot in standby on the wire: it takes no submissions, and sends its part; made active it takes them."""

import smtplib
from pathlib import Path

import pytest

from tests.lane_relay.running import Sink, eventually
from tests.lane_relay.whole.conftest import NewRelay
from tests.lane_relay.whole.test_handover import Lane, arrived, is_empty
from tests.lane_relay.whole.test_warm_up import helos

pytestmark = pytest.mark.timeout(300)


def test_it_sends_its_part_takes_no_submissions_and_takes_them_once_it_is_active(
    tmp_path: Path, new_relay: NewRelay, sink: Sink
) -> None:
    lane = Lane(tmp_path)
    of_spare = lane.slot("otp-1", sink, "Running")
    of_spare["slot"]["role"] = "Standby"
    spare = new_relay(**of_spare).start(ready=False)
    eventually(lambda: "takes no submissions" in spare.probe("/readyz")[1], "it says why it is not ready")
    of_active = lane.slot("otp-0", sink, "Running", role="Standby")
    of_active["handover"]["standbyShare"] = 0.5
    active = new_relay(**of_active).start()

    active.submit(*range(60))
    sink.wait(60)
    eventually(lambda: is_empty(active) and is_empty(spare), "two empty queues")
    assert set(arrived(sink).values()) == {1}
    found = helos(sink)
    assert min(found["otp-0.brand.test"], found["otp-1.brand.test"]) > 10
    assert (active.metric("standby"), spare.metric("standby")) == (0, 1)
    with pytest.raises(smtplib.SMTPException) as refused:
        spare.submit(60)
    assert "421" in str(refused.value)

    spare.change(slot={"role": "Active"})
    eventually(spare.is_ready, "it is ready")
    spare.submit(61)
    sink.wait(61)
