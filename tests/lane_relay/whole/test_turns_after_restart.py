"""Campaigns take turns also where every body has to be read from the spool: after a restart.

Judged by the order at the ISP, never by the clock.
"""

from email.policy import SMTP as WIRE
from pathlib import Path

from tests.lane_relay.running import Relay, Sink, eventually, fixed_route, letter

_FEW = 8


def _hand_in(relay: Relay, campaign: str, messages: int, recipients: int = 1) -> None:
    """Each recipient is at a domain of its own, so that each is an entry."""
    with relay.session() as client:
        for number in range(messages):
            message = letter(number)
            message["X-Lane-Campaign"] = campaign
            people = [f"{campaign}{number}@d{one}.test" for one in range(recipients)]
            client.sendmail("otp@brand.test", people, message.as_bytes(policy=WIRE))


def _is_small(recipients: tuple[str, ...]) -> bool:
    return recipients[0].startswith("small")


def test_after_kill_9_a_small_campaign_does_not_wait_behind_the_large_one_s_queue(tmp_path: Path) -> None:
    with Sink("127.0.0.93") as sink:
        policy = {"name": "isp", "mx": [sink.address], "messageRate": "25/s", "connections": 4}
        delivery = {"state": "Held", "routes": [fixed_route(sink)], "policies": [policy]}
        relay = Relay(tmp_path / "relay", {"delivery": delivery})
        try:
            relay.start()
            _hand_in(relay, "large", 20, recipients=100)
            relay.kill()
            relay.generation += 1
            relay.write({"delivery": {**delivery, "state": "Running"}})
            relay.start()
            sink.wait(1)
            before = len(sink.arrived)
            _hand_in(relay, "small", _FEW)
            came = sink.arrived
            eventually(lambda: sum(_is_small(one.recipients) for one in came) >= _FEW, "the small one is through")
            last = max(place for place, one in enumerate(came) if _is_small(one.recipients))
            # each second one, what was at hand before, and what went while the small one was handed in
            assert last - before <= 2 * _FEW + 40
        finally:
            relay.stop()
