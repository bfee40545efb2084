"""Who did what to a slot, on record."""

import asyncio
import json

from lane_api.relayconfig import RelayConfig, SpoolMark
from lane_relay.account.admin_actions import AdminActions
from tests.lane_relay.account.attempts import config
from tests.lane_relay.orders.keeping import Rig


def _seen(of: RelayConfig, mark: int) -> RelayConfig:
    spool = of.spool.model_copy(update={"seen": SpoolMark(id="a" * 32, mark=mark)})
    return of.model_copy(update={"spool": spool, "serial": mark})


def _records(rig: Rig) -> list[tuple[str, str, str]]:
    found = [json.loads(line) for line in rig.spool.volume.records]
    return [(one["user"], one["meta"]["action"], one["meta"]["reason"]) for one in found]


async def test_what_was_done_is_on_the_volume_with_name_and_reason_when_it_is_kept() -> None:
    rig = Rig()
    await AdminActions(rig.spool, rig.settler, rig.clock).keep("intake Closed", "jane", "a move")
    assert _records(rig) == [("jane", "intake Closed", "a move")]


async def test_another_configuration_is_on_record_once_and_over_restarts_and_what_was_seen_of_the_spool_is_none() -> (
    None
):
    rig = Rig()
    admin = AdminActions(rig.spool, rig.settler, rig.clock)
    admin.in_force(config())
    admin.in_force(_seen(config(), 7))
    assert _records(rig) == []

    changed = config().model_copy(update={"generation": 9})
    for _ in range(2):
        admin.in_force(_seen(changed, 8))
    again = Rig(rig.spool.volume)
    AdminActions(again.spool, again.settler, again.clock).in_force(_seen(changed, 9))
    await asyncio.sleep(0)
    ((_, action, _),) = _records(again)
    assert action.startswith("configuration in force: generation 9, serial 8, sha256 ")
    assert ", before it " in action
