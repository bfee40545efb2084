"""One connection of somebody who brings returned mail: `smtp.server` over a socket, with the listener's policy.

Before it: `listener`, which admits it and sweeps for silence. After it: the desk, which says when a report is kept.
Invariants: there is no AUTH and no relaying, the only recipients are addresses of ours; one mail of a session is with
the desk at a time, and what the peer sends meanwhile is not read.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import structlog

from lane_api.isppolicy import Stage
from lane_relay.accept.door import upgrade
from lane_relay.feedback.addresses import Addressee
from lane_relay.feedback.desk import TAKEN
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox
from lane_relay.smtp.reply import format_reply
from lane_relay.smtp.server import Closed, Event, MessageReceived, Server, StartTls

if TYPE_CHECKING:
    from lane_relay.feedback.listener import FeedbackListener

__all__ = ["FeedbackSession"]

TIMEOUT_S: Final = 300.0
STOPPING: Final = Reply(421, ("4.3.2 This host stops, try another",))
_NOBODY: Final = Reply(550, ("5.1.1 There is no such mailbox here",))
_MEMORY_FULL: Final = Reply(452, ("4.3.1 Too much mail is coming in at once, try again later",))
_BROKEN: Final = Reply(451, ("4.3.0 This mail cannot be taken now",))
_TIMED_OUT: Final = Reply(421, ("4.4.2 Nothing came for too long",))

_log = structlog.get_logger("feedback")


class FeedbackSession(asyncio.Protocol):
    """The driver of one `smtp.server`, and the policy it asks."""

    def __init__(self, listener: "FeedbackListener") -> None:
        self._listener = listener
        self._server = Server(listener.options, self)
        self._transport: asyncio.Transport | None = None
        self._found: list[Addressee] = []
        self._held = 0
        self._with_desk = False
        self._replies_stuck = False
        self._early: bytes | None = None
        """Not None while TLS is being started."""
        self.client = ""
        self.last_active = listener.tick

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.client = peer[0].partition("%")[0].removeprefix("::ffff:") if peer else ""
        refusal = self._listener.admit(self)
        if refusal is not None:
            self._transport.write(format_reply(refusal.code, *refusal.lines))
            self._transport.close()
            self._server.stop(refusal)
            return
        self._transport.write(self._server.greet())

    def data_received(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.last_active = self._listener.tick
        if self._early is not None:
            self._early += data
            return
        self._handle(self._server.receive(data))
        self._account()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is gone; a mail that the desk has is dealt with all the same."""
        self._transport = None
        self._server.stop(STOPPING)
        self._listener.held_bytes -= self._held
        self._held = 0
        self._listener.forget(self)

    def pause_writing(self) -> None:
        """The peer does not read its replies: it gets no more until it does."""
        self._replies_stuck = True
        self._choose_reading()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._replies_stuck = False
        self._choose_reading()

    # -- what the listener does

    def sweep(self, now: float) -> None:
        """Ends the session if nothing came for too long; at once if it does not even take its last words."""
        if now - self.last_active < TIMEOUT_S or self._with_desk or self._transport is None:
            return
        if self._replies_stuck or self._transport.is_closing():
            self._transport.abort()
            return
        self._transport.write(format_reply(_TIMED_OUT.code, *_TIMED_OUT.lines))
        self._transport.close()

    def stop(self) -> None:
        """Ends the session as soon as no mail is under way."""
        event = self._server.stop(STOPPING)
        if event is not None:
            self._handle(event)

    def abort(self) -> None:
        """Ends the session now."""
        if self._transport is not None:
            self._transport.abort()

    # -- smtp.server's policy

    def sender(self, _sender: Mailbox | None, size: int) -> Reply | None:
        """Anybody may report; most do it from the null sender."""
        self._found = []
        if self._listener.held_bytes + size > self._listener.memory_budget:
            return _MEMORY_FULL
        return self._listener.pace(self.client)

    def recipient(self, recipient: Mailbox, _count: int) -> Reply | None:
        """Only addresses of ours; of all others none is told from another."""
        found = self._listener.find(recipient)
        if found is None:
            return _NOBODY
        self._found.append(found)
        return None

    def refused(self, stage: Stage, _reply: Reply, _sender: str | None, _recipients: Sequence[str]) -> None:
        """Counted, without a record: anybody may knock, and records have an end."""
        if stage is Stage.RCPT:
            self._listener.count_refusal()

    # -- events

    def _handle(self, event: Event | None) -> None:
        if isinstance(event, MessageReceived):
            self._with_desk = True
            self._choose_reading()
            self._listener.own(self._take(tuple(self._found), event.content))
        elif isinstance(event, StartTls):
            self._start_tls()
        self._flush()
        if isinstance(event, Closed) and self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        output = self._server.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    async def _take(self, addressees: tuple[Addressee, ...], content: bytes) -> None:
        """One mail through the desk, for each of its addressees; the worst answer is the answer."""
        size = len(content)
        taken: list[Addressee] = []
        self._listener.held_bytes += size
        reply = TAKEN
        try:
            for addressee in self._listener.partly_taken.left(content, addressees):
                reply = await self._listener.take(addressee, content, self.client, self._server.helo)
                if reply.code >= 400:
                    break
                taken.append(addressee)
        except Exception:  # noqa: BLE001 -- what one stranger sends must not end the relay
            _log.exception("returned mail refused, it broke us", client=self.client)
            reply = _BROKEN
        finally:
            self._listener.held_bytes -= size
        if reply.code >= 400:
            self._listener.partly_taken.refused(content, taken)
        else:
            self._listener.partly_taken.done(content)
        self._with_desk = False
        self.last_active = self._listener.tick
        if self._transport is not None:
            self._handle(self._server.reply(reply))
            self._account()

    # -- memory

    def _account(self) -> None:
        held, listener = self._server.held_bytes, self._listener
        listener.held_bytes += held - self._held
        self._held = held
        if listener.held_bytes > listener.memory_budget and self._server.is_receiving:
            self._server.discard(_MEMORY_FULL)
            listener.held_bytes += self._server.held_bytes - self._held
            self._held = self._server.held_bytes
        self._choose_reading()

    def _choose_reading(self) -> None:
        """The socket is not read while the desk has a mail of this session, nor while its replies are not read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._with_desk or self._replies_stuck:
            self._transport.pause_reading()
        elif not self._transport.is_reading() and self._early is None:
            self._transport.resume_reading()

    # -- TLS

    def _start_tls(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.pause_reading()
        self._early = b""
        self._flush()
        self._listener.own(self._upgrade(self._transport))

    async def _upgrade(self, transport: asyncio.Transport) -> None:
        upgraded = await upgrade(transport, self, self._listener.certificate.context)
        if upgraded is None:
            return
        if self._transport is None:
            transport.abort()
            return
        self._transport = upgraded
        self._server.tls_started()
        early, self._early = self._early, None
        if early:
            self.data_received(early)
