"""One peer's connection as every SMTP listener of ours has it: bytes between a transport and `smtp.server`.

STARTTLS, back-pressure, memory and time stand here; what a message, a password and a peer are worth is the sessions'.
Before it: a listener, which admits connections and sweeps for timeouts. After it: `session`, `feedback.session`.
Invariants: one write a read; a peer that does not take its replies is not read, nor, beyond a bound, one whose answer
is awaited; nothing that came in plain text survives STARTTLS.

Memory: what the connections of a listener hold is counted in `Host.held_bytes`, and content is kept only while that is
inside `Host.memory_budget`: beyond it what comes in is read past and refused with 452, and nobody keeps more than a KB
of commands. So that those who stall cannot
have all of it for five minutes each, time is short once half of it is taken: see `is_overdue`.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address
from typing import Any, Final, Protocol, cast

from lane_api.isppolicy import Stage
from lane_relay.accept.door import upgrade
from lane_relay.accept.policy import client_address
from lane_relay.guard import contain
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.reply import format_reply
from lane_relay.smtp.server import Closed, Event, Options, Server

__all__ = ["MEMORY_FULL", "TIMEOUT_S", "Connection", "Host"]

TIMEOUT_S: Final = 300.0
"""RFC 5321 section 4.5.3.2.7: five minutes at least."""
_SHORT_OF_MEMORY_S: Final = 15.0
"""So long a peer may hold content whatever it sends, while memory is short;"""
_SLOWEST: Final = 4096
"""and longer if it sends so many bytes a second."""
_SMALL: Final = 1024
"""Bytes that nobody is sent away for: commands, and the tail of content that is read past."""

MEMORY_FULL: Final = Reply(452, ("4.3.1 Too much mail is coming in at once, try again later",))
_NO_MEMORY: Final = Reply(421, MEMORY_FULL.lines)
_TIMED_OUT: Final = Reply(421, ("4.4.2 Nothing came for too long",))
_MAKES_ROOM: Final = Reply(421, ("4.7.0 Too many sessions, and this one brought nothing: try again later",))
_LAST_WORDS_S: Final = 1.0
_TOO_SLOW: Final = Reply(421, ("4.4.2 Too little came for too long while much mail is coming in, try again later",))


class _Certificate(Protocol):
    @property
    def context(self) -> ssl.SSLContext:
        """In force."""


class Host(Protocol):
    """The listener, as far as a connection needs it."""

    options: Options
    held_bytes: int
    """Of messages that are coming in or on their way to the disk."""
    peak_bytes: int
    """The most it ever was."""
    memory_budget: int
    tick: float
    """The time of the last sweep, monotonic seconds."""

    @property
    def certificate(self) -> _Certificate:
        """For STARTTLS."""

    def admit(self, session: Any) -> Reply | None:
        """Takes a new session in, or says why not."""

    def forget(self, session: Any) -> None:
        """The session is over."""

    def own(self, work: Coroutine[object, object, None]) -> None:
        """Runs a session's coroutine as a task of this listener."""


class Connection(asyncio.Protocol, ABC):
    """The driver of one `smtp.server`; a session adds the policy that the server asks, and what events ask for."""

    __slots__ = (
        "_early", "_held", "_held_since", "_host", "_is_read", "_replies_stuck", "_server", "_transport", "client",
        "counted_as", "last_active",
    )  # fmt: skip

    closing: Reply
    """What a peer is told when the listener closes."""
    held_while_waiting: int = 65_536
    """Bytes a peer may pipeline into a wait before its socket is read no more; none while memory is full.

    Below 0: it is not read at all.
    """

    def __init__(self, host: Host, *, tls: bool = False, client: str = "") -> None:
        """`client` is the peer's address; empty: the transport's."""
        self._host = host
        self._server = Server(host.options, self, tls=tls)
        self._transport: asyncio.Transport | None = None
        self._held = 0
        """Of the listener's memory, what this connection uses."""
        self._held_since = 0.0
        """When it began to, or its last message was answered; in ticks."""
        self._replies_stuck = False
        self._is_read = True
        self._early: bytes | None = None
        """Not None while TLS is being started: what came decrypted before the upgrade's task went on."""
        self.client = client
        self.counted_as = client
        """By the listener's limits."""
        self.last_active = host.tick

    # -- what a session adds

    @abstractmethod
    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        """See SessionPolicy."""

    @abstractmethod
    def recipient(self, recipient: Mailbox, count: int) -> Reply | None:
        """See SessionPolicy."""

    @abstractmethod
    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> bool:
        """See SessionPolicy."""

    @abstractmethod
    def _handle(self, event: Event | None) -> None:
        """Does what the event asks for, and writes."""

    @property
    @abstractmethod
    def _has_message(self) -> bool:
        """A message of it is with us: it is not the peer that is slow."""

    @property
    @abstractmethod
    def may_be_sent_away(self) -> bool:
        """For another's sake, when there are too many: see `crowd`."""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected (for implicit TLS: the handshake is done)."""
        self._transport = cast("asyncio.Transport", transport)
        if not self.client:
            peer = transport.get_extra_info("peername")
            self.client = str(client_address(peer[0]) if peer else IPv4Address(0))
        refusal = self._host.admit(self)
        if refusal is not None:
            self._transport.write(format_reply(refusal.code, *refusal.lines))
            self._transport.close()
            self._server.stop(refusal)
            return
        self._transport.write(self._server.greet())

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.last_active = self._host.tick
        if self._early is not None:
            self._early += data
            return
        server = self._server
        try:
            event = server.receive(data)
            if event is not None:
                self._handle(event)
            else:
                self._flush()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is this peer's alone
            self._broke(error)
            return
        if server.held_bytes != self._held:
            self._account_memory()

    def eof_received(self) -> bool:
        """The peer has sent its last byte; without a QUIT there is nobody to answer."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._server.stop(self.closing)
        self._host.held_bytes -= self._held
        self._held = 0
        self._host.forget(self)

    def pause_writing(self) -> None:
        """The peer does not read its replies: it gets no more until it does."""
        self._replies_stuck = True
        self._choose_reading()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._replies_stuck = False
        self._choose_reading()

    # -- what the listener does

    @property
    def errors(self) -> int:
        """How often the peer erred."""
        return self._server.errors

    @property
    def is_in_transaction(self) -> bool:
        """The peer has said MAIL, and what it began is not over."""
        return self._server.has_transaction

    def send_away(self) -> None:
        """Ends the session for another's sake, with words where they go out at once."""
        transport = self._transport
        if transport is None:
            return
        if self._server.tls or self._early is not None or self._replies_stuck or transport.is_closing():
            transport.abort()  # TLS would wait for the peer's goodbye
            return
        self._finish(self._server.stop(_MAKES_ROOM, at_once=True))
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, transport.abort)

    def sweep(self, now: float, patience: float = TIMEOUT_S) -> None:
        """Ends the session if the peer is to blame for how long it takes; a second time, at once."""
        transport = self._transport
        if transport is None or self._has_message:
            return
        is_silent = now - self.last_active >= patience
        if not is_silent and not self.is_overdue(now):
            return
        if self._replies_stuck or transport.is_closing():  # its last words may not be taken for ever
            transport.abort()
        else:
            last_words = _TIMED_OUT if is_silent else _TOO_SLOW
            transport.write(format_reply(last_words.code, *last_words.lines))
            transport.close()

    def is_overdue(self, now: float) -> bool:
        """Half of the memory is taken, and it holds content for longer than what it sends is worth."""
        held, host = self._held, self._host
        if held <= _SMALL or host.held_bytes <= host.memory_budget // 2:
            return False
        return not self._server.is_waiting and now - self._held_since >= _SHORT_OF_MEMORY_S + held / _SLOWEST

    def stop(self) -> None:
        """Ends the session as soon as no message is under way."""
        event = self._server.stop(self.closing)
        if event is not None:
            self._handle(event)

    def abort(self) -> None:
        """Ends the session now."""
        if self._transport is not None:
            self._transport.abort()

    # -- writing and reading

    def _flush(self) -> None:
        output = self._server.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _finish(self, event: Event | None) -> None:
        """Writes; nothing comes behind the last reply."""
        self._flush()
        if isinstance(event, Closed) and self._transport is not None:
            self._transport.close()

    def _go_on(self, answer: Callable[[], Event | None]) -> None:
        """A wait of this session is over: `answer` tells the server, unless the peer has gone meanwhile."""
        self.last_active = self._held_since = self._host.tick
        if self._transport is None:
            return
        try:
            self._handle(answer())  # reads what has come meanwhile, too
        except Exception as error:  # noqa: BLE001 -- as in data_received; the caller serves others as well
            self._broke(error)
            return
        if self._server.held_bytes != self._held or not self._is_read:
            self._account_memory()

    def _broke(self, error: Exception) -> None:
        contain("submission", error, client=self.client)
        self.abort()

    def _account_memory(self) -> None:
        server, host = self._server, self._host
        held = server.held_bytes
        if not self._held:
            self._held_since = host.tick
        host.held_bytes += held - self._held
        host.peak_bytes = max(host.peak_bytes, host.held_bytes)
        if host.held_bytes > host.memory_budget and not server.is_waiting:
            if server.is_receiving:
                server.discard(MEMORY_FULL)
            elif held > _SMALL:  # a command line of thousands of octets
                self._finish(server.stop(_NO_MEMORY, at_once=True))
            host.held_bytes += server.held_bytes - held
            held = server.held_bytes
        self._held = held
        self._choose_reading()

    def _choose_reading(self) -> None:
        """The socket is read unless the peer does not take its replies, or sends much into a wait."""
        server, host, transport = self._server, self._host, self._transport
        wanted = not self._replies_stuck and not server.is_paused
        if wanted and server.is_waiting:
            bound = self.held_while_waiting
            wanted = self._held <= (bound if host.held_bytes <= host.memory_budget else min(bound, 0))
        if transport is None or wanted == self._is_read or self._early is not None or transport.is_closing():
            return
        self._is_read = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # -- TLS

    def _start_tls(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        # Read no more as plain text: the handshake's first bytes may come before the upgrade has begun. Whatever
        # data_received gets from here on has come out of the TLS layer.
        self._transport.pause_reading()
        self._early = b""
        self._flush()
        self._host.own(self._upgrade(self._transport))

    async def _upgrade(self, transport: asyncio.Transport) -> None:
        """The handshake behind STARTTLS; cancelling it leaves the connection to be aborted."""
        upgraded = await upgrade(transport, self, self._host.certificate.context)
        if upgraded is None:
            return
        if self._transport is None:
            transport.abort()
            return
        self._transport = upgraded
        self._is_read = True
        self.last_active = self._host.tick
        self._server.tls_started()
        early, self._early = self._early, None
        if early:
            self.data_received(early)
        self._choose_reading()
