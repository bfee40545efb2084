"""Footers: whatever a spool went through, they say what its records say, in columns, in rows, or not at all."""

import asyncio
import random
from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple, replace

from lane_relay.records import FOREIGN, Message, QueueEntry, received_at
from lane_relay.spool.entries import Waiting, entries_of
from lane_relay.spool.footer import (
    TRAILER_SIZE,
    Footer,
    FooterEntry,
    encode_footer,
    footer_place,
    read_footer,
    split_ids,
)
from lane_relay.spool.format import (
    DeferredIndex,
    Kind,
    MessageIndex,
    Record,
    SettledIndex,
    id_bytes,
    pack_index,
    parse_record,
)
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import NOW, answer_to, message_for, open_spool, put, reception_of, record_of, settle
from tests.lane_relay.spool.old_footer import records, segments, with_row_footers, without_footers

SALT = 77
RECIPIENTS = (
    ("a@one.example",),
    ("a@two.example",),
    ("a@one.example", "b@one.example", "c@one.example"),
    ("a@one.example", "b@two.example", "c@two.example", "d@three.example"),
)


class _Life:
    """A spool that is used at random, and what must be found after it: entries as who uses them has them."""

    def __init__(self, spool: SegmentSpool, chance: random.Random) -> None:
        self.spool = spool
        self._chance = chance
        self.waiting: list[QueueEntry] = []
        self.ids: set[int] = set()

    async def step(self) -> None:
        chance = self._chance.random()
        if chance < 0.35 or not self.waiting:
            await self._put()
        elif chance < 0.6:
            self._defer(self._chance.choice(self.waiting))
        elif chance < 0.7:
            self._settle_one(self._chance.choice(self.waiting))
        elif chance < 0.95:
            entry = self._chance.choice(self.waiting)
            settle(self.spool, entry)
            self.waiting.remove(entry)
        else:
            self.spool.set_flag("turn", str(self._chance.random()))

    async def _put(self) -> None:
        message = message_for(self.spool, self._chance.choice(RECIPIENTS), b"x" * self._chance.randint(1, 900))
        message = replace(message, campaign=self._chance.choice(("", "spring", "autumn")), redirected_from=())
        if self._chance.random() < 0.5:
            message = replace(message, expires_at=0.0)
        kind = self._chance.random()
        if kind < 0.1:
            message = replace(message, id=self.spool.foreign_id(NOW - 50))
            assert message.id & FOREIGN
        self.ids.add(message.id)
        if kind < 0.2:
            await self._put_tried(message, Waiting(NOW + self._chance.randint(1, 99), 3, said_at=NOW))
        else:
            entries = await put(self.spool, message)
            for entry in entries:
                entry.due = min(NOW, received_at(entry.id))
            self.waiting += entries

    async def _put_tried(self, message: Message, state: Waiting) -> None:
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.spool.put(message, reception_of(message), answer_to(stored), state)
        for entry in entries_of(message, await stored, NOW):
            state.laid_on(entry, NOW)
            self.waiting.append(entry)

    def _defer(self, entry: QueueEntry) -> None:
        """All of it, or a part that goes its own way."""
        if len(entry.recipients) > 1 and self._chance.random() < 0.4:
            part = replace(entry, recipients=entry.recipients[1:])
            entry.recipients = entry.recipients[:1]
            self.waiting.append(part)
            entry = part
        entry.due = NOW + self._chance.randint(1, 999)
        entry.attempts += 1
        entry.notified = self._chance.random() < 0.2
        self.spool.defer(entry, [record_of("TransientFailure", entry.id)])

    def _settle_one(self, entry: QueueEntry) -> None:
        gone = entry.recipients[:1]
        self.spool.settle(entry, gone, [record_of("Delivery", entry.id)])
        entry.recipients = entry.recipients[1:]
        if not entry.recipients:
            self.waiting.remove(entry)


def _told(entries: list[QueueEntry]) -> list[Any]:
    """What must be the same; not the place in the index."""
    return sorted(astuple(replace(one, location=0)) for one in entries)


async def _found(image: Image, asked: frozenset[int]) -> tuple[Any, ...]:
    spool = open_spool(SimulatedDisk(image), segment_size=2**16, tidy_every=1e9, asked=asked)
    entries = list(spool.recover())
    for entry in entries:
        assert (await spool.load(entry)).id == entry.id
    state = spool.state
    assert state.damaged == 0, state.damage
    figures = (state.live_messages, state.live_bytes, state.live_recipients)
    known = {one for one in asked if spool.was_stored(one)}
    first = spool.new_id()
    told, flag = _told(entries), spool.flag("turn")
    homes = {number: sorted(one.homes) for number, one in spool._index.segments.items()}
    for entry in entries:  # what was found can be settled, and then nothing is left
        settle(spool, entry)
    await spool.flush()
    left = spool.state
    assert (left.live_messages, left.live_bytes, left.live_recipients) == (0, 0, 0)
    await spool.close()
    return told, figures, known, first >> 48, flag, homes


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_spool_went_through_is_found_from_columns_rows_and_records_alike(seed: int) -> None:
    chance = random.Random(seed)
    disk = SimulatedDisk()
    spool = open_spool(disk, segment_size=2**16, tidy_every=1e9 if seed % 2 else 0.001)
    life = _Life(spool, chance)
    for _ in range(700):
        await life.step()
    expected, flag = _told(life.waiting), spool.flag("turn")
    await spool.close()
    image = disk.image()
    asked = frozenset(life.ids)

    found = await _found(image, asked)

    assert found[0] == expected
    assert found[4] == flag
    assert len(segments(image)) >= 3
    assert any(
        one.kind == Kind.FOOTER and one.data.startswith(b"LNWSEAL2") for one in records(image, segments(image)[0])
    )
    if seed % 2:  # else segments were given back meanwhile
        assert found[2] == asked
    assert await _found(with_row_footers(image), asked) == found
    assert await _found(without_footers(image), asked) == found


def _sealed(footer: Footer, at: int = 500) -> tuple[Record, bytes]:
    content = b"".join(encode_footer(footer, seq=9, at=at, salt=SALT))
    record = parse_record(content, 0, SALT, base=at)
    assert record is not None
    return record, content


def _mixed() -> list[FooterEntry]:
    one, two = id_bytes(1), id_bytes(2)
    indexes = [
        (Kind.MESSAGE, MessageIndex(one, 10, (("a.test", (0,)),), "spring", "lane.example")),
        (Kind.MESSAGE, MessageIndex(two, 20, (("a.test", (0, 1)),), "", "", NOW)),
        (Kind.MESSAGE, MessageIndex(id_bytes(3), 30, (("a.test", (0,)), ("b.test", (1,))))),
        (Kind.MESSAGE, MessageIndex(id_bytes(4), 40, (("a.test", (0,)),), waiting=Waiting(NOW, 2))),
        (Kind.DEFERRED, DeferredIndex(one, 1, (0,), NOW + 5, 1, notified=True, said_at=NOW)),
        (Kind.SETTLED, SettledIndex(two, 1, (0, 1), final=True)),
    ]
    return [FooterEntry(kind, 100 * at, 99, pack_index(index)) for at, (kind, index) in enumerate(indexes)]


def test_what_is_common_stands_in_columns_and_the_rest_in_rows() -> None:
    footer = Footer()
    footer.add(_mixed())
    read = read_footer(_sealed(footer)[0])
    assert read is not None
    assert split_ids(read.ids) == [id_bytes(1), id_bytes(2)]
    assert (list(read.offsets), list(read.lengths), list(read.sizes)) == ([0, 100], [99, 99], [10, 20])
    assert list(read.expires) == [0.0, NOW]
    assert [read.domain_names[one] for one in read.domains] == ["a.test", "a.test"]
    assert [read.message_tags[one] for one in read.tags] == [("spring", "lane.example", (0,)), ("", "", (0, 1))]
    assert [one.index for one in read.rows] == [one.index for one in _mixed()[2:4]]
    assert (split_ids(read.deferred), list(read.dues), list(read.said)) == ([id_bytes(1)], [NOW + 5], [NOW])
    assert read.deferred_tags == [(1, (0,), 1, True)]
    assert (split_ids(read.settled), read.settled_tags) == ([id_bytes(2)], [(1, (0, 1), True)])


def test_a_record_with_fields_of_a_newer_release_keeps_them() -> None:
    """It was written by that release, and a segment of it rewritten by this one; that one will want them back."""
    newer = [*msgspec.msgpack.decode(pack_index(MessageIndex(id_bytes(1), 9, (("a.test", (0,)),)))), "of tomorrow"]
    row = FooterEntry(Kind.MESSAGE, 64, 99, msgspec.msgpack.encode(newer))
    footer = Footer()
    footer.add([row])
    read = read_footer(_sealed(footer)[0])
    assert read is not None
    assert (read.rows, len(read.ids)) == ([row], 0)


def test_the_release_before_sees_no_footer_in_columns_and_reads_the_records() -> None:
    """It knows a footer by its seal, and passes over a record of kind FOOTER that it meets."""
    record, content = _sealed(Footer())
    assert footer_place(content[-TRAILER_SIZE:], SALT) == 500
    assert int(record.kind) == 6
    assert content[-TRAILER_SIZE:][:8] != b"LNWSEAL1"


@pytest.mark.parametrize("column", range(18))
def test_a_footer_whose_columns_do_not_fit_together_is_none(column: int) -> None:
    footer = Footer()
    footer.add(_mixed())
    record = _sealed(footer)[0]
    parts = msgspec.msgpack.decode(record.index)
    parts[column] = parts[column][:-1]
    assert read_footer(replace(record, index=msgspec.msgpack.encode(parts))) is None
    assert read_footer(replace(record, index=record.index[:-1])) is None
    assert read_footer(replace(record, kind=Kind.RECORD)) is None


async def _closed(messages: int) -> tuple[Image, set[int]]:
    disk = SimulatedDisk()
    spool = open_spool(disk)
    kept = set()
    for number in range(messages):
        (entry,) = await put(spool, message_for(spool))
        if number % 3:
            kept.add(entry.id)
        else:
            settle(spool, entry)
    await spool.close()
    return disk.image(), kept


async def _ids_in(image: Image) -> set[int]:
    spool = open_spool(SimulatedDisk(image))
    found = {one.id for one in spool.recover()}
    assert spool.state.damaged in (0, 1)
    await spool.close()
    return found


async def test_a_flipped_bit_anywhere_in_a_footer_costs_nothing() -> None:
    image, kept = await _closed(9)
    (path,) = segments(image)
    begins = records(image, path)[-1].offset
    for at in range(begins, len(image[path]), 3):
        content = bytearray(image[path])
        content[at] ^= 1 << at % 8
        assert await _ids_in({**image, path: bytes(content)}) == kept, at


async def test_a_footer_torn_at_any_byte_costs_nothing() -> None:
    image, kept = await _closed(9)
    (path,) = segments(image)
    begins = records(image, path)[-1].offset
    for end in range(begins, len(image[path]), 7):
        assert await _ids_in({**image, path: image[path][:end]}) == kept, end
