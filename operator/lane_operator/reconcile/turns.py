"""Which lanes' slots are upgraded now: so many at a time, the others in the order in which they asked.

Invariants: a lane that is under way keeps its place whatever else is so, also one that a restarted operator finds; one
of which no slot may restart now is not under way.
"""

from lane_operator.inputs import Key

__all__ = ["Turns"]


class Turns:
    """The places, and who waits for one."""

    def __init__(self) -> None:
        self._held: set[Key] = set()
        self._waiting: dict[Key, None] = {}

    def take(self, lane: Key, places: int) -> bool:
        """Whether the lane may begin; else it waits. `places` 0: as many as like may."""
        if lane in self._held or not places or len(self._held) < places:
            self.keep(lane)
            return True
        self._waiting.setdefault(lane)
        return False

    def keep(self, lane: Key) -> None:
        """The lane is under way."""
        self._held.add(lane)
        self._waiting.pop(lane, None)

    def give_back(self, lane: Key) -> Key | None:
        """The lane needs no place; who is to be woken since there is one now."""
        known = lane in self._held or lane in self._waiting
        self._held.discard(lane)
        self._waiting.pop(lane, None)
        return next(iter(self._waiting), None) if known else None
