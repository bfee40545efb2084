"""The SMTP port for returned mail: who may come, how often, and with how much.

While intake is closed nothing is taken: a slot that said that it is empty must stay so. Whoever reports tries again.

Before it: the MX of the return paths, or balancers that say for whom they speak (`accept.door`). After it: `session`,
then the desk. Invariants: sessions, memory and mail a minute are bounded, in all and for each client; it sends no mail
of its own, whatever comes in.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Final

import structlog

from lane_api.relayconfig import Endpoint, RelayConfig
from lane_relay.accept.arrivals import Arrival, Arrivals
from lane_relay.accept.certificate import Certificate
from lane_relay.accept.connection import TIMEOUT_S
from lane_relay.accept.crowd import Crowd
from lane_relay.accept.door import Door, Peer
from lane_relay.accept.policy import network_of
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError
from lane_relay.feedback.addresses import Addressee
from lane_relay.feedback.partly_taken import PartlyTaken
from lane_relay.feedback.session import STOPPING, FeedbackSession
from lane_relay.guard import report
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.server import Options

__all__ = ["FeedbackListener", "Limits"]


_SWEEP_EVERY_S: Final = 5.0
_SLACK: Final = 2**20
"""A report is the mail that it returns, and some words."""
_TOO_MANY: Final = Reply(421, ("4.7.0 Too many sessions, try again later",))
_TOO_FAST: Final = Reply(450, ("4.7.1 Too many reports a minute, try again later",))

_log = structlog.get_logger("feedback")
Take = Callable[[Addressee, bytes, str, str], Awaitable[Reply]]


class Limits:
    """What one slot takes; an ISP sends its reports from several hosts."""

    sessions: int = 200
    sessions_per_client: int = 50
    mails_per_minute: int = 6000
    mails_per_minute_per_client: int = 1200


class FeedbackListener:
    """The listener of one slot."""

    def __init__(
        self,
        config: RelayConfig,
        find: Callable[[Mailbox], Addressee | None],
        take: Take,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        """Opens nothing yet; raises ConfigError if the certificate's files cannot be used."""
        self.find = find
        self.take = take
        self.held_bytes = 0
        """Of mail that is coming in or with the desk."""
        self.peak_bytes = 0
        """The most it ever was."""
        self.refused = 0
        """Recipients that nobody here is."""
        self.partly_taken = PartlyTaken(clock.monotonic)
        self.tick = clock.monotonic()
        self._clock = clock
        self._limits = limits or Limits()
        self._sessions: Crowd[FeedbackSession] = Crowd()
        self._minute: Counter[str] = Counter()
        self._minute_began = self.tick
        self._tasks: set[asyncio.Task[None]] = set()
        self._door: Door | None = None
        self._arrivals = Arrivals()
        self._at_door: set[asyncio.Task[None]] = set()
        """What waits for connections, and for what balancers say in front of them."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_stopping = False
        tls = config.feedback.tls if config.feedback is not None else None
        self.certificate = Certificate(tls, hostname=config.slot.hostname, now=clock.now(), field="feedback.tls")
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """Another configuration, for new sessions; raises ConfigError if the new certificate cannot be used."""
        self.takes = config.intake.state == "Open"
        largest = config.intake.max_message_size + _SLACK
        self.memory_budget = max(64 * 2**20, 2 * largest)
        self.options = Options(hostname=config.slot.hostname, max_size=largest, max_recipients=20, auth=False)
        self._proxies = config.feedback.proxies if config.feedback is not None else ()
        tls = config.feedback.tls if config.feedback is not None else None
        self.certificate.replace(tls, hostname=config.slot.hostname, now=self._clock.now())

    async def start(self, endpoint: Endpoint) -> None:
        """Opens the socket; raises OSError if the address cannot be bound."""
        door = self._door = Door(
            endpoint,
            certificate=None,
            make=lambda client: FeedbackSession(self, client),
            is_proxy=self._is_proxy,
            named_in="feedback.proxies",
        )
        self._attend(door.connections(partial(self._let_in, door)))
        self._sweep_again()

    def _let_in(self, door: Door, connection: socket.socket, peer: Peer) -> None:
        """Nobody is worth more than another before it is known whom a balancer speaks for."""
        arrival = self._arrivals.come(connection, self._limits.sessions)
        if arrival is None:
            connection.close()
        else:
            self._attend(self._welcome(door, arrival, peer))

    async def _welcome(self, door: Door, arrival: Arrival, peer: Peer) -> None:
        """Until it has a session, whose share `admit` looks at, or nothing has become of it."""
        try:
            await door.welcome(arrival.connection, peer, lambda _client: True)
        finally:
            self._arrivals.go(arrival)

    def _is_proxy(self, peer: Peer) -> bool:
        """By the configuration of the moment."""
        return any(peer in network for network in self._proxies)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._door.port if self._door is not None else 0

    @property
    def session_count(self) -> int:
        """Sessions open now."""
        return len(self._sessions)

    @property
    def under_way(self) -> int:
        """Mails with the desk now."""
        return len(self._tasks)

    async def stop(self, grace_s: float) -> None:
        """Takes no new sessions, lets mail under way be kept for so long, then cuts."""
        self._is_stopping = True
        for task in tuple(self._at_door):
            task.cancel()
        await asyncio.gather(*self._at_door, return_exceptions=True)
        if self._door is not None:
            self._door.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in self._sessions:
            session.stop()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=grace_s)
        for session in self._sessions:
            session.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what sessions ask

    def admit(self, session: FeedbackSession) -> Reply | None:
        """Takes a new session in, or says why not."""
        limits = self._limits
        client = session.counted_as = network_of(session.client)
        if self._is_stopping:
            return STOPPING
        has_too_many = self._sessions.count(client) >= limits.sessions_per_client
        if has_too_many or not self._sessions.admit(session, limits.sessions, self.tick):
            return _TOO_MANY
        return None

    def forget(self, session: FeedbackSession) -> None:
        """The session is over."""
        self._sessions.forget(session)

    def pace(self, client: str) -> Reply | None:
        """Counts a mail that is to come, or refuses it until the minute is over."""
        now = self._clock.monotonic()
        if now - self._minute_began >= 60:
            self._minute_began = now
            self._minute.clear()
        limits = self._limits
        if (
            self._minute.total() >= limits.mails_per_minute
            or self._minute[client] >= limits.mails_per_minute_per_client
        ):
            return _TOO_FAST
        self._minute[client] += 1
        return None

    def count_refusal(self) -> None:
        """A recipient was nobody here."""
        self.refused += 1

    def own(self, work: Coroutine[object, object, None]) -> None:
        """Runs a session's coroutine as a task of this listener."""
        _run(work, self._tasks)

    def _attend(self, work: Coroutine[object, object, None]) -> None:
        """Runs what comes before there is a session: no mail is under way in it."""
        _run(work, self._at_door)

    def sweep(self) -> None:
        """Ends silent sessions, takes a changed certificate."""
        self.tick = self._clock.monotonic()
        self._sessions.sweep(self.tick, self._limits.sessions, TIMEOUT_S)
        made_room = self._sessions.take_sent_away() + self._arrivals.take_turned_away()
        if made_room:
            _log.warning("sessions closed to make room, all places were taken", count=made_room)
        try:
            self.certificate.reload()
        except ConfigError as error:
            _log.error("certificate not reloaded, the last good one stays in force", error=str(error))

    def _sweep_again(self) -> None:
        self.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep_again)


def _run(work: Coroutine[object, object, None], tasks: set[asyncio.Task[None]]) -> None:
    """As a task that is one of these until it ends."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(report)
