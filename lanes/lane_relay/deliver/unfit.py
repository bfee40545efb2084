"""Messages that a host cannot take: they are too large for it, or need what it does not offer.

Another host of the same domain may offer more: a backup is often of another make, and small. So what one of them cannot
take goes to the others, and bounces when each has said so itself; of a host that refused EHLO nothing is known.
Before it: the dispatcher's feeding of sessions, which gives nothing to one of a destination that was given up, so that
its hosts are those of now. After it: a destination of the other hosts alone, or the attempt's end.
"""

from collections.abc import Callable

from msgspec.structs import replace

from lane_relay.clock import Clock
from lane_relay.deliver.judgement import Judgement
from lane_relay.deliver.lookahead import Lookahead
from lane_relay.deliver.prepared import Prepared
from lane_relay.deliver.session import Session
from lane_relay.records import QueueEntry, Reply, Route

__all__ = ["Unfit", "leave_out", "other_hosts"]


def leave_out(route: Route, hosts: tuple[str, ...]) -> Route:
    """The route for what these hosts cannot take, whether or not they are on it; perhaps without any hop."""
    return replace(route, hops=tuple([hop for hop in route.hops if hop.host not in hosts]), without=hosts)


def other_hosts(route: Route, host: str) -> tuple[Route | None, bool]:
    """The route without this host, None if none is left; and whether it was on it, for DNS may have taken it off."""
    others = leave_out(route, tuple(sorted({*route.without, host})))
    is_on_it = len(others.hops) < len(route.hops)
    return (others if others.hops and is_on_it else None), is_on_it


class Unfit:
    """What becomes of them."""

    def __init__(
        self, lookahead: Lookahead, judgement: Judgement, clock: Clock, add: Callable[[QueueEntry, Route], None]
    ) -> None:
        """`add(entry, route)`: it is due there."""
        self._lookahead = lookahead
        self._judgement = judgement
        self._clock = clock
        self._add = add

    def handle(self, session: Session, prepared: Prepared, refusal: Reply) -> None:
        """The session's host cannot take it: the others are asked, until none is left."""
        destination = session.destination
        others, is_known = other_hosts(destination.route, session.target.host)
        unsure = destination.unsure or session.client.extensions.by_helo
        if others is None:
            session.started_at = self._clock.now()
            self._judgement.of_unfit(session, prepared, refusal, unsure=unsure or not is_known)
            return
        self._lookahead.done(destination, prepared)
        left = destination.site.destination(others)
        left.unsure = left.unsure or unsure
        self._add(prepared.entry, others)
