"""One client's connection: moves bytes between its transport and `smtp.server`, and does what the events ask for.

Before it: `accept.listener`, which admits it and sweeps for timeouts. After it: `deposit`, which says when a message
is on disk; only then the session says 250.
Invariants: one write a read; at most one message of a session is on its way to the disk; a session that is gone does
not undo a message that was deposited.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final, cast

import structlog

from lane_api.isppolicy import Stage
from lane_relay.accept.door import upgrade
from lane_relay.accept.intake import Rejection
from lane_relay.accept.message import Origin, make_message
from lane_relay.accept.policy import CLOSED, client_address
from lane_relay.errors import SpoolError, SpoolFullError
from lane_relay.records import Message, Reply, message_id_text
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.reply import format_reply
from lane_relay.smtp.server import AuthAttempt, Closed, Event, MessageReceived, Pause, Server, StartTls

if TYPE_CHECKING:
    from lane_relay.accept.listener import Listener

__all__ = ["Session"]

TIMEOUT_S: Final = 300.0
"""RFC 5321 section 4.5.3.2.7: five minutes at least."""
_HELD_WHILE_WAITING: Final = 64 * 1024
"""Bytes a client may pipeline into a wait before its socket is read no more."""

_SPOOL_FULL: Final = Reply(452, ("4.3.1 The queue is full, try again later",))
_SPOOL_FAILED: Final = Reply(451, ("4.3.0 The queue cannot be written, try another slot",))
_BROKEN: Final = Reply(451, ("4.3.0 This message cannot be taken, the reason is in the slot's log",))
_MEMORY_FULL: Final = Reply(452, ("4.3.1 Too much mail is coming in at once, try again later",))
_TIMED_OUT: Final = Reply(421, ("4.4.2 Nothing came for too long",))
_AUTH_FAILED: Final = Reply(535, ("5.7.8 User name or password is wrong",))
_AUTH_BUSY: Final = Reply(454, ("4.7.0 Users cannot be checked now, try again later",))

_log = structlog.get_logger(__name__)


class Session(asyncio.Protocol):
    """The driver of one `smtp.server`, and the policy it asks."""

    __slots__ = (
        "_checking", "_early", "_held", "_in_commit", "_is_read", "_is_trusted", "_judged_by", "_listener",
        "_replies_stuck", "_server", "_transport", "client", "last_active",
    )  # fmt: skip

    def __init__(self, listener: "Listener", *, tls: bool, client: str = "") -> None:
        """`client` is the client's address; empty: the transport's peer."""
        self._listener = listener
        self._server = Server(listener.options, self, tls=tls)
        self._transport: asyncio.Transport | None = None
        self._judged_by: object = None
        """The policy that `_is_trusted` came from."""
        self._is_trusted = False
        self._held = 0
        """Of the listener's memory, what this session uses."""
        self._in_commit = 0
        self._replies_stuck = False
        self._is_read = True
        self._checking: asyncio.Future[bool] | None = None
        """The password that is being checked."""
        self._early: bytes | None = None
        """Not None while TLS is being started: what came decrypted before the upgrade's task went on."""
        self.client = client
        self.last_active = listener.tick

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (for implicit TLS: the handshake is done)."""
        self._transport = cast("asyncio.Transport", transport)
        if not self.client:
            peer = transport.get_extra_info("peername")
            self.client = str(client_address(peer[0]) if peer else IPv4Address(0))
        refusal = self._listener.admit(self)
        if refusal is not None:
            self._transport.write(format_reply(refusal.code, *refusal.lines))
            self._transport.close()
            self._server.stop(refusal)
            return
        self._transport.write(self._server.greet())

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.last_active = self._listener.tick
        if self._early is not None:
            self._early += data
            return
        server = self._server
        event = server.receive(data)
        if event is not None:
            self._handle(event)
        else:
            self._flush()
        if server.held_bytes != self._held:
            self._account_memory()

    def eof_received(self) -> bool:
        """The client has sent its last byte; without a QUIT there is nobody to answer."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self._checking is not None:
            self._checking.cancel()
        self._server.stop(CLOSED)
        self._release()
        self._listener.forget(self)

    def pause_writing(self) -> None:
        """The client does not read its replies: it gets no more until it does."""
        self._replies_stuck = True
        self._choose_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self._replies_stuck = False
        self._choose_reading()

    # -- what the listener does

    @property
    def errors(self) -> int:
        """How often the client erred."""
        return self._server.errors

    def sweep(self, now: float) -> None:
        """Ends the session if nothing came for too long and the client is to blame; a second time, at once."""
        if now - self.last_active < TIMEOUT_S or self._in_commit or self._transport is None:
            return
        if self._replies_stuck or self._transport.is_closing():  # its last words may not be taken for ever
            self._transport.abort()
        else:
            self._transport.write(format_reply(_TIMED_OUT.code, *_TIMED_OUT.lines))
            self._transport.close()

    def stop(self) -> None:
        """Ends the session as soon as no message is under way."""
        event = self._server.stop(CLOSED)
        if event is not None:
            self._handle(event)

    def abort(self) -> None:
        """Ends the session now."""
        if self._transport is not None:
            self._transport.abort()

    # -- smtp.server's policy

    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        """May this envelope sender send."""
        listener, user = self._listener, self._server.user
        if listener.held_bytes + size > listener.memory_budget:
            return _MEMORY_FULL
        refusal = listener.policy.judge_sender(sender, may_submit=self._may_submit(), user=user)
        if refusal is None and listener.allowances.counts_messages:
            return listener.allowances.judge(self.client, user, 1, listener.clock.monotonic())
        return refusal

    def _may_submit(self) -> bool:
        """The client has authenticated, or comes from one of the lane's networks."""
        policy = self._listener.policy
        if self._judged_by is not policy:
            self._judged_by = policy
            self._is_trusted = policy.is_trusted(client_address(self.client))
        return self._is_trusted or bool(self._server.user)

    def recipient(self, recipient: Mailbox, count: int) -> Reply | None:
        """May mail go to this recipient, beside so many."""
        listener = self._listener
        refusal = listener.policy.judge_recipient(recipient)
        if refusal is None and listener.allowances.counts_messages:
            return listener.allowances.judge(self.client, self._server.user, count + 1, listener.clock.monotonic())
        return refusal

    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> None:
        """Mail was refused."""
        server = self._server
        rejection = Rejection(stage, reply, sender, tuple(recipients), self.client, server.user, server.helo)
        self._listener.reject(rejection, may_submit=self._may_submit())

    # -- events

    def _handle(self, event: Event | None) -> None:
        """Does what the event asks for, and what the answer to it brings about."""
        while isinstance(event, MessageReceived):
            event = self._deposit(event)
        if event is None:
            self._flush()
            return
        if isinstance(event, AuthAttempt):
            self._authenticate(event)
        elif isinstance(event, StartTls):
            self._start_tls()
        elif isinstance(event, Pause):  # what is to be written stays where it is
            self._choose_reading()
            self._listener.call_later(event.seconds, self._resume)
            return
        self._flush()
        if isinstance(event, Closed) and self._transport is not None:
            self._transport.close()

    def _resume(self) -> None:
        """The pause is over; the client may be gone."""
        self.last_active = self._listener.tick
        if self._transport is not None:
            self._handle(self._server.resume())
            self._choose_reading()

    def _flush(self) -> None:
        output = self._server.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    # -- messages

    def _deposit(self, received: MessageReceived) -> Event | None:
        listener, server = self._listener, self._server
        try:
            message = self._judge(received)
        except Exception:  # noqa: BLE001 -- whatever it is
            # A mistake of ours in one message's header: ending the process, as elsewhere, would let whoever sends it
            # again end it again. Nothing but this session has seen the message yet.
            _log.exception("message refused, its header broke us", client=self.client, user=server.user)
            message = _BROKEN
        if not isinstance(message, Reply) and listener.allowances.counts_messages:
            count = len(message.envelope.recipients)
            refusal = listener.allowances.spend(self.client, server.user, count, listener.clock.monotonic())
            message = refusal or message
        if isinstance(message, Reply):
            return server.reply(message)
        size = self._in_commit = len(message.body)
        listener.held_bytes += size
        try:
            listener.deposit(message, partial(self._stored, message))
        except SpoolError as error:
            self._in_commit = 0
            listener.held_bytes -= size
            return server.reply(_SPOOL_FULL if isinstance(error, SpoolFullError) else _SPOOL_FAILED)
        return None

    def _judge(self, received: MessageReceived) -> Message | Reply:
        """The message as it is to be stored, or why it is refused."""
        listener, server, envelope = self._listener, self._server, received.envelope
        return make_message(
            listener.policy,
            received.content,
            envelope,
            Origin(
                listener.options.hostname, self.client, server.helo, server.user, self._protocol(envelope.smtp_utf8)
            ),
            new_id=listener.new_id,
            now=listener.clock.now(),
            expires_in=received.expires_in,
            notice_in=received.notice_in,
        )

    def _stored(self, message: Message, error: SpoolError | None) -> None:
        """The spool has answered; the message counts even if the client has gone meanwhile."""
        listener = self._listener
        listener.held_bytes -= self._in_commit
        self._in_commit = 0
        self.last_active = listener.tick
        if error is None:
            listener.counters.accepted += 1
            reply = Reply(250, (f"2.0.0 Ok: queued as {message_id_text(message.id)}",))
        else:
            reply = _SPOOL_FULL if isinstance(error, SpoolFullError) else _SPOOL_FAILED
        if self._transport is not None:
            self._handle(self._server.reply(reply))
            if self._server.held_bytes != self._held:
                self._account_memory()

    def _protocol(self, smtp_utf8: bool) -> str:
        """The keyword of the Received field (RFC 3848, RFC 6531 section 4.3)."""
        server = self._server
        if not server.is_esmtp:
            return "SMTP"
        suffix = ("S" if server.tls else "") + ("A" if server.user else "")
        return ("UTF8SMTP" if smtp_utf8 else "ESMTP") + suffix

    # -- memory and back-pressure

    def _account_memory(self) -> None:
        server, listener = self._server, self._listener
        listener.held_bytes += server.held_bytes - self._held
        listener.peak_bytes = max(listener.peak_bytes, listener.held_bytes)
        if listener.held_bytes > listener.memory_budget and server.is_receiving:
            listener.held_bytes -= server.held_bytes
            server.discard(_MEMORY_FULL)
            listener.held_bytes += server.held_bytes
        self._held = server.held_bytes
        self._choose_reading()

    def _release(self) -> None:
        self._listener.held_bytes -= self._held
        self._held = 0

    def _choose_reading(self) -> None:
        """The socket is read unless the client does not take its replies, or sends much into a wait."""
        server = self._server
        wanted = not self._replies_stuck and not (server.is_waiting and self._held > _HELD_WHILE_WAITING)
        wanted = wanted and not server.is_paused
        if self._transport is None or wanted == self._is_read or self._transport.is_closing():
            return
        self._is_read = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # -- TLS and AUTH

    def _start_tls(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        # Read no more as plain text: the handshake's first bytes may come before the upgrade has begun. Whatever
        # data_received gets from here on has come out of the TLS layer.
        self._transport.pause_reading()
        self._early = b""
        self._flush()
        self._listener.own(self._upgrade(self._transport))

    async def _upgrade(self, transport: asyncio.Transport) -> None:
        """The handshake behind STARTTLS; cancelling it leaves the connection to be aborted."""
        upgraded = await upgrade(transport, self, self._listener.certificate.context)
        if upgraded is None:
            return
        if self._transport is None:
            transport.abort()
            return
        self._transport = upgraded
        self.last_active = self._listener.tick
        self._server.tls_started()
        early, self._early = self._early, None
        if early:
            self.data_received(early)

    def _authenticate(self, attempt: AuthAttempt) -> None:
        future = self._checking = self._listener.verify(self.client, attempt.username, attempt.password)
        if future is None:
            self._authenticated(attempt.username, _AUTH_BUSY)
        else:
            future.add_done_callback(partial(self._verified, attempt.username))

    def _verified(self, username: str, future: "asyncio.Future[bool]") -> None:
        self._checking = None
        if future.cancelled() or future.exception() is not None:
            self._authenticated(username, _AUTH_BUSY)
        elif future.result():
            self._authenticated(username, None)
        else:
            self.refused(Stage.EHLO, _AUTH_FAILED, None, ())  # without the name: people type passwords there
            listener, answer = self._listener, partial(self._authenticated, username, _AUTH_FAILED)
            listener.call_later(listener.checks.pause(self.client), answer)

    def _authenticated(self, username: str, failure: Reply | None) -> None:
        if self._transport is not None:
            self._handle(self._server.auth_result(username, failure))
