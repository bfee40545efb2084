"""A volume that is an older copy of itself, or of another slot's."""

from copy import deepcopy
from typing import Any

import pytest

from lane_api.relayconfig import RelayConfig, SpoolClaim
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


def _under(volume: MemoryVolume, claim: str, before: str = "", mark: int | None = None) -> RelayConfig:
    of = _config(volume, mark)
    return of.model_copy(update={"spool": of.spool.model_copy(update={"claim": SpoolClaim(uid=claim, before=before)})})


async def _at_work(claim: str = "a") -> MemoryVolume:
    """A volume with mail on it, that was under this claim."""
    rig = Rig(of=_under(MemoryVolume(), claim))
    await rig.later("spring")
    return rig.spool.volume


async def test_a_volume_under_another_claim_is_held_though_all_else_is_as_old_as_itself() -> None:
    volume = await _at_work("a")
    rig = Rig(volume, _under(volume, "b", mark=0))
    assert "restored" in rig.keeper.standing()[0]["reason"]
    await rig.keeper.revoke(RESTORED, "jane", "it was never sent")
    assert not _is_held(volume, _under(volume, "b"))
    assert _is_held(volume, _under(volume, "a"))


@pytest.mark.parametrize(
    ("claim", "before", "held"),
    [("a", "", False), ("b", "a", False), ("c", "b", True)],
    ids=["the same", "kept beyond its claim", "kept, and a copy of it"],
)
async def test_a_volume_that_stays_itself_is_not_held(claim: str, before: str, held: bool) -> None:
    volume = await _at_work("a")
    assert _is_held(volume, _under(volume, claim, before)) == held


async def test_without_a_known_claim_nothing_changes_and_the_first_is_taken_as_the_volumes_own() -> None:
    rig, _, _ = await _snapshot()
    await rig.later("spring")
    volume = rig.spool.volume
    assert not _is_held(volume, _config(volume))
    assert Rig(volume, _under(volume, "a")).keeper.stands(RESTORED) is None
    assert not _is_held(volume, _config(volume))
    assert _is_held(volume, _under(volume, "b"))


async def test_a_claim_that_a_running_slot_hears_of_later_holds_what_is_in_delivery_too() -> None:
    volume = await _at_work("a")
    rig = Rig(volume, _under(volume, "a"))
    for entry in rig.spool.recover():
        rig.deliver(entry)
    assert rig.delivery
    rig.config = _under(volume, "b")
    rig.keeper.apply()
    assert not rig.delivery
    assert rig.keeper.stands(RESTORED) is not None
    rig.keeper.apply()
    assert len(rig.keeper.standing()) == 1


async def test_mail_that_came_to_an_empty_copy_is_not_held_at_the_next_start() -> None:
    empty = Rig(of=_under(MemoryVolume(), "a")).spool.volume
    rig = Rig(empty, _under(empty, "b"))
    await rig.later("spring")
    assert not _is_held(empty, _under(empty, "b"))


@pytest.mark.parametrize("told", ["mark", "slot", "claim"])
async def test_each_copy_begins_one_journal_over_many_restarts_and_none_when_it_is_let_go(told: str) -> None:
    _, copied, mark = await _snapshot()
    now = {
        "mark": _config(copied, mark),
        "slot": _config(copied, slot="otp-1"),
        "claim": _under(copied, "second", mark=mark),
    }[told]
    if told == "claim":
        Rig(copied, _under(copied, "first"))
    snapshot = deepcopy(copied)
    assert [Rig(copied, now).journals for _ in range(3)] == [1, 0, 0]
    rig = Rig(copied, now)
    rig.keeper.apply()
    await rig.stored()  # the mark rises while it is held
    rig.keeper.apply()
    await rig.keeper.revoke(RESTORED, "jane", "it was never sent")
    assert (rig.journals, Rig(copied, now).journals) == (0, 0)
    assert Rig(snapshot, now).journals == 1, "put back once more"


async def test_what_was_put_back_and_is_put_back_again_while_it_is_held_begins_another_journal() -> None:
    _, copied, _ = await _snapshot()
    Rig(copied, _under(copied, "first"))
    assert Rig(copied, _under(copied, "second")).journals == 1
    again = deepcopy(copied)
    assert Rig(again, _under(again, "third")).journals == 1


async def test_a_volume_that_is_no_copy_begins_no_journal() -> None:
    rig, _, mark = await _snapshot()
    assert rig.journals == 0
    assert Rig(rig.spool.volume, _under(rig.spool.volume, "first", mark=mark)).journals == 0


async def test_an_empty_copy_begins_a_journal_too_and_tries_until_there_is_room() -> None:
    rig, _, mark = await _snapshot()
    volume = rig.spool.volume
    late = Rig(volume, _config(volume, mark + 100), no_room=True)
    assert (late.journals, late.keeper.standing()) == (0, [])
    late.no_room = False
    late.keeper.apply()
    assert (late.journals, late.keeper.standing()) == (1, [])
    assert Rig(volume, _config(volume, mark + 100)).journals == 0


async def test_a_copy_is_held_though_no_journal_can_be_begun() -> None:
    _, copied, mark = await _snapshot()
    rig = Rig(copied, _config(copied, mark), no_room=True)
    assert rig.keeper.stands(RESTORED) is not None
    assert Rig(copied, _config(copied, mark)).journals == 1
