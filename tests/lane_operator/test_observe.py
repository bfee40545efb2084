"""Visits to slots, against the relay's own admin API."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from lane_api.relayconfig import Admin, Endpoint, TlsFiles
from lane_operator import credentials
from lane_operator.inputs import Handed, Key, SlotObservation
from lane_operator.observe import UNANSWERED, Observer, Target
from lane_operator.packed import Packed
from lane_relay.api.server import AdminServer
from lane_relay.errors import ConfigError

LANE: Key = ("mail", "otp")
SERVER_NAME = "otp-0.otp-slots.mail.svc"


@dataclass
class Slot:
    """A slot's state, as a relay keeps it."""

    generation: int = 1
    serial: int | None = None
    """None: a relay of an older image."""
    intake: Literal["Open", "Closed"] = "Open"
    ordered: str = "Open"
    live: int | float = 0
    owed: int = 0
    """Transfers that otp-1 may still ask about."""
    head: str = ""
    """The newest of its records."""
    by: tuple[str, str] = ("", "")
    """Who closed or opened intake, and why."""
    asked: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)
    refuses: str = ""
    deaf: int = 0
    """Visits to come that get no proper answer."""
    watch: Callable[[], None] = lambda: None
    """Called at the beginning of each visit."""
    pushed: list[str] = field(default_factory=list)

    async def report(self) -> dict[str, Any]:
        self.asked.put_nowait(None)
        self.watch()
        if self.deaf:
            self.deaf -= 1
            raise OSError("out of sorts")
        said = {} if self.serial is None else {"serial": self.serial}
        return said | {
            "slot": "otp-0",
            "lane": "mail/otp",
            "spoolId": "s1",
            "generation": self.generation,
            "refused": "",
            "intake": {"state": self.intake, "ready": True, "sessions": 0, "ordered": self.ordered},
            "delivery": {"state": "Running", "proof": {"state": "Proved", "message": "", "at": None}},
            "queue": {"live": self.live, "inFlight": 0, "oldestSince": None, "bytes": 0},
            "domains": [{"name": "example.com", "selector": "s", "published": True, "message": ""}],
            "certificate": {"selfSigned": True, "notAfter": None},
            "handover": {"owed": [{"slot": "otp-1", "transfers": self.owed, "since": None}] if self.owed else []},
            "records": {"head": self.head},
        }

    async def set_intake(self, state: Literal["Open", "Closed"], owner: str, reason: str) -> str:
        self.intake = self.ordered = state
        self.by = (owner, reason)
        return state

    def push(self, text: str) -> int:
        if self.refuses:
            raise ConfigError(self.refuses)
        self.pushed.append(text)
        generation, _, serial = text.partition("/")
        self.generation = int(generation)
        if self.serial is not None:
            self.serial = int(serial)
        return self.generation

    def config_in_force(self) -> dict[str, Any]:
        return {"generation": 7, "serial": 1, "refused": ""}

    def replies(self) -> dict[str, Any]:
        return {"replies": [], "counts": {"other": 2}, "dropped": 0}

    def sites(self, first: int, most: int) -> dict[str, Any]:
        return {"total": 0, "sites": [], "next": None}


class Woken:
    """Who was woken how often, and a way to wait for it."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self, lane: Key) -> None:
        assert lane == LANE
        self.count += 1
        self._changed.set()

    async def again(self) -> None:
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), 60)


@dataclass
class Rig:
    slot: Slot
    woken: Woken
    observer: Observer
    target: Target

    def seen(self) -> SlotObservation:
        said = self.observer.seen(LANE, "otp-0")
        assert said is not None
        return said


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    now = dt.datetime.now(dt.UTC)
    ca = credentials.make_ca("mail/otp", now)
    leaf = credentials.make_leaf(ca, (SERVER_NAME,), now)
    files = {"tls.crt": leaf.certificate, "tls.key": leaf.key, "token": b"sesame"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    slot = Slot()
    server = AdminServer(
        Admin(
            listen=Endpoint(host="127.0.0.1", port=0),
            tls=TlsFiles(certificate=str(tmp_path / "tls.crt"), key=str(tmp_path / "tls.key")),
            token_file=str(tmp_path / "token"),
        ),
        slot,
    )
    await server.start()
    woken = Woken()
    observer = Observer(woken, silent_after_s=0.0)
    target = Target(
        lane=LANE,
        slot="otp-0",
        host="127.0.0.1",
        port=server.port,
        server_name=SERVER_NAME,
        authority=ca.certificate.decode(),
        token="sesame",
        config=Packed("7"),
        config_digest="d7",
        serial=70,
        generation=7,
        intake="Open",
        interval_s=0.02,
        process="p1/0",
    )
    yield Rig(slot, woken, observer, target)
    await observer.close()
    await server.stop()


async def visited_again(slot: Slot, times: int = 3) -> None:
    """Returns when so many more visits have begun."""
    while not slot.asked.empty():
        slot.asked.get_nowait()
    async with asyncio.timeout(60):
        for _ in range(times + 1):
            await slot.asked.get()


async def test_slots_have_been_asked_once_each_of_those_that_are_visited_had_a_visit(rig: Rig) -> None:
    assert not rig.observer.has_asked(LANE, ("otp-0",)), "who is to be visited is not known yet"
    rig.observer.aim(LANE, (rig.target,))
    assert not rig.observer.has_asked(LANE, ("otp-0", "otp-1"))
    await rig.woken.again()
    assert rig.observer.has_asked(LANE, ("otp-0", "otp-1"))
    rig.observer.leave(LANE)
    assert not rig.observer.has_asked(LANE, ()), "it has gone, and one of its name is another"


async def test_a_slot_is_seen_and_gets_the_configuration_that_it_lacks(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    assert rig.slot.pushed == ["7"]
    seen = rig.seen()
    assert (seen.reachable, seen.config_generation, seen.intake, seen.spool_id) == (True, 7, "Open", "s1")
    assert seen.domains_published == {"example.com": True}


async def test_a_changed_configuration_of_the_same_generation_is_pushed_once(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.observer.aim(LANE, (replace(rig.target, config="8", config_digest="d8"),))
    await rig.woken.again()
    rig.slot.live = 5
    await rig.woken.again()

    assert rig.slot.pushed == ["7", "8"]


async def test_a_configuration_is_kept_packed_while_it_is_the_one(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    known = (("otp-0", "d7", 70), ("otp-0", "d7", 71), ("otp-0", "d8", 70), ("otp-1", "d7", 70))
    assert [rig.observer.config_of(LANE, *one) for one in known] == [rig.target.config, None, None, None]


async def test_a_refused_configuration_is_said_and_not_pushed_again(rig: Rig) -> None:
    rig.slot.generation = 7
    rig.slot.refuses = "unknown field"
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    assert rig.seen().config_refused == "unknown field"

    rig.slot.refuses = ""
    rig.slot.live = 5
    await rig.woken.again()

    assert rig.slot.pushed == []
    assert rig.seen().config_refused == "unknown field"


@pytest.fixture
def numbered(rig: Rig) -> Rig:
    """A relay that names the serial of what it has in force."""
    rig.slot.generation, rig.slot.serial = 7, 70
    rig.target = replace(rig.target, config="7/70")
    return rig


async def test_a_slot_that_has_the_serial_is_pushed_nothing(numbered: Rig) -> None:
    numbered.observer.aim(LANE, (numbered.target,))
    await numbered.woken.again()

    assert numbered.slot.pushed == []
    assert numbered.seen().config_serial == 70


async def test_a_slot_that_comes_back_with_an_older_serial_is_pushed_to_again(numbered: Rig) -> None:
    numbered.slot.serial = 60
    numbered.observer.aim(LANE, (numbered.target,))
    await numbered.woken.again()
    numbered.slot.serial = 60  # a process that has begun anew, with the file that it found
    await visited_again(numbered.slot)

    assert numbered.slot.pushed == ["7/70", "7/70"]
    assert numbered.seen().config_serial == 70


async def test_a_change_under_the_same_generation_is_seen_arriving(numbered: Rig) -> None:
    numbered.observer.aim(LANE, (numbered.target,))
    await numbered.woken.again()
    assert numbered.observer.handed(LANE, "otp-0") == Handed("d7", 70, 70, "s1")

    numbered.observer.aim(LANE, (replace(numbered.target, config="7/71", config_digest="d8", serial=71),))
    assert numbered.observer.handed(LANE, "otp-0") == Handed("d8", 71, 70, "s1")
    await numbered.woken.again()

    assert numbered.slot.pushed == ["7/71"]
    assert (numbered.seen().config_generation, numbered.seen().config_serial) == (7, 71)


async def test_a_refused_serial_is_pushed_once_to_a_process_and_forgiven_when_the_slot_has_it(numbered: Rig) -> None:
    numbered.slot.serial = 60
    numbered.slot.refuses = "unknown field"
    with capture_logs() as logged:
        numbered.observer.aim(LANE, (numbered.target,))
        await numbered.woken.again()
        await visited_again(numbered.slot)
        assert [one["event"] for one in logged] == ["configuration pushed"]
        assert numbered.seen().config_refused == "unknown field"

        numbered.observer.aim(LANE, (replace(numbered.target, process="p1/1"),))
        await visited_again(numbered.slot)
        assert [one["event"] for one in logged] == ["configuration pushed"] * 2

        numbered.slot.serial = 70  # it took the file
        await numbered.woken.again()

    assert numbered.seen().config_refused == ""


async def test_intake_is_closed_and_the_answer_is_from_afterwards(rig: Rig) -> None:
    rig.observer.aim(LANE, (replace(rig.target, intake="Closed"),))
    await rig.woken.again()

    assert (rig.slot.intake, rig.slot.by[0]) == ("Closed", "lanewright-operator")
    assert rig.slot.by[1] == "generation 7 of SendingLane mail/otp asks for it"
    assert rig.seen().intake == "Closed"


async def test_the_order_to_close_is_kept_by_the_slot_though_its_configuration_closes_intake_already(rig: Rig) -> None:
    rig.slot.intake = "Closed"
    for wanted, ordered in (("", "Open"), ("Closed", "Closed")):  # none before a restart, which is to open it again
        rig.observer.aim(LANE, (replace(rig.target, intake=wanted),))
        await rig.woken.again()
        assert (rig.seen().intake, rig.seen().intake_ordered) == ("Closed", ordered)


async def test_a_process_that_was_restarted_gets_the_configuration_anew(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.observer.aim(LANE, (replace(rig.target, process="p1/1"),))
    rig.slot.live = 5
    await rig.woken.again()

    assert rig.slot.pushed == ["7", "7"]
    assert rig.seen().process == "p1/1"


async def test_an_unchanged_slot_wakes_nobody(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    before = rig.woken.count

    rig.slot.live = 3
    await rig.woken.again()

    assert rig.woken.count == before + 1


async def test_a_new_head_of_the_records_is_no_news_and_is_handed_on_with_the_next_pass(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    before = rig.woken.count

    rig.slot.head = '{"head":{}}'
    await visited_again(rig.slot)
    await visited_again(rig.slot)

    assert rig.woken.count == before
    assert rig.observer.handed(LANE, "otp-0").head == '{"head":{}}'


async def test_what_is_owed_is_news_of_a_slot_that_goes_alone(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    before = rig.woken.count

    rig.slot.owed = 1
    await visited_again(rig.slot)

    assert rig.woken.count == before
    rig.observer.aim(LANE, (replace(rig.target, intake="Closed"),))
    await rig.woken.again()
    rig.slot.owed = 0
    await rig.woken.again()
    assert rig.seen().owed == {}


async def test_an_answer_that_came_too_late_once_is_no_news(rig: Rig) -> None:
    rig.slot.generation = 7
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    before = rig.woken.count

    rig.slot.deaf = UNANSWERED - 1
    await visited_again(rig.slot, times=UNANSWERED + 1)

    assert rig.slot.deaf == 0
    assert rig.seen().reachable
    assert rig.seen().is_fresh
    assert rig.woken.count == before


async def test_a_slot_that_was_heard_a_moment_ago_is_not_silent_however_often_it_is_asked(rig: Rig) -> None:
    patient = Observer(rig.woken, silent_after_s=3600.0)
    rig.slot.generation = 7
    patient.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.slot.deaf = 2 * UNANSWERED
    while rig.slot.deaf:
        patient.aim(LANE, (replace(rig.target, serial=rig.slot.deaf),))  # each change brings a visit at once
        await visited_again(rig.slot, times=0)
    seen = patient.seen(LANE, "otp-0")
    await patient.close()

    assert seen is not None
    assert seen.reachable


async def test_words_of_before_a_missed_visit_are_not_fresh(rig: Rig) -> None:
    rig.slot.generation = 7
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    seen: list[tuple[bool, bool]] = []
    rig.slot.watch = lambda: seen.append((rig.seen().is_fresh, rig.seen().reachable))
    rig.slot.deaf = 1
    await visited_again(rig.slot)

    assert (False, True) in seen
    assert rig.seen().is_fresh


async def test_a_slot_that_gives_no_answer_again_and_again_counts_as_silent_until_it_speaks(rig: Rig) -> None:
    rig.slot.generation = 7
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.slot.deaf = 1000
    await rig.woken.again()
    assert not rig.seen().reachable

    rig.slot.deaf = 0
    await rig.woken.again()
    assert rig.seen().reachable


async def test_a_slot_that_does_not_answer_keeps_its_last_words_as_old(rig: Rig) -> None:
    rig.slot.live = 12
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.observer.aim(LANE, (replace(rig.target, token="wrong"),))
    await rig.woken.again()

    assert (rig.seen().reachable, rig.seen().queued) == (False, 12)


async def test_a_slot_that_nobody_may_ask_now_keeps_its_last_words_and_is_not_called_silent(rig: Rig) -> None:
    rig.slot.live = 12
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.observer.aim(LANE, (), frozenset({rig.target.slot}))
    assert (rig.seen().reachable, rig.seen().is_asked, rig.seen().queued) == (False, False, 12)

    rig.observer.aim(LANE, (rig.target,))
    assert rig.seen().is_asked
    await rig.woken.again()
    assert rig.seen().reachable


async def test_another_lanes_authority_is_not_believed(rig: Rig) -> None:
    other = credentials.make_ca("mail/bulk", dt.datetime.now(dt.UTC))

    rig.observer.aim(LANE, (replace(rig.target, authority=other.certificate.decode()),))
    await rig.woken.again()

    assert not rig.seen().reachable
    assert rig.slot.pushed == []


async def test_a_silent_slot_does_not_delay_its_siblings(rig: Rig) -> None:
    release = asyncio.Event()

    async def silence(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(release.wait(), 120)
        writer.close()

    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    targets = (replace(rig.target, slot="otp-1", port=port), rig.target)

    rig.observer.aim(LANE, targets)
    await rig.woken.again()

    assert rig.seen().reachable
    assert rig.observer.seen(LANE, "otp-1") is None
    release.set()
    silent.close()


async def test_a_slot_that_is_no_target_any_more_is_forgotten(rig: Rig) -> None:
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()

    rig.observer.aim(LANE, ())

    assert rig.observer.seen(LANE, "otp-0") is None
