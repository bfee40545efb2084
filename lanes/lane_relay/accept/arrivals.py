"""Connections at one door that have no session yet: they say who their client is, or shake hands.

Each door has as many places for them as may have sessions, so that a flood at one shuts no other. When they are taken,
the one that has been arriving for the longest time makes room, unless its client may submit: whoever shakes hands at
once gets in, however many others do not. Of one client no more arrive than it may have sessions, also behind a
balancer, as soon as that has said who it is.
Invariant: a place is taken by `come` and given back by `go`, once. Before it: `listener`. After it: `door`.
"""

import socket
from collections import Counter
from contextlib import suppress
from typing import Final

__all__ = ["Arrival", "Arrivals"]

_UNKNOWN: Final = ""


class Arrival:
    """One connection; `client` is as limits count it, or empty until a balancer has said who it is."""

    __slots__ = ("client", "connection", "may_submit")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.client = _UNKNOWN
        self.may_submit = False


class Arrivals:
    """At one door."""

    def __init__(self) -> None:
        self._places: dict[Arrival, None] = {}
        """Those that came first are first."""
        self._by_client: Counter[str] = Counter()
        self._turned_away = 0

    def __len__(self) -> int:
        """How many there are now."""
        return len(self._places)

    def come(self, connection: socket.socket, most: int) -> Arrival | None:
        """A place for this connection, if need be another's; None: all of them may submit."""
        if len(self._places) >= most and not self._send_one_away():
            self._turned_away += 1
            return None
        arrival = Arrival(connection)
        self._places[arrival] = None
        return arrival

    def name(self, arrival: Arrival, client: str, *, may_submit: bool, most: int) -> bool:
        """Whose it is is known; False: that client has too many here."""
        if self._by_client.get(client, 0) >= most:
            self._turned_away += 1
            return False
        arrival.client, arrival.may_submit = client, may_submit
        self._by_client[client] += 1
        return True

    def go(self, arrival: Arrival) -> None:
        """It has a session, or nothing has become of it; without effect if it was sent away."""
        if arrival not in self._places:
            return
        del self._places[arrival]
        if arrival.client:
            self._by_client[arrival.client] -= 1
            if not self._by_client[arrival.client]:
                del self._by_client[arrival.client]

    def take_turned_away(self) -> int:
        """How many were closed since the last time it was asked."""
        count, self._turned_away = self._turned_away, 0
        return count

    def _send_one_away(self) -> bool:
        found = next((one for one in self._places if not one.may_submit), None)
        if found is None:
            return False
        self._turned_away += 1
        self.go(found)
        with suppress(OSError):  # it is gone already
            found.connection.shutdown(socket.SHUT_RDWR)
        return True
