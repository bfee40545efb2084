"""The ready queue of one site: who may send what, now or when; it decides and counts, others do.

A site is a bucket of limits. Its destinations are the different host sets behind it: a connection serves the entries of
one destination, while connections and rates are counted for the site. A connection counts from the decision to open it
until its end has gone through on the wire.
Before it: entries with their routes. After it: `dispatcher`, which opens, feeds and closes sessions as decided here.
Invariants: never more connections than the limit in force; a parked destination costs nothing but its entries.
Campaigns take turns wherever something is scarce: a destination's entries, the site's connections, its message rate.
"""

from math import inf
from typing import Any, Final

from lane_api.isppolicy import Action, Stage
from lane_api.relayconfig import RelayRetry
from lane_relay.deliver.day_count import DayCount
from lane_relay.deliver.limits import may_open
from lane_relay.deliver.pacing import Hold, Limit, Pacing, SiteLimits, site_limits
from lane_relay.deliver.prepared import Prepared
from lane_relay.records import QueueEntry, Record, Reply, Route, TlsDemand, TlsResult, Verdict
from lane_relay.turns import Turns

__all__ = ["Destination", "Failure", "Hold", "Limit", "ReadyQueue", "SiteLimits", "Target", "place_of", "site_limits"]

_BAD_HOST_S: Final = 60.0
"""A host that failed is passed over so long, so that not every connection waits for it first."""
_REFUSED_S: Final = 3600.0
"""One that spoke for all is passed over so much longer than all are: what it was told of is due again by then."""
_PROBES: Final = 2
"""Connections under way at once to a destination that has not answered yet."""
_RUN: Final = 5
"""Sessions in a row that end without a delivery, after which it is the host and not a message: as many as Postfix opens
at first and then counts as one failed cohort."""
_NO_ADDRESSES: Final[frozenset[str]] = frozenset()
"""One for all: an empty set takes 216 bytes."""
_HOLDS_OFF: Final = (Action.BACKOFF, Action.SUSPEND_SITE, Action.QUARANTINE_IP)
"""Acts about the whole source: another address of the host is no reason to ask it again before its time."""


class Target(Record, frozen=True, gc=False):
    """One address to connect to."""

    host: str
    address: str
    demand: TlsDemand | None = None


def place_of(route: Route) -> tuple[object, ...]:
    """Which destination of its site a route leads to: the hosts, and how they are spoken to."""
    hosts = sorted([hop.host for hop in route.hops])
    return (route.port, route.tls, route.auth_dir, route.demands, route.without, *hosts)


def _addresses(route: Route) -> frozenset[str]:
    """Where it may connect to."""
    return frozenset([address for hop in route.hops for address in hop.addresses])


class Failure(Record, frozen=True, gc=False):
    """Why a connection did not come to be, and what that means."""

    stage: Stage
    reply: Reply
    verdict: Verdict
    tls: TlsResult | None = None
    """What TLS came to, if that is why."""
    ours: bool = False
    """See RecipientResult."""
    own_words: bool = False
    """See RecipientResult."""


class Destination:
    """One host set of a site, and what waits for it. `idle` holds sessions that could take an entry at once."""

    __slots__ = (
        "bad", "blame", "blame_left", "connecting", "delivered_before", "entries", "failures", "fruitless", "given_up",
        "hopeful", "idle", "looked", "looking", "looks_ahead", "parked_at", "parked_until", "preparing", "proven",
        "ready", "refused", "route", "sessions", "seven_bit", "site", "stands_for", "unsure", "wakes_at", "working",
    )  # fmt: skip

    def __init__(self, site: "ReadyQueue", route: Route) -> None:
        self.site = site
        self.route = route
        self.entries: Turns[QueueEntry] = Turns()
        self.ready: list[Prepared] = []
        """In the order in which they are sent; a few a session."""
        self.preparing = 0
        self.looks_ahead = False
        """Its entries could not be made ready at once lately, so they are prepared before a session asks."""
        self.seven_bit = False
        """A host of it without 8BITMIME was to get mail that needs it: all of it goes as 7-bit from then on."""
        self.unsure = False
        """It is for messages that other hosts of the site could not take, and of one of those it is not sure."""
        self.sessions = 0
        """Connections, from the decision to open them until they are gone."""
        self.connecting = 0
        self.idle: list[Any] = []
        self.proven = False
        """A connection came to be since the last failure."""
        self.bad: dict[str, float] = {}
        """Address -> until when it is passed over."""
        self.refused = _NO_ADDRESSES
        """Addresses whose word spared the others; all of them have their turn before one of these is tried again."""
        self.failures = 0
        self.fruitless = 0
        """Sessions that ended without a delivery since the last delivery of any."""
        self.working = 0
        """Connections that have brought a delivery about."""
        self.parked_at = 0.0
        self.parked_until = 0.0
        self.delivered_before = 0
        """What the site had delivered when this was parked last."""
        self.blame: Failure | None = None
        """The failure that the next entry, or `blame_left` of them, is told of."""
        self.blame_left = 0
        self.hopeful: Failure | None = None
        """What a host said that may take mail another time, since entries were told last."""
        self.wakes_at = 0.0
        """When somebody looks at it again because it was parked; 0: nobody."""
        self.looking = False
        """Whether its entries may leave is being found out."""
        self.looked = False
        """One of its entries may leave, as of a look since its last connection was opened."""
        self.given_up = False
        """Another configuration asks for other routes: what comes back here asks for its own anew."""
        self.stands_for: tuple[str, ...] = ()
        """Campaigns for which it has a place in the site's line for connections."""

    @property
    def waiting(self) -> int:
        """Entries that no session has."""
        return self.entries.length + len(self.ready) + self.preparing

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

    def update(self, route: Route) -> bool:
        """A newer route to the same hosts: addresses and order may differ; True: it was parked for other addresses."""
        before, self.route = self.route, route
        if route is before or not self.parked_until or self.site.holds_off or _addresses(route) <= _addresses(before):
            return False
        self.parked_until = 0.0
        return True

    @property
    def targets(self) -> tuple[Target, ...]:
        """What may be connected to, in the order of trying; made when it is asked for, once a connection or so."""
        return tuple([Target(hop.host, address, hop.demand) for hop in self.route.hops for address in hop.addresses])

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
            self.refused = _NO_ADDRESSES
        self.bad = dict.fromkeys(self.refused, self.parked_until + _REFUSED_S)

    @property
    def is_doubted(self) -> bool:
        """Connections come to be and bring nothing about: one at a time, until one message is taken."""
        return self.fruitless >= _RUN

    def knows_more(self, now: float) -> bool:
        """It would be tried at another time, or in another order, if it were forgotten."""
        return self.parked_until > now or any(self.bad.get(address, 0.0) > now for address in self.refused)

    def unprepare(self) -> None:
        """Ready ones become entries again, in their order, and give their bodies back."""
        while self.ready:
            self.put_back(self.ready.pop().entry)


class ReadyQueue:
    """All that is known of one site; small, since a lane may wait for hundreds of thousands."""

    __slots__ = (
        "_last", "answers", "attempts", "body_bytes", "connections", "delivered", "destinations", "foreign",
        "lacks_room", "last_failure", "limits", "line", "name", "pacing", "policy", "stands_for", "suspended",
        "token_line", "wake_at",
    )  # fmt: skip

    def __init__(self, name: str, policy: str, limits: SiteLimits, day: DayCount | None = None) -> None:
        """`limits` may be shared by many sites; `day`: what was attempted of a daily limit."""
        self.name = name
        self.policy = policy
        self.limits = limits
        self.destinations: dict[tuple[object, ...], Destination] = {}
        self._last: Destination | None = None
        """Whose entry came last: the next one mostly has the same route."""
        self.line: Turns[Destination] = Turns()
        """Destinations that want a connection, a place for each campaign that made them want one."""
        self.stands_for: tuple[str, ...] = ()
        """Campaigns for which it has a place in the line of all sites."""
        self.token_line: Turns[Any] = Turns()
        """Idle sessions with work that wait for the message rate."""
        self.connections = 0
        self.foreign = 0
        """Connections to the same hosts that an earlier grouping counts for another site."""
        self.pacing = Pacing(limits, day) if policy or limits.are_timed else None
        """None: no policy is for it and nothing slows it down."""
        self.suspended: Hold | None = None
        """Why nothing is sent there now, by a reply rule."""
        self.wake_at = inf
        self.body_bytes = 0
        """Of bodies that are loading, ready or in a session."""
        self.lacks_room = False
        """It was refused room for another body and stands in line for it."""
        self.answers = False
        """It has answered for a message, and has let no connection wait for long since."""
        self.attempts = 0
        self.delivered = 0
        self.last_failure: Failure | None = None

    # -- what comes and goes

    def change(self, limits: SiteLimits, day: DayCount | None, now: float) -> None:
        """Other limits, from the next decision on."""
        self.limits = limits
        if self.pacing is not None:
            self.pacing.change(limits, day, now)

    def destination(self, route: Route) -> Destination:
        """The destination of this route, made if it is new."""
        last = self._last
        if last is not None and last.route is route:
            return last
        key = place_of(route)
        known = self.destinations.get(key)
        if known is None:
            known = self.destinations[key] = Destination(self, route)
        else:
            known.update(route)
        self._last = known
        return known

    def give_up(self, destination: Destination) -> None:
        """It is none of the site's any more, though its connections count until they end."""
        destination.given_up = True
        self._last = None
        self.destinations.pop(place_of(destination.route), None)

    @property
    def holds_off(self) -> bool:
        """The last connection that failed was refused to the source, whichever address it was at."""
        return self.last_failure is not None and self.last_failure.verdict.action in _HOLDS_OFF

    def forget_empty(self, now: float, *, crowded: bool = False) -> None:
        """Drops destinations of which nothing is left to know; `crowded`: also that they did not answer lately."""
        self._last = None
        for key in [
            key
            for key, known in self.destinations.items()
            if not known.waiting
            and not known.sessions
            and not known.stands_for
            and (crowded or not known.knows_more(now))
        ]:
            del self.destinations[key]

    @property
    def waiting(self) -> int:
        """Entries that no session has."""
        return sum(known.waiting for known in self.destinations.values())

    def is_at_rest(self, now: float, *, crowded: bool = False) -> bool:
        """Nothing would be lost if the site were forgotten: no work, no connection, no back-off, no running window.

        `crowded`: the back-off of a site without a policy is given up, as the price of bounded memory.
        """
        if self.destinations or self.connections or self.stands_for:
            return False
        return self.pacing is None or (crowded and not self.policy) or self.pacing.is_at_rest(now)

    # -- limits

    def slow_down(self, verdict: Verdict, reason: str, now: float) -> None:
        """Evidence that we are too fast."""
        if self.pacing is None:
            self.pacing = Pacing(self.limits)
        self.pacing.slow_down(verdict, reason, now)

    def refresh(self, now: float) -> None:
        """Climbs a step of back-off when it is due."""
        if self.pacing is not None:
            self.pacing.refresh(now)

    @property
    def connection_limit(self) -> int:
        """Connections allowed, as of the last refresh."""
        return self.pacing.connections if self.pacing is not None else self.limits.connections

    @property
    def message_rate(self) -> float | None:
        """Messages a second allowed, as of the last refresh; None: as many as there are."""
        return self.pacing.message_rate if self.pacing is not None else None

    @property
    def backed_off(self) -> str:
        """The reply that slowed it down, while it is; else empty."""
        return self.pacing.backoff.reason if self.pacing is not None and self.pacing.backoff.is_active else ""

    @property
    def is_backed_off(self) -> bool:
        """It is slowed down on evidence."""
        return self.pacing is not None and self.pacing.backoff.is_active

    @property
    def foot_per_second(self) -> float:
        """Messages a second where it is slowed down most."""
        return (self.pacing or Pacing(self.limits)).backoff.foot_per_second

    # -- decisions

    def wants_connection(self, destination: Destination) -> bool:
        """There is more waiting than idle or coming sessions will take."""
        return destination.waiting > destination.connecting + len(destination.idle) and not destination.given_up

    def lacking_elsewhere(self, destination: Destination, now: float) -> int:
        """How many connections the others in line would have had, were the limit not reached."""
        if not self.line.length or self.connections + self.foreign < self.connection_limit:
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
            return Hold(Limit.PARKED, destination.parked_until, self._why_parked(destination))
        if self.lacks_room and not destination.ready:
            return Hold(Limit.MEMORY)
        if destination.is_doubted:
            if destination.sessions:
                return Hold(Limit.CONNECTING)
        elif not destination.proven and destination.connecting >= (1 if destination.failures else _PROBES):
            return Hold(Limit.CONNECTING)
        hold = self._hold_connections(total, total_limit)
        if hold is None and self.pacing is not None:
            hold = self.pacing.hold_connect(now)
        if hold is not None:
            return hold
        target = destination.next_target(now)
        if target is not None:
            return target
        return Hold(Limit.PARKED, destination.next_chance(now), self._why_parked(destination))

    def _why_parked(self, destination: Destination) -> str:
        failure = self.last_failure
        if failure is None:
            return ""
        if not destination.is_doubted:
            return str(failure.reply)
        count = destination.fruitless
        return f"{count} sessions in a row ended without a delivery, the last at {failure.stage}: {failure.reply}"

    def _hold_connections(self, total: int, total_limit: int) -> Hold | None:
        limit = self.connection_limit
        used = self.connections + self.foreign
        if may_open(used, limit, total, total_limit):
            return None
        if used < limit:
            return Hold(Limit.TOTAL_CONNECTIONS, detail=f"{total} of {total_limit} in use")
        slowed = limit < self.limits.connections
        return Hold(Limit.BACKOFF if slowed else Limit.CONNECTIONS, detail=f"{used} of {limit} in use")

    def hold_message(self, now: float) -> Hold | None:
        """Why no message may be given to a session now, or None."""
        if self.suspended is not None:
            return self.suspended
        return self.pacing.hold_message(now) if self.pacing is not None else None

    def must_close(self, sent: int) -> bool:
        """An open session that has sent so many must not take another entry."""
        if self.suspended is not None:
            return True
        return sent >= self.limits.messages_per_connection or self.connections > self.connection_limit

    def is_after_pause(self, destination: Destination, now: float) -> bool:
        """It was left alone until lately, and since that began nobody at the site has taken anything."""
        return 0 < destination.parked_until <= now and destination.delivered_before == self.delivered

    # -- what became of connections

    def opening(self, destination: Destination, now: float) -> None:
        """A connection is being opened."""
        self.connections += 1
        destination.sessions += 1
        destination.connecting += 1
        destination.looked = False
        if self.pacing is not None:
            self.pacing.begin_connect(now)

    def established(self, destination: Destination) -> None:
        """A session is ready for its first entry."""
        destination.connecting -= 1
        if not destination.is_doubted:
            destination.proven = True
            destination.failures = 0

    def took(self, destination: Destination) -> bool:
        """A message was taken there; True if that ends a doubt, so that it may have more connections again."""
        doubted = destination.is_doubted
        destination.fruitless = 0
        if doubted:
            destination.proven = True
            destination.failures = 0
            destination.parked_until = 0.0
        return doubted

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
        self._note(destination, failure)
        if now < destination.parked_until:
            return False  # a second probe of the same moment: the entries know already
        lately = {address: until for address, until in destination.bad.items() if until > now}
        destination.bad = lately | {target.address: now + _BAD_HOST_S for target in blamed}
        others_work = destination.proven and destination.sessions - destination.connecting > 1
        return not others_work and self._park(destination, now, retry)

    def ended_fruitless(
        self, destination: Destination, target: Target, failure: Failure, now: float, retry: RelayRetry
    ) -> bool:
        """A session that was ready has ended, and no message of it was taken; True if its host is left alone by now.

        Once that is a run, each one counts as a connection that came to nothing: the next host, then a pause.
        """
        if now < destination.parked_until or destination.bad.get(target.address, 0.0) > now:
            return True  # another of the same moment
        destination.fruitless += 1
        if not destination.is_doubted:
            return False
        self._note(destination, failure)
        destination.bad[target.address] = now + _BAD_HOST_S
        if not destination.working:
            self._park(destination, now, retry)
        return True

    def _note(self, destination: Destination, failure: Failure) -> None:
        self.last_failure = failure
        if failure.verdict.action is not Action.BOUNCE:
            destination.hopeful = failure

    def _park(self, destination: Destination, now: float, retry: RelayRetry) -> bool:
        """Leaves all its hosts alone for a while, unless one has not failed lately; True if so.

        For how long is the lane's word alone: a rule's `retryAfter` is about the message that was refused, and what a
        rule stops is stopped by an act, if its trigger and the lane's protection say so.
        """
        if destination.next_target(now) is not None:
            return False
        destination.failures += 1
        destination.proven = False
        destination.bad.clear()
        growth = retry.factor ** min(destination.failures - 1, 100)
        destination.parked_at, destination.parked_until = now, now + min(retry.first * growth, retry.max)
        destination.delivered_before = self.delivered
        return True
