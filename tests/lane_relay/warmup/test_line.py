"""Who gets the little room there is, and when, of those who wait for a cold address."""

import asyncio
from typing import Any

import pytest

from lane_relay.records import QueueEntry
from lane_relay.warmup.line import WarmUpLine, part_off
from tests.lane_relay.spool.making import until
from tests.lane_relay.warmup.test_warmer import DAY
from tests.lane_relay.warmup.test_warmer import Rig as Clockwork

HOUR = DAY / 24
AN_HOUR = 5
"""Recipients for whom there is room in each."""


class Rig(Clockwork):
    """A line, and what went on from it; `at` says when an entry has to be looked at, `sibling` what one would take."""

    def __init__(self, **warmup: Any) -> None:
        super().__init__()
        self.rooms = self.warmer(**(warmup or {"steps": [12 * AN_HOUR] * 3}))
        self.line = WarmUpLine(self.rooms, self.clock, self)
        self.gone: list[QueueEntry] = []
        self.parts: list[QueueEntry] = []
        self.at: dict[int, float] = {}
        self.sibling: set[int] = set()
        self.has_siblings = False
        self.asked = 0
        self.comes_back = False

    def on_due(self, entry: QueueEntry) -> None:
        self.gone.append(entry)
        if self.comes_back:
            self.line.add("gmail", entry)

    def on_parted(self, part: QueueEntry) -> None:
        self.parts.append(part)

    def looked_at(self, entry: QueueEntry) -> float:
        return self.at.get(entry.id, self.now + 3 * DAY)

    def would_leave(self, entry: QueueEntry, policy: str) -> bool:
        assert policy == "gmail"
        self.asked += 1
        return entry.id in self.sibling

    def wait(self, campaign: str, count: int = 1, *, recipients: int = 1, attempts: int = 0) -> list[QueueEntry]:
        entries = [self.entry(recipients) for _ in range(count)]
        for entry in entries:
            entry.campaign, entry.attempts = campaign, attempts
            self.line.add("gmail", entry)
        return entries

    async def settle(self) -> list[QueueEntry]:
        """What goes on until nobody may any more."""
        before = len(self.gone)
        while not await self.line.turn():
            pass
        return self.gone[before:]

    async def campaigns(self) -> str:
        return "".join(entry.campaign[:1] for entry in await self.settle())


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_campaigns_take_turns_in_the_room_however_long_the_large_one_s_queue_is(rig: Rig) -> None:
    rig.wait("large", 20_000)
    rig.wait("small", 4)
    assert await rig.campaigns() == "lslsl"
    assert await rig.campaigns() == ""
    rig.now += HOUR
    assert await rig.campaigns() == "slsll"
    assert len(rig.line) == 20_004 - 2 * AN_HOUR


async def test_what_came_first_goes_first_and_has_its_room_when_it_goes(rig: Rig) -> None:
    entries = rig.wait("a", 2 * AN_HOUR)
    assert await rig.settle() == entries[:AN_HOUR]
    assert [rig.rooms.is_admitted("gmail", one) for one in entries] == [True] * AN_HOUR + [False] * AN_HOUR
    rig.rooms.withdrawn(entries[0])  # it was dropped: its room is the next one's
    assert await rig.settle() == [entries[AN_HOUR]]


async def test_what_was_tried_before_takes_turns_with_the_rest_of_its_campaign(rig: Rig) -> None:
    rig.wait("a", 100)
    tried = rig.wait("a", 100, attempts=1)
    assert [one in tried for one in await rig.settle()] == [False, True, False, True, False]


async def test_a_message_for_many_goes_to_as_many_as_there_is_room_for_and_to_the_others_in_its_next_turn(
    rig: Rig,
) -> None:
    (many,) = rig.wait("a", recipients=7)
    (later,) = rig.wait("a")
    (other,) = rig.wait("b")
    assert await rig.settle() == [many]
    assert (many.recipients, [one.recipients for one in rig.parts]) == ((0, 1, 2, 3, 4), [(5, 6)])
    rig.now += HOUR
    assert await rig.settle() == [other, rig.parts[0], later]


def test_a_part_has_all_that_its_message_has() -> None:
    entry = QueueEntry(7, 9, "d.test", (1, 4, 6), 100, 5.0, 3, "big", "brand.test", 8.0)
    assert part_off(entry, 3) is None
    assert part_off(entry, 1) == QueueEntry(7, 9, "d.test", (4, 6), 100, 5.0, 3, "big", "brand.test", 8.0)
    assert entry.recipients == (1,)


async def test_what_is_late_or_over_is_looked_at_though_there_is_no_room(rig: Rig) -> None:
    entries = rig.wait("a", 3 * AN_HOUR)
    rig.at = {entries[7].id: rig.now + 60, entries[9].id: rig.now + 120}
    late = rig.wait("a")[0]
    rig.at[late.id] = rig.now + 90
    await rig.settle()
    assert await rig.settle() == []
    rig.now += 100
    assert await rig.settle() == []  # nobody said when these two would be, as those who wait longer did
    rig.line.apply(None)
    assert await rig.settle() == [entries[7], late]
    rig.now += 20
    assert await rig.settle() == [entries[9]]
    assert len(rig.line) == 3 * AN_HOUR + 1 - AN_HOUR - 3


async def test_a_sibling_is_looked_for_again_once_in_each_part_of_a_step(rig: Rig) -> None:
    entries = rig.wait("a", 30)
    rig.sibling = {entries[7].id, entries[29].id}
    await rig.settle()
    assert rig.asked == 0, "their way was chosen a moment ago"
    rig.now += HOUR
    await rig.settle()
    assert rig.asked == 0, "there is none"
    rig.has_siblings = True
    assert await rig.settle() == [entries[29]]
    assert rig.asked == 20
    assert await rig.settle() == []
    assert rig.asked == 20
    rig.now += HOUR
    assert await rig.settle() == entries[10:15]
    assert rig.asked == 20 + 14


async def test_what_a_sibling_did_not_take_after_all_is_not_asked_for_over_and_over(rig: Rig) -> None:
    entries = rig.wait("a", 3000)
    rig.sibling, rig.has_siblings = {one.id for one in entries}, True
    await rig.settle()
    rig.now += HOUR - 1
    rig.comes_back = True
    rig.now += 1
    rig.rooms.admit("gmail", rig.entry(AN_HOUR))  # the hour's room is another's
    assert [one.id for one in await rig.settle()] == [one.id for one in entries[AN_HOUR:]]
    assert (len(rig.line), rig.asked) == (2995, 2995)


async def test_under_another_configuration_all_choose_their_way_again_in_turns(rig: Rig) -> None:
    rig.line.apply("one")
    large, small = rig.wait("large", 1000), rig.wait("small", 2)
    await rig.settle()
    rig.line.apply("one")
    assert await rig.settle() == []
    rig.comes_back = True
    rig.line.apply("another")
    assert not rig.line.holds("gmail")
    again = await rig.settle()
    assert (len(again), len(rig.line)) == (997, 997)
    assert again[:3] == [large[3], large[4], large[5]]
    assert {one.id for one in again}.isdisjoint({one.id for one in small}), "they went with the first"


async def test_an_address_that_has_become_warm_lets_all_go_with_the_loop_free_in_between() -> None:
    rig = Rig(steps=[12])
    rig.wait("a", 1000)
    for _ in range(12):
        for entry in await rig.settle():
            rig.rooms.attempted("gmail", entry, 0, delivered=1)
        rig.now += HOUR
    assert len(rig.gone) == 12
    rig.now += 12 * HOUR
    sizes = []
    while not await rig.line.turn():
        sizes.append(len(rig.gone))
    assert sizes == [212, 412, 612, 812]
    assert (len(rig.gone), len(rig.line)) == (1000, 0)
    assert not rig.line.holds("gmail")


async def test_an_isp_for_which_there_is_much_room_holds_up_no_other() -> None:
    rig = Rig(steps=[120_000])
    for policy in ("gmail", "unheard-of"):
        for _ in range(500):
            rig.line.add(policy, rig.entry())
    assert await rig.line.turn() == 0
    assert [len(entries) for _, entries in rig.line.portions()] == [400, 400]


async def test_isps_have_a_line_each_and_those_without_a_policy_share_one(rig: Rig) -> None:
    rig.wait("a")
    rig.line.add("unheard-of", rig.entry())
    assert [rig.line.holds(policy) for policy in ("gmail", "yahoo", "", "other", "also-unheard-of")] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert [(group, len(entries)) for group, entries in rig.line.portions()] == [("gmail", 1), ("other", 1)]


async def test_those_who_look_through_everything_find_who_waits_also_while_a_configuration_changes(rig: Rig) -> None:
    before = rig.wait("a", 10)
    rig.line.apply("another")
    after = rig.wait("b", 10)
    assert {one.id for _, portion in rig.line.portions() for one in portion} == {one.id for one in before + after}
    unwanted = {before[3].id, after[4].id, after[5].id}
    assert [one.id for part in rig.line.sweep(lambda one: one.id in unwanted) for one in part] == [
        after[4].id,
        after[5].id,
        before[3].id,
    ]
    taken = rig.line.take(12)
    assert (len(taken), len(rig.line)) == (12, 5)
    assert len(rig.line.take(12)) == 5
    assert await rig.settle() == []


async def test_nothing_goes_on_once_it_is_stopped(rig: Rig) -> None:
    task = asyncio.create_task(rig.line.run())
    first = rig.wait("a")
    await until(lambda: rig.gone == first)
    rig.line.stop()
    rig.wait("a")
    for _ in range(10):
        await asyncio.sleep(0)
    assert rig.gone == first
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_how_long_it_sleeps_is_until_there_is_room_and_a_second_at_most() -> None:
    rig = Rig(steps=[24], step_every=12.0)
    rig.wait("a", 5)
    assert await rig.line.turn() == pytest.approx(0.5)
    rig = Rig()
    rig.wait("a", 9)
    assert await rig.line.turn() == 1.0
