"""How much each client and each user may hand in, and what they have; counted over all sessions and protocols.

Before it: `accept.listener` for connections, sessions for messages. Invariants: the counts live as long as the process,
and a new configuration forgets only those of a rate over another time; clients that did nothing lately are forgotten,
and never are there more than `_MAX_CLIENTS`. All times are monotonic seconds.
"""

from collections import OrderedDict
from math import ceil
from typing import Final

from lane_api.intake import IntakeLimits, UserRights
from lane_api.quantities import Rate
from lane_api.relayconfig import Intake
from lane_relay.accept.rates import Window
from lane_relay.records import Reply

__all__ = ["Allowances"]

_MAX_CLIENTS: Final = 20_000
"""Some 30 MB at worst, of a flood from that many addresses; of more, those that came first are forgotten."""


class _Client:
    """What one address did."""

    __slots__ = ("connections", "errors", "messages")

    def __init__(self) -> None:
        self.connections, self.messages, self.errors = Window(), Window(), Window()

    def is_idle(self, now: float) -> bool:
        return all(window.is_empty(now) for window in (self.connections, self.messages, self.errors))


class Allowances:
    """Of one slot."""

    def __init__(self, intake: Intake) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._messages: dict[str, Window] = {}
        self._recipients: dict[str, Window] = {}
        """By user; those who have a rate."""
        self.apply(intake)

    def apply(self, intake: Intake) -> None:
        """Takes other limits."""
        self._limits: IntakeLimits = intake.limits
        self._users: dict[str, UserRights] = {user.name: user for user in intake.users}
        self.counts_messages = bool(self._limits.message_rate_per_client) or any(
            user.rate or user.recipient_rate for user in intake.users
        )
        """Some rate of messages is limited: else nobody needs to ask."""

    def connect(self, client: str, now: float) -> Reply | None:
        """A connection comes: it counts, or is one too many."""
        limits, of = self._limits, self._of(client)
        wait = self.error_wait(client, now)
        if wait:
            return _over(421, f"Client {client} made too many errors ({limits.error_rate_per_client})", wait)
        if limits.connect_rate_per_client:
            wait = of.connections.wait(limits.connect_rate_per_client, now)
            if wait:
                return _over(421, f"Client {client} may connect {limits.connect_rate_per_client}", wait)
            of.connections.add(limits.connect_rate_per_client, now)
        return None

    def error_wait(self, client: str, now: float) -> float:
        """Seconds until this client's errors are no more than it may make."""
        rate = self._limits.error_rate_per_client
        return self._of(client).errors.wait(rate, now) if rate else 0.0

    def err(self, client: str, errors: int, now: float) -> None:
        """So many errors were made."""
        if errors and self._limits.error_rate_per_client:
            self._of(client).errors.add(self._limits.error_rate_per_client, now, errors)

    def judge(self, client: str, user: str, recipients: int, now: float) -> Reply | None:
        """Would a message to so many be too much now; nothing is counted."""
        for what, window, rate, wanted in self._windows(client, user, recipients):
            wait = window.wait(rate, now, wanted)
            if wait:
                return _over(451, f"{what} ({rate})", wait)
        return None

    def spend(self, client: str, user: str, recipients: int, now: float) -> Reply | None:
        """A message to so many is taken: it counts, whatever becomes of it; or it is too much now."""
        refusal = self.judge(client, user, recipients, now)
        if refusal is None:
            for _, window, rate, wanted in self._windows(client, user, recipients):
                window.add(rate, now, wanted)
        return refusal

    def renew(self, now: float) -> None:
        """Forgets clients that did nothing lately, the oldest first; called every few seconds."""
        for client in list(self._clients)[:1000]:
            if self._clients[client].is_idle(now):
                del self._clients[client]
            else:
                self._clients.move_to_end(client)

    def _windows(self, client: str, user: str, recipients: int) -> list[tuple[str, Window, Rate, int]]:
        windows = []
        rights, rate = self._users.get(user), self._limits.message_rate_per_client
        if rate:
            windows.append((f"Client {client} has sent all messages it may", self._of(client).messages, rate, 1))
        if rights is not None and rights.rate:
            window = self._messages.setdefault(user, Window())
            windows.append((f"User {user} has sent all messages it may", window, rights.rate, 1))
        if rights is not None and rights.recipient_rate:
            window = self._recipients.setdefault(user, Window())
            windows.append(
                (f"User {user} has sent to all recipients it may", window, rights.recipient_rate, recipients)
            )
        return windows

    def _of(self, client: str) -> _Client:
        found = self._clients.get(client)
        if found is None:
            found = self._clients[client] = _Client()
            if len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
        return found


def _over(code: int, what: str, wait: float) -> Reply:
    return Reply(code, (f"4.7.1 {what}: come again in {ceil(wait)} s",))
