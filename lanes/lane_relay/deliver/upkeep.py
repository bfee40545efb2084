"""What is done about all that waits, once a second and a portion at a time: what is at rest is forgotten, what waited
past its lifetime is handed on, of what has become late its senders hear, and what has moved is given another route.

Before it: the dispatcher's sweep. After it: `judgement`, with attempts that could not be made, and the router anew.
Invariant: one portion takes a bounded time, and the bodies that it reads have a bounded share of memory.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.moved import MovedMail
from lane_relay.deliver.prepared import Preparer
from lane_relay.deliver.rerouting import Rerouting
from lane_relay.deliver.rounds import Overdue, Rounds
from lane_relay.records import Message, QueueEntry, first_age_key

__all__ = ["OnLate", "Upkeep"]

OnLate = Callable[[QueueEntry, Message, str], None]
"""(entry, message, why): it waits here and is late."""

_PART_OVERDUE: Final = 4
"""A quarter of the active bytes may be read at once for reports about overdue entries."""


class Upkeep:
    """Of one slot."""

    def __init__(
        self,
        config: RelayConfig,
        clock: Clock,
        rounds: Rounds,
        preparer: Preparer,
        judgement: Judgement,
        rerouting: Rerouting,
        on_late: OnLate | None,
        moved: MovedMail | None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rounds = rounds
        self._preparer = preparer
        self._judgement = judgement
        self._rerouting = rerouting
        self._on_late = on_late
        self._moved = moved

    def apply(self, config: RelayConfig) -> None:
        """Another configuration: lifetime and notices are those of it from now on."""
        self._config = config

    def go_on(self, now: float) -> bool:
        """The next portion; True if a new round began with it."""
        if self._moved is not None:
            self._moved.go_on(now)
        begun = self._rounds.begin(now)
        wall, delivery = self._clock.now(), self._config.delivery
        newest = first_age_key(wall - delivery.lifetime)
        room = self._config.active_bytes // _PART_OVERDUE - self._preparer.reading_bytes
        after = delivery.delay_notice.after if self._on_late is not None else 0.0
        late = first_age_key(wall - after) if after else 0
        for found in self._rounds.portion(now, newest, room, wall, late):
            over = partial(self._judgement.overdue, found.site, found.hold)
            self._preparer.read(found.entry, over if found.is_over else partial(self._tell_late, found))
        return begun

    def _tell_late(self, found: Overdue, entry: QueueEntry, message: Message | None) -> None:
        if message is not None and self._on_late is not None:
            hold = found.hold
            self._on_late(entry, message, f"{hold.limit}: {hold.detail}" if hold.detail else str(hold.limit))
            if not self._rounds.put_back(found):
                self._rerouting.add((entry,))
                self._rerouting.go_on()
