"""One connection to one host, from connect to the end of its FIN: drives `smtp.client` over a socket.

It does and reports; what to do is the dispatcher's business (`Owner`). There is no task, future or timer a message:
only opening and a TLS upgrade run as a task, and time limits are looked at by the dispatcher's sweep.
Before it: `dispatcher`. After it: the far end. Invariants: no byte leaves unless getsockname is the egress source; the
owner is told exactly once that the session is gone, when the kernel has let go of the socket.
"""

import asyncio
from collections.abc import Coroutine
from typing import cast

from msgspec import structs

from lane_api.isppolicy import Category, Stage
from lane_relay.deliver.dialling import connect, upgrade
from lane_relay.deliver.owner import Owner
from lane_relay.deliver.portions import Portion
from lane_relay.deliver.prepared import Prepared
from lane_relay.deliver.ready_queue import Destination, Target
from lane_relay.deliver.session_settings import SessionSettings
from lane_relay.deliver.tls import TlsMode, failure_of_handshake
from lane_relay.deliver.trouble import Ending, Trouble, reason, tls_trouble
from lane_relay.deliver.uptake import Uptake, held_here, unconfirmed
from lane_relay.guard import contain, report
from lane_relay.records import Peer, Reply, TlsFailure, TlsResult
from lane_relay.smtp.client import (
    AuthDone,
    AuthRefused,
    Client,
    Closed,
    Event,
    Ready,
    TlsReady,
    TlsRefused,
    TransactionDone,
    Write,
)

__all__ = ["Session"]


class Session(asyncio.Protocol):
    """One connection. `deadline` is the next time limit, in monotonic seconds."""

    __slots__ = (
        "_authenticated", "_encrypted", "_ended_by_us", "_failed", "_gone", "_over", "_owner", "_paused", "_settings",
        "_taken_at", "_tasks", "_transport", "_uptake", "_wire", "began", "client", "connect_began", "connect_ended",
        "current", "deadline", "delivered", "destination", "ending", "idle", "number", "passes_on", "peer",
        "peer_closed", "portion", "quitting", "ready", "sent", "started_at", "target", "tls", "use_tls",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        destination: Destination,
        target: Target,
        settings: SessionSettings,
        number: int,
        gave_up: TlsFailure,
    ) -> None:
        """`gave_up`: what opportunistic TLS with this address has failed with lately; NONE: it has not."""
        self._owner = owner
        self._settings = settings
        self.destination = destination
        self.target = target
        self.number = number
        plan = settings.tls
        self.use_tls = not gave_up and plan.mode is not TlsMode.NONE
        self.client = Client(settings.hostname, tls=plan.mode is TlsMode.IMPLICIT)
        self.connect_began = owner.monotonic()
        self.connect_ended = False
        self.deadline = self.connect_began + settings.timeouts.connect
        self.peer: Peer | None = None
        self.tls: TlsResult | None = plan.result(target.host, gave_up) if gave_up else None
        self.current: Prepared | None = None
        self.portion = Portion()
        """Of the recipients of `current`: who is in the transaction under way, and who is not."""
        self.began = 0.0
        """Monotonic time at which `current` was given."""
        self.started_at = 0.0
        """The same as Unix time."""
        self.passes_on = False
        """The peer was asked to tell the sender of `current` what he asked to be told (RFC 3461)."""
        self.sent = 0
        self.delivered = False
        """The peer has taken a message of it."""
        self.idle = False
        self.ready = False
        self.quitting = False
        self.peer_closed = False
        self._authenticated = False
        self._encrypted = False
        self._ended_by_us = False
        self._failed = False
        self._gone = False
        self._over = False
        self.ending = Ending.PEER
        self._transport: asyncio.Transport | None = None
        self._wire: asyncio.Transport | None = None
        """The socket's own; TLS is upon it."""
        self._paused = False
        """Much of what was written has not left."""
        self._uptake: Uptake | None = None
        """How the peer takes the message under way, if that takes it longer than until the next sweep."""
        self._taken_at = 0.0
        """When it was last seen to have taken some more of one."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def same_for(self) -> tuple[object, ...]:
        """See SessionSettings."""
        return self._settings.same_for

    @property
    def offered(self) -> bool:
        """The handshake was to go on with an earlier session."""
        return self._settings.kept is not None

    @property
    def way(self) -> str:
        """What it was told to leave by: the address that is bound, or a proxy; empty: neither."""
        return self._settings.way

    @property
    def waits_since(self) -> float | None:
        """Since when it has been opening, or waiting for the answers about one message while the peer takes no more of
        it; None: neither."""
        if self.quitting or self._gone:
            return None
        if not self.ready:
            return self.connect_began
        return max(self.began, self._taken_at) if self.current is not None else None

    @property
    def awaits_verdict(self) -> bool:
        """The whole message has left and the peer has not answered: it may have taken it."""
        return self.client.awaits_verdict and not self._holds_some

    @property
    def _holds_some(self) -> bool:
        """Some of what was written is still here: if the connection ends now, it never leaves."""
        return self._paused or self._here > 0

    @property
    def _here(self) -> int:
        """Bytes written that have not left this process."""
        return held_here(self._wire, self._transport)

    def left(self) -> int:
        """Bytes written that the peer's kernel has not confirmed."""
        return self._here + unconfirmed(self._wire)

    # -- what the dispatcher asks for

    def open(self) -> None:
        """Begins to connect."""
        self._run(connect(self))

    def give_up(self, trouble: Trouble) -> None:
        """Ends without a connection."""
        self._fail(trouble)
        self._end()

    def give(self, prepared: Prepared, portion: Portion, now: float, unix_now: float) -> None:
        """Sends one entry to the first of its recipients; the session is ready and the message fit."""
        self.leave_idle()
        self.started_at = unix_now
        self.go_on(prepared, portion, now)

    def go_on(self, prepared: Prepared, portion: Portion, now: float) -> None:
        """Sends it to the next of them."""
        self.current = prepared
        self.portion = portion
        self.began = now
        message, paths = prepared.message, self._settings.return_paths
        envelope = message.envelope
        self.passes_on = self.client.extensions.dsn
        if paths is not None and (sender := paths.sender(message, portion.recipients)) is not None:
            envelope = envelope.returning_to(sender, portion.recipients)
            self.passes_on = False
        self._write(self.client.send(envelope, portion.recipients, prepared.chunks))
        self._set_deadline(now)

    def rest(self, now: float) -> None:
        """Stays open for a while without work, among its destination's idle ones."""
        if not self.idle:
            self.idle = True
            self.deadline = now + self._settings.timeouts.idle
            self.destination.idle.append(self)

    def leave_idle(self) -> None:
        """No longer among the idle ones."""
        if self.idle:
            self.idle = False
            self.destination.idle.remove(self)

    def quit(self) -> None:
        """Ends politely; a transaction under way is not interrupted, so call it between transactions."""
        if self.quitting:
            return
        self.quitting = True
        self.leave_idle()
        self.deadline = self._owner.monotonic() + self._settings.timeouts.quit
        if self._transport is None or self._tasks or not (self.ready or self._failed):
            self.abort()
        else:
            self._write(self.client.quit())

    def is_late(self, now: float) -> bool:
        """The deadline has passed, as of a look at how the peer takes the message."""
        if self.client.awaits_verdict:
            self._look(now)
        return now >= self.deadline

    def _look(self, now: float) -> None:
        """While it takes the message, each step of it may last as long as one write; then the answer's time begins."""
        here, left = self._here, self.left()
        uptake = self._uptake
        if uptake is None or not uptake.is_of(self.began, left):
            self._uptake = Uptake(self.began, here, left)
            goes_on = left > 0
        else:
            goes_on = uptake.goes_on(here, left)
        if goes_on:
            self._taken_at = now
            timeouts = self._settings.timeouts
            self.deadline = now + (timeouts.write if here else timeouts.stages[Stage.END_OF_DATA])

    def expire(self) -> None:
        """The deadline has passed."""
        if self.idle:
            self.quit()
            return
        self.ending = Ending.TIMEOUT
        self.abort()

    def cut(self) -> None:
        """The relay stops: ends at once, which is not the peer's doing."""
        self.ending = Ending.STOP
        self.abort()

    def abort(self) -> None:
        """Ends at once; what was under way is reported as broken."""
        if self._tasks:  # connecting, or in the TLS handshake: it ends by reporting the trouble
            for task in self._tasks:
                task.cancel()
            return
        self._handle(self.client.connection_lost())
        self._ended_by_us = True
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours, and in TLS where that is implicit."""
        self._transport = cast("asyncio.Transport", transport)
        self._wire = self._wire or self._transport
        if self._settings.tls.mode is TlsMode.IMPLICIT:
            self._read_tls()
        self._set_deadline(self._owner.monotonic())

    def data_received(self, data: bytes) -> None:
        """Replies."""
        heard = self.client.replies
        try:
            events = self.client.receive(data)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is this peer's alone
            contain("session", error, host=self._where())
            self._handle(self.client.break_off("what it said broke us"))
            return
        self._handle(events)
        # part of a reply buys no time: else a peer that trickles one holds its message for as long as it likes
        if self.client.replies != heard and not self.idle and not self.quitting:
            self._set_deadline(self._owner.monotonic())

    def pause_writing(self) -> None:
        """The peer does not take what was written as fast as it was."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._paused = False

    def eof_received(self) -> None:
        """The peer has closed; asyncio closes our side in turn."""
        self.peer_closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection."""
        # uvloop says nothing of an end of TLS without close_notify before it: what we did not end, the peer did
        self.peer_closed = self.peer_closed or exc is not None or not self._ended_by_us
        self._handle(self.client.connection_lost())
        self._end()

    # -- events of the machine

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is Write:
                self._transport_writelines(cast("Write", event).chunks)
            elif kind is TransactionDone:
                self._owner.transaction_done(self, cast("TransactionDone", event).results)
            elif kind is Closed:
                self._on_closed(cast("Closed", event))
            else:
                self._on_setup(event)

    def _on_setup(self, event: Event) -> None:
        """Events before the first transaction."""
        if isinstance(event, Ready):
            self._choose_next()
        elif isinstance(event, TlsReady):
            self.deadline = self._owner.monotonic() + self._settings.timeouts.tls
            self._run(upgrade(self))
        elif isinstance(event, TlsRefused):
            self.use_tls = False
            self._go_without(f"STARTTLS was refused: {event.reply}")
        elif isinstance(event, AuthDone):
            self._authenticated = True
            self._choose_next()
        elif isinstance(event, AuthRefused):
            text = Reply(454, (f"4.7.8 {self.target.host} refused our credentials: {event.reply}",))
            self._fail(Trouble(Stage.EHLO, text, Category.AUTH_FAILURE, ours=True))

    def _choose_next(self) -> None:
        """After a greeting: TLS where wanted, then AUTH where wanted, then work."""
        settings = self._settings
        if not self._encrypted and self.use_tls:
            if self.client.extensions.starttls:
                self._write(self.client.starttls())
            else:
                self._go_without("STARTTLS is not offered")
        elif settings.credentials is not None and not self._authenticated:
            self._authenticate(settings.credentials)
        else:
            self.ready = True
            self._keep_tls()
            self._owner.session_ready(self)

    def _go_without(self, why: str) -> None:
        """The peer has no TLS, or somebody on the way has taken it out: no further where something binds."""
        self.use_tls = False
        plan, host = self._settings.tls, self.target.host
        result = plan.result(host, TlsFailure.STARTTLS_NOT_SUPPORTED)
        if plan.mode is TlsMode.REQUIRED:
            self._fail(tls_trouble(f"{self._where()}: {why}{plan.wants}", result))
            return
        if plan.how:
            self.tls = result
        self._choose_next()

    def _authenticate(self, credentials: tuple[str, str]) -> None:
        missing = ""
        if not self._encrypted:
            missing = "credentials are sent only inside TLS, and there is none"
        elif not self.client.extensions.auth_mechanism:
            missing = "neither AUTH PLAIN nor LOGIN is offered"
        if missing:
            text = Reply(454, (f"4.7.0 {self.target.host}: {missing}",))
            self._fail(Trouble(Stage.EHLO, text, Category.AUTH_FAILURE, ours=True))
            return
        self._write(self.client.auth(*credentials))

    def _on_closed(self, closed: Closed) -> None:
        self._over = True
        if closed.after_dot and self._holds_some:
            closed = structs.replace(closed, after_dot=False, unsent=True)
        if not self.ready:
            self._fail(self._trouble_of(closed))
        elif self.current is not None:
            self._owner.transaction_broken(self, closed, self.ending)
        self.quitting = True
        self.leave_idle()
        if closed.reply is None:
            self._close()  # it broke off or broke the protocol: nothing more to hear
        else:
            # the peer closes (RFC 5321 section 4.1.1.10)
            self.deadline = self._owner.monotonic() + self._settings.timeouts.quit

    def _trouble_of(self, closed: Closed) -> Trouble:
        if closed.reply is not None:
            return Trouble(closed.stage, closed.reply)
        where = self._where()
        if self.ending is Ending.TIMEOUT:
            text = f"4.4.2 {where} did not answer in time"
            return Trouble(closed.stage, Reply(421, (text,)), Category.NO_ANSWER_FROM_HOST)
        text = f"4.4.2 {where}: {closed.problem or 'the connection was dropped'}"
        return Trouble(closed.stage, Reply(421, (text,)), Category.BAD_CONNECTION)

    def _fail(self, trouble: Trouble) -> None:
        """Reports once, and ends what there is of the connection."""
        if self._failed or self.ready:
            return
        self._failed = True
        self._owner.session_failed(self, trouble)
        if not self._over and self._transport is not None:
            self.quit()

    # -- the socket

    def _cancelled(self, what: str) -> Trouble:
        """The sweep found that it took too long, or the relay is going down: both end here, as a value."""
        text = f"4.4.1 {what}: {'timed out' if self.ending is Ending.TIMEOUT else 'given up'}"
        return Trouble(Stage.CONNECT, Reply(421, (text,)), Category.NO_ANSWER_FROM_HOST)

    def _broken_handshake(self, error: BaseException) -> Trouble:
        plan = self._settings.tls
        result = plan.result(self.target.host, failure_of_handshake(error))
        text = f"TLS with {self._where()}: {reason(error)}{plan.wants}"
        again = self._settings.kept is not None or plan.mode is TlsMode.OPPORTUNISTIC
        return tls_trouble(text, result, again=again)

    def _fail_upgrade(self, trouble: Trouble) -> None:
        self._over = True
        self._fail(trouble)
        self.client.connection_lost()
        self._ended_by_us = True
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _read_tls(self) -> str:
        """Takes down what was negotiated; why it may not be used, if so."""
        if self._transport is None:
            return ""
        self._encrypted = True
        ssl_object = self._transport.get_extra_info("ssl_object")
        self.tls, wrong = self._settings.examine(ssl_object, self.target.host, self._owner.unix_now())
        return wrong

    def _keep_tls(self) -> None:
        """The peer's tickets came with its first words inside TLS: the connection is good, and so is its session."""
        if self._encrypted and self._transport is not None and self.tls is not None:
            settings, ssl_object = self._settings, self._transport.get_extra_info("ssl_object")
            settings.resumption.keep(settings.same_for, ssl_object, self.tls, self._owner.monotonic())

    def _where(self) -> str:
        return f"{self.target.host}[{self.target.address}]"

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _transport_writelines(self, chunks: tuple[bytes, ...]) -> None:
        if self._transport is None:
            return
        if len(chunks) == 1:
            self._transport.write(chunks[0])
        else:
            self._transport.writelines(chunks)

    def _set_deadline(self, now: float) -> None:
        self.deadline = now + self._settings.timeouts.stages[self.client.stage]

    def _close(self) -> None:
        self._ended_by_us = True
        if self._transport is not None:
            self._transport.close()

    def _end(self) -> None:
        if not self._gone:
            self._gone = True
            self._owner.session_gone(self)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._on_never_begun)
        task.add_done_callback(report)

    def _on_never_begun(self, task: asyncio.Task[None]) -> None:
        """Cancelled in the turn of the loop in which it was made, a task takes no step at all, not even its last."""
        if task.cancelled() and self._transport is None and not self._gone:
            self.give_up(self._cancelled(f"connect to {self.target.host}[{self.target.address}]"))
