"""What recovery found in the segments, one after the other: what waits, and in which state; flags; damage.

Messages with recipients in one domain stay packed, segment by segment; those in several domains, and what was settled
or put off in parts, are entries at once. Invariant: a message is in exactly one of `_packed` and `live`, or gone, and
its place in the index is free if it is gone. A table of where each packed message stands is made only once a
settlement or a deferral speaks of one in another segment: a log of mail that nobody has tried needs none.
Before: `recovery` reads footers. After: `log` serves what was found.
"""

from array import array
from collections.abc import Iterator
from math import inf
from sys import intern
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lane_relay.errors import SpoolError
from lane_relay.records import FOREIGN, QueueEntry, received_at
from lane_relay.spool.entries import Groups, due_after, shared_size
from lane_relay.spool.footer import Footer, FooterEntry, split_ids
from lane_relay.spool.format import (
    DeferredIndex,
    Kind,
    SettledIndex,
    unpack_deferred,
    unpack_flags,
    unpack_message,
    unpack_settled,
)
from lane_relay.spool.index import LiveIndex, SegmentState
from lane_relay.spool.packed import Packed, without
from lane_relay.spool.tally import LIVE, Tally

__all__ = ["Damage", "Recovered"]

_PART_SHIFT: Final = 32
_ROW: Final = (1 << _PART_SHIFT) - 1
_ID_SIZE: Final = 12
_FOREIGN_BYTE: Final = 9
"""Of an id, the one whose uppermost bit is FOREIGN."""
_FOREIGN_BIT: Final = 0x80


class Damage(Struct, frozen=True):
    """A place where what was once durable could not be read."""

    segment: str
    offset: int
    length: int
    reason: str

    def __str__(self) -> str:
        """The place in words."""
        return f"{self.segment} at {self.offset}, {self.length} bytes: {self.reason}"


class Recovered:
    """Everything that recovery found; `index` is filled on the way."""

    def __init__(self, index: LiveIndex, asked: frozenset[int] = frozenset(), now: float = inf) -> None:
        """`asked`: ids of which somebody wants to know whether they were stored. `now`: Unix time of the recovery."""
        self.index = index
        self.asked = asked
        self.now = now
        self.live: dict[int, list[QueueEntry] | QueueEntry] = {}
        """Entries by message id, of what is not packed; a list where a message has several."""
        self.flags: dict[str, str] = {}
        self.next_number = 1
        self.next_seq = 1
        self.journal_synced = 0
        self.last_id = 0
        """The greatest that was given here."""
        self.created_ms: dict[int, int] = {}
        """When each segment was begun, by the clock of then."""
        self.last_stamp = 0
        """Ids given from now on begin with no less: it is beyond those that were found, and the last segment's time."""
        self.damage: list[Damage] = []
        self.tally = Tally()
        self.missing = 0
        """Recipients that should wait and were not found; negative: more were found."""
        self.torn_bytes = 0
        """Bytes of a commit that was cut off."""
        self.stored: set[int] = set()
        """Those asked for that the log speaks of, live or settled."""
        self._packed: list[Packed] = []
        self._where: dict[bytes, int] | None = None
        """Of each packed message, the number of its segment in `_packed` and, in the lower 32 bits, its row."""

    def entries(self) -> Iterator[QueueEntry]:
        """Every live entry, once: what was given out is not kept."""
        self._where = None
        live, self.live = self.live, {}
        for held in live.values():
            if isinstance(held, list):
                yield from held
            else:
                yield held
        self._packed.reverse()
        while self._packed:
            yield from self._packed.pop().entries(self.now)

    def take(self, footer: Footer, segment: SegmentState) -> None:
        """Takes in what the next segment holds; its footer is used up."""
        self.tally.begin(footer, segment)
        self._note_ids(footer)
        segment.homes |= {home for home, _, _ in footer.settled_tags} | {home for home, _, _, _ in footer.deferred_tags}
        segment.homes.discard(segment.number)
        self._drop_settled_here(footer, segment)
        self._pack(footer, segment)
        for row in footer.rows:
            self._take_row(row, segment)
        self._take_deferred(footer)
        self._take_settled(footer)

    def _note_ids(self, footer: Footer) -> None:
        marks = footer.ids[_FOREIGN_BYTE::_ID_SIZE]
        if marks:
            ids = split_ids(footer.ids)
            own = ids if max(marks) < _FOREIGN_BIT else [one for one in ids if one[_FOREIGN_BYTE] < _FOREIGN_BIT]
            self.last_id = max(self.last_id, int.from_bytes(max(own, default=b""), "big"))
        if self.asked:
            said = {int.from_bytes(one, "big") for one in split_ids(footer.ids + footer.settled)}
            self.stored |= self.asked & said

    def _drop_settled_here(self, footer: Footer, segment: SegmentState) -> None:
        """A message that came and went in one segment is nowhere noted."""
        final = [last and home == segment.number for home, _, last in footer.settled_tags]
        if any(final) and footer.ids:
            ended = zip(split_ids(footer.settled), footer.settled_by, strict=True)
            without(footer, {one for one, by in ended if final[by]})

    def _pack(self, footer: Footer, segment: SegmentState) -> None:
        if not footer.ids:
            return
        counts = [len(recipients) for _, _, recipients in footer.message_tags]
        recipients = array("I", map(counts.__getitem__, footer.tags))
        packed = Packed(footer, self.index.add_all(segment.number, footer.offsets, footer.lengths, recipients))
        self._packed.append(packed)
        if self._where is not None:
            self._find(packed, len(self._packed) - 1, self._where)

    def _find(self, packed: Packed, part: int, where: dict[bytes, int]) -> None:
        first = part << _PART_SHIFT
        where.update(zip(split_ids(packed.ids), range(first, first + len(packed)), strict=True))

    def _table(self) -> dict[bytes, int]:
        if self._where is None:
            self._where = {}
            for part, packed in enumerate(self._packed):
                self._find(packed, part, self._where)
        return self._where

    # --- columns of facts ---

    def _take_deferred(self, footer: Footer) -> None:
        """There may be several of each message that waits: what is the same for many is worked out once."""
        if not footer.deferred:
            return
        where, packed, now = self._table(), self._packed, self.now
        ids, tags = split_ids(footer.deferred), footer.deferred_tags
        histories = [attempts << 1 | notified for _, _, attempts, notified in tags]
        columns = zip(map(where.get, ids), ids, footer.deferred_by, footer.dues, footer.said, strict=True)
        for place, message_id, by, due, said_at in columns:
            home, recipients, attempts, notified = tags[by]
            if place is not None:
                part, row = packed[place >> _PART_SHIFT], place & _ROW
                if part.recipients[part.tags[row]] == recipients:
                    part.dues[row] = due_after(due, said_at, now) if said_at > now else due
                    part.histories[row] = histories[by]
                    continue
                self._unpack(message_id, place)
            self._deferred(DeferredIndex(message_id, home, recipients, due, attempts, notified, said_at))

    def _take_settled(self, footer: Footer) -> None:
        if not footer.settled:
            return
        where, packed = self._table(), self._packed
        for message_id, by in zip(split_ids(footer.settled), footer.settled_by, strict=True):
            home, recipients, final = footer.settled_tags[by]
            place = where.get(message_id)
            if place is not None:
                part, row = packed[place >> _PART_SHIFT], place & _ROW
                if final:
                    del where[message_id]
                    part.drop(row)
                    self.index.free(part.slot_of(row))
                    continue
                self._unpack(message_id, place)
            self._settled(SettledIndex(message_id, home, recipients, final))

    def _unpack(self, message_id: bytes, place: int) -> None:
        """It is an entry from now on."""
        self._table().pop(message_id)
        part, row = self._packed[place >> _PART_SHIFT], place & _ROW
        part.drop(row)
        entry = part.entry(row, self.now)
        self.live[entry.id] = entry

    # --- rows ---

    def _take_row(self, entry: FooterEntry, segment: SegmentState) -> None:
        kind = entry.kind
        if kind == Kind.MESSAGE:
            self._message(entry, segment)
        elif kind == Kind.SETTLED:
            settled = unpack_settled(entry.index)
            self.tally.went(len(settled.recipients))
            segment.homes |= {settled.home} - {segment.number}
            self._unpack_if_packed(settled.id)
            self._settled(settled)
        elif kind == Kind.DEFERRED:
            deferred = unpack_deferred(entry.index)
            segment.homes |= {deferred.home} - {segment.number}
            self._unpack_if_packed(deferred.id)
            self._deferred(deferred)
        elif kind == Kind.FLAGS:
            self.flags = unpack_flags(entry.index).flags
            self.flags.pop(LIVE, None)
        else:
            raise SpoolError(f"{segment.path} holds a record of unknown kind {kind}: run the newer image")

    def _unpack_if_packed(self, message_id: bytes) -> None:
        place = self._table().get(message_id)
        if place is not None:
            self._unpack(message_id, place)

    def _message(self, entry: FooterEntry, segment: SegmentState) -> None:
        index = unpack_message(entry.index)
        message_id = int.from_bytes(index.id, "big")
        due = min(received_at(message_id), self.now)
        campaign = intern(index.campaign) if index.campaign else ""
        if message_id > self.last_id and not message_id & FOREIGN:
            self.last_id = message_id
        if message_id in self.asked:
            self.stored.add(message_id)
        sender = intern(index.sender_domain) if index.sender_domain else ""
        expires, size = index.expires_at or 0.0, shared_size(index.size)
        recipients = _count(index.groups)
        self.tally.came(recipients)
        slot = self.index.add(segment.number, entry.offset, entry.length, recipients)
        parts = [
            QueueEntry(message_id, slot, intern(domain), indexes, size, due, 0, campaign, sender, expires)
            for domain, indexes in index.groups
        ]
        if index.waiting is not None:
            for part in parts:
                index.waiting.laid_on(part, self.now)
        self.live[message_id] = parts if len(parts) > 1 else parts[0]

    def _settled(self, index: SettledIndex) -> None:
        message_id = int.from_bytes(index.id, "big")
        if message_id in self.asked:
            self.stored.add(message_id)
        held = self.live.get(message_id)
        if held is None:
            return
        entries = held if isinstance(held, list) else [held]
        slot = entries[0].location
        gone = set(index.recipients)
        left = 0
        for one in entries:
            kept = tuple(recipient for recipient in one.recipients if recipient not in gone)
            left += len(kept)
            self.index.settle(slot, len(one.recipients) - len(kept))
            one.recipients = kept
        if index.final or not left:
            del self.live[message_id]
            self.index.free(slot)
        elif isinstance(held, list):
            self.live[message_id] = [one for one in held if one.recipients]

    def _deferred(self, index: DeferredIndex) -> None:
        message_id = int.from_bytes(index.id, "big")
        held = self.live.get(message_id)
        if held is None:
            return
        due = due_after(index.due, index.said_at, self.now)
        if not isinstance(held, list) and held.recipients == index.recipients:
            held.due, held.attempts, held.notified = due, index.attempts, index.notified
            return
        entries = [part for one in (held if isinstance(held, list) else [held]) for part in _parts(one, index, due)]
        self.live[message_id] = entries if len(entries) > 1 else entries[0]


def _count(groups: Groups) -> int:
    return sum(len(recipients) for _, recipients in groups)


def _parts(entry: QueueEntry, index: DeferredIndex, due: float) -> list[QueueEntry]:
    """The entry after the deferral: in two, if it names some of its recipients only."""
    named = tuple(recipient for recipient in entry.recipients if recipient in index.recipients)
    if not named:
        return [entry]
    rest = tuple(recipient for recipient in entry.recipients if recipient not in index.recipients)
    waiting = replace(entry, recipients=named, due=due)
    waiting.attempts, waiting.notified = index.attempts, index.notified
    return [waiting, replace(entry, recipients=rest)] if rest else [waiting]
