"""Opens, feeds and closes sessions as the ready queues decide; the place where delivery happens.

A session that has finished takes the next entry itself: no task, future or timer a message. Time limits, idle
connections and overdue entries are looked at by one sweep a second; moments that are waited for share one timer.
Before it: `resolve`, through the pipeline. After it: `account`, through `on_attempt`.
Invariants: what is done was decided by `ready_queue`; nothing is opened or given out while the gate is closed; an entry
is in exactly one place (a queue, a session, held, on its way to be prepared) until its Attempt is handed on.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.deliver.connections import LINGER_S, Connections
from lane_relay.deliver.explain import DeliveryFigures, SiteState, Whereabouts
from lane_relay.deliver.first_look import FirstLook
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.judgement import Judgement, Told
from lane_relay.deliver.kept_limits import KeptLimits
from lane_relay.deliver.known_sites import KnownSites
from lane_relay.deliver.lookahead import Lookahead
from lane_relay.deliver.moved import MovedMail, Routes
from lane_relay.deliver.opening import SessionMaker
from lane_relay.deliver.outcomes import not_looked_at
from lane_relay.deliver.portions import Portion, after, first, without_taken
from lane_relay.deliver.prepared import Bodies, Held, Prepared, Preparer, Screening, Signing
from lane_relay.deliver.ready_queue import Destination, Hold, ReadyQueue
from lane_relay.deliver.regrouping import Regrouping, grouping, trust
from lane_relay.deliver.rerouting import Rerouting
from lane_relay.deliver.rounds import Rounds
from lane_relay.deliver.session import Session
from lane_relay.deliver.session_settings import ReturnPaths, Timeouts
from lane_relay.deliver.tls import TlsContexts, make_contexts
from lane_relay.deliver.trouble import Ending, Trouble
from lane_relay.deliver.unfit import Unfit
from lane_relay.deliver.upkeep import OnLate, Upkeep
from lane_relay.records import Attempt, QueueEntry, Route
from lane_relay.smtp.client import Closed, RecipientReply
from lane_relay.smtp.extensions import NOT_EIGHT_BIT

__all__ = ["Dispatcher"]


_SWEEP_S: Final = 1.0
_YIELD_AFTER: Final = 10
"""Messages after which a connection makes room if other destinations of the site wait for one."""
_CHUNK: Final = 500
"""Entries handled in one turn of the loop where there may be very many."""

_SENDS: Final = ("Running", "Transferring")
"""States of delivery in which what comes here is sent; of Transferring that is what no sibling can take."""


class Dispatcher:
    """Delivery of one slot. All methods are for the event loop's thread."""

    def __init__(
        self,
        config: RelayConfig,
        *,
        bodies: Bodies,
        on_attempt: Callable[[Attempt], None],
        may_send: Callable[[], bool],
        reroute: Callable[[QueueEntry], None],
        clock: Clock,
        signing: Signing | None = None,
        screening: Screening | None = None,
        contexts: TlsContexts | None = None,
        timeouts: Timeouts | None = None,
        keep_acts: Callable[[str], None] = lambda _text: None,
        kept: KeptLimits | None = None,
        return_paths: ReturnPaths | None = None,
        on_late: OnLate | None = None,
        routes: Routes | None = None,
        leads_to: Callable[[str], bool] = lambda _address: True,
    ) -> None:
        """`may_send()`: the egress proof holds; `reroute(entry)`: its route may be another by now, ask for it anew;
        `keep_acts(text)`: for `judgement.restore` of the next process; `on_late(entry, message, why)`: it waits;
        `routes`: who is asked where what waits leads to by now; `leads_to`: see SessionMaker."""
        self._config = config
        self._gate = may_send
        self._clock = clock
        self.monotonic = clock.monotonic
        self.unix_now = clock.now
        self._timeouts = timeouts or Timeouts()
        self._return_paths = return_paths
        self._maker = SessionMaker(config, contexts or make_contexts(), self._timeouts, return_paths, leads_to)
        self._preparer = Preparer(bodies, signing, screening)
        self._held = HeldEntries()
        self._lookahead = Lookahead(self._preparer, self._held, self._on_ready, self._on_room)
        self._lookahead.limit(config.active_bytes)
        self.sites: dict[str, ReadyQueue] = {}
        self.judgement = Judgement(config, self.sites, self._lookahead, clock, on_attempt, keep_acts)
        self.table = self.judgement.table
        self._unfit = Unfit(self._lookahead, self.judgement, clock, self.add)
        total, look = config.delivery.total_connections, FirstLook(self._preparer, self._held, self.judgement)
        self._connections = Connections(self, self._maker, self._lookahead, look, clock.monotonic, total)
        self.kept = kept or KeptLimits(clock, lambda _name: "", lambda _name, _value: None)
        self.known = KnownSites(config, self.sites, self.judgement, self.kept)
        self.judgement.slow_parked = self.known.parked.slow_down
        self.whereabouts = Whereabouts(self.known, self._held, self._connections, self.judgement, self._why_shut)
        rerouting = Rerouting(reroute)
        self._regrouping = Regrouping(self.sites, self._held, rerouting, self._lookahead.empty)
        rounds = Rounds(self.sites, self._held, self.whereabouts.hold_of_site, self._lookahead.empty, self.known)
        moved = None
        if routes is not None:
            empty, want = self._lookahead.empty, self._connections.want
            moved = MovedMail(routes, self.sites, rerouting, empty, want)
        self._upkeep = Upkeep(config, clock, rounds, self._preparer, self.judgement, rerouting, on_late, moved)
        self._distrusted = 0
        """Sessions up to this number were opened before the gate shut, so that they may lead through another address,
        or before other TLS was asked for."""
        self._running = False
        self._gate_was_open = False
        self._sweeper: asyncio.TimerHandle | None = None

    # -- life

    def start(self) -> None:
        """Delivery begins; entries added before wait for it."""
        self._running = True
        self._sweep()

    def apply(self, config: RelayConfig) -> None:
        """Another configuration from now on; entries find their new sites, open connections finish what they are at."""
        before, self._config = self._config, config
        self._maker.apply(config)
        self._upkeep.apply(config)
        self._lookahead.limit(config.active_bytes)
        self._connections.limit = config.delivery.total_connections
        now = self.monotonic()
        self.judgement.apply(config)
        self.known.apply(config, now)
        self.unprepare()
        if grouping(before) != grouping(config):
            self._connections.regrouped()
            if trust(before) != trust(config):
                self._end_all()
                self.known.parked.clear()
            self._regrouping.everything(anew=trust(before) != trust(config))
        for domain in self._held.domains:
            self.release(domain)
        self._connections.pump_all(self.sites.values())

    def halt(self) -> None:
        """Nothing else is begun: what is sent from now on could not be settled. Sessions end with what they are at."""
        self._running = False
        for session in [one for one in self._connections.sessions if one.idle]:
            session.quit()

    async def drain(self, grace: float, answers: float = 0.0) -> None:
        """No new entries; sessions finish the one they have within `grace` seconds, then all connections end.

        One whose peer has the whole message and has not answered may take `answers` seconds: cut, it is sent twice.
        """
        self._running = False
        await self._connections.drain(grace, answers, LINGER_S + self._timeouts.quit)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.kept.keep(self.sites.values(), self.monotonic(), at_once=True)
        self._connections.close()
        await self._preparer.close()

    # -- entries

    def add(self, entry: QueueEntry, route: Route) -> None:
        """Takes an entry that is due, until its Attempt; one that must not leave yet asks for no connection."""
        held = self._preparer.why_entry_held(entry)
        if held is not None:
            self._held.add(entry, route, held)
            return
        site = self.sites.get(route.site)
        if site is None:
            site = self.known.begin(route)
        destination = site.destination(route)
        is_new = destination.put(entry)
        if destination.idle and not site.token_line.length:
            self.feed(destination.idle[-1], self.monotonic())
        elif is_new or not destination.stands_for:
            self._connections.want(destination, entry.campaign if is_new else None)

    def hold(self, entry: QueueEntry, route: Route, why: Held) -> None:
        """Keeps an entry that is due until `release` of what it waits for."""
        self._held.add(entry, route, why)

    def held(self, key: str) -> int:
        """How many entries wait for this."""
        return len(self._held.waiting_for(key))

    def release(self, key: str) -> None:
        """A signing domain's mail may leave, or an order is over: what waited goes on, by the route of by now."""
        self._regrouping.held((key,))

    def look_again(self) -> None:
        """Everything that waits here asks for its route anew, for something that is asked on the way has changed."""
        self._regrouping.held(self._held.keys)
        self._regrouping.everything()

    def let_go(self, destination: Destination) -> None:
        """What has come back to a destination that was given up asks for its route anew."""
        self._regrouping.destination(destination)

    def left(self, site: ReadyQueue) -> None:
        """A connection of the site is over: there may be nothing more to do there than to leave it alone."""
        self.known.shrink(site, self.monotonic())

    def wake(self) -> None:
        """The gate may have opened."""
        self._connections.pump_all(self.sites.values())

    def shut(self) -> None:
        """The egress proof is gone: the connections of now take no other entry, also when it comes back."""
        self.unprepare()
        self._end_all()

    def _end_all(self) -> None:
        """The connections of now take no other entry; those without one end at once."""
        self._distrusted = self._maker.made
        for session in [one for one in self._connections.sessions if one.idle]:
            session.quit()

    def unprepare(self) -> None:
        """What was made ready is made ready anew in its turn: key, selector, or its time may be another by then."""
        self._lookahead.begin_anew(self.sites.values())

    # -- what holds what

    @property
    def gate_is_open(self) -> bool:
        """Connections may be opened and used."""
        return self._running and self._config.delivery.state in _SENDS and self._gate()

    def figures(self) -> DeliveryFigures:
        """Counts as of now, for metrics."""
        return DeliveryFigures(
            waiting=sum(site.waiting for site in self.sites.values()),
            held=len(self._held),
            connections=self._connections.count,
            in_flight=sum(session.current is not None for session in self._connections.sessions),
            attempts=self.judgement.attempts,
            delivered=self.judgement.delivered,
            unreadable=len(self._preparer.unreadable),
        )

    def explain_site(self, name: str, *, ordered: bool = False) -> SiteState | None:
        """Which limit holds this site now, and what reply rules stop; None: nothing waits for it, and none does, and
        it is not asked for because of an order (`ordered`)."""
        return self.whereabouts.site(name, self.known.limits_of(name)[0], ordered=ordered)

    def explain_entry(self, message_id: int) -> tuple[SiteState | Hold, ...]:
        """Where each entry of this message is and what holds it; empty: not here, so in the scheduled queue or done."""
        return self.whereabouts.states(message_id)

    def _why_shut(self) -> str | None:
        return self._config.delivery.state if not self.gate_is_open else None

    # -- feeding sessions

    def feed(self, session: Session, now: float) -> None:
        """Gives the session its next entry, or lets it rest or end."""
        put_off = 0
        while not session.quitting and not session.client.is_closed:
            destination = session.destination
            site = destination.site
            if self._must_end(session, site):
                session.quit()
                return
            if not destination.ready and not destination.entries.length:
                self._connections.rest(session, now)
                return
            hold = site.hold_message(now)
            if hold is not None:
                self._wait_for_token(session, site, hold, now)
                return
            prepared = self._lookahead.next(destination)
            if prepared is None:
                session.rest(now)
                return
            if self.judgement.acts.has_domains and self.judgement.puts_off(destination, prepared):
                put_off += 1
                if put_off < _CHUNK:
                    continue
                session.rest(now)
                asyncio.get_running_loop().call_soon(self._on_ready, destination)
                return
            message = prepared.message
            refusal = session.client.unfit(message.envelope, prepared.entry.recipients, prepared.chunks)
            if refusal is None:
                if site.pacing is not None:
                    site.pacing.begin_message(now)
                portion = first(prepared.entry.recipients, self._most(site))
                session.give(prepared, portion, now, self._clock.now())
                if destination.looks_ahead:
                    self._lookahead.fill(destination)
                return
            if refusal is NOT_EIGHT_BIT and self._lookahead.reduce(destination, prepared):
                continue
            self._unfit.handle(session, prepared, refusal)

    def _must_end(self, session: Session, site: ReadyQueue) -> bool:
        distrusted = session.number <= self._distrusted or session.way != self._maker.way
        if not self.gate_is_open or distrusted or site.must_close(session.sent):
            return True
        line = site.line
        return (
            session.sent >= _YIELD_AFTER
            and line.length > len(session.destination.stands_for)
            and site.connections >= site.connection_limit
        )

    def _wait_for_token(self, session: Session, site: ReadyQueue, hold: Hold, now: float) -> None:
        session.rest(now)
        site.token_line.append(session.destination.campaign, session)
        self._connections.wake(site, hold.until)

    def _on_ready(self, destination: Destination) -> None:
        """Something of the destination was prepared, or cannot be."""
        if destination.given_up:
            self.let_go(destination)
        elif destination.blame is not None:
            self._tell(destination)
        elif destination.idle and not destination.site.token_line:
            self.feed(destination.idle[-1], self.monotonic())
        elif not destination.stands_for and destination.waiting:
            self._connections.want(destination)

    def _on_room(self, site: ReadyQueue) -> None:
        """The site may have room for another body: who stopped for want of it goes on."""
        now = self.monotonic()
        for destination in list(site.destinations.values()):
            if destination.blame is not None:
                self._tell(destination)
            while destination.idle and destination.waiting and not (site.token_line or site.lacks_room):
                session = destination.idle[-1]
                self.feed(session, now)
                if session.idle:
                    break
        self._connections.pump_all((site,))

    # -- what sessions report

    def session_connected(self, session: Session) -> None:
        """The TCP connection stands."""
        self._end_connect(session)

    def session_ready(self, session: Session) -> None:
        """It can take an entry."""
        destination = session.destination
        destination.site.established(destination)
        self.feed(session, self.monotonic())
        if destination.waiting:
            self._connections.want(destination)

    def session_failed(self, session: Session, trouble: Trouble) -> None:
        """It will never be ready: the next address, or the entries are told."""
        self._end_connect(session)
        if not self._running:  # its entries stay due: the next process tries them at once
            return
        destination, now = session.destination, self.monotonic()
        if trouble.again:
            self._maker.learn(session, trouble, now)
            destination.connecting -= 1
            return
        if self.judgement.of_trouble(session, trouble, now):
            self._tell(destination)

    def transaction_done(self, session: Session, results: tuple[RecipientReply, ...]) -> None:
        """The peer has answered for every recipient."""
        prepared = session.current
        if prepared is None:
            return
        session.current = None
        now = self.monotonic()
        site = session.destination.site
        if site.pacing is not None:
            site.pacing.end_message(session.began, now)
        if (not session.delivered or session.destination.fruitless) and any(one.reply.code == 250 for one in results):
            self._connections.delivered(session)
        begun = bool(session.portion.answered)
        if session.sent and not begun and not_looked_at(self.table, site.policy, results[0].stage, results[0].reply):
            self._lookahead.give_back(session.destination, prepared)
            return
        session.sent += 1
        if not site.answers:
            self._connections.answered(site)
        later: tuple[int, ...] = ()
        if len(results) > 1 or session.portion.left or begun:
            portion = after(results, session.portion, self._most(site))
            if self._goes_on(session, prepared, portion, now):
                return
            results, later = portion.answered, portion.recipients + portion.left
        ends = self.judgement.of_replies(session, prepared, results, later)
        if site.token_line.length:
            self._connections.pump(site)
        if ends:
            session.quit()
        else:
            self.feed(session, now)

    def _most(self, site: ReadyQueue) -> int:
        """Recipients of one transaction: where return paths are rewritten, each needs one of its own."""
        alone = self._return_paths is not None and self._return_paths.rewrites
        return 1 if alone else site.limits.recipients_per_message

    def _goes_on(self, session: Session, prepared: Prepared, portion: Portion, now: float) -> bool:
        """The next recipients' transaction is under way; False: there are none, or they have to wait."""
        site = session.destination.site
        if not portion.recipients or self._must_end(session, site) or site.hold_message(now) is not None:
            return False
        if site.pacing is not None:
            site.pacing.begin_message(now)
        taken, portion = without_taken(portion)
        if taken:
            self.judgement.of_part(session, prepared, taken)
        session.go_on(prepared, portion, now)
        return True

    def transaction_broken(self, session: Session, closed: Closed, ending: Ending) -> None:
        """The connection ended under an entry."""
        prepared = session.current
        if prepared is None:
            return
        session.current = None
        destination = session.destination
        site = destination.site
        if site.pacing is not None:
            site.pacing.end_message(session.began, self.monotonic())
        silent = ending is Ending.PEER and closed.reply is None and not closed.problem
        answered = session.portion.answered
        if session.sent and not answered and silent and not_looked_at(self.table, site.policy, closed.stage, None):
            self._lookahead.give_back(destination, prepared)
            return
        self.judgement.of_broken(session, prepared, closed, ending)

    def session_gone(self, session: Session) -> None:
        """The socket is closed."""
        self._connections.gone(session)

    def _end_connect(self, session: Session) -> None:
        if not session.connect_ended:
            session.connect_ended = True
            pacing = session.destination.site.pacing
            if pacing is not None:
                pacing.end_connect(session.connect_began, self.monotonic())

    def _tell(self, destination: Destination) -> None:
        """Attempts for the entries that a failed connection was for, in portions; then the others go on."""
        told = self.judgement.tell(destination)
        if told is Told.PART:
            asyncio.get_running_loop().call_soon(self._tell, destination)
        elif told is Told.ALL and destination.waiting:
            self._connections.want(destination)
        elif told is Told.ALL:
            self.left(destination.site)

    # -- the sweep

    def _sweep(self) -> None:
        """Once a second: time limits, the gate, and a portion of the round for what can be forgotten or is overdue."""
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        now = self.monotonic()
        is_open = self.gate_is_open
        if self.judgement.expire():
            self._connections.pump_all(self.sites.values())
        self._look_at_sessions(now)
        if is_open and not self._gate_was_open:
            self._connections.pump_all(self.sites.values())
        self._gate_was_open = is_open
        self.kept.keep(self.sites.values(), now)
        self._go_round(now)

    def _look_at_sessions(self, now: float) -> None:
        for session in list(self._connections.sessions):
            if session.idle and self._must_end(session, session.destination.site):
                session.quit()  # also those beyond a limit that has come down
            elif session.is_late(now) or self._gives_way(session, now):
                session.expire()

    def _gives_way(self, session: Session, now: float) -> bool:
        """It has waited for an answer for long, and others wait for its place; never with a whole message out there."""
        waits_since = session.waits_since
        if waits_since is None or now - waits_since < self._timeouts.pressed:
            return False
        self._connections.silent(session.destination.site)
        return self._connections.is_pressed and not session.awaits_verdict

    def _go_round(self, now: float) -> None:
        """What waits, a portion of it."""
        if self._running and self._upkeep.go_on(now):  # else nobody can settle it any more: the next process finds it
            self._maker.forget(now)
