"""How a site is slowed down on evidence and climbs back in steps; pure.

Before it: verdicts with action Backoff. After it: `ready_queue`, which lives by the limits given here.
Invariant: never above the full limits; a trigger while climbing leads back to the foot.
"""

from functools import lru_cache
from typing import Final

from msgspec import Struct

from lane_api.outbound import Backoff
from lane_api.quantities import Rate

__all__ = ["InForce", "SiteBackoff"]

_TENTH: Final = 0.1
"""Pace while backed off where the policy gives none: a tenth of the full rate (resources: `backoff.messageRate`)."""
_SLOW: Final = 1.0
"""... or one a second, where there is no full rate."""
_UNPACED: Final = 100.0
"""Messages a second at which a site without a full rate is back to normal: connections limit it then."""


class InForce(Struct, frozen=True, gc=False):
    """The limits as of now."""

    connections: int
    per_second: float | None
    """Spacing of messages; None: that of the full rate, or none."""
    until: float | None
    """When they change next; None: they are the full ones."""


@lru_cache(maxsize=64)
def _full_limits(connections: int) -> InForce:
    """One object for all sites that are not slowed down."""
    return InForce(connections, None, None)


class SiteBackoff:
    """The back-off of one site."""

    __slots__ = ("_full", "_hold_until", "_policy", "_rate", "reason", "rule", "since")

    def __init__(self, policy: Backoff, connections: int, rate: Rate | None) -> None:
        self.change(policy, connections, rate)
        self._hold_until: float | None = None
        self.reason = ""
        """The latest reply that was the evidence; stays when it is over."""
        self.rule = ""
        self.since = 0.0

    def change(self, policy: Backoff, connections: int, rate: Rate | None) -> None:
        """Other limits; a back-off under way goes on with them."""
        self._policy = policy
        self._full = connections
        self._rate = rate

    @property
    def is_active(self) -> bool:
        """Slowed down, as of the last look."""
        return self._hold_until is not None

    def trigger(self, now: float, for_s: float | None, reason: str, rule: str = "") -> None:
        """Evidence that we are too fast: to the foot, for at least `for_s` seconds (default: the policy's)."""
        if not self.is_active:
            self.since = now
        until = now + (self._policy.for_ if for_s is None else for_s)
        self._hold_until = until if self._hold_until is None else max(until, self._hold_until)
        self.reason, self.rule = reason, rule

    def end(self) -> None:
        """The full limits from the next look on."""
        self._hold_until = None

    def in_force(self, now: float) -> InForce:
        """The limits as of now, one step higher for each `recover.every` after the hold."""
        if self._hold_until is None:
            return _full_limits(self._full)
        recover = self._policy.recover
        steps = 0 if now < self._hold_until else 1 + int((now - self._hold_until) // recover.every)
        until = self._hold_until + steps * recover.every
        growth = recover.factor ** min(steps, 200)  # 10 ** 200 is still a float, and beyond every limit
        connections = min(self._full, max(1, int(min(self._foot_connections * growth, self._full))))
        per_second = self.foot_per_second * growth
        if connections >= self._full and per_second >= self._full_per_second:
            self._hold_until = None
            return _full_limits(self._full)
        return InForce(connections, min(per_second, self._full_per_second), until)

    @property
    def _foot_connections(self) -> int:
        return min(self._policy.connections_per_ip, self._full)

    @property
    def _full_per_second(self) -> float:
        return self._rate.per_second if self._rate is not None else _UNPACED

    @property
    def foot_per_second(self) -> float:
        """Messages a second at the foot."""
        if self._policy.message_rate is not None:
            return min(self._policy.message_rate.per_second, self._full_per_second)
        return self._rate.per_second * _TENTH if self._rate is not None else _SLOW
