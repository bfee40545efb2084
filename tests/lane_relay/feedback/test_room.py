"""Room on a full suppression list: what runs out first goes first, and what nobody would say again stays."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import Suppression
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.feedback.room import Room
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import Reason, Source, Suppressed, SuppressionTable, pack

NOW = int(SYSTEM_CLOCK.now())
DAY = 24 * 3600


def word(number: int, reason: Reason, expires: int = 0, *, lifted: bool = False) -> Suppressed:
    digest = (number * 0x9E3779B97F4A7C15F39CC060 % 2**96).to_bytes(12, "big")
    return Suppressed(digest, reason, TrafficClass.BULK, Source.LINK, NOW - 9 * DAY, expires, lifted=lifted)


def known(table: SuppressionTable, words: Iterable[Suppressed]) -> list[bool]:
    return [table.knows(pack(one)) for one in words]


async def opened(path: Path, most: int, *words: Suppressed) -> tuple[SuppressionList, SuppressionTable]:
    store = SuppressionStore.open(path, most)
    config = Suppression(path=str(path), key_file="unused", max_entries=most)
    found = SuppressionList(config, TrafficClass.BULK, b"s" * 32, store, SYSTEM_CLOCK)
    await found.suppress(list(words))
    return found, store.table


async def test_what_counts_no_more_goes_first_then_the_hard_bounce_that_ends_first(tmp_path: Path) -> None:
    words = [
        word(1, Reason.HARD_BOUNCE, NOW + 90 * DAY),
        word(2, Reason.HARD_BOUNCE, NOW + 2 * DAY),
        word(3, Reason.COMPLAINT, lifted=True),
        word(4, Reason.MANUAL, NOW - DAY),
        word(5, Reason.COMPLAINT),
        word(6, Reason.UNSUBSCRIBE),
    ]
    full, table = await opened(tmp_path, 6, *words)
    for added, left in ((7, 3), (8, 2), (9, 1), (10, 0)):
        assert await full.suppress([word(added, Reason.COMPLAINT)]) == 1
        assert sum(known(table, words[:4])) == left
        assert table.knows(pack(words[0])) is (left > 0)
        assert known(table, words[4:]) == [True, True]
        assert table.rows == 6
    assert full.displaced == 2
    with pytest.raises(SuppressionsFullError):
        await full.suppress([word(11, Reason.HARD_BOUNCE, NOW + DAY)])
    assert table.rows == 6


async def test_what_went_is_not_there_after_a_restart_once_the_next_word_came(tmp_path: Path) -> None:
    full, _ = await opened(tmp_path, 2, *(word(number, Reason.HARD_BOUNCE, NOW + number * DAY) for number in (1, 2)))
    await full.suppress([word(3, Reason.COMPLAINT)])
    await full.close()
    again, table = await opened(tmp_path, 2, word(4, Reason.COMPLAINT))
    assert known(table, [word(3, Reason.COMPLAINT), word(4, Reason.COMPLAINT)]) == [True, True]
    await again.close()


async def test_many_that_come_at_once_get_room_once_and_one_in_a_hundred_more_goes(tmp_path: Path) -> None:
    full, table = await opened(
        tmp_path, 1000, *(word(number, Reason.HARD_BOUNCE, NOW + DAY) for number in range(1, 1001))
    )
    await asyncio.gather(*(full.suppress([word(2000 + number, Reason.COMPLAINT)]) for number in range(5)))
    assert table.rows <= 1000
    assert full.displaced == 11


async def test_a_look_that_found_nothing_is_not_repeated_at_once() -> None:
    looked: list[int] = []

    class Watched(SuppressionTable):
        """One that notes who looks through it."""

        def shard(self, number: int) -> bytes:
            looked.append(number)
            return super().shard(number)

    table = Watched()
    table.merge(pack(word(1, Reason.COMPLAINT)))
    looked.clear()
    room = Room(table, SYSTEM_CLOCK)
    await room.make(1, 1)
    once = len(looked)
    assert once
    await room.make(1, 1)
    assert len(looked) == once
