"""Campaigns take turns also where every body has to be read from the spool: after a restart.

Judged by the order at the ISP, never by the clock.
"""

from pathlib import Path

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route
from tests.lane_relay.whole.asked import hand_in

_FEW = 8


def _is_small(recipients: tuple[str, ...]) -> bool:
    return recipients[0].startswith("small")


def test_after_kill_9_a_small_campaign_does_not_wait_behind_the_large_one_s_queue(tmp_path: Path) -> None:
    with Sink("127.0.0.93") as sink:
        policy = {"name": "isp", "mx": [sink.address], "messageRate": "25/s", "connections": 4}
        delivery = {"state": "Held", "routes": [fixed_route(sink)], "policies": [policy]}
        relay = Relay(tmp_path / "relay", {"delivery": delivery})
        try:
            relay.start()
            hand_in(relay, "large", 20, recipients=100)
            relay.kill()
            relay.generation += 1
            relay.write({"delivery": {**delivery, "state": "Running"}})
            relay.start()
            sink.wait(1)
            hand_in(relay, "small", _FEW)
            before = len(sink.arrived)
            came = sink.arrived
            eventually(lambda: sum(_is_small(one.recipients) for one in came) >= _FEW, "the small one is through")
            last = max(place for place, one in enumerate(came) if _is_small(one.recipients))
            # each second one, and what was at hand before
            assert last - before <= 2 * _FEW + 40
        finally:
            relay.stop()
