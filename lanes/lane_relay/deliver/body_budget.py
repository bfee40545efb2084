"""How many bytes of bodies may be loading, ready or in a session, shared among sites; pure counting.

Before it: the configuration's active bytes. After it: `lookahead`, which asks before it takes an entry, and gives back.
Invariants: beyond its first message no site takes more than what is still free, as with connections (`may_open`): a
flood of large mail for one site leaves room for all others. A site's first message may exceed the limit, so that none
stands still for another that stalls: a small one always, large ones of a few sites at a time, in the order in which
they asked. The whole stays within the limit, so many large messages, and a small one for each site with a connection.
"""

from collections import deque
from typing import Final

from lane_relay.deliver.ready_queue import ReadyQueue

__all__ = ["BodyBudget"]

_SMALL_PART: Final = 256
"""A message of at most such a part of the limit is small: one for each of 200 connections is less than the limit."""
_MOST_BEYOND: Final = 4
"""Sites whose first message may be large and beyond the limit: 100 MiB of the largest that lanes take by default."""
_MOST_HALF: Final = 2
"""As many where the message takes more than half of the limit: what is made anew for a host without 8BITMIME counts
three times."""


class BodyBudget:
    """Bytes in use, in all and by site, and the sites that were refused."""

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; may be changed."""
        self.limit = limit
        self.used = 0
        self._beyond: set[ReadyQueue] = set()
        """Sites whose first message exceeded the limit, since the whole was last within it."""
        self._with_none: deque[tuple[ReadyQueue, int]] = deque()
        """Sites that were refused their first message, in order, and its size."""
        self._with_some: dict[ReadyQueue, None] = {}
        """Sites that were refused another one, in order."""
        self._called: ReadyQueue | None = None

    def take(self, site: ReadyQueue, size: int) -> bool:
        """Counts a body for the site; False: not now, the site stands in line."""
        if not self._fits(site, size):
            if not site.lacks_room:
                self._stand_in_line(site, size)
            return False
        site.body_bytes += size
        self.used += size
        if self.used > self.limit and size * _SMALL_PART > self.limit:
            self._beyond.add(site)
        return True

    def _fits(self, site: ReadyQueue, size: int) -> bool:
        free = self.limit - self.used
        if site.body_bytes:
            return site.body_bytes + size <= free
        if size <= free or size * _SMALL_PART <= self.limit:
            return True
        # whoever has just given its room back stands behind those that have had none
        return self._may_exceed(size) and (not self._with_none or site is self._called)

    def _may_exceed(self, size: int) -> bool:
        return len(self._beyond) < (_MOST_BEYOND if 2 * size <= self.limit else _MOST_HALF)

    def _stand_in_line(self, site: ReadyQueue, size: int) -> None:
        site.lacks_room = True
        if site.body_bytes:
            self._with_some[site] = None
        elif site is self._called:
            self._with_none.appendleft((site, size))
        else:
            self._with_none.append((site, size))

    def give_back(self, site: ReadyQueue, size: int) -> None:
        """The body is in nobody's hands any more."""
        site.body_bytes -= size
        self.used -= size
        if self.used <= self.limit:
            self._beyond.clear()
        elif not site.body_bytes:
            self._beyond.discard(site)

    def call_first(self) -> ReadyQueue | None:
        """The site that has waited longest for its first message, if there is room; it asks before the next call."""
        self._called = None
        if not self._with_none:
            return None
        size = self._with_none[0][1]
        if size > self.limit - self.used and not self._may_exceed(size):
            return None
        self._called, _ = self._with_none.popleft()
        self._called.lacks_room = False
        return self._called

    def next_in_line(self, after: ReadyQueue) -> list[ReadyQueue]:
        """Who may ask for another now that `after` gave something back: that site, and who has waited longest."""
        if not self._with_some:
            return []
        asked = [after] if after in self._with_some else []
        first = next(iter(self._with_some))
        if first is not after:
            asked.append(first)
        for site in asked:
            del self._with_some[site]
            site.lacks_room = False
        return asked
