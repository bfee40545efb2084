"""The listeners of a slot: sockets, admission of sessions, the sweep for timeouts, and the graceful stop.

Before it: clients. After it: `deposit(message, done)`, given by the pipeline, which answers when a message is on disk.
Invariants: the set of sessions is `_sessions` and only this class changes it; the configuration in force is `policy`
and `options`, swapped as a whole by `apply`; memory held for mail that is coming in stays near `memory_budget`.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from lane_api.relayconfig import Endpoint, RelayConfig
from lane_relay.accept.allowances import Allowances
from lane_relay.accept.arrivals import Arrival, Arrivals
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.checks import PasswordChecks
from lane_relay.accept.connection import TIMEOUT_S
from lane_relay.accept.crowd import Crowd
from lane_relay.accept.door import PREFACE_TIMEOUT_S, Door, Peer
from lane_relay.accept.intake import IntakeCounters, Rejection
from lane_relay.accept.policy import CLOSED, IsSuppressed, Policy
from lane_relay.accept.session import Session
from lane_relay.accept.strangers import StrangerBudget
from lane_relay.accept.users import Users
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError, SpoolError
from lane_relay.guard import report
from lane_relay.records import Message, Reply
from lane_relay.smtp.server import Options

__all__ = ["Deposit", "Listener", "Stored"]

Stored = Callable[[SpoolError | None], None]
"""Called once, on the loop, when the message is on stable storage, or with why it is not."""
Deposit = Callable[[Message, Stored], None]
"""Puts a message on disk; raises SpoolFullError or SpoolError if it is refused at once."""

_SWEEP_EVERY_S: Final = 5.0
_TURNED_AWAY: Final = "421 4.7.0"
"""As a client would have heard it, had there been words."""
_TOO_MANY: Final = Reply(421, ("4.7.0 Too many sessions, try again later",))

_log = structlog.get_logger(__name__)


class Listener:
    """Intake of one slot."""

    def __init__(
        self,
        config: RelayConfig,
        *,
        deposit: Deposit,
        new_id: Callable[[], int],
        clock: Clock,
        on_rejection: Callable[[Rejection], None],
        is_suppressed: IsSuppressed | None = None,
        preface_s: float = PREFACE_TIMEOUT_S,
    ) -> None:
        """Opens nothing yet; raises ConfigError if the certificate's files cannot be used.

        `preface_s`: how long a balancer may take to say whom it speaks for.
        """
        self._preface_s = preface_s
        self.deposit = deposit
        self.new_id = new_id
        self.clock = clock
        self.counters = IntakeCounters()
        self.held_bytes = 0
        """Of messages that are coming in or on their way to the disk; sessions write it."""
        self.peak_bytes = 0
        """The most it ever was."""
        self.tick = clock.monotonic()
        """The time of the last sweep: what sessions note as their last activity."""
        self._on_rejection = on_rejection
        self._is_suppressed = is_suppressed
        self._strangers = StrangerBudget(self.tick)
        self._sessions: Crowd[Session] = Crowd()
        self._arrivals: dict[Door, Arrivals] = {}
        """Connections that have no session yet, those of `http` too."""
        self._doors: list[Door] = []
        self._at_doors: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._all_gone = asyncio.Event()
        self._users: Users | None = None
        self._users_key = secrets.token_bytes(32)
        self.checks = PasswordChecks(clock.monotonic)
        self.certificate = Certificate(config.intake.tls, hostname=config.slot.hostname, now=clock.now())
        self.allowances = Allowances(config.intake)
        self._set(config)

    def _set(self, config: RelayConfig) -> None:
        intake = config.intake
        self._intake = intake
        self.policy = Policy(config, self._is_suppressed)
        self.allowances.apply(intake)
        tarpit = intake.limits.tarpit
        self.memory_budget = max(config.active_bytes, 2 * intake.max_message_size)
        self.options = Options(
            hostname=config.slot.hostname,
            max_size=intake.max_message_size,
            max_recipients=intake.max_recipients,
            auth=intake.users_dir is not None,
            errors_at_once=tarpit.after,
            first_pause=tarpit.first,
            longest_pause=tarpit.max,
        )
        folder = Path(intake.users_dir) if intake.users_dir is not None else None
        if folder is None:
            self._users = None
        elif self._users is None or self._users.folder != folder:  # else its memory of checked passwords goes on
            self._users = Users(folder, self._users_key)

    # -- what the pipeline does

    def apply(self, config: RelayConfig) -> None:
        """Takes another configuration: policy, users and certificate at once, limits for new sessions.

        Of addresses and ports no change comes here, `config` refuses it. Raises ConfigError if the new certificate
        cannot be used; the rest of the configuration is in force all the same.
        """
        self._set(config)
        if not self.policy.is_open:
            for session in self._sessions:
                session.stop()
        self.certificate.replace(config.intake.tls, hostname=config.slot.hostname, now=self.clock.now())

    async def start(self) -> None:
        """Opens the sockets; raises OSError if an address cannot be bound."""
        if self._intake.smtp is not None:
            self._listen(self._intake.smtp, tls=False)
        if self._intake.smtps is not None:
            self._listen(self._intake.smtps, tls=True)
        self._sweep_again()

    def _listen(self, endpoint: Endpoint, *, tls: bool) -> None:
        door = Door(
            endpoint,
            certificate=self.certificate if tls else None,
            make=lambda client: Session(self, tls=tls, client=client),
            is_proxy=self._is_proxy,
            preface_s=self._preface_s,
        )
        self._doors.append(door)
        task = asyncio.get_running_loop().create_task(door.connections(partial(self.let_in, door)))
        task.add_done_callback(report)
        self._at_doors.append(task)

    def let_in(self, door: Door, connection: socket.socket, peer: Peer) -> None:
        """Into a place among those who arrive at this door, see `arrivals`; closed if there is none for it."""
        limits, arrivals = self._intake.limits, self._arrivals.setdefault(door, Arrivals())
        arrival = arrivals.come(connection, limits.sessions)
        if arrival is None:
            connection.close()
        elif self.policy.is_proxy(peer) or self._knows(door, arrival, peer):  # else who it is comes in front
            self.own(self._welcome(door, arrival, peer))
        else:
            arrivals.go(arrival)
            connection.close()

    def _knows(self, door: Door, arrival: Arrival, client: Peer) -> bool:
        """Whose connection it is; a client may shake hands as often at a time as it may have sessions."""
        limits, policy = self._intake.limits, self.policy
        if policy.is_proxy(client):
            return True
        return self._arrivals[door].name(
            arrival,
            policy.counted_as(str(client)),
            may_submit=policy.is_trusted(client),
            most=limits.sessions_per_client if door.shakes_hands else limits.sessions,
        )

    async def _welcome(self, door: Door, arrival: Arrival, peer: Peer) -> None:
        """Until it has a session, or nothing has become of it."""
        try:
            await door.welcome(arrival.connection, peer, partial(self._knows, door, arrival))
        finally:
            self._arrivals[door].go(arrival)

    def _note_turned_away(self) -> None:
        for door, arrivals in self._arrivals.items():
            count = arrivals.take_turned_away()
            if count:
                self.counters.refused[_TURNED_AWAY] += count
                _log.warning(
                    "connections closed before they had a session, too many at once", port=door.port, count=count
                )
        count = self._sessions.take_sent_away()
        if count:
            self.counters.refused[_TURNED_AWAY] += count
            _log.warning("strangers' sessions closed to make room, all places were taken", count=count)

    def _is_proxy(self, peer: Peer) -> bool:
        """By the policy of the moment."""
        return self.policy.is_proxy(peer)

    @property
    def ports(self) -> tuple[int, ...]:
        """The port of each listener, STARTTLS before implicit TLS."""
        return tuple(door.port for door in self._doors)

    @property
    def session_count(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    async def stop(self, grace_s: float) -> None:
        """Takes no new sessions, lets those with a message under way finish for so long, then cuts them off.

        If it is cancelled, the sockets are closed and the sessions are left to the loop.
        """
        self._is_stopping = True
        for task in self._at_doors:
            task.cancel()
        await asyncio.gather(*self._at_doors, return_exceptions=True)
        for door in self._doors:
            door.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in self._sessions:
            session.stop()
        if self._sessions:
            self._all_gone.clear()
            try:
                async with asyncio.timeout(grace_s):
                    await self._all_gone.wait()
            except TimeoutError:
                _log.warning("sessions cut off at the end of the grace period", count=len(self._sessions))
        for session in self._sessions:
            session.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.checks.close()

    # -- what sessions ask

    def admit(self, session: Session) -> Reply | None:
        """Takes a new session in, or says why not."""
        limits, client = self._intake.limits, self.policy.counted_as(session.client)
        session.counted_as = client
        refusal: Reply | None = None
        if self._is_stopping or not self.policy.is_open:
            refusal = CLOSED
        elif self._sessions.count(client) >= limits.sessions_per_client:
            refusal = _TOO_MANY
        else:
            refusal = self.allowances.connect(client, self.clock.monotonic())
            if refusal is None and not self._sessions.admit(session, limits.sessions, self.tick):
                refusal = _TOO_MANY
        if refusal is not None:
            self.counters.refused[f"{refusal.code} {refusal.enhanced}"] += 1
        return refusal

    def spend(self, client: str, user: str) -> Reply | None:
        """Counts one message of this client and user; why it may not be sent now, or None."""
        return self.allowances.spend(self.policy.counted_as(client), user, 1, self.clock.monotonic())

    def forget(self, session: Session) -> None:
        """The session is over."""
        self.allowances.err(session.counted_as, session.errors, self.clock.monotonic())
        if self._sessions.forget(session) and not self._sessions:
            self._all_gone.set()

    def reject(self, rejection: Rejection, *, may_submit: bool) -> None:
        """Counts a refusal and hands it on, unless strangers have been refused too often in this minute."""
        self.counters.refused[f"{rejection.reply.code} {rejection.reply.enhanced}".rstrip()] += 1
        if may_submit or self._strangers.admits(rejection.client):
            self._on_rejection(rejection)

    def call_later(self, seconds: float, what: Callable[[], None]) -> None:
        """Calls a session back; of what is over it makes nothing."""
        asyncio.get_running_loop().call_later(seconds, what)

    def own(self, work: Coroutine[object, object, None]) -> None:
        """Runs a session's coroutine as a task of this listener."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report)

    def verify(self, client: str, username: str, password: str) -> "asyncio.Future[bool] | None":
        """Checks a password in this client's turn; None if there are no users, OSError in it if that cannot be."""
        return self.checks.check(self._users, client, username, password) if self._users is not None else None

    # -- the one timer

    def sweep(self) -> None:
        """Ends sessions that are silent for too long, begins minutes, and takes a certificate that has changed."""
        self.tick = self.clock.monotonic()
        self._sessions.sweep(self.tick, self._intake.limits.sessions, TIMEOUT_S)
        self.allowances.renew(self.tick)
        self._note_turned_away()
        left_out = self._strangers.renew(self.tick)
        if left_out:
            _log.warning("strangers were refused too often for a record of each", without_record=left_out)
        try:
            if self.certificate.reload():
                _log.info("certificate reloaded")
        except ConfigError as error:
            _log.error("certificate not reloaded, the last good one stays in force", error=str(error))

    def _sweep_again(self) -> None:
        self.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep_again)
