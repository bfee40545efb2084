"""How many bytes of bodies may be loading, ready or in a session, shared among sites; pure counting.

Before it: the configuration's active bytes. After it: `lookahead`, which asks before it takes an entry, and gives back.
Invariants: a site may always have one message, so that none stands still; beyond that no site takes more than what is
still free, as with connections (`may_open`): a flood of large mail for one site leaves room for all others.
"""

from lane_relay.deliver.ready_queue import ReadyQueue

__all__ = ["BodyBudget"]


class BodyBudget:
    """Bytes in use, in all and by site, and the sites that were refused."""

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; may be changed."""
        self.limit = limit
        self.used = 0
        self._line: dict[ReadyQueue, None] = {}
        """Sites that were refused, in order."""

    def take(self, site: ReadyQueue, size: int) -> bool:
        """Counts a body for the site; False: not now, the site stands in line."""
        if site.body_bytes and site.body_bytes + size > self.limit - self.used:
            site.lacks_room = True
            self._line[site] = None
            return False
        site.body_bytes += size
        self.used += size
        return True

    def give_back(self, site: ReadyQueue, size: int) -> None:
        """The body is in nobody's hands any more."""
        site.body_bytes -= size
        self.used -= size

    def next_in_line(self, after: ReadyQueue) -> list[ReadyQueue]:
        """Who may ask again now that `after` gave something back: that site, and the one that has waited longest."""
        if not self._line:
            return []
        asked = [after] if after in self._line else []
        first = next(iter(self._line))
        if first is not after:
            asked.append(first)
        for site in asked:
            del self._line[site]
            site.lacks_room = False
        return asked
