"""What a slot says of its orders."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lane_relay.account.admin_actions import AdminActions
from lane_relay.account.records import RecordWriter
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.config import ConfigSource
from lane_relay.errors import SpoolError
from lane_relay.feedback.outbox import Outbox
from lane_relay.handover.doubts import SlotDoubt
from lane_relay.handover.owed import SlotOwed
from lane_relay.slot import Slot
from lane_relay.spool.memory import MemorySpool
from lane_relay.supervisor import Supervisor
from tests.lane_relay.test_config import text


class FailsOnce(MemorySpool):
    """A spool whose volume fails one sync and then recovers: the injected fault."""

    failures = 1

    async def flush(self) -> None:
        if self.failures:
            self.failures -= 1
            raise SpoolError("the volume did not answer")
        await super().flush()


async def test_an_order_that_was_not_kept_is_kept_by_the_next_that_is(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text())
    source = ConfigSource(file)
    slot = Slot(source, SYSTEM_CLOCK, lambda: None, Supervisor(lambda: 0.5))
    spool = FailsOnce(SYSTEM_CLOCK, asyncio.get_running_loop())
    settler: Any = SimpleNamespace(writer=RecordWriter(source.current.lane, source.current.slot))
    stages: Any = SimpleNamespace(spool=spool, admin=AdminActions(spool, settler, SYSTEM_CLOCK))
    slot.stages = stages
    with pytest.raises(SpoolError):
        await slot.set_intake("Closed", "jane", "a move")
    assert (slot.intake_state(), slot.intake_kept()) == ("Closed", "Open")
    assert await slot.set_intake("Closed", "jane", "a move") == "Closed"
    assert slot.intake_kept() == "Closed"


class Stages:
    """Of a relay, only what a report asks."""

    def __init__(self, spool: MemorySpool) -> None:
        self.spool = spool
        self.gate = SimpleNamespace(
            named=None, is_open=True, status=SimpleNamespace(state="Proved", message="", address="", seen="", at=0.0)
        )
        self.sessions = 0
        judgement = SimpleNamespace(acts=SimpleNamespace(listed=tuple, observed=lambda _now: ()))
        figures = SimpleNamespace(in_flight=0)
        self.dispatcher = SimpleNamespace(figures=lambda: figures, judgement=judgement, sites={})
        self.backlog = SimpleNamespace(oldest_since=lambda: None)
        self.selectors = SimpleNamespace(states=tuple)
        self.signer = SimpleNamespace(problems={})
        self.orders = SimpleNamespace(stands=lambda _order_id: None, holding=list)


async def test_a_closed_slot_is_not_empty_while_something_is_on_its_way_to_the_volume(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text(extra="intake: {state: Closed}"))
    slot = Slot(ConfigSource(file), SYSTEM_CLOCK, lambda: None, Supervisor(lambda: 0.5))
    stages: Any = Stages(FailsOnce(SYSTEM_CLOCK, asyncio.get_running_loop()))
    slot.stages = stages
    assert [(await slot.report())["queue"]["inFlight"] for _ in range(2)] == [1, 0]


def _doubts() -> list[SlotDoubt]:
    """An old one and one of now."""
    return [SlotDoubt("t-1", 1, 5, SYSTEM_CLOCK.now() - 301, ""), SlotDoubt("t-2", 1, 1, SYSTEM_CLOCK.now(), "")]


async def test_what_siblings_hand_over_and_what_comes_back_is_in_flight_until_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text(extra="intake: {state: Closed}"))
    slot = Slot(ConfigSource(file), SYSTEM_CLOCK, lambda: None, Supervisor(lambda: 0.5))
    stages: Any = Stages(MemorySpool(SYSTEM_CLOCK, asyncio.get_running_loop()))
    slot.stages = stages
    owed = [SlotOwed("t-1", 3, 1_800_000_000.0, "refused")]
    handover: Any = SimpleNamespace(taking=2, waiting=4, stranded=3, in_doubt=2, doubts=_doubts(), owed=owed)
    feedback: Any = SimpleNamespace(under_way=3, outbox=Outbox(tmp_path / "outbox"), list_report=dict)
    slot.handover, slot.feedback = handover, feedback
    said = await slot.report()
    assert said["queue"]["inFlight"] == 5
    assert (said["handover"]["waiting"], said["handover"]["stranded"]) == (4, 3)
    assert [doubt["overdue"] for doubt in said["handover"]["doubts"]] == [True, False]
    assert said["handover"]["owed"] == [
        {"slot": "t-1", "transfers": 3, "since": "2027-01-15T08:00:00Z", "reason": "refused"}
    ]


async def test_the_report_says_which_bounces_are_not_told_and_who_has_the_list(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text())
    slot = Slot(ConfigSource(file), SYSTEM_CLOCK, lambda: None, Supervisor(lambda: 0.5))
    stages: Any = Stages(MemorySpool(SYSTEM_CLOCK, asyncio.get_running_loop()))
    slot.stages = stages
    outbox = Outbox(tmp_path / "outbox")
    office: Any = SimpleNamespace(under_way=0, outbox=outbox, list_report=lambda: {"words": 7})
    slot.feedback = office
    await outbox.put("http://127.0.0.1:1/", {"id": "1"})
    assert (await slot.report())["feedback"] == {"unsent": 1, "failure": ""}
    assert (await slot.report())["suppressions"] == {"words": 7}


async def test_the_report_names_what_is_in_force_by_generation_and_serial(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text(3, serial=7))
    slot = Slot(ConfigSource(file), SYSTEM_CLOCK, lambda: None, Supervisor(lambda: 0.5))
    said = await slot.report()
    assert (said["generation"], said["serial"]) == (3, 7)
    slot.push(text(3, serial=8))
    assert (await slot.report())["serial"] == 8
