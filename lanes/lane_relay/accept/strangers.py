"""How many refusals of clients that may not submit become records; pure counting.

Anybody who reaches the port is refused, as often as they like: if each refusal were a record, they could push the
lane's real ones out of the journal. Those of the lane's own clients are all recorded.
Before it: `accept.listener`, which asks for each refusal and begins the minutes. Invariant: memory is bounded by
`in_all`, whoever comes.
"""

from collections import Counter

__all__ = ["StrangerBudget"]

_MINUTE_S = 60.0


class StrangerBudget:
    """Records of one minute."""

    def __init__(self, began: float, *, per_client: int = 20, in_all: int = 300) -> None:
        """`began` in monotonic seconds; a record takes some 400 bytes, so that a day of floods takes 170 MB at most."""
        self._began = began
        self._per_client = per_client
        self._in_all = in_all
        self._written: Counter[str] = Counter()
        self._left_out = 0

    def admits(self, client: str) -> bool:
        """This refusal is recorded; else it is counted."""
        if self._written.total() >= self._in_all or self._written[client] >= self._per_client:
            self._left_out += 1
            return False
        self._written[client] += 1
        return True

    def renew(self, now: float) -> int:
        """Begins another minute if one is over; gives how many refusals the last one left out."""
        if now - self._began < _MINUTE_S:
            return 0
        left_out, self._left_out, self._began = self._left_out, 0, now
        self._written.clear()
        return left_out
