"""Who may leave from a cold address, and where the others are: each stage but delivery is the real one, or a list."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.deliver.pacing import Limit
from lane_relay.path import MessagePath
from lane_relay.records import QueueEntry, Reply, Route, Unroutable
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from lane_relay.warmup.line import WarmUpLine
from lane_relay.warmup.warmer import Warmer

HOUR = 3600.0
NOW = 1_800_000_000.0
ROUTE = Route("isp", "isp", ())
OTHER = Route("mx.small.test", "", ())


class Rig:
    """One slot whose address may send 5 an hour to `isp`, and 5 to all others; `gone` is what is with delivery."""

    def __init__(self) -> None:
        self.now = NOW
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now - NOW)
        self.routes: dict[str, Route | Unroutable] = {}
        self.gone: list[QueueEntry] = []
        self.unroutable: list[QueueEntry] = []
        self.given: list[QueueEntry] = []
        self.late: list[tuple[QueueEntry, float]] = []
        self.late_at: dict[int, float] = {}
        self.ordered: set[str] = set()
        self.is_given: Callable[[QueueEntry, bool], bool] = lambda _entry, _has_room: False
        self.schedule = ScheduledQueue()
        self._ids = count(1)
        nothing = cast("Any", None)
        path = self.path = MessagePath(nothing, cast("Any", SimpleNamespace(add=lambda _at: None)), self.clock)
        config = RelayConfig.model_validate(
            {
                "lane": {"name": "t"},
                "slot": {"name": "t-0", "hostname": "out.test"},
                "spool": {"path": "/s"},
                "records": {"path": "/r"},
                "delivery": {"policies": [{"name": "isp"}]},
                "warmup": {"steps": [60, 120]},
            }
        )
        path.lifetime = 10 * HOUR
        path.warmer = Warmer(config, self.clock, "", lambda _name, _value: None)
        path.line = WarmUpLine(path.warmer, self.clock, path)
        path.schedule = cast("Any", self.schedule)
        path.router = cast("Any", SimpleNamespace(fresh=lambda domain: self.routes.get(domain, ROUTE)))
        path.dispatcher = cast("Any", SimpleNamespace(add=lambda entry, _route: self.gone.append(entry)))
        path.unroutable = cast("Any", SimpleNamespace(add=lambda entry, _why: self.unroutable.append(entry)))
        path.late = cast("Any", SimpleNamespace(add=lambda entry, _why, until: self.late.append((entry, until))))
        path.settler = cast("Any", SimpleNamespace(late_at=lambda entry: self.late_at.get(entry.id, NOW + 9 * HOUR)))
        path.orders = cast(
            "Any",
            SimpleNamespace(
                is_idle=False, asks_sites=False, takes=lambda entry, _destination: entry.campaign in self.ordered
            ),
        )
        path.exchange = None

    def has_siblings(self, takes: Callable[[QueueEntry, bool], bool]) -> None:
        """Siblings that take what `takes(entry, has room here)` says."""

        def sends_here(entry: QueueEntry, _policy: str, _site: str = "", *, has_room: bool = True) -> bool:
            if takes(entry, has_room):
                self.given.append(entry)
                return False
            return True

        self.path.exchange = cast(
            "Any",
            SimpleNamespace(
                is_emptying=False,
                has_sibling=True,
                sends_here=sends_here,
                would_leave=lambda entry, _policy, _site: takes(entry, False),
                places=tuple,
            ),
        )

    def come(self, campaign: str, how_many: int = 1, recipients: int = 1, domain: str = "isp.test") -> list[QueueEntry]:
        entries = [self.entry(campaign, recipients, domain) for _ in range(how_many)]
        for entry in entries:
            self.path.on_due(entry)
        return entries

    def entry(self, campaign: str, recipients: int = 1, domain: str = "isp.test") -> QueueEntry:
        entry = QueueEntry((int(NOW * 1000) << 48) + next(self._ids), 0, domain, tuple(range(recipients)), 1, NOW)
        entry.campaign = campaign
        return entry

    async def settle(self) -> list[QueueEntry]:
        """What goes to delivery until nobody may any more."""
        before = len(self.gone)
        while not await self.path.line.turn():
            pass
        return self.gone[before:]


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_nobody_who_comes_later_passes_those_who_wait_but_who_has_room_already(rig: Rig) -> None:
    entries = rig.come("large", 6000)
    assert rig.gone == entries[:5]
    (small,) = rig.come("small")
    rig.now += HOUR
    (later,) = rig.come("late-comer")
    assert len(rig.gone) == 5, "there is room, and others were there before"
    rig.path.on_due(entries[0])  # of what delivery asks for its route anew
    assert rig.gone[5:] == [entries[0]]
    assert await rig.settle() == [entries[5], small, later, entries[6], entries[7]]


async def test_an_isp_without_room_holds_up_no_other(rig: Rig) -> None:
    rig.routes = {"small.test": OTHER}
    rig.come("large", 6000)
    assert rig.come("large", 5, domain="small.test") == rig.gone[5:]


async def test_what_an_order_takes_gives_its_room_to_the_next(rig: Rig) -> None:
    entries = rig.come("large", 10)
    small = rig.come("small", 2)
    rig.ordered.add("large")
    rig.path.on_due(entries[0])
    assert await rig.settle() == small[:1]
    rig.now += HOUR
    assert await rig.settle() == small[1:]
    assert not rig.path.line.holds("isp"), "the order has all of the large one by now"


async def test_what_turns_out_to_have_no_way_gives_its_room_to_the_next(rig: Rig) -> None:
    entries = rig.come("large", 10)
    rig.routes = {"isp.test": Unroutable(Reply(550, ("5.1.2 Domain isp.test does not exist",)), Category.BAD_DOMAIN)}
    rig.path.on_due(entries[0])
    assert rig.unroutable == entries[:1]
    rig.routes = {}
    assert await rig.settle() == [entries[5]]


async def test_what_goes_to_a_sibling_after_all_gives_its_room_to_the_next(rig: Rig) -> None:
    first, *waiting = rig.come("a", 8)
    rig.has_siblings(lambda entry, has_room: has_room and entry is first)
    rig.path.on_due(first)
    assert rig.given == [first]
    assert await rig.settle() == waiting[4:5]


async def test_what_waits_is_offered_to_siblings_in_each_part_of_the_step(rig: Rig) -> None:
    entries = rig.come("a", 20)
    assert await rig.settle() == []
    taken = entries[12:15]
    rig.has_siblings(lambda entry, has_room: not has_room and entry in taken)
    rig.routes = {"isp.test": ROUTE}
    rig.now += HOUR
    assert await rig.settle() == entries[5:10]
    assert rig.given == taken
    assert len(rig.path.line) == 20 - 10 - 3


async def test_who_is_late_is_told_and_waits_on_and_who_is_over_goes_to_delivery_which_ends_it(rig: Rig) -> None:
    entries = rig.come("a", 8)
    rig.late_at = {entries[6].id: NOW + 60}
    rig.path.line.apply(None)
    rig.now += 61
    await rig.settle()
    assert rig.late == [(entries[6], rig.now + 60)]
    del rig.late_at[entries[6].id]
    rig.path.on_due(entries[6])
    rig.path.warmer.admit("isp", rig.entry("b", 60))
    rig.now = NOW + 10 * HOUR
    assert await rig.settle() == [entries[5], entries[7], entries[6]]


async def test_what_loses_its_way_while_it_waits_is_told_so(rig: Rig) -> None:
    entries = rig.come("a", 7)
    rig.routes = {"isp.test": Unroutable(Reply(550, ("5.1.2 nobody",)), cast("Any", None))}
    rig.now += HOUR
    assert await rig.settle() == []
    assert rig.unroutable == entries[5:]


async def test_what_turns_out_to_be_for_another_isp_uses_no_room_of_this_one(rig: Rig) -> None:
    entries = rig.come("a", 30)
    rig.routes = {"isp.test": OTHER}
    rig.now += HOUR
    assert await rig.settle() == entries[5:10], "as many as there is room for at all others"
    assert rig.path.warmer.rooms() == {"isp": 5, "other": 0}
    assert len(rig.path.line) == 20
    assert rig.path.line.holds("")
    assert not rig.path.line.holds("isp")


def test_who_looks_through_the_queue_finds_what_waits_for_room_and_why(rig: Rig) -> None:
    entries = rig.come("a", 9)
    (place,) = rig.path.waiting()
    assert (place.state, list(place.entries), place.route.policy) == ("Scheduled", entries[5:], "isp")
    assert place.hold is not None
    assert (place.hold.limit, place.hold.until, place.not_before) == (Limit.WARM_UP, HOUR, NOW + HOUR)
    assert "(isp)" in place.hold.detail


def test_what_is_emptied_or_swept_has_what_waits_for_room_as_well(rig: Rig) -> None:
    entries = rig.come("a", 9)
    later = rig.entry("a")
    later.due = NOW + HOUR
    rig.schedule.add(later)
    swept = [one for part in rig.path.sweep(lambda one: one in (entries[6], later)) for one in part]
    assert swept == [later, entries[6]]
    rig.schedule.add(later)
    assert rig.path.take_waiting(3) == [later, entries[5], entries[7]]
    assert rig.path.take_waiting(3) == [entries[8]]


async def test_another_configuration_while_all_are_looked_through_is_no_error(rig: Rig) -> None:
    """What is looked at is in portions, and between two of them whatever there is may change."""
    rig.routes = {"small.test": OTHER}
    rig.come("a", 2000)
    rig.come("a", 2000, domain="small.test")
    rig.path.line.apply("one")
    await rig.settle()
    for entry in _all(rig):
        rig.late_at[entry.id] = NOW + 1
    rig.path.line.apply("one")
    rig.now += 2
    looking = asyncio.create_task(rig.path.line.turn())
    await asyncio.sleep(0)
    rig.path.line.apply("another")
    await looking
    await rig.settle()
    assert len({entry.id for entry, _ in rig.late}) == 4000 - 10


def _all(rig: Rig) -> Iterator[QueueEntry]:
    for _, entries in rig.path.line.portions():
        yield from entries
