"""Mail that waits until a cold address may send more: a line for each ISP, in which campaigns take turns.

Invariants: an entry is here, or on its way with room of its own; of one campaign what came first goes first, and what
was tried before takes turns with what was not; nobody who comes later passes those who wait. An entry goes on only
where it may go: there is room, its own time has come, or a sibling would take it; while it waits it costs a list slot.
Before it: `path`, which found no room. After it: `path` again, as if the entry had just become due.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Protocol

from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.records import QueueEntry
from lane_relay.turns import Turns, swept
from lane_relay.warmup.warmer import Warmer

__all__ = ["Home", "WarmUpLine", "part_off"]

_PORTION: Final = 200
"""Entries that go on in one turn of the loop: a millisecond or two of work."""
_LOOKS: Final = 1000
"""Entries looked at in one, most of which stay; whether a sibling would take one is asked of fewer."""
_EVERY_S: Final = 1.0
"""Room that is given back, and a wall clock that was set, are noticed so late at most."""
_LOOKED_AT_A_SECOND: Final = 10_000
"""A look over all takes about a hundredth of the time until the next one."""
_LOOK_WITHIN_S: Final = 60.0
_TRIED: Final = "\n"
"""Before the campaign's name, in which no line can end: it is its mail that was tried before."""


class Home(Protocol):
    """What the line needs of its own slot."""

    def on_due(self, entry: QueueEntry) -> None:
        """Its way is chosen anew."""

    def on_parted(self, part: QueueEntry) -> None:
        """A part of an entry goes its own way."""

    def looked_at(self, entry: QueueEntry) -> float:
        """Unix time at which it has to be looked at though there is no room: it is late, or over."""

    @property
    def has_siblings(self) -> bool:
        """One at least can be offered something now."""

    def would_leave(self, entry: QueueEntry, policy: str) -> bool:
        """A sibling would take it now, without room here."""


def part_off(entry: QueueEntry, most: int) -> QueueEntry | None:
    """The recipients beyond the first `most` as an entry of their own; None: there are none. A restart finds one."""
    if len(entry.recipients) <= most:
        return None
    rest = replace(entry, recipients=entry.recipients[most:])
    entry.recipients = entry.recipients[:most]
    return rest


class WarmUpLine:
    """Of one address; all on the event loop."""

    def __init__(self, warmer: Warmer, clock: Clock, home: Home) -> None:
        """`warmer` says how much room there is."""
        self._warmer = warmer
        self._clock = clock
        self._home = home
        self._lines: dict[str, Turns[QueueEntry]] = {}
        """By the group whose room it is."""
        self._anew: deque[Turns[QueueEntry]] = deque()
        """Lines of before another configuration."""
        self._came = asyncio.Event()
        self._soonest = inf
        """No entry has to be looked at before this Unix time."""
        self._next_look = 0.0
        self._offered: dict[str, float] = {}
        """Until which part of a step no sibling is looked for again."""
        self._asked: object = None
        self._is_stopped = False

    def __len__(self) -> int:
        return sum(map(len, self._all()))

    def holds(self, policy: str) -> bool:
        """Whether somebody waits for room at this ISP."""
        return bool(self._lines) and self._warmer.group(policy) in self._lines

    def add(self, policy: str, entry: QueueEntry) -> None:
        """Takes over an entry for which there is no room at this ISP."""
        group = self._warmer.group(policy)
        line = self._lines.get(group)
        if line is None:
            line = self._lines[group] = Turns()
            self._offered[group] = self._warmer.room_at(group)  # its way was just chosen
        line.append(_key(entry), entry)
        self._soonest = min(self._soonest, self._home.looked_at(entry))
        self._came.set()

    def apply(self, asked: object) -> None:
        """Another configuration; `asked`: of it what decides about ways and room. Where that is another, all go on."""
        if asked != self._asked:
            self._asked = asked
            self._anew.extend(self._lines.values())
            self._lines = {}
        self._soonest = 0.0

    def stop(self) -> None:
        """Nothing goes on any more."""
        self._is_stopped = True

    # -- for those who look through all that waits

    def portions(self) -> Iterator[tuple[str, list[QueueEntry]]]:
        """Every entry, and whose room it waits for; between two portions the line may be used as ever.

        Of what chooses its way anew it is not known: an empty name.
        """
        for group, line in [*self._lines.items(), *[("", line) for line in self._anew]]:
            for key in line.in_turn():
                yield group, line.all_of(key)

    def sweep(self, unwanted: Callable[[QueueEntry], bool]) -> Iterator[list[QueueEntry]]:
        """Takes out what an operator's action is about, in portions; as ScheduledQueue does."""
        self._soonest = 0.0
        for line in self._all():
            yield from swept(line, unwanted, _LOOKS)

    def take(self, limit: int) -> list[QueueEntry]:
        """Gives up to so many entries away."""
        self._soonest = 0.0
        taken: list[QueueEntry] = []
        for line in self._all():
            taken += [line.popleft() for _ in range(min(limit - len(taken), len(line)))]
        return taken

    def _all(self) -> list[Turns[QueueEntry]]:
        return [*self._lines.values(), *self._anew]

    # -- what goes on

    async def run(self) -> None:
        """Lets entries go on, for ever."""
        while True:
            await self._came.wait()
            if self._is_stopped or not (self._lines or self._anew):
                self._came.clear()
                continue
            await asyncio.sleep(await self.turn())

    async def turn(self) -> float:
        """Lets a portion go on, or looks through those who wait if nobody may go; seconds until the next turn."""
        if self._let_go():
            return 0.0
        await self._look()
        return self._pause()

    def _let_go(self) -> bool:
        """A portion of what may go; True: there may be more."""
        left = _PORTION
        while self._anew and left:
            if not self._anew[0]:
                self._anew.popleft()
                continue
            self._home.on_due(self._anew[0].popleft())
            left -= 1
        lines, is_more = list(self._lines.items()), not left
        for group, line in lines:  # an ISP for which the address is warm by now holds up no other
            left = max(1, _PORTION // len(lines))
            while line and left and (room := self._warmer.room(group, line.first)):
                self._has_room(group, line, room)
                left -= 1
            is_more |= not left
            if not line:
                del self._lines[group]
        return is_more

    def _has_room(self, group: str, line: Turns[QueueEntry], room: int) -> None:
        entry = line.popleft()
        rest = part_off(entry, room)
        if rest is not None:  # the first of its campaign, once it is its turn again
            self._home.on_parted(rest)
            line.appendleft(_key(rest), rest, is_next=False)
        self._warmer.admit(group, entry)
        self._home.on_due(entry)

    def _pause(self) -> float:
        now = self._clock.now()
        first = min((self._warmer.room_at(group) for group in self._lines), default=inf)
        return min(max(first - now, 0.01), _EVERY_S)

    async def _look(self) -> None:
        """What is late or over goes on; in each part of a step also what a sibling would take by now."""
        monotonic, now = self._clock.monotonic(), self._clock.now()
        offers = self._to_be_offered()
        if monotonic < self._next_look or (now < self._soonest and not offers):
            return
        self._soonest, looked = inf, len(self)
        for group in list(self._lines):
            await self._look_at(group, now, offers=group in offers)
        self._next_look = monotonic + min(looked / _LOOKED_AT_A_SECOND, _LOOK_WITHIN_S)

    def _to_be_offered(self) -> set[str]:
        """ISPs at which another part of the step has begun."""
        if not self._home.has_siblings:
            return set()
        return {group for group in self._lines if self._warmer.room_at(group) != self._offered.get(group)}

    async def _look_at(self, group: str, now: float, *, offers: bool) -> None:
        line = self._lines.get(group)
        if line is None:  # all of them choose their way anew by now
            return
        if offers:
            self._offered[group] = self._warmer.room_at(group)
        most = _PORTION if offers else _LOOKS

        def goes_on(entry: QueueEntry) -> bool:
            at = self._home.looked_at(entry)
            if at <= now or (offers and self._home.would_leave(entry, group)):
                return True
            self._soonest = min(self._soonest, at)
            return False

        for key in line.in_turn():
            start, left = 0, line.count(key)  # what goes on may come again, behind these
            while left > 0 and start < line.count(key):
                portion = min(left, most)
                start, found = line.take_out(key, start, portion, goes_on)
                left -= portion
                for entry in found:
                    self._home.on_due(entry)
                await asyncio.sleep(0)


def _key(entry: QueueEntry) -> str:
    """Whose turns it takes."""
    return _TRIED + entry.campaign if entry.attempts else entry.campaign
