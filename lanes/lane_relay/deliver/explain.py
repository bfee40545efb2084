"""Which limit holds a site or an entry now, and the counts behind metrics: values for `/v1` and `/metrics`.

Before it: `ready_queue`'s own decisions, asked and not guessed. After it: `api`, `health`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from lane_relay.deliver.acts import Act
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.ready_queue import Destination, Hold, Limit, ReadyQueue
from lane_relay.deliver.session import Session
from lane_relay.records import QueueEntry, Route

__all__ = ["DeliveryFigures", "Place", "SiteState", "Whereabouts", "entry_state", "site_state"]


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
        oldest_id=min(ids, default=0),
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


def entry_state(
    sites: Iterable[ReadyQueue],
    message_id: int,
    under_way: Iterable[ReadyQueue],
    hold_of: Callable[[ReadyQueue], Hold],
    now: float,
) -> tuple[SiteState, ...]:
    """The sites in which entries of this message wait or are under way."""
    found = list(under_way)
    for site in sites:
        for known in site.destinations.values():
            if any(entry.id == message_id for entry in known.entries) or any(
                prepared.entry.id == message_id for prepared in known.ready
            ):
                found.append(site)
                break
    return tuple(site_state(site, hold_of(site), now) for site in found)


class Place(Struct, frozen=True):
    """Where some entries are, and what holds them there."""

    state: str
    """Sending, Ready or Held."""
    route: Route
    hold: Hold | None
    """None: nothing does, a session has them."""
    entries: tuple[QueueEntry, ...]
    site: ReadyQueue | None = None
    since: float | None = None
    """Monotonic time since which the hold holds, where that is known."""


class Whereabouts:
    """Of every entry that is in delivery, a portion at a time: who looks may let the loop run between two of them."""

    def __init__(
        self,
        sites: Mapping[str, ReadyQueue],
        held: HeldEntries,
        sessions: Iterable[Session],
        hold_of: Callable[[Destination], Hold],
    ) -> None:
        """`sessions`: those that there are at any time."""
        self._sites = sites
        self._held = held
        self._sessions = sessions
        self._hold_of = hold_of

    def places(self) -> Iterator[Place]:
        """Every place with entries; one that moves meanwhile may be met twice, or not."""
        yield from [
            Place("Sending", one.destination.route, None, (one.current.entry,), one.destination.site, one.began)
            for one in self._sessions
            if one.current is not None
        ]
        for site in list(self._sites.values()):
            for destination in list(site.destinations.values()):
                if destination.waiting:
                    yield self.of(destination)
        for key in self._held.keys:
            for item in tuple(self._held.waiting_for(key)):
                yield Place("Held", item.route, item.hold, (item.entry,))

    def of(self, destination: Destination) -> Place:
        """What waits for one host set."""
        hold = self._hold_of(destination)
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
