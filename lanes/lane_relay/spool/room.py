"""Who may still write where room runs out: in the spool's budget, and on its volume whatever the budget says.

Invariant: what gives room back comes before what takes it. Clients' messages stop first; the relay's own reports,
without which nobody is given up, have a part of their own; what is left after them is for settlements and for the
copies that the tidier makes; the last of it is a file that only settlements are given (`committer`).
Before: `log` and `committer` ask. After: nothing; pure.
"""

from typing import Final

from lane_relay.spool.files import Volume

__all__ = ["for_intake", "has_room_again", "reserve_size", "segment_limit", "spare"]

_INTAKE_LEAVES: Final = 16
"""The part of the budget, and of a volume that has less, that is not for clients' messages."""
_REPORTS_LEAVE: Final = 32
"""The part of a volume that reports leave: a segment has room in it, so that what is live in one can be copied."""
_RESERVE_SIZE: Final = 4 * 2**20
"""Bytes kept free for settlements on a full volume: without them nothing could be freed."""
_SMALLEST: Final = 2**16
"""Bytes of a segment at least."""


def for_intake(budget: int) -> int:
    """Bytes of the budget that clients' messages may fill."""
    return budget - budget // _INTAKE_LEAVES


def spare(volume: Volume, budget: int, *, client: bool) -> int:
    """Bytes that messages may still take of the volume, of clients or of the relay's own; 0 or less: none."""
    return volume.free - min(budget, volume.size) // (_INTAKE_LEAVES if client else _REPORTS_LEAVE)


def has_room_again(volume: Volume, budget: int) -> bool:
    """Whether clients' messages, refused before, are taken: a segment's copy may come and go meanwhile."""
    return spare(volume, budget, client=True) > min(budget, volume.size) // _REPORTS_LEAVE


def reserve_size(budget: int, volume: Volume) -> int:
    """Bytes of the file whose room settlements get when there is no other."""
    return min(_RESERVE_SIZE, budget // 64, volume.size // _INTAKE_LEAVES)


def segment_limit(wanted: int, budget: int, volume: Volume) -> int:
    """Bytes at which a segment is sealed: no more than a small budget, or a small volume, can give back at once."""
    return min(wanted, max(_SMALLEST, min(budget // _INTAKE_LEAVES, volume.size // _REPORTS_LEAVE)))
