"""The sessions of one SMTP listener: how many there may be, of one client too, and who makes room when there are all.

Anybody can connect and say nothing. So a full house refuses nobody while it has a guest that may be sent away: one
without a transaction, else one that has been silent in its transaction for `STRANGERS_S`; of the client that has the
most of them, its longest silent. From four fifths on those guests have no longer than that anyway.
Invariants: who may submit, and a message on its way to the disk, is never sent away; looking costs no more than once
through all for each guest that goes, and once in a tick if nobody can.
Before it: a listener. After it: `connection`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["STRANGERS_S", "Crowd", "Guest"]

STRANGERS_S: Final = 30.0
_NEARLY_FULL: Final = 0.8


class Guest(Protocol):
    """A session, as far as it takes a place."""

    counted_as: str
    last_active: float

    @property
    def may_be_sent_away(self) -> bool:
        """It may not submit, and nothing of it is in work."""

    @property
    def is_in_transaction(self) -> bool:
        """It has said MAIL."""

    def send_away(self) -> None:
        """Ends it for another's sake."""

    def sweep(self, now: float, patience: float) -> None:
        """Ends it if it has been silent for so long."""


_G = TypeVar("_G", bound=Guest)


class Crowd(Generic[_G]):
    """Of one listener; `most` and the like are the limits in force."""

    def __init__(self) -> None:
        self._guests: dict[_G, None] = {}
        """Those that came first are first."""
        self._by_client: Counter[str] = Counter()
        self._next_to_go: list[tuple[float, _G]] = []
        """Who goes next is at the end, with its last activity at that time."""
        self._nobody_at: float | None = None
        """The tick in which nobody could go."""
        self._sent_away = 0

    def __len__(self) -> int:
        """How many there are now."""
        return len(self._guests)

    def __iter__(self) -> Iterator[_G]:
        """Those that came first are first."""
        return iter(tuple(self._guests))

    def __contains__(self, guest: object) -> bool:
        """It has a place."""
        return guest in self._guests

    def count(self, client: str) -> int:
        """Those of this client, by the name that limits know it by."""
        return self._by_client.get(client, 0)

    def admit(self, guest: _G, most: int, tick: float) -> bool:
        """A place for it, if need be another's; False: nobody can go."""
        if len(self._guests) >= most and not self._send_one_away(tick):
            return False
        self._guests[guest] = None
        self._by_client[guest.counted_as] += 1
        return True

    def forget(self, guest: _G) -> bool:
        """It is over; False: that was known."""
        if guest not in self._guests:
            return False
        del self._guests[guest]
        self._by_client[guest.counted_as] -= 1
        if not self._by_client[guest.counted_as]:
            del self._by_client[guest.counted_as]
        return True

    def sweep(self, now: float, most: int, patience: float) -> None:
        """Ends who has been silent for `patience` seconds; of a crowd that is nearly all, earlier."""
        is_short = len(self._guests) >= _NEARLY_FULL * most
        for guest in self:
            guest.sweep(now, STRANGERS_S if is_short and guest.may_be_sent_away else patience)

    def take_sent_away(self) -> int:
        """How many made room since the last time it was asked."""
        count, self._sent_away = self._sent_away, 0
        return count

    def _send_one_away(self, tick: float) -> bool:
        if self._nobody_at == tick:
            return False
        found = self._pop()
        if found is None:
            self._next_to_go = self._in_turn(tick)
            found = self._pop()
        if found is None:
            self._nobody_at = tick
            return False
        self._sent_away += 1
        self.forget(found)
        found.send_away()
        return True

    def _pop(self) -> _G | None:
        """The next one that has not moved since it was looked at."""
        while self._next_to_go:
            last_active, guest = self._next_to_go.pop()
            if guest in self._guests and guest.last_active == last_active and guest.may_be_sent_away:
                return guest
        return None

    def _in_turn(self, tick: float) -> list[tuple[float, _G]]:
        """All that may go, who goes first at the end."""
        going = [
            guest
            for guest in self._guests
            if guest.may_be_sent_away and (not guest.is_in_transaction or tick - guest.last_active >= STRANGERS_S)
        ]
        going.sort(key=_last_active)
        left: Counter[str] = Counter()
        ranked = []
        for place, guest in reversed(tuple(enumerate(going))):
            # What its client keeps if it goes, and those go that are silent for longer: the most goes first.
            ranked.append((not guest.is_in_transaction, left[guest.counted_as], -place, guest))
            left[guest.counted_as] += 1
        ranked.sort(key=lambda one: one[:3])
        return [(guest.last_active, guest) for *_, guest in ranked]


def _last_active(guest: Guest) -> float:
    return guest.last_active
