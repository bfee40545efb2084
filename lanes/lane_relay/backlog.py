"""How many entries are not settled, and since when the oldest waits; counted by the second of acceptance.

A count a second costs the same for one message as for a million, where a sorted list of them would not.
Invariant: an entry is added once when it comes to be and removed once when its last recipient is settled.
Before it: `pipeline`, at deposit, recovery and settlement. After it: metrics and `/v1`.
"""

__all__ = ["Backlog"]


class Backlog:
    """Unsettled entries; `pipeline` is the only writer."""

    __slots__ = ("_by_second", "entries")

    def __init__(self) -> None:
        self._by_second: dict[int, int] = {}
        self.entries = 0

    def add(self, received_at: float) -> None:
        """One more entry of a message accepted at this Unix time."""
        second = int(received_at)
        self._by_second[second] = self._by_second.get(second, 0) + 1
        self.entries += 1

    def remove(self, received_at: float) -> None:
        """An entry is settled."""
        second = int(received_at)
        left = self._by_second[second] - 1
        if left:
            self._by_second[second] = left
        else:
            del self._by_second[second]
        self.entries -= 1

    def oldest_since(self) -> float | None:
        """Unix time, to the second, since which the oldest entry waits; None if there is none."""
        return float(min(self._by_second)) if self._by_second else None

    def before(self, moment: float) -> int:
        """Entries of messages that were accepted before this Unix time, to the second."""
        return sum(count for second, count in self._by_second.items() if second + 1 <= moment)

    def since(self, moment: float) -> int:
        """Entries of messages that were accepted at this Unix time or later, to the second."""
        return sum(count for second, count in self._by_second.items() if second >= int(moment))
