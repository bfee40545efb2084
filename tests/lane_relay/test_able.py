"""What a slot tells its siblings that it could send: by reply rules, its day, its warm-up and persons' orders."""

from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.able import ability_of
from lane_relay.clock import Clock
from lane_relay.handover.ability import Ability
from lane_relay.warmup.warmer import Warmer
from tests.lane_relay.deliver.delivery import delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running
from tests.lane_relay.orders.keeping import Rig

POLICIES = [{"name": "isp", "domains": ["x.test"], "messages_per_day": 3}, {"name": "free", "domains": ["y.test"]}]


async def asked(*orders: dict[str, Any], sent: int = 0, warmup: dict[str, Any] | None = None) -> Ability:
    """Of a slot that has sent so many to `isp`, with these orders standing."""
    peer, config = Peer(), make_config(policies=POLICIES)
    async with running(peer), delivering(policies=POLICIES) as relay, Rig() as rig:
        for _ in range(sent):
            relay.send(route_to(peer.port, site="isp", policy="isp"))
        await until(lambda: len(relay.attempts) == sent)
        for order in orders:
            await rig.order(**order)
        warmer = Warmer(_warming(config, warmup), Clock(lambda: 1_800_000_000.0, lambda: 5.0), "", lambda *_: None)
        return ability_of(relay.dispatcher, warmer, rig.keeper, config.delivery.policies)


def _warming(config: RelayConfig, warmup: dict[str, Any] | None) -> RelayConfig:
    return RelayConfig.model_validate({**config.model_dump(mode="json", by_alias=True), "warmup": warmup})


async def test_its_day_has_so_much_room() -> None:
    assert await asked() == Ability(sends=True, stopped=(), room={"isp": 3})
    used = await asked(sent=3)
    assert (used.room, used.is_for("isp")) == ({"isp": 0}, True)


async def test_of_day_and_warm_up_the_smaller_room_counts() -> None:
    cold = await asked(sent=1, warmup={"steps": [24]})
    assert cold.room == {"isp": min(2, cold.room["free"]), "free": cold.room["free"], "other": cold.room["other"]}
    assert 0 < cold.room["free"] < 24


@pytest.mark.parametrize("action", ["suspend", "hold"])
async def test_what_a_persons_order_holds_there_is_better_kept(action: str) -> None:
    by_policy = await asked({"action": action, "policy": "free"})
    assert by_policy.room == {"isp": 3, "free": 0}
    by_site = await asked({"action": action, "site": "mx.example.com"})
    assert (by_site.stopped, by_site.is_for("isp")) == (("mx.example.com",), True)
    of_all = await asked({"action": action, "all": True})
    assert not of_all.is_for("isp")
    for other in ({"action": action, "queue": "example.com"}, {"action": "drop", "policy": "free"}):
        assert await asked(other) == Ability(sends=True, stopped=(), room={"isp": 3})
