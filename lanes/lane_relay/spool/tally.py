"""How many recipients wait, as the log itself says it: what recovery finds is held against this.

Each segment begins with a flag that says how many waited when it was begun; what came and went since is said by its
records. So a segment that vanished shows, since the ones after it count what it held.
Invariants: the flag names its segment, so that a copy of it in another one is never believed; a rewritten segment
(it has lost flag and settlements) says nothing, and neither does what stands between it and the next flag.
Before: `committer` writes the flag. After: `found` counts, `recovery` compares.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from lane_relay.spool.footer import Footer
from lane_relay.spool.format import HEADER_SIZE, Kind, unpack_flags
from lane_relay.spool.index import SegmentState

__all__ = ["LIVE", "Tally", "live_text"]

LIVE: Final = "live"
"""The flag; only the record at the beginning of a segment has it."""


def live_text(number: int, recipients: int) -> str:
    """The flag that says how many recipients waited when segment `number` was begun."""
    return f"{number} {recipients}"


class Tally:
    """What the segments say, one after the other."""

    __slots__ = ("_base", "_change", "first_seq", "since_seq")

    def __init__(self) -> None:
        """Nothing is known."""
        self._base: int | None = None
        self._change = 0
        self.first_seq = 1
        """Number of the first accounting record after the beginning of the segment that is read."""
        self.since_seq = 1
        """The same of the segment that said `base`; 1 if none did."""

    @property
    def base(self) -> int:
        """Recipients that waited when the newest segment that says it was begun; 0 if none does."""
        return self._base or 0

    @property
    def recipients(self) -> int | None:
        """Recipients that wait now, if the log says so."""
        return None if self._base is None else self._base + self._change

    def begin(self, footer: Footer, segment: SegmentState) -> None:
        """The next segment: its flag, if it has one, and its columns; of its rows the caller tells."""
        if segment.generation:
            self._base, self.since_seq = None, 1
            return
        for row in footer.rows:
            if row.kind == Kind.FLAGS and row.offset == HEADER_SIZE:
                said = _said(unpack_flags(row.index).flags, segment.number)
                if said is not None:
                    self._base, self._change, self.since_seq = said, 0, self.first_seq
        self._change += _total(footer.tags, [len(recipients) for _, _, recipients in footer.message_tags])
        self._change -= _total(footer.settled_by, [len(recipients) for _, recipients, _ in footer.settled_tags])

    def came(self, recipients: int) -> None:
        """A row of the segment brought so many."""
        self._change += recipients

    def went(self, recipients: int) -> None:
        """A row of the segment settled so many."""
        self._change -= recipients


def _said(flags: Mapping[str, str], number: int) -> int | None:
    of, _, recipients = flags.get(LIVE, "").partition(" ")
    return int(recipients) if of == str(number) and recipients.isdecimal() else None


def _total(by: "array[int]", counts: Sequence[int]) -> int:
    """Of each row its tag's count; nearly always all tags have one recipient."""
    if len(set(counts)) <= 1:
        return len(by) * counts[0] if counts else 0
    return sum(map(counts.__getitem__, by))
