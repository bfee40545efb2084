"""Opens, feeds and closes sessions as the ready queues decide; the place where delivery happens.

A session that has finished takes the next entry itself: no task, future or timer a message. Time limits, idle
connections and overdue entries are looked at by one sweep a second; moments that are waited for share one timer.
Before it: `resolve`, through the pipeline. After it: `account`, through `on_attempt`.
Invariants: what is done was decided by `ready_queue`; nothing is opened or given out while the gate is closed; an entry
is in exactly one place (a queue, a session, held, on its way to be prepared) until its Attempt is handed on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.deliver.explain import DeliveryFigures, SiteState, entry_state, site_state
from lane_relay.deliver.outcomes import broken_results, reply_results, same_results, summarise, unfit_results
from lane_relay.deliver.prepared import Bodies, Held, Prepared, Preparer, Signing
from lane_relay.deliver.ready_queue import Destination, Failure, Hold, Limit, ReadyQueue, Target, site_limits
from lane_relay.deliver.rules import ReplyTable
from lane_relay.deliver.session import Session, SessionSettings, Timeouts, Trouble
from lane_relay.deliver.tls import TlsContexts, TlsMode, make_contexts
from lane_relay.deliver.wakeups import Wakeups
from lane_relay.records import Attempt, Message, QueueEntry, RecipientResult, Reply, Route, Verdict
from lane_relay.smtp.client import Closed, RecipientReply

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)

_SWEEP_S: Final = 1.0
_LINGER_S: Final = 1.0
"""A connection that we ended without seeing the peer's end counts so much longer: its FIN needs time to arrive."""
_YIELD_AFTER: Final = 10
"""Messages after which a connection makes room if other destinations of the site wait for one."""
_PLAIN_S: Final = 600.0
"""So long a host whose TLS failed is spoken to in plain text, where TLS is opportunistic."""
_AHEAD: Final = 4
"""Entries prepared beyond two a session."""
_CHUNK: Final = 500
"""Entries handled in one turn of the loop where there may be very many."""
_FORGET_EVERY: Final = 60
"""Sweeps between two looks for what can be forgotten or is overdue."""


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
        contexts: TlsContexts | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """`may_send()`: the egress proof holds; `reroute(entry)`: sites have changed, ask for its route anew."""
        self._config = config
        self._source = _source_of(config)
        self._on_attempt = on_attempt
        self._gate = may_send
        self._reroute = reroute
        self._clock = clock
        self.monotonic = clock.monotonic
        self._contexts = contexts or make_contexts()
        self._timeouts = timeouts or Timeouts()
        self._preparer = Preparer(bodies, signing)
        self.table = ReplyTable(config.delivery.policies)
        self.sites: dict[str, ReadyQueue] = {}
        self._sessions: set[Session] = set()
        self._connections = 0
        """Of this address, over all sites, until each is gone on the wire."""
        self._total_line: dict[ReadyQueue, None] = {}
        """Sites that wait for a connection to become free, in order."""
        self._held: dict[str, list[tuple[QueueEntry, Route, Held]]] = {}
        self._plain: dict[str, float] = {}
        self._wakeups = Wakeups(clock.monotonic)
        self._rerouting: deque[QueueEntry] = deque()
        self._regrouped_before = 0
        """Sessions up to this number may belong to sites that the configuration no longer knows."""
        self._ready_bytes = 0
        self._numbers = 0
        self._sweeps = 0
        self._running = False
        self._gate_was_open = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Event | None = None
        self.attempts = 0
        self.delivered = 0

    # -- life

    def start(self) -> None:
        """Delivery begins; entries added before wait for it."""
        self._running = True
        self._sweep()

    def apply(self, config: RelayConfig) -> None:
        """Another configuration from now on; entries find their new sites, open connections finish what they are at."""
        before, self._config = self._config, config
        self._source = _source_of(config)
        now = self.monotonic()
        self.table.apply(config.delivery.policies)
        for site in self.sites.values():
            site.change(site_limits(config.delivery, site.policy), now)
        if _grouping(before) != _grouping(config):
            self._regroup()
        for domain in list(self._held):
            self.release(domain)
        self._pump_all()

    async def drain(self, grace: float) -> None:
        """No new entries; sessions finish the one they have within `grace` seconds, then all connections end."""
        self._running = False
        self._all_gone = asyncio.Event()
        for session in list(self._sessions):
            if session.idle:
                session.quit()
            elif not session.ready:
                session.abort()
        if self._sessions:
            try:
                await asyncio.wait_for(self._all_gone.wait(), grace)
            except TimeoutError:
                _log.warning("%d sessions did not finish within %g s", len(self._sessions), grace)
                for session in list(self._sessions):
                    session.abort()
                await asyncio.wait_for(self._all_gone.wait(), _LINGER_S + self._timeouts.quit)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._wakeups.close()
        await self._preparer.close()

    # -- entries

    def add(self, entry: QueueEntry, route: Route) -> None:
        """Takes an entry that is due, until its Attempt."""
        site = self.sites.get(route.site)
        if site is None:
            site = ReadyQueue(route.site, route.policy, site_limits(self._config.delivery, route.policy))
            self.sites[route.site] = site
        destination = site.destination(route)
        destination.entries.append(entry)
        if destination.idle and not site.token_line:
            self._feed(destination.idle[-1], self.monotonic())
        elif not destination.wants:
            self._want(destination)

    def release(self, domain: str) -> None:
        """This signing domain's mail may leave: what was held for it goes on."""
        for entry, route, _ in self._held.pop(domain, ()):
            self.add(entry, route)

    def wake(self) -> None:
        """The gate may have opened."""
        self._pump_all()

    # -- what holds what

    @property
    def gate_is_open(self) -> bool:
        """Connections may be opened and used."""
        return self._running and self._config.delivery.state == "Running" and self._gate()

    def figures(self) -> DeliveryFigures:
        """Counts as of now, for metrics."""
        return DeliveryFigures(
            waiting=sum(site.waiting for site in self.sites.values()),
            held=sum(map(len, self._held.values())),
            connections=self._connections,
            in_flight=sum(session.current is not None for session in self._sessions),
            attempts=self.attempts,
            delivered=self.delivered,
            unreadable=len(self._preparer.unreadable),
        )

    def explain_site(self, name: str) -> SiteState | None:
        """Which limit holds this site now; None: nothing waits for it."""
        site = self.sites.get(name)
        return site_state(site, self._hold_of_site(site), self.monotonic()) if site is not None else None

    def explain_entry(self, message_id: int) -> tuple[SiteState | Hold, ...]:
        """Where each entry of this message is and what holds it; empty: not here, so in the scheduled queue or done."""
        held = [Hold(Limit.SELECTOR, detail=why.reason) for held in self._held.values() for entry, _, why in held
                if entry.id == message_id]  # fmt: skip
        under_way = [session.destination.site for session in self._sessions
                     if session.current is not None and session.current.entry.id == message_id]  # fmt: skip
        states = entry_state(self.sites.values(), message_id, under_way, self._hold_of_site, self.monotonic())
        return (*held, *states)

    def _hold_of_site(self, site: ReadyQueue) -> Hold:
        if not self.gate_is_open:
            return Hold(Limit.GATE, detail=self._config.delivery.state)
        now = self.monotonic()
        total, limit = self._connections, self._config.delivery.total_connections
        for destination in site.destinations.values():
            if destination.waiting:
                if destination.idle:
                    return site.hold_message(now) or Hold(Limit.NONE)
                found = site.decide_open(destination, now, total, limit)
                return found if isinstance(found, Hold) else Hold(Limit.NONE)
        return Hold(Limit.NONE)

    # -- feeding sessions

    def _feed(self, session: Session, now: float) -> None:
        """Gives the session its next entry, or lets it rest or end."""
        while not session.quitting and not session.client.is_closed:
            destination = session.destination
            site = destination.site
            if self._must_end(session, site):
                session.quit()
                return
            if not destination.ready and not destination.entries:
                session.rest(now)
                return
            hold = site.hold_message(now)
            if hold is not None:
                self._wait_for_token(session, site, hold, now)
                return
            prepared = self._next(destination)
            if prepared is None:
                session.rest(now)
                return
            message = prepared.message
            refusal = session.client.unfit(message.envelope, prepared.entry.recipients, prepared.chunks)
            if refusal is None:
                site.message_pace.begin(now)
                session.give(prepared, now, self._clock.now())
                if destination.looks_ahead:
                    self._look_ahead(destination)
                return
            session.started_at = self._clock.now()
            self._report(site, prepared.entry, message, unfit_results(prepared.entry, refusal), session)

    def _must_end(self, session: Session, site: ReadyQueue) -> bool:
        if not self.gate_is_open or site.must_close(session.sent) or session.source != self._source:
            return True
        line = site.line
        return (
            session.sent >= _YIELD_AFTER
            and bool(line)
            and (line[0] is not session.destination or len(line) > 1)
            and site.connections >= site.connection_limit
        )

    def _wait_for_token(self, session: Session, site: ReadyQueue, hold: Hold, now: float) -> None:
        session.rest(now)
        site.token_line.append(session)
        self._wake_site(site, hold.until)

    def _wake_site(self, site: ReadyQueue, at: float) -> None:
        if at < site.wake_at:
            site.wake_at = at
            self._wakeups.add(at, partial(self._on_wake, site))

    def _on_wake(self, site: ReadyQueue) -> None:
        site.wake_at = float("inf")
        self._pump(site)

    # -- preparing entries

    def _next(self, destination: Destination) -> Prepared | None:
        """The next entry with its body; None: none can be had at once."""
        if destination.ready:
            prepared = destination.ready.popleft()
            self._ready_bytes -= prepared.size
            return prepared
        while destination.entries:
            found = self._prepare(destination)
            if found is not None:
                return found
            if destination.preparing:
                self._look_ahead(destination)
                return None
        return None

    def _prepare(self, destination: Destination) -> Prepared | None:
        """Begins with the first entry; Prepared if that is all there is to it."""
        entry = destination.entries.popleft()
        outcome = self._preparer.prepare(entry, partial(self._on_prepared, destination))
        if isinstance(outcome, Prepared):
            return outcome
        if isinstance(outcome, Held):
            self._hold(entry, destination.route, outcome)
        else:
            destination.preparing += 1
            destination.looks_ahead = True
        return None

    def _look_ahead(self, destination: Destination) -> None:
        """Prepares so many entries that sessions need not wait, within the bound on bodies in memory."""
        wanted = 2 * destination.sessions + _AHEAD
        budget = self._config.active_bytes // 4
        while (
            destination.entries
            and len(destination.ready) + destination.preparing < wanted
            and self._ready_bytes < budget
        ):
            found = self._prepare(destination)
            if found is not None:
                destination.ready.append(found)
                self._ready_bytes += found.size

    def _on_prepared(self, destination: Destination, entry: QueueEntry, outcome: Prepared | Held | None) -> None:
        destination.preparing -= 1
        if isinstance(outcome, Held):
            self._hold(entry, destination.route, outcome)
        elif outcome is not None:
            destination.ready.append(outcome)
            self._ready_bytes += outcome.size
        if destination.blame is not None:
            self._tell(destination)
        elif destination.idle and not destination.site.token_line:
            self._feed(destination.idle[-1], self.monotonic())
        elif not destination.wants and destination.waiting:
            self._want(destination)

    def _hold(self, entry: QueueEntry, route: Route, why: Held) -> None:
        self._held.setdefault(why.domain, []).append((entry, route, why))

    def _unprepare(self, destination: Destination) -> None:
        self._ready_bytes -= sum(prepared.size for prepared in destination.ready)
        destination.unprepare()

    # -- opening

    def _want(self, destination: Destination) -> None:
        """Puts the destination in its site's line for a connection, and sees whether it gets one."""
        if not destination.wants:
            destination.wants = True
            destination.site.line.append(destination)
        self._pump(destination.site)

    def _pump_all(self) -> None:
        for site in list(self.sites.values()):
            for destination in site.destinations.values():
                if destination.waiting and not destination.wants:
                    destination.wants = True
                    site.line.append(destination)
            self._pump(site)

    def _pump(self, site: ReadyQueue) -> None:
        """Gives tokens to the sessions that wait for them, and opens what the site allows."""
        if not (site.line or site.token_line) or not self.gate_is_open:
            return
        now = self.monotonic()
        while site.token_line:
            hold = site.hold_message(now)
            if hold is not None:
                self._wake_site(site, hold.until)
                break
            session: Session = site.token_line.popleft()
            if session.idle:
                self._feed(session, now)
        while site.line:
            destination = site.line[0]
            if not site.wants_connection(destination):
                site.line.popleft()
                destination.wants = False
                continue
            found = self._decide(site, destination, now)
            if isinstance(found, Target):
                site.line.rotate(-1)
                self._open(destination, found, now)
            elif not self._wait(site, destination, found):
                return

    def _decide(self, site: ReadyQueue, destination: Destination, now: float) -> Target | Hold:
        site.foreign = self._connections_of_old_sites(destination) if self._regrouped_before else 0
        return site.decide_open(destination, now, self._connections, self._config.delivery.total_connections)

    def _wait(self, site: ReadyQueue, destination: Destination, hold: Hold) -> bool:
        """Sees to it that somebody comes back; True if other destinations of the site may still be served."""
        if hold.limit in (Limit.PARKED, Limit.CONNECTING):
            site.line.popleft()
            destination.wants = False
            if hold.limit is Limit.PARKED:
                self._wakeups.add(hold.until, partial(self._want_again, destination))
            return True
        if hold.limit is Limit.TOTAL_CONNECTIONS:
            self._total_line[site] = None
            self._close_an_idle_one(None)
        elif hold.until == float("inf"):
            self._close_an_idle_one(site)
        self._wake_site(site, hold.until)
        return False

    def _want_again(self, destination: Destination) -> None:
        if destination.waiting:
            self._want(destination)

    def _close_an_idle_one(self, site: ReadyQueue | None) -> None:
        """Makes room among the site's connections, or among all."""
        for session in self._sessions:
            own = session.destination
            if session.idle and not own.waiting and (site is None or own.site is site):
                session.quit()
                return

    def _open(self, destination: Destination, target: Target, now: float) -> None:
        settings = self._settings(destination.route)
        trouble = None
        if isinstance(settings, Trouble):
            trouble, settings = settings, self._plain_settings(TlsMode.NONE, None, checks=False)
        use_tls = self._plain.get(target.address, 0.0) <= now
        self._numbers += 1
        session = Session(self, destination, target, settings, self._numbers, use_tls)
        self._sessions.add(session)
        self._connections += 1
        destination.site.opening(destination, now)
        if destination.looks_ahead:
            self._look_ahead(destination)
        if trouble is None:
            session.open()
        else:
            asyncio.get_running_loop().call_soon(session.give_up, trouble)

    def _settings(self, route: Route) -> SessionSettings | Trouble:
        mode = TlsMode(route.tls or self._config.delivery.outbound_tls)
        checks = bool(route.tls) and mode in (TlsMode.REQUIRED, TlsMode.IMPLICIT)
        if not route.auth_dir:
            return self._plain_settings(mode, None, checks=checks)
        try:
            folder = Path(route.auth_dir)
            credentials = ((folder / "username").read_text().strip(), (folder / "password").read_text().strip())
        except (OSError, UnicodeDecodeError):
            text = (
                f"4.7.8 no credentials for {route.hops[0].host}: {route.auth_dir} has no readable username and password"
            )
            return Trouble(Stage.CONNECT, Reply(454, (text,)), Category.BAD_CONFIGURATION, ours=True)
        return self._plain_settings(mode, credentials, checks=checks)

    def _plain_settings(self, mode: TlsMode, credentials: tuple[str, str] | None, *, checks: bool) -> SessionSettings:
        return SessionSettings(
            self._config.slot.hostname, self._source, mode, checks, credentials, self._contexts, self._timeouts
        )

    # -- what sessions report

    def session_connected(self, session: Session) -> None:
        """The TCP connection stands."""
        self._end_connect(session)

    def session_ready(self, session: Session) -> None:
        """It can take an entry."""
        destination = session.destination
        destination.site.established(destination)
        self._feed(session, self.monotonic())
        if destination.waiting:
            self._want(destination)

    def session_failed(self, session: Session, trouble: Trouble) -> None:
        """It will never be ready: the next address, or the entries are told."""
        self._end_connect(session)
        destination, now = session.destination, self.monotonic()
        site = destination.site
        if trouble.try_plain:
            self._plain[session.target.address] = now + _PLAIN_S
            destination.connecting -= 1
            return
        failure = self._failure(site, trouble)
        slows = failure.verdict.action is Action.BACKOFF
        if slows:
            site.slow_down(failure.verdict, str(failure.reply), now)
        if trouble.ours or slows:  # the other hosts would say the same, or should not be bothered
            destination.bad = {target.address: float("inf") for target in destination.targets}
        if not site.failed(destination, session.target, failure, now, self._config.delivery.retry):
            return
        destination.blame = failure
        destination.blame_left = destination.waiting if failure.verdict.action is Action.BOUNCE else 1
        self._tell(destination)

    def transaction_done(self, session: Session, results: tuple[RecipientReply, ...]) -> None:
        """The peer has answered for every recipient."""
        prepared = session.current
        if prepared is None:
            return
        session.current = None
        session.sent += 1
        now = self.monotonic()
        site = session.destination.site
        site.message_pace.end(session.began, now)
        judged = reply_results(self.table, site.policy, results)
        ends = self._report(site, prepared.entry, prepared.message, judged, session)
        if site.token_line:
            self._pump(site)
        if ends:
            session.quit()
        else:
            self._feed(session, now)

    def transaction_broken(self, session: Session, closed: Closed, timed_out: bool) -> None:
        """The connection ended under an entry."""
        prepared = session.current
        if prepared is None:
            return
        session.current = None
        destination = session.destination
        site = destination.site
        site.message_pace.end(session.began, self.monotonic())
        if (
            session.sent
            and not timed_out
            and closed.reply is None
            and not closed.problem
            and closed.stage is Stage.MAIL
        ):
            # a kept connection that the peer closed while it was idle: the entry was not looked at, and goes elsewhere
            destination.ready.appendleft(prepared)
            self._ready_bytes += prepared.size
            return
        where = f"{session.target.host}[{session.target.address}]"
        results = broken_results(self.table, site.policy, prepared.entry, closed, where, timed_out)
        self._report(site, prepared.entry, prepared.message, results, session)

    def session_gone(self, session: Session) -> None:
        """The socket is closed; the connection counts until the peer has seen that."""
        if session.peer_closed or session.peer is None:
            asyncio.get_running_loop().call_soon(self._release, session)  # after the transport has closed the socket
        else:
            self._wakeups.add(self.monotonic() + _LINGER_S, partial(self._release, session))

    def _end_connect(self, session: Session) -> None:
        if not session.connect_ended:
            session.connect_ended = True
            session.destination.site.connect_pace.end(session.connect_began, self.monotonic())

    def _release(self, session: Session) -> None:
        self._sessions.discard(session)
        self._connections -= 1
        destination = session.destination
        destination.site.gone(destination)
        if not self._sessions and self._all_gone is not None:
            self._all_gone.set()
        if destination.waiting:
            self._want(destination)
        else:
            self._pump(destination.site)
        waiting, self._total_line = self._total_line, {}
        for site in list(self.sites.values()) if self._regrouped_before else waiting:
            self._pump(site)

    # -- attempts

    def _report(
        self,
        site: ReadyQueue,
        entry: QueueEntry,
        message: Message,
        results: tuple[RecipientResult, ...],
        session: Session | None,
    ) -> bool:
        """Hands the Attempt on and lives by what it says of the site; True if the session is of no more use."""
        summary = summarise(results)
        self.attempts += 1
        site.attempts += 1
        if summary.delivered:
            self.delivered += 1
            site.delivered += 1
        if summary.slow_down is not None:
            site.slow_down(summary.slow_down.verdict, str(summary.slow_down.reply), self.monotonic())
        now = self._clock.now()
        if session is None:
            attempt = Attempt(entry, message, site.name, now, now, results)
        else:
            began = session.started_at or now
            attempt = Attempt(entry, message, site.name, began, now, results, session.peer, session.tls, session.number)
        self._on_attempt(attempt)
        return summary.end_session

    def _failure(self, site: ReadyQueue, trouble: Trouble) -> Failure:
        if trouble.category is None:
            verdict = self.table.judge(site.policy, trouble.stage, trouble.reply)
            if verdict.action is None:  # a 2yz that is no greeting
                verdict = self.table.local(site.policy, Category.PROTOCOL_ERRORS)
        else:
            verdict = self.table.local(site.policy, trouble.category)
        return Failure(trouble.stage, trouble.reply, verdict)

    def _tell(self, destination: Destination) -> None:
        """Attempts for the entries that a failed connection was for; the others wait for the next try."""
        done = 0
        while destination.blame is not None and destination.blame_left and done < _CHUNK:
            prepared = self._next(destination)
            if prepared is None:
                break
            done += 1
            destination.blame_left -= 1
            results = same_results(prepared.entry, destination.blame)
            self._report(destination.site, prepared.entry, prepared.message, results, None)
        if destination.blame_left and destination.waiting:
            if done == _CHUNK:
                asyncio.get_running_loop().call_soon(self._tell, destination)
            return
        destination.blame = None
        destination.looks_ahead = destination.preparing > 0
        self._unprepare(destination)
        if destination.waiting:
            self._want(destination)

    # -- the sweep

    def _sweep(self) -> None:
        """Once a second: time limits, the gate, and now and then what can be forgotten or is overdue."""
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
        now = self.monotonic()
        is_open = self.gate_is_open
        for session in list(self._sessions):
            if session.idle and not is_open:
                session.quit()
            elif now >= session.deadline:
                session.expire()
        if is_open and not self._gate_was_open:
            self._pump_all()
        self._gate_was_open = is_open
        self._sweeps += 1
        if self._sweeps % _FORGET_EVERY == 0:
            self._forget(now)
            self._look_for_overdue()

    def _forget(self, now: float) -> None:
        for name, site in list(self.sites.items()):
            site.forget_empty(now)
            if site.is_idle:
                del self.sites[name]
        self._plain = {address: until for address, until in self._plain.items() if until > now}

    def _look_for_overdue(self) -> None:
        """Entries that waited here past their lifetime are handed on as attempts that could not be made."""
        newest = int((self._clock.now() - self._config.delivery.lifetime) * 1000) << 48  # ids begin with their time
        for site in list(self.sites.values()):
            for destination in site.destinations.values():
                if any(entry.id < newest for entry in destination.entries):
                    overdue = [entry for entry in destination.entries if entry.id < newest]
                    destination.entries = deque(entry for entry in destination.entries if entry.id >= newest)
                    hold = self._hold_of_site(site)
                    for entry in overdue:
                        self._preparer.read(entry, partial(self._on_overdue, site.name, hold))
        for domain, held in self._held.items():
            for entry, route, why in held:
                if entry.id < newest:
                    hold = Hold(Limit.SELECTOR, detail=why.reason)
                    self._preparer.read(entry, partial(self._on_overdue, route.site, hold))
            self._held[domain] = [item for item in held if item[0].id >= newest]

    def _on_overdue(self, site: str, hold: Hold, entry: QueueEntry, message: Message) -> None:
        text = f"4.4.7 not sent within its lifetime; held by {hold.limit}"
        reply = Reply(451, (f"{text}: {hold.detail}" if hold.detail else text,))
        verdict = Verdict(Category.MESSAGE_EXPIRED, Action.RETRY, Scope.MESSAGE)
        now = self._clock.now()
        self.attempts += 1
        results = same_results(entry, Failure(Stage.CONNECT, reply, verdict))
        self._on_attempt(Attempt(entry, message, site, now, now, results))

    # -- another grouping into sites

    def _regroup(self) -> None:
        """All waiting entries ask for their route again; connections of before finish and count where they lead to."""
        self._regrouped_before = self._numbers
        for site in self.sites.values():
            for destination in site.destinations.values():
                self._unprepare(destination)
                self._rerouting.extend(destination.entries)
                destination.entries.clear()
        self._reroute_some()

    def _reroute_some(self) -> None:
        for _ in range(min(_CHUNK, len(self._rerouting))):
            self._reroute(self._rerouting.popleft())
        if self._rerouting:
            asyncio.get_running_loop().call_soon(self._reroute_some)

    def _connections_of_old_sites(self, destination: Destination) -> int:
        """Open connections to this destination's addresses that are counted for another site."""
        if not any(session.number <= self._regrouped_before for session in self._sessions):
            self._regrouped_before = 0
            return 0
        addresses = {target.address for target in destination.targets}
        return sum(
            session.target.address in addresses and session.destination.site is not destination.site
            for session in self._sessions
        )


def _source_of(config: RelayConfig) -> str:
    """The address that connections bind; empty: none."""
    return str(config.egress.source) if config.egress.source is not None else ""


def _grouping(config: RelayConfig) -> object:
    """What decides which site an entry belongs to, and where it goes."""
    delivery = config.delivery
    return (
        [(policy.name, policy.mx, policy.domains) for policy in delivery.policies],
        delivery.routes,
        config.egress.source,
    )
