"""Campaigns take turns also in the little that a cold address may send, however long the large one's queue is.

Judged by the order at the ISP, never by the clock.
"""

from pathlib import Path

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.asked import hand_in

_FEW = 8
_AN_HOUR = 20
"""Recipients for whom there is room in each part of a step, which takes two seconds."""


def _places(sink: Sink, campaign: str) -> list[int]:
    return [place for place, one in enumerate(sink.arrived) if one.recipients[0].startswith(campaign)]


def test_a_small_campaign_does_not_wait_for_the_room_behind_all_of_a_large_one(tmp_path: Path) -> None:
    with Sink("127.0.0.94") as sink:
        warmup = {"steps": [12 * _AN_HOUR] * 3, "stepEvery": "48s"}
        delivery = {"routes": [fixed_route(sink)], "lifetime": "72h"}
        relay = Relay(tmp_path / "relay", {"delivery": delivery, "warmup": warmup})
        try:
            relay.start()
            hand_in(relay, "large", 90, recipients=100)
            sink.wait(_AN_HOUR)
            hand_in(relay, "small", _FEW)
            before = len(sink.arrived)
            eventually(lambda: len(_places(sink, "small")) == _FEW, "the small one is through")
            # each second one, and what had its room by then
            assert _places(sink, "small")[-1] - before <= 2 * _FEW + _AN_HOUR
            assert relay.metric("queue_messages") > 40
        finally:
            relay.stop()
