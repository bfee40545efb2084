"""One client's session: the policy that its `smtp.server` asks, and what becomes of messages and passwords.

Before it: `connection`, which moves the bytes, and `accept.listener`, which admits it. After it: `deposit`, which says
when a message is on disk; only then the session says 250.
Invariants: at most one message of a session is on its way to the disk; a session that is gone does not undo a message
that was deposited.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from lane_api.isppolicy import Stage
from lane_relay.accept.connection import MEMORY_FULL, Connection
from lane_relay.accept.intake import Rejection
from lane_relay.accept.message import Origin, make_message
from lane_relay.accept.policy import CLOSED, client_address
from lane_relay.accept.unstored import unstored
from lane_relay.errors import SpoolError
from lane_relay.guard import contain
from lane_relay.records import Message, Reply, message_id_text
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.server import AuthAttempt, Event, MessageReceived, Pause, StartTls

if TYPE_CHECKING:
    from lane_relay.accept.listener import Listener

__all__ = ["Session"]

_BROKEN: Final = Reply(451, ("4.3.0 This message cannot be taken, the reason is in the slot's log",))
_AUTH_FAILED: Final = Reply(535, ("5.7.8 User name or password is wrong",))
_AUTH_BUSY: Final = Reply(454, ("4.7.0 Users cannot be checked now, try again later",))


class Session(Connection):
    """The driver of one `smtp.server`, and the policy it asks."""

    __slots__ = ("_checking", "_in_commit", "_is_trusted", "_judged_by", "_listener")

    closing = CLOSED

    def __init__(self, listener: "Listener", *, tls: bool, client: str = "") -> None:
        """`client` is the client's address; empty: the transport's peer."""
        super().__init__(listener, tls=tls, client=client)
        self._listener = listener
        self._judged_by: object = None
        """The policy that `_is_trusted` came from."""
        self._is_trusted = False
        self._in_commit = 0
        """Bytes of the message that is on its way to the disk."""
        self._checking: asyncio.Future[bool] | None = None
        """The password that is being checked."""

    @property
    def _has_message(self) -> bool:
        return bool(self._in_commit)

    @property
    def may_be_sent_away(self) -> bool:
        """It may not submit, and its password is not being checked."""
        return not self._in_commit and self._checking is None and not self._may_submit()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what is on its way to the disk gets there all the same."""
        if self._checking is not None:
            self._checking.cancel()
        super().connection_lost(exc)

    # -- smtp.server's policy

    def sender(self, sender: Mailbox | None, size: int) -> Reply | None:
        """May this envelope sender send."""
        listener, user = self._listener, self._server.user
        if listener.held_bytes + size > listener.memory_budget:
            return MEMORY_FULL
        refusal = listener.policy.judge_sender(sender, may_submit=self._may_submit(), user=user)
        if refusal is None and listener.allowances.counts_messages:
            return listener.allowances.judge(self.counted_as, user, 1, listener.clock.monotonic())
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
            return listener.allowances.judge(self.counted_as, self._server.user, count + 1, listener.clock.monotonic())
        return refusal

    def refused(self, stage: Stage, reply: Reply, sender: str | None, recipients: Sequence[str]) -> bool:
        """Mail was refused; an error of strangers alone."""
        server = self._server
        rejection = Rejection(stage, reply, sender, tuple(recipients), self.client, server.user, server.helo)
        may_submit = self._may_submit()
        self._listener.reject(rejection, may_submit=may_submit)
        return not may_submit

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
            self._listener.call_later(event.seconds, partial(self._go_on, self._server.resume))
            return
        self._finish(event)

    # -- messages

    def _deposit(self, received: MessageReceived) -> Event | None:
        listener, server = self._listener, self._server
        try:
            message = self._judge(received)
        except Exception as error:  # noqa: BLE001 -- whatever it is
            # A mistake of ours in one message's header: ending the process, as elsewhere, would let whoever sends it
            # again end it again. Nothing but this session has seen the message yet.
            contain("submission", error, client=self.client, user=server.user)
            message = _BROKEN
        if not isinstance(message, Reply) and listener.allowances.counts_messages:
            count = len(message.envelope.recipients)
            refusal = listener.allowances.spend(self.counted_as, server.user, count, listener.clock.monotonic())
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
            return server.reply(unstored(error))
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
        if error is None:
            listener.counters.accepted += 1
            reply = Reply(250, (f"2.0.0 Ok: queued as {message_id_text(message.id)}",))
        else:
            reply = unstored(error)
        self._go_on(partial(self._server.reply, reply))

    def _protocol(self, smtp_utf8: bool) -> str:
        """The keyword of the Received field (RFC 3848, RFC 6531 section 4.3)."""
        server = self._server
        if not server.is_esmtp:
            return "SMTP"
        suffix = ("S" if server.tls else "") + ("A" if server.user else "")
        return ("UTF8SMTP" if smtp_utf8 else "ESMTP") + suffix

    # -- AUTH

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
        self._go_on(partial(self._server.auth_result, username, failure))
