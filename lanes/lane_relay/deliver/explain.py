"""Which limit holds a site or an entry now, and the counts behind metrics: values for `/v1` and `/metrics`.

Before it: `ready_queue`'s own decisions, asked and not guessed. After it: `api`, `health`.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from lane_relay.deliver.acts import Act
from lane_relay.deliver.connections import Connections
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.known_sites import KnownSites
from lane_relay.deliver.ready_queue import Destination, Hold, Limit, ReadyQueue, SiteLimits
from lane_relay.records import QueueEntry, Route, age_key

__all__ = ["DeliveryFigures", "Place", "SiteState", "Whereabouts", "site_state"]


class DeliveryFigures(Struct, frozen=True):
    """Delivery as a whole."""

    waiting: int
    """Entries in ready queues."""
    held: int
    """Entries whose signature must wait."""
    connections: int
    in_flight: int
    attempts: int
    delivered: int
    unreadable: int


class SiteState(Struct, frozen=True):
    """One site as of now."""

    site: str
    policy: str
    waiting: int
    oldest_id: int
    """The smallest spool id that waits, which tells its age; 0: none."""
    connections: int
    connection_limit: int
    messages_per_second: float | None
    backed_off: str
    """The reply that caused the back-off, or empty."""
    hold: Hold
    last_failure: str
    attempts: int
    delivered: int
    acts: tuple[Act, ...] = ()
    """What reply rules stop or slow down there, with their ends."""


def site_state(site: ReadyQueue, hold: Hold, now: float, acts: tuple[Act, ...] = ()) -> SiteState:
    """The site's state; looks at all of its waiting entries for the oldest."""
    site.refresh(now)
    ids = [entry.id for known in site.destinations.values() for entry in known.entries]
    ids += [prepared.entry.id for known in site.destinations.values() for prepared in known.ready]
    return SiteState(
        site=site.name,
        policy=site.policy,
        waiting=site.waiting,
        oldest_id=min(ids, default=0, key=age_key),
        connections=site.connections,
        connection_limit=site.connection_limit,
        messages_per_second=site.message_rate,
        backed_off=site.backed_off,
        hold=hold,
        last_failure=str(site.last_failure.reply) if site.last_failure is not None else "",
        attempts=site.attempts,
        delivered=site.delivered,
        acts=acts,
    )


class Place(Struct, frozen=True):
    """Where some entries are, and what holds them there."""

    state: str
    """Scheduled, Sending, Ready, Held, HandingOver or InDoubt."""
    route: Route
    hold: Hold | None
    """None: nothing does, a session has them."""
    entries: tuple[QueueEntry, ...]
    site: ReadyQueue | None = None
    since: float | None = None
    """Monotonic time since which the hold holds, where that is known."""
    order: str = ""
    """The order that holds them, by its id."""
    not_before: float = 0.0
    """Unix time before which none of them is due, whatever it says itself."""


class Whereabouts:
    """Of every entry that is in delivery, a portion at a time: who looks may let the loop run between two of them."""

    def __init__(
        self,
        known: KnownSites,
        held: HeldEntries,
        connections: Connections,
        judgement: Judgement,
        why_shut: Callable[[], str | None],
    ) -> None:
        """`why_shut()`: the state of delivery, while no connection may be opened or used at all."""
        self._known = known
        self._held = held
        self._connections = connections
        self._judgement = judgement
        self._why_shut = why_shut

    def hold_of(self, destination: Destination) -> Hold:
        """What holds the entries of one host set now."""
        site, now, shut = destination.site, self._connections.now(), self._why_shut()
        if shut is not None:
            return Hold(Limit.GATE, detail=shut)
        if site.suspended is not None:
            return site.suspended
        if destination.idle:
            return site.hold_message(now) or Hold(Limit.MEMORY if site.lacks_room else Limit.NONE)
        found = self._connections.decide(destination, now)
        return found if isinstance(found, Hold) else Hold(Limit.NONE)

    def oldest_held(self, key: str) -> int:
        """Message id of the oldest entry that is held under this key, 0 without one; looks at all of them."""
        return self._held.oldest_of(key)

    def hold_of_site(self, site: ReadyQueue) -> Hold:
        """What holds the first of its host sets that has entries."""
        waiting = next((known for known in site.destinations.values() if known.waiting), None)
        if waiting is not None:
            return self.hold_of(waiting)
        shut = self._why_shut()
        return Hold(Limit.GATE, detail=shut) if shut is not None else (site.suspended or Hold(Limit.NONE))

    def site(self, name: str, limits: SiteLimits, *, ordered: bool = False) -> SiteState | None:
        """As of now; None: nothing waits for it, and neither act nor order is about it. `limits`: of a site of which
        nothing else is known."""
        site, acts = self._known.look(name), self._judgement.acts.of_site(name)
        if site is None:
            if not acts and not ordered:
                return None
            site = ReadyQueue(name, name, limits)
            self._judgement.hold(site)
        return self._state(site, acts)

    def states(self, message_id: int) -> tuple[SiteState | Hold, ...]:
        """What holds each entry of this message that is in delivery, and the sites of those under way."""
        sites = [place.site for place in self.places() if any(one.id == message_id for one in place.entries)]
        found = [self._state(site) for site in dict.fromkeys(sites) if site is not None]
        return (*self._held.holds_of(message_id), *found)

    def _state(self, site: ReadyQueue, acts: tuple[Act, ...] = ()) -> SiteState:
        return site_state(site, self.hold_of_site(site), self._connections.now(), acts)

    def places(self) -> Iterator[Place]:
        """Every place with entries; one that moves meanwhile may be met twice, or not."""
        yield from [
            Place("Sending", one.destination.route, None, (one.current.entry,), one.destination.site, one.began)
            for one in self._connections.sessions
            if one.current is not None
        ]
        for site in list(self._known.whole.values()):
            for destination in list(site.destinations.values()):
                if destination.waiting:
                    yield self.of(destination)
        for key in self._held.keys:
            for item in tuple(self._held.waiting_for(key)):
                yield Place("Held", item.route, item.hold, (item.entry,), order=item.why.order)

    def of(self, destination: Destination) -> Place:
        """What waits for one host set."""
        hold = self.hold_of(destination)
        entries = [prepared.entry for prepared in destination.ready]
        entries += destination.entries
        return Place("Ready", destination.route, hold, tuple(entries), destination.site, _since(destination, hold))


def _since(destination: Destination, hold: Hold) -> float | None:
    if hold.limit is Limit.PARKED:
        return destination.parked_at or None
    pacing = destination.site.pacing
    if hold.limit is Limit.BACKOFF and pacing is not None:
        return pacing.backoff.since
    return None
