"""The connections of one egress address: who gets the next one, and how long each counts.

It acts on what `ready_queue` decides and sees to it that somebody comes back when the answer was "not now".
Before it: `dispatcher`, which wants connections for its destinations. After it: sessions.
Invariant: a connection counts from before its SYN until the peer has closed, or until our FIN has had time to arrive.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol, TypeVar

from lane_relay.deliver.first_look import FirstLook
from lane_relay.deliver.lookahead import Lookahead
from lane_relay.deliver.opening import SessionMaker
from lane_relay.deliver.owner import Owner
from lane_relay.deliver.ready_queue import Destination, Hold, Limit, ReadyQueue, Target
from lane_relay.deliver.regrouping import foreign_connections
from lane_relay.deliver.session import Session
from lane_relay.deliver.wakeups import Wakeups
from lane_relay.turns import Turns

__all__ = ["LINGER_S", "Connections", "User"]

_log = logging.getLogger(__name__)

LINGER_S: Final = 1.0
"""A connection that we ended without seeing the peer's end counts so much longer: its FIN needs time to arrive."""
_UNANSWERED: Final = 2
"""Connections to a site that has not answered for a message yet, where there are many: they may all be stalled."""
_MOST_PLACES: Final = 8
"""In one line: one for each campaign, as if each campaign's mail were for another destination."""
_ASKED: Final = 16
"""Sites asked for one connection that came free; who is refused stands in line again, so that each has its turn."""


class _Stander(Protocol):
    """Who has places in a line, one for each of some campaigns."""

    stands_for: tuple[str, ...]


_S = TypeVar("_S", bound=_Stander)


def _stand(who: _S, campaign: str, line: Turns[_S]) -> None:
    """Gives a place in the line, unless it has that one; with several it has its turn often enough."""
    if campaign not in who.stands_for and len(who.stands_for) < _MOST_PLACES:
        who.stands_for += (campaign,)
        line.append(campaign, who)


def _step_out(line: Turns[_S]) -> _S:
    """Takes the first one out of the line."""
    campaign = line.key
    who = line.popleft()
    who.stands_for = tuple([other for other in who.stands_for if other != campaign])
    return who


class User(Owner, Protocol):
    """Who the connections are for."""

    @property
    def gate_is_open(self) -> bool:
        """Connections may be opened and used."""

    def feed(self, session: Session, now: float) -> None:
        """An idle session may have an entry now."""

    def left(self, site: ReadyQueue) -> None:
        """A connection of the site is over, and nothing waits where it led."""

    def let_go(self, destination: Destination) -> None:
        """The destination was given up, and something may have come back to it."""


class Connections:
    """All connections, over all sites."""

    def __init__(
        self,
        user: User,
        maker: SessionMaker,
        lookahead: Lookahead,
        first_look: FirstLook,
        monotonic: Callable[[], float],
        limit: int,
    ) -> None:
        """`limit`: of all connections of this address; may be changed."""
        self._user = user
        self._maker = maker
        self._lookahead = lookahead
        self._first_look = first_look
        self._monotonic = self.now = monotonic
        self.limit = limit
        self.count = 0
        self.sessions: set[Session] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._wakeups = Wakeups(monotonic)
        self._line: Turns[ReadyQueue] = Turns()
        """Sites that wait for any connection to become free, a place for each campaign that is next there."""
        self._newcomers: Turns[ReadyQueue] = Turns()
        """Likewise those that have not answered yet; the two lines take turns."""
        self._newcomers_next = False
        self._unanswered = 0
        """Connections to sites that have not answered yet."""
        self._makes_room = False
        """Idle connections are looked for in this turn of the loop."""
        self._regrouped_before = 0
        """Sessions up to this number may be counted for sites that the configuration no longer knows."""

    # -- wishes

    def want(self, destination: Destination, newcomer: str | None = None) -> None:
        """Puts the destination in its site's line for a connection, and sees whether it gets one.

        `newcomer`: a campaign that had nothing there before gets a place of its own, as it would at another one.
        """
        if destination.given_up:
            self._user.let_go(destination)
            return
        campaign = newcomer if newcomer is not None else destination.campaign
        if newcomer is not None or not destination.stands_for:
            _stand(destination, campaign, destination.site.line)
        self.pump(destination.site)
        if newcomer is not None and destination.site.stands_for:
            _stand(destination.site, newcomer, self._line_of(destination.site))

    def pump_all(self, sites: Iterable[ReadyQueue]) -> None:
        """Looks at everything again: limits or the gate have changed."""
        for site in list(sites):
            for destination in site.destinations.values():
                if destination.waiting and not destination.stands_for:
                    _stand(destination, destination.campaign, site.line)
            self.pump(site)

    def pump(self, site: ReadyQueue) -> None:
        """Gives tokens to the sessions that wait for them, and opens what the site allows."""
        if not (site.line or site.token_line) or not self._user.gate_is_open:
            return
        now = self._monotonic()
        if site.token_line:
            self._let_one_in(site, now)
        while site.token_line:
            hold = site.hold_message(now)
            if hold is not None:
                self.wake(site, hold.until)
                break
            session: Session = site.token_line.popleft()
            if session.idle:
                self._user.feed(session, now)
        while site.line:
            destination = site.line.first
            if not site.wants_connection(destination) or self._first_look.begins(destination, self.want):
                _step_out(site.line)
                continue
            found = self.decide(destination, now)
            if isinstance(found, Target):
                self._to_the_end(site)
                self._open(destination, found, now)
            elif not self._wait(destination, found):
                return

    def _let_one_in(self, site: ReadyQueue, now: float) -> None:
        """A message may be sent perhaps: before a session takes it, who has no session to wait for it may open one."""
        for _ in range(min(_ASKED, len(site.line))):
            destination = site.line.first
            found = self.decide(destination, now) if not destination.sessions else None
            self._to_the_end(site)
            if isinstance(found, Target):
                if site.wants_connection(destination) and not self._first_look.begins(destination, self.want):
                    self._open(destination, found, now)
                return
            if found is not None and found.limit is Limit.CONNECTIONS:
                self._close_an_idle_one(site, destination)
                return

    def _to_the_end(self, site: ReadyQueue) -> None:
        """Who is first in the site's line comes last, for the campaign that is next there."""
        destination = _step_out(site.line)
        _stand(destination, destination.campaign, site.line)

    def decide(self, destination: Destination, now: float) -> Target | Hold:
        """Where this destination may connect to now, or what stands in the way."""
        site = destination.site
        site.foreign = self._foreign(destination) if self._regrouped_before else 0
        found = site.decide_open(destination, now, self.count, self.limit)
        if isinstance(found, Target) and not site.answers:
            return self._hold_unanswered(site) or found
        return found

    def _hold_unanswered(self, site: ReadyQueue) -> Hold | None:
        """Of sites that have not answered for a message: an eighth as they like, up to half a few for each."""
        used, limit = self._unanswered, self.limit
        if used < limit // 8 or (site.connections < _UNANSWERED and used < max(1, limit // 2)):
            return None
        detail = f"{used} of {limit} in use by sites that have not answered yet, half at most"
        return Hold(Limit.TOTAL_CONNECTIONS, detail=detail)

    def wake(self, site: ReadyQueue, at: float) -> None:
        """Looks at the site again at that time, if not earlier anyway."""
        if at < site.wake_at:
            site.wake_at = at
            self._wakeups.add(at, partial(self._on_wake, site))

    def regrouped(self) -> None:
        """Sites have changed: what is open now counts wherever it leads to."""
        self._regrouped_before = self._maker.made

    # -- who answers: sites that take connections and say nothing leave half of them to those that do

    @property
    def is_pressed(self) -> bool:
        """Some sites wait for any connection to become free."""
        return bool(self._line.length or self._newcomers.length)

    def answered(self, site: ReadyQueue) -> None:
        """The site has answered for a message."""
        if not site.answers:
            site.answers = True
            self._unanswered -= site.connections
            loop = asyncio.get_running_loop()
            loop.call_soon(self.pump_all, (site,))  # it may have more than one or two connections now
            if self._newcomers:
                loop.call_soon(self._serve_line)

    def silent(self, site: ReadyQueue) -> None:
        """The site lets a connection wait for long."""
        if site.answers:
            site.answers = False
            self._unanswered += site.connections

    def delivered(self, session: Session) -> None:
        """The peer has taken a message: the first of this session, or the first since some ended without one."""
        destination = session.destination
        destination.working += not session.delivered
        session.delivered = True
        if destination.site.took(destination):
            asyncio.get_running_loop().call_soon(self.want, destination)

    # -- what became of them

    def rest(self, session: Session, now: float) -> None:
        """It has nothing to do now: it stays for a while, unless others wait and no place is left.

        Who waits only for more than its share is no reason: the connections of others would never be used twice.
        """
        mine = session.destination
        if not mine.waiting and (
            (self.is_pressed and self.count >= self.limit) or self._is_missed_elsewhere(mine, now)
        ):
            session.quit()
        else:
            session.rest(now)

    def _is_missed_elsewhere(self, mine: Destination, now: float) -> bool:
        """Whether others of the site lack more connections than are ending already."""
        lacking = mine.site.lacking_elsewhere(mine, now)
        return lacking > 0 and lacking > sum(
            one.quitting and one.destination.site is mine.site for one in self.sessions
        )

    def gone(self, session: Session) -> None:
        """The socket is closed; the connection counts until the peer has seen that."""
        if session.delivered:
            session.destination.working -= 1
            session.destination.bad.pop(session.target.address, None)  # it takes mail, over fewer connections perhaps
        if session.peer_closed or session.peer is None:
            asyncio.get_running_loop().call_soon(self._release, session)  # after the transport has closed the socket
        else:
            self._wakeups.add(self._monotonic() + LINGER_S, partial(self._release, session))

    async def drain(self, grace: float, answers: float, ending: float) -> None:
        """Lets sessions finish within `grace` seconds, those that only wait for a verdict within `answers`, then cuts
        them; `ending`: seconds for the peers to see that."""
        for session in list(self.sessions):
            if session.idle:
                session.quit()
            elif not session.ready:
                session.cut()
        if await self._all_end(grace):
            return
        late = [session for session in self.sessions if not session.awaits_verdict]
        _log.warning("%d sessions did not finish within %g s", len(late), grace)
        for session in late:
            session.cut()
        if await self._all_end(max(ending, answers - grace)):
            return
        _log.warning("%d peers did not answer for a whole message within %g s", len(self.sessions), answers)
        for session in list(self.sessions):
            session.cut()
        await self._all_end(ending)

    async def _all_end(self, seconds: float) -> bool:
        """True if there is none left within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Forgets what was to be looked at later."""
        self._wakeups.close()

    # -- inside

    def _on_wake(self, site: ReadyQueue) -> None:
        site.wake_at = float("inf")
        self.pump(site)

    def _wait(self, destination: Destination, hold: Hold) -> bool:
        """Sees to it that somebody comes back; True if other destinations of the site may still be served."""
        site = destination.site
        if hold.limit in (Limit.PARKED, Limit.CONNECTING, Limit.MEMORY):
            _step_out(site.line)
            # all that waits is being told of a failure: who tells it asks again, should anything be left
            is_told = destination.blame is not None and destination.blame_left >= destination.waiting
            if hold.limit is Limit.PARKED and destination.wakes_at != hold.until and not is_told:
                destination.wakes_at = hold.until
                self._wakeups.add(hold.until, partial(self._want_again, destination))
            return True
        if hold.limit is Limit.TOTAL_CONNECTIONS:
            _stand(site, site.line.key, self._line_of(site))
            if not self._makes_room:
                self._makes_room = True
                asyncio.get_running_loop().call_soon(self._make_room)
        elif hold.until == float("inf"):
            self._close_an_idle_one(site, destination)
        self.wake(site, hold.until)
        return False

    def _want_again(self, destination: Destination) -> None:
        destination.wakes_at = 0.0
        if destination.waiting:
            self.want(destination)

    def _make_room(self) -> None:
        """One look in a turn of the loop, however many sites were refused: idle ones end, one for each that waits."""
        self._makes_room = False
        idle = [session for session in self.sessions if session.idle and not session.destination.waiting]
        for session in idle[: len(self._line) + len(self._newcomers)]:
            session.quit()

    def _close_an_idle_one(self, site: ReadyQueue, wanted: Destination) -> None:
        """Makes room among the site's connections: one without work ends, or one of several that wait for the pace."""
        if any(session.quitting and session.destination.site is site for session in self.sessions):
            return  # there is room in a moment
        for session in self.sessions:
            own = session.destination
            if session.idle and not own.waiting and own.site is site:
                session.quit()
                return
        line = site.token_line
        if not line or wanted.sessions or line.count(wanted.campaign):
            return
        for campaign in line.in_turn():
            if line.count(campaign) > 1:
                session = line.take_out(campaign, 0, 1, lambda _session: True)[1][0]
                if session.idle:
                    session.quit()
                return

    def _open(self, destination: Destination, target: Target, now: float) -> None:
        session, trouble = self._maker.make(self._user, destination, target, now)
        self.sessions.add(session)
        self._none_left.clear()
        self.count += 1
        self._unanswered += not destination.site.answers
        destination.site.opening(destination, now)
        if destination.looks_ahead:
            self._lookahead.fill(destination)
        if trouble is None:
            session.open()
        else:
            asyncio.get_running_loop().call_soon(session.give_up, trouble)

    def _release(self, session: Session) -> None:
        self.sessions.discard(session)
        self.count -= 1
        if not self.sessions:
            self._none_left.set()
        destination = session.destination
        self._unanswered -= not destination.site.answers
        destination.site.gone(destination)
        self._serve_line()
        if destination.waiting:
            self.want(destination)
        else:
            self.pump(destination.site)
            self._user.left(destination.site)

    def _line_of(self, site: ReadyQueue) -> Turns[ReadyQueue]:
        return self._line if site.answers else self._newcomers

    def _serve_line(self) -> None:
        """A connection came free: the sites that have waited longest for one are asked, a few at a time."""
        before = len(self._line) + len(self._newcomers)
        for _ in range(min(_ASKED, before)):
            self._newcomers_next = not self._newcomers_next
            may = self._newcomers and self._unanswered < max(1, self.limit // 2)
            if self.count >= self.limit or not (self._line or may):
                return
            self.pump(_step_out(self._newcomers if may and (self._newcomers_next or not self._line) else self._line))
        if 0 < len(self._line) + len(self._newcomers) < before:
            # some want it no more, and it may have been the last that comes free
            asyncio.get_running_loop().call_soon(self._serve_line)

    def _foreign(self, destination: Destination) -> int:
        if any(session.number <= self._regrouped_before for session in self.sessions):
            found = foreign_connections(destination, self.sessions)
            if found:
                line = self._line_of(destination.site)
                _stand(destination.site, destination.campaign, line)  # looked at again when any connection ends
            return found
        self._regrouped_before = 0
        return 0
