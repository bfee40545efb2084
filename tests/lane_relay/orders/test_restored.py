"""A volume that is an older copy of itself, or of another slot's."""

from copy import deepcopy
from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig
from lane_relay.orders.book import MOST
from lane_relay.orders.restored import RESTORED, Mark, mark_of
from lane_relay.spool.memory import MemoryVolume
from tests.lane_relay.account.attempts import config
from tests.lane_relay.orders.keeping import Rig


def _config(volume: MemoryVolume, mark: int | None = None, slot: str = "otp-0") -> RelayConfig:
    seen = {"id": volume.spool_id, "mark": mark} if mark is not None else None
    tree: dict[str, Any] = config().model_dump(mode="json", by_alias=True, exclude_none=True)
    tree["spool"]["seen"] = seen
    tree["slot"]["name"] = slot
    return RelayConfig.model_validate(tree)


async def _snapshot() -> tuple[Rig, MemoryVolume, int]:
    """A slot at work, a copy of its volume from before its last delivery, and the mark seen afterwards."""
    rig = Rig()
    entry = await rig.later("spring")
    copied = deepcopy(rig.spool.volume)
    rig.spool.settle(entry, entry.recipients, [b'{"type":"Delivery"}'])
    await rig.spool.flush()
    return rig, copied, Mark(rig.spool).value(0.0)


def _is_held(volume: MemoryVolume, of: RelayConfig) -> bool:
    return Rig(deepcopy(volume), of).keeper.stands(RESTORED) is not None


async def test_an_older_copy_is_held_and_mail_that_comes_later_is_not() -> None:
    _, copied, mark = await _snapshot()
    rig = Rig(copied, _config(copied, mark))
    for entry in rig.spool.recover():
        rig.deliver(entry)
    rig.deliver(fresh := await rig.stored())
    assert rig.delivery == [fresh]
    assert "older" in rig.keeper.standing()[0]["reason"]


async def test_the_same_volume_after_a_restart_is_not_held() -> None:
    rig, _, mark = await _snapshot()
    await rig.later("spring")
    assert not _is_held(rig.spool.volume, _config(rig.spool.volume, mark))


@pytest.mark.parametrize("slot", ["otp-0", "otp-1"])
async def test_a_copy_in_another_slot_is_held_though_nobody_saw_its_mark(slot: str) -> None:
    _, copied, _ = await _snapshot()
    assert _is_held(copied, _config(copied, slot=slot)) == (slot == "otp-1")


async def test_what_was_let_go_is_not_held_again_and_an_older_copy_still_is() -> None:
    _, copied, mark = await _snapshot()
    oldest = deepcopy(copied)
    rig = Rig(copied, _config(copied, mark))
    await rig.keeper.revoke(RESTORED, "jane", "it was never sent")
    let_go = mark_of(rig.spool)
    assert let_go >= mark
    assert not _is_held(copied, _config(copied, let_go))
    assert _is_held(oldest, _config(oldest, let_go))


async def test_it_is_held_by_one_order_over_many_restarts() -> None:
    _, copied, mark = await _snapshot()
    for _ in range(3):
        rig = Rig(copied, _config(copied, mark))
    assert len(rig.keeper.standing()) == 1


async def test_an_empty_copy_needs_nobody() -> None:
    rig, _, mark = await _snapshot()
    assert not _is_held(rig.spool.volume, _config(rig.spool.volume, mark + 100))


async def test_a_mark_of_another_spool_says_nothing() -> None:
    _, copied, mark = await _snapshot()
    assert not _is_held(copied, _config(MemoryVolume(), mark))


async def test_a_mark_is_said_anew_once_an_hour() -> None:
    rig, _, _ = await _snapshot()
    mark = Mark(rig.spool)
    first = mark.value(1000.0)
    rig.spool.record([b"{}"])
    assert mark.value(4599.0) == first
    assert mark.value(4600.0) == first + 1


async def test_a_copy_with_as_many_orders_as_may_stand_is_held_and_its_orders_can_be_ended() -> None:
    rig = Rig()
    await rig.later("spring")
    for number in range(MOST):
        await rig.order(action="hold", campaign=f"c{number}")
    back = Rig(rig.spool.volume, _config(rig.spool.volume, 10**6))
    assert back.keeper.stands(RESTORED) is not None
    assert len(back.keeper.standing()) == MOST + 1
