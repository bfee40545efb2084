"""The ready queue of one site: who may send what, now or when; it decides and counts, others do.

A site is a bucket of limits. Its destinations are the different host sets behind it: a connection serves the entries of
one destination, while connections and rates are counted for the site. A connection counts from the decision to open it
until its end has gone through on the wire.
Before it: entries with their routes. After it: `dispatcher`, which opens, feeds and closes sessions as decided here.
Invariants: never more connections than the limit in force; a parked destination costs nothing but its entries.
Campaigns take turns wherever something is scarce: a destination's entries, the site's connections, its message rate.
"""

from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from lane_api.isppolicy import Action, Stage
from lane_api.outbound import Backoff
from lane_api.quantities import Rate
from lane_api.relayconfig import Delivery, RelayRetry, SitePolicy
from lane_relay.deliver.backoff import SiteBackoff
from lane_relay.deliver.limits import Pace, may_open
from lane_relay.deliver.prepared import Prepared
from lane_relay.records import QueueEntry, Reply, Route, TlsDemand, TlsResult, Verdict
from lane_relay.turns import Turns

__all__ = ["Destination", "Failure", "Hold", "Limit", "ReadyQueue", "SiteLimits", "Target", "site_limits"]

_BAD_HOST_S: Final = 60.0
"""A host that failed is passed over so long, so that not every connection waits for it first."""
_REFUSED_S: Final = 3600.0
"""One that spoke for all is passed over so much longer than all are: what it was told of is due again by then."""
_PROBES: Final = 2
"""Connections under way at once to a destination that has not answered yet."""
_HOLDS_OFF: Final = (Action.BACKOFF, Action.SUSPEND_SITE, Action.QUARANTINE_IP)
"""Acts about the whole source, which a destination that refuses every connection must not be asked again before."""
_PLAIN_MESSAGES: Final = 100
"""Messages a connection where no policy says otherwise; SitePolicy's own default."""


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
    MEMORY = "memory"
    """Bodies on their way take all the memory there is for this site."""


class Hold(Struct, frozen=True, gc=False):
    """Why not now, and until when (monotonic seconds; infinite: until something happens)."""

    limit: Limit
    until: float = float("inf")
    detail: str = ""


class Target(Struct, frozen=True, gc=False):
    """One address to connect to."""

    host: str
    address: str
    demand: TlsDemand | None = None


class Failure(Struct, frozen=True, gc=False):
    """Why a connection did not come to be, and what that means."""

    stage: Stage
    reply: Reply
    verdict: Verdict
    tls: TlsResult | None = None
    """What TLS came to, if that is why."""


class SiteLimits(Struct, frozen=True, gc=False):
    """The full limits of one site."""

    connections: int
    messages_per_connection: int
    connect_rate: Rate | None
    message_rate: Rate | None
    backoff: Backoff


def site_limits(delivery: Delivery, policy: str) -> SiteLimits:
    """The limits of a site of this policy, or the lane's own (empty, or a policy that has gone)."""
    found: SitePolicy | None = next((known for known in delivery.policies if known.name == policy), None)
    if found is None:
        return SiteLimits(delivery.connections, _PLAIN_MESSAGES, None, None, Backoff())
    return SiteLimits(
        found.connections, found.messages_per_connection, found.connect_rate, found.message_rate, found.backoff
    )


class Destination:
    """One host set of a site, and what waits for it. `idle` holds sessions that could take an entry at once."""

    __slots__ = (
        "bad", "blame", "blame_left", "connecting", "entries", "failures", "idle", "looked", "looking", "looks_ahead",
        "parked_until", "preparing", "proven", "ready", "refused", "route", "sessions", "site", "stands_for", "targets",
        "wakes_at",
    )  # fmt: skip

    def __init__(self, site: "ReadyQueue", route: Route) -> None:
        self.site = site
        self.route = route
        self.targets = _targets(route)
        self.entries: Turns[QueueEntry] = Turns()
        self.ready: list[Prepared] = []
        """In the order in which they are sent; a few a session."""
        self.preparing = 0
        self.looks_ahead = False
        """Its entries could not be made ready at once lately, so they are prepared before a session asks."""
        self.sessions = 0
        """Connections, from the decision to open them until they are gone."""
        self.connecting = 0
        self.idle: list[Any] = []
        self.proven = False
        """A connection came to be since the last failure."""
        self.bad: dict[str, float] = {}
        """Address -> until when it is passed over."""
        self.refused: set[str] = set()
        """Addresses whose word spared the others; all of them have their turn before one of these is tried again."""
        self.failures = 0
        self.parked_until = 0.0
        self.blame: Failure | None = None
        """The failure that the next entry, or `blame_left` of them, is told of."""
        self.blame_left = 0
        self.wakes_at = 0.0
        """When somebody looks at it again because it was parked; 0: nobody."""
        self.looking = False
        """Whether its entries may leave is being found out."""
        self.looked = False
        """One of its entries may leave, as of a look since its last connection was opened."""
        self.stands_for: tuple[str, ...] = ()
        """Campaigns for which it has a place in the site's line for connections."""

    @property
    def waiting(self) -> int:
        """Entries that no session has."""
        return len(self.entries) + len(self.ready) + self.preparing

    @property
    def campaign(self) -> str:
        """Whose entry is next, as far as that is known."""
        return self.ready[0].entry.campaign if self.ready else self.entries.key

    def put(self, entry: QueueEntry) -> bool:
        """Takes an entry in, behind those of its campaign; True if none of its campaign waited here."""
        return self.entries.append(entry.campaign, entry)

    def put_back(self, entry: QueueEntry) -> None:
        """An entry that was taken and not used is the next one again."""
        self.entries.appendleft(entry.campaign, entry)

    def update(self, route: Route) -> None:
        """A newer route to the same hosts: addresses and order may differ."""
        if route is not self.route:
            self.route = route
            self.targets = _targets(route)

    def next_target(self, now: float) -> Target | None:
        """The first address that has not failed lately; None if all have."""
        for target in self.targets:
            if self.bad.get(target.address, 0.0) <= now:
                return target
        return None

    def next_chance(self, now: float) -> float:
        """When the first of the addresses of now is no longer passed over; other names may have been for longer ago."""
        return min((self.bad.get(target.address, now) for target in self.targets), default=now + _BAD_HOST_S)

    def begin_elsewhere(self, refused: Target) -> None:
        """After the pause an address comes first that was only spared: it may take what this one never does."""
        known = {target.address for target in self.targets}
        self.refused = (self.refused | {refused.address}) & known
        if self.refused == known:
            self.refused = set()
        self.bad = dict.fromkeys(self.refused, self.parked_until + _REFUSED_S)

    def knows_more(self, now: float) -> bool:
        """It would be tried at another time, or in another order, if it were forgotten."""
        return self.parked_until > now or any(self.bad.get(address, 0.0) > now for address in self.refused)

    def unprepare(self) -> None:
        """Ready ones become entries again, in their order, and give their bodies back."""
        while self.ready:
            self.put_back(self.ready.pop().entry)


class ReadyQueue:
    """All that is known of one site."""

    def __init__(self, name: str, policy: str, limits: SiteLimits) -> None:
        self.name = name
        self.policy = policy
        self.limits = limits
        self.destinations: dict[tuple[object, ...], Destination] = {}
        self.line: Turns[Destination] = Turns()
        """Destinations that want a connection, a place for each campaign that made them want one."""
        self.stands_for: tuple[str, ...] = ()
        """Campaigns for which it has a place in the line of all sites."""
        self.token_line: Turns[Any] = Turns()
        """Idle sessions with work that wait for the message rate."""
        self.connections = 0
        self.foreign = 0
        """Connections to the same hosts that an earlier grouping counts for another site."""
        self.message_pace = Pace(limits.message_rate)
        self.connect_pace = Pace(limits.connect_rate)
        self.backoff = SiteBackoff(limits.backoff, limits.connections, limits.message_rate)
        self._in_force = self.backoff.in_force(0.0)
        self.suspended: Hold | None = None
        """Why nothing is sent there now, by a reply rule."""
        self.wake_at = float("inf")
        self.body_bytes = 0
        """Of bodies that are loading, ready or in a session."""
        self.lacks_room = False
        """It was refused room for another body and stands in line for it."""
        self.attempts = 0
        self.delivered = 0
        self.last_failure: Failure | None = None

    # -- what comes and goes

    def change(self, limits: SiteLimits, now: float) -> None:
        """Other limits, from the next decision on."""
        self.limits = limits
        self.backoff.change(limits.backoff, limits.connections, limits.message_rate)
        self.connect_pace.change(limits.connect_rate, None)
        self._apply_backoff(now)

    def destination(self, route: Route) -> Destination:
        """The destination of this route, made if it is new."""
        key = (route.port, route.tls, route.auth_dir, route.demands, *sorted([hop.host for hop in route.hops]))
        known = self.destinations.get(key)
        if known is None:
            known = self.destinations[key] = Destination(self, route)
        else:
            known.update(route)
        return known

    def forget_empty(self, now: float) -> None:
        """Drops destinations of which nothing is left to know."""
        for key in [
            key
            for key, known in self.destinations.items()
            if not known.waiting and not known.sessions and not known.stands_for and not known.knows_more(now)
        ]:
            del self.destinations[key]

    @property
    def waiting(self) -> int:
        """Entries that no session has."""
        return sum(known.waiting for known in self.destinations.values())

    def is_at_rest(self, now: float) -> bool:
        """Nothing would be lost if the site were forgotten: no work, no connection, no back-off, no running window."""
        if self.destinations or self.connections or self.backoff.is_active:
            return False
        return self.message_pace.is_at_rest(now) and self.connect_pace.is_at_rest(now)

    # -- limits

    def refresh(self, now: float) -> None:
        """Climbs a step of back-off when it is due."""
        until = self._in_force.until
        if until is not None and now >= until:
            self._apply_backoff(now)

    def slow_down(self, verdict: Verdict, reason: str, now: float) -> None:
        """Evidence that we are too fast."""
        self.backoff.trigger(now, verdict.act_for, reason)
        self._apply_backoff(now)

    def _apply_backoff(self, now: float) -> None:
        self._in_force = self.backoff.in_force(now)
        self.message_pace.change(self.limits.message_rate, self._in_force.per_second)

    @property
    def connection_limit(self) -> int:
        """Connections allowed, as of the last refresh."""
        return self._in_force.connections

    @property
    def message_rate(self) -> float | None:
        """Messages a second allowed, as of the last refresh; None: as many as there are."""
        if self._in_force.per_second is not None:
            return self._in_force.per_second
        return self.limits.message_rate.per_second if self.limits.message_rate is not None else None

    # -- decisions

    def wants_connection(self, destination: Destination) -> bool:
        """There is more waiting than idle or coming sessions will take."""
        return destination.waiting > destination.connecting + len(destination.idle)

    def lacking_elsewhere(self, destination: Destination, now: float) -> int:
        """How many connections the others in line would have had, were the limit not reached."""
        if self.connections + self.foreign < self.connection_limit:
            return 0
        return sum(
            other.waiting - other.connecting - len(other.idle)
            for other in set(self.line)
            if other is not destination and now >= other.parked_until and self.wants_connection(other)
        )

    def decide_open(self, destination: Destination, now: float, total: int, total_limit: int) -> Target | Hold:
        """Where to connect for this destination now, or what stands in the way."""
        self.refresh(now)
        if self.suspended is not None:
            return self.suspended
        if now < destination.parked_until:
            why = str(self.last_failure.reply) if self.last_failure is not None else ""
            return Hold(Limit.PARKED, destination.parked_until, why)
        if self.lacks_room and not destination.ready:
            return Hold(Limit.MEMORY)
        probes = 1 if destination.failures else _PROBES
        if not destination.proven and destination.connecting >= probes:
            return Hold(Limit.CONNECTING)
        hold = self._hold_connections(total, total_limit) or self._hold_rates(now)
        if hold is not None:
            return hold
        target = destination.next_target(now)
        return target if target is not None else Hold(Limit.PARKED, destination.next_chance(now))

    def _hold_connections(self, total: int, total_limit: int) -> Hold | None:
        limit = self.connection_limit
        used = self.connections + self.foreign
        if may_open(used, limit, total, total_limit):
            return None
        if used < limit:
            return Hold(Limit.TOTAL_CONNECTIONS, detail=f"{total} of {total_limit} in use")
        slowed = limit < self.limits.connections
        return Hold(Limit.BACKOFF if slowed else Limit.CONNECTIONS, detail=f"{used} of {limit} in use")

    def _hold_rates(self, now: float) -> Hold | None:
        at = self.connect_pace.next_at()
        if at > now:
            return Hold(Limit.CONNECT_RATE, at, str(self.limits.connect_rate))
        at = self.message_pace.next_at()
        return self._slow(at) if at > now else None  # no connection without a message that may use it

    def _slow(self, at: float) -> Hold:
        slowed = self._in_force.per_second is not None
        return Hold(Limit.BACKOFF if slowed else Limit.MESSAGE_RATE, at, f"{self.message_rate:g}/s")

    def hold_message(self, now: float) -> Hold | None:
        """Why no message may be given to a session now, or None."""
        self.refresh(now)
        if self.suspended is not None:
            return self.suspended
        at = self.message_pace.next_at()
        return self._slow(at) if at > now else None

    def must_close(self, sent: int) -> bool:
        """An open session that has sent so many must not take another entry."""
        if self.suspended is not None:
            return True
        return sent >= self.limits.messages_per_connection or self.connections > self.connection_limit

    # -- what became of connections

    def opening(self, destination: Destination, now: float) -> None:
        """A connection is being opened."""
        self.connections += 1
        destination.sessions += 1
        destination.connecting += 1
        destination.looked = False
        self.connect_pace.begin(now)

    def established(self, destination: Destination) -> None:
        """A session is ready for its first entry."""
        destination.connecting -= 1
        destination.proven = True
        destination.failures = 0

    def gone(self, destination: Destination) -> None:
        """A connection has ended on the wire."""
        self.connections -= 1
        destination.sessions -= 1

    def failed(
        self, destination: Destination, blamed: tuple[Target, ...], failure: Failure, now: float, retry: RelayRetry
    ) -> bool:
        """A connection came to nothing; True if the blamed were the last addresses, and entries are to be told.

        Only while none of the destination's connections work: one refused among many says nothing about the rest.
        """
        destination.connecting -= 1
        self.last_failure = failure
        if now < destination.parked_until:
            return False  # a second probe of the same moment: the entries know already
        lately = {address: until for address, until in destination.bad.items() if until > now}
        destination.bad = lately | {target.address: now + _BAD_HOST_S for target in blamed}
        others_work = destination.proven and destination.sessions - destination.connecting > 1
        if others_work or destination.next_target(now) is not None:
            return False
        destination.failures += 1
        destination.proven = False
        destination.bad.clear()
        growth = retry.factor ** min(destination.failures - 1, 100)
        asked = failure.verdict.retry_after if failure.verdict.action in _HOLDS_OFF else None
        destination.parked_until = now + max(min(retry.first * growth, retry.max), asked or 0.0)
        return True


def _targets(route: Route) -> tuple[Target, ...]:
    return tuple(Target(hop.host, address, hop.demand) for hop in route.hops for address in hop.addresses)
