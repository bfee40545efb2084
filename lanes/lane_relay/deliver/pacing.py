"""What time holds up at one site: its rates, its daily limit and its back-off.

A site that has none of them has no pacing at all, and costs nothing.
Before it: `ready_queue`, which asks before each act and tells of each. After it: `limits`, `day_count`, `backoff`.
"""

from enum import StrEnum
from math import inf
from typing import Final

from lane_api.outbound import Backoff
from lane_api.quantities import Rate
from lane_api.relayconfig import Delivery, SitePolicy
from lane_relay.deliver.backoff import SiteBackoff
from lane_relay.deliver.day_count import DayCount
from lane_relay.deliver.limits import Pace
from lane_relay.records import Record, Verdict

__all__ = ["Hold", "Limit", "Pacing", "SiteLimits", "site_limits"]

_PLAIN_MESSAGES: Final = 100
"""Messages a connection where no policy says otherwise; SitePolicy's own default."""
_PLAIN_RECIPIENTS: Final = 100
"""Recipients a transaction, likewise: every server takes so many (RFC 5321 section 4.5.3.1.8)."""
_PLAIN_BACKOFF: Final = Backoff()


class Limit(StrEnum):
    """What can hold an entry or a site."""

    NONE = "none"
    GATE = "gate"
    """Suspended, held, or the egress address is not proved."""
    SELECTOR = "dkim-selector"
    ORDER = "order"
    """A person or a program holds or suspends it."""
    PARKED = "no-answer"
    """The destination failed; it is tried again when the time has come."""
    CONNECTING = "connecting"
    CONNECTIONS = "connections"
    TOTAL_CONNECTIONS = "total-connections"
    BACKOFF = "backoff"
    SUSPENDED = "suspended"
    """A reply rule stopped the site, or this address towards it."""
    CONNECT_RATE = "connect-rate"
    MESSAGE_RATE = "message-rate"
    DAY = "messages-per-day"
    WARM_UP = "warm-up"
    """The address is cold for the ISP, and what may leave now is used up."""
    SIBLING = "sibling"
    """It goes to another slot of the lane, which has to answer."""
    MEMORY = "memory"
    """Bodies on their way take all the memory there is for this site."""


class Hold(Record, frozen=True, gc=False):
    """Why not now, and until when (monotonic seconds; infinite: until something happens)."""

    limit: Limit
    until: float = inf
    detail: str = ""


class SiteLimits(Record, frozen=True, gc=False):
    """The full limits of one site."""

    connections: int
    messages_per_connection: int
    connect_rate: Rate | None
    message_rate: Rate | None
    backoff: Backoff
    recipients_per_message: int = _PLAIN_RECIPIENTS
    messages_per_day: int | None = None

    @property
    def are_timed(self) -> bool:
        """Something is counted over time."""
        return self.connect_rate is not None or self.message_rate is not None or self.messages_per_day is not None


def site_limits(delivery: Delivery, policy: str) -> SiteLimits:
    """The limits of a site of this policy, or the lane's own (empty, or a policy that has gone)."""
    found: SitePolicy | None = next((known for known in delivery.policies if known.name == policy), None)
    if found is None:
        return SiteLimits(delivery.connections, _PLAIN_MESSAGES, None, None, _PLAIN_BACKOFF)
    return SiteLimits(
        found.connections,
        found.messages_per_connection,
        found.connect_rate,
        found.message_rate,
        found.backoff,
        found.recipients_per_message,
        found.messages_per_day,
    )


class Pacing:
    """One site's; `connections` and `message_rate` are as of the last `refresh`."""

    __slots__ = ("_connect_pace", "_day", "_in_force", "_limits", "_message_pace", "backoff", "connections")

    def __init__(self, limits: SiteLimits, day: DayCount | None = None) -> None:
        """`day`: what was attempted in the last 24 hours, for a site with a daily limit."""
        self._limits = limits
        self._day = day
        self._message_pace = Pace(limits.message_rate)
        self._connect_pace = Pace(limits.connect_rate)
        self.backoff = SiteBackoff(limits.backoff, limits.connections, limits.message_rate)
        self._in_force = self.backoff.in_force(0.0)
        self.connections = self._in_force.connections
        """Connections allowed."""

    def change(self, limits: SiteLimits, day: DayCount | None, now: float) -> None:
        """Other limits, from the next decision on."""
        self._limits = limits
        self._day = day
        self.backoff.change(limits.backoff, limits.connections, limits.message_rate)
        self._connect_pace.change(limits.connect_rate, None)
        self._apply_backoff(now)

    def refresh(self, now: float) -> None:
        """Climbs a step of back-off when it is due."""
        until = self._in_force.until
        if until is not None and now >= until:
            self._apply_backoff(now)

    def slow_down(self, verdict: Verdict, reason: str, now: float) -> None:
        """Evidence that we are too fast."""
        self.backoff.trigger(now, verdict.act_for, reason, verdict.rule)
        self._apply_backoff(now)

    def end_backoff(self, now: float) -> None:
        """Who knows better says that we are not too fast."""
        self.backoff.end()
        self._apply_backoff(now)

    def _apply_backoff(self, now: float) -> None:
        self._in_force = self.backoff.in_force(now)
        self.connections = self._in_force.connections
        self._message_pace.change(self._limits.message_rate, self._in_force.per_second)

    @property
    def message_rate(self) -> float | None:
        """Messages a second allowed; None: as many as there are."""
        if self._in_force.per_second is not None:
            return self._in_force.per_second
        return self._limits.message_rate.per_second if self._limits.message_rate is not None else None

    @property
    def backed_off_until(self) -> float | None:
        """When the next step up is due; None: not backed off."""
        return self._in_force.until

    def of_day(self, now: float) -> int | None:
        """Messages attempted in the last 24 hours; None: without a daily limit they are not counted."""
        return self._day.count(now) if self._day is not None else None

    def is_at_rest(self, now: float) -> bool:
        """Nothing that happened so far can hold up anything; the day's count is kept elsewhere."""
        return not self.backoff.is_active and self._message_pace.is_at_rest(now) and self._connect_pace.is_at_rest(now)

    @property
    def dues(self) -> tuple[float, float]:
        """When the next message and the next connection are due by their paces, perhaps long past."""
        return self._message_pace.due, self._connect_pace.due

    def resume(self, message: float, connect: float, now: float) -> None:
        """Where a former process was; see `dues`."""
        self._message_pace.resume(message, now)
        self._connect_pace.resume(connect, now)

    def hold_message(self, now: float) -> Hold | None:
        """Why no message may be given to a session now, or None."""
        self.refresh(now)
        at = self._message_pace.next_at()
        if at > now:
            slowed = self._in_force.per_second is not None
            return Hold(Limit.BACKOFF if slowed else Limit.MESSAGE_RATE, at, f"{self.message_rate:g}/s")
        limit = self._limits.messages_per_day
        if self._day is not None and limit is not None and self._day.count(now) >= limit:
            return Hold(Limit.DAY, self._day.room_at(limit, now), f"{limit} in 24 hours")
        return None

    def hold_connect(self, now: float) -> Hold | None:
        """Why no connection may be opened now; none is without a message that may use it."""
        at = self._connect_pace.next_at()
        if at > now:
            return Hold(Limit.CONNECT_RATE, at, str(self._limits.connect_rate))
        return self.hold_message(now)

    def begin_message(self, now: float) -> None:
        """A message is given to a session; it must be ended."""
        self._message_pace.begin(now)
        if self._day is not None:
            self._day.add(now)

    def end_message(self, began: float, now: float) -> None:
        """The message given then is over."""
        self._message_pace.end(began, now)

    def begin_connect(self, now: float) -> None:
        """A connection is being opened; it must be ended."""
        self._connect_pace.begin(now)

    def end_connect(self, began: float, now: float) -> None:
        """The connect that began then has come to something, or to nothing."""
        self._connect_pace.end(began, now)
