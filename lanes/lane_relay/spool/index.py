"""Where every live message lies, in about 20 bytes each, and what each segment still holds.

A message is known outside by its slot number (`QueueEntry.location`), which never changes while it lives; the place
behind the slot may (cleaning rewrites segments). Invariant: a slot is free, or its segment counts it as live; what is
counted dead is dead on disk as well, because only committed settlements free a slot.
Before: `committer` and `recovery` tell places. After: `log` looks them up, `cleaning` asks what a segment holds.
"""

from array import array
from pathlib import Path
from typing import Final

__all__ = ["LiveIndex", "SegmentState"]

_OFFSET_BITS: Final = 32
_OFFSET: Final = (1 << _OFFSET_BITS) - 1


class SegmentState:
    """What is known of one segment."""

    __slots__ = (
        "cleaned_at",
        "damaged",
        "generation",
        "homes",
        "kept",
        "live",
        "live_bytes",
        "next_seq",
        "number",
        "path",
        "sealed",
        "size",
        "slots",
    )

    def __init__(self, number: int, path: Path, next_seq: int) -> None:
        """An empty segment."""
        self.number = number
        self.path = path
        self.generation = 0
        self.cleaned_at = 0
        self.size = 0
        self.kept = 0
        """Bytes that are needed though no message is: facts about messages elsewhere; known once it was cleaned."""
        self.live = 0
        self.live_bytes = 0
        self.next_seq = next_seq
        """Number of the accounting record after its last one."""
        self.sealed = False
        self.damaged = False
        self.slots: array[int] = array("I")
        self.homes: set[int] = set()
        """Segments whose messages its settlements and deferrals speak of."""

    @property
    def waste(self) -> int:
        """Bytes that rewriting it might give back."""
        return self.size - self.live_bytes - self.kept


class LiveIndex:
    """Slots and segments; one thread at a time changes it."""

    def __init__(self) -> None:
        """Nothing stored."""
        self.segments: dict[int, SegmentState] = {}
        self.live_messages = 0
        self.live_bytes = 0
        self.live_recipients = 0
        """Of live messages, those that no settlement has been said of."""
        self._places: array[int] = array("Q")
        self._lengths: array[int] = array("I")
        self._remaining: array[int] = array("I")
        self._free: array[int] = array("I")

    def add(self, number: int, offset: int, length: int, recipients: int) -> int:
        """Notes a message that is on disk; gives its slot."""
        place = number << _OFFSET_BITS | offset
        if self._free:
            slot = self._free.pop()
            self._places[slot] = place
            self._lengths[slot] = length
            self._remaining[slot] = recipients
        else:
            slot = len(self._places)
            self._places.append(place)
            self._lengths.append(length)
            self._remaining.append(recipients)
        segment = self.segments[number]
        segment.slots.append(slot)
        segment.live += 1
        segment.live_bytes += length
        self.live_messages += 1
        self.live_bytes += length
        self.live_recipients += recipients
        return slot

    def add_all(
        self, number: int, offsets: "array[int]", lengths: "array[int]", recipients: "array[int]"
    ) -> "array[int]":
        """Notes many messages of one segment at once, for recovery; gives their slots, none of which was ever used."""
        count, first = len(offsets), len(self._places)
        self._places.extend(map((number << _OFFSET_BITS).__or__, offsets))
        self._lengths.extend(lengths)
        self._remaining.extend(recipients)
        slots = array("I", range(first, first + count))
        size = sum(lengths)
        segment = self.segments[number]
        segment.slots.extend(slots)
        segment.live += count
        segment.live_bytes += size
        self.live_messages += count
        self.live_bytes += size
        self.live_recipients += sum(recipients)
        return slots

    def home(self, slot: int) -> int:
        """Number of the segment that holds the message."""
        return self._places[slot] >> _OFFSET_BITS

    def place(self, slot: int) -> tuple[SegmentState, int, int]:
        """Segment, offset and length of the message's record."""
        place = self._places[slot]
        return self.segments[place >> _OFFSET_BITS], place & _OFFSET, self._lengths[slot]

    def settle(self, slot: int, recipients: int) -> int:
        """Counts recipients as settled; gives how many are left."""
        left = self._remaining[slot] - recipients
        self._remaining[slot] = left
        self.live_recipients -= recipients
        return left

    def free(self, slot: int) -> None:
        """The message's last settlement is durable."""
        segment, _, length = self.place(slot)
        segment.live -= 1
        segment.live_bytes -= length
        self.live_messages -= 1
        self.live_bytes -= length
        self.live_recipients -= self._remaining[slot]
        self._remaining[slot] = 0
        self._places[slot] = 0
        self._free.append(slot)
        if not segment.live:
            segment.slots = array("I")

    def live_slots(self, segment: SegmentState) -> dict[int, int]:
        """Offset -> slot of what is live in a sealed segment.

        May run beside the loop's thread: a message that dies meanwhile is only kept a little longer.
        """
        number, places = segment.number, self._places
        return {place & _OFFSET: slot for slot in segment.slots if (place := places[slot]) >> _OFFSET_BITS == number}

    def move(self, segment: SegmentState, moved: list[tuple[int, int, int, int]]) -> None:
        """After rewriting: (slot, old offset, new offset, new length); a slot that died meanwhile is left alone."""
        base = segment.number << _OFFSET_BITS
        slots: array[int] = array("I")
        for slot, old, new, length in moved:
            if self._places[slot] != base | old:
                continue
            segment.live_bytes += length - self._lengths[slot]
            self.live_bytes += length - self._lengths[slot]
            self._places[slot] = base | new
            self._lengths[slot] = length
            slots.append(slot)
        segment.slots = slots
