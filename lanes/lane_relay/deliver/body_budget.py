"""How many bytes of bodies may be loading, ready or in a session, shared among sites; pure counting.

Before it: the configuration's active bytes. After it: `lookahead`, which asks before it takes an entry, and gives back.
Invariants: beyond its first message no site takes more than what is still free, as with connections (`may_open`): a
flood of large mail for one site leaves room for all others. A site's first message may exceed the limit, so that none
stands still for another that stalls: a small one always, large ones of a few sites at a time. The whole stays within
the limit, so many large messages, and a small one for each site that has a connection.
"""

from typing import Final

from lane_relay.deliver.ready_queue import ReadyQueue

__all__ = ["BodyBudget"]

_SMALL_PART: Final = 256
"""A message of at most such a part of the limit is small: one for each of 200 connections is less than the limit."""
_MOST_BEYOND: Final = 4
"""Sites whose first message may be large and beyond the limit: 100 MiB of the largest that lanes take by default."""


class BodyBudget:
    """Bytes in use, in all and by site, and the sites that were refused."""

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; may be changed."""
        self.limit = limit
        self.used = 0
        self._beyond: set[ReadyQueue] = set()
        """Sites whose first message exceeded the limit."""
        self._line: dict[ReadyQueue, None] = {}
        """Sites that were refused, in order."""

    def take(self, site: ReadyQueue, size: int) -> bool:
        """Counts a body for the site; False: not now, the site stands in line."""
        if not self._fits(site, size):
            site.lacks_room = True
            self._line[site] = None
            return False
        site.body_bytes += size
        self.used += size
        return True

    def _fits(self, site: ReadyQueue, size: int) -> bool:
        free = self.limit - self.used
        if site.body_bytes or size <= free or size * _SMALL_PART <= self.limit:
            return not site.body_bytes or site.body_bytes + size <= free
        if len(self._beyond) >= _MOST_BEYOND:
            return False
        self._beyond.add(site)
        return True

    def give_back(self, site: ReadyQueue, size: int) -> None:
        """The body is in nobody's hands any more."""
        site.body_bytes -= size
        self.used -= size
        if not site.body_bytes:
            self._beyond.discard(site)

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
