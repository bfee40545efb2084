"""The sending side of SMTP: replies in, events and bytes out.

Before it: `deliver`, which owns the socket, time limits and the choice of what to send. After it: the far end.
Invariants: a transaction's body is never sent twice and never before its 354; every transaction that was begun ends
in exactly one TransactionDone or is named by the one Closed; nothing but LocalProtocolError is ever raised.

How a driver uses it
    client = Client("out1.example.com")          # connected; the banner is awaited
    for event in client.receive(data): ...       # Write -> transport.writelines(event.chunks), in order
    client.connection_lost()                     # -> [Closed(...)], or [] if it was closed already
After Ready the driver calls one of starttls, auth, send, quit, each of which returns bytes to write.

Theory of operation
    The state names the reply that is awaited. One reply moves it once; all moves are in this module.

    state       a good reply leads to                     a refusal leads to
    BANNER      EHLO (EHLO is written)                    Closed
    EHLO        READY (Ready)                             HELO (HELO is written), Closed on 4yz
    HELO        READY (Ready)                             Closed
    STARTTLS    HANDSHAKE (TlsReady)                      READY (TlsRefused)
    HANDSHAKE   - no reply is awaited; `greet` leads to EHLO -
    AUTH...     READY (AuthDone), after LOGIN's two steps READY (AuthRefused)
    CLEAR       MAIL: the RSET that we put before a MAIL  MAIL
    MAIL        RCPT                                      RCPT, with the refusal kept for all recipients
    RCPT        RCPT until the last, then DATA            the same, with the refusal kept for this recipient
    DATA        END (the body is written)                 READY (TransactionDone)
    END         READY (TransactionDone)                   READY (TransactionDone)
    EMPTY       READY (TransactionDone): a lone dot ended a 354 that came although no recipient was accepted
    QUIT        Closed                                    Closed

    With PIPELINING, MAIL, every RCPT and DATA leave in one write (RFC 2920) and the states only count replies. Without
    it each state writes the next command, and a refusal ends the transaction at once. A transaction that ended with
    MAIL accepted but without a body leaves the peer in mid-transaction; the next group then begins with RSET.
    421 ends the connection wherever it comes (RFC 5321 section 3.8).
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from lane_api.isppolicy import Stage
from lane_relay.records import Envelope, Reply
from lane_relay.smtp.client_events import (
    AuthDone,
    AuthRefused,
    Closed,
    Event,
    Ready,
    RecipientReply,
    TlsReady,
    TlsRefused,
    TransactionDone,
    Write,
)
from lane_relay.smtp.data import END_OF_DATA
from lane_relay.smtp.errors import LocalProtocolError
from lane_relay.smtp.extensions import Extensions, read_extensions
from lane_relay.smtp.reply import ReplyParser
from lane_relay.smtp.transaction import Transaction, begin_transaction, command_text

__all__ = [
    "REPLY_TIMEOUTS",
    "AuthDone",
    "AuthRefused",
    "Client",
    "Closed",
    "Event",
    "Extensions",
    "Ready",
    "RecipientReply",
    "TlsReady",
    "TlsRefused",
    "TransactionDone",
    "Write",
]

REPLY_TIMEOUTS: Final = MappingProxyType(
    {
        Stage.CONNECT: 300.0,
        Stage.EHLO: 300.0,
        Stage.MAIL: 300.0,
        Stage.RCPT: 300.0,
        Stage.DATA: 120.0,
        Stage.END_OF_DATA: 600.0,
        Stage.ANY: 300.0,
    }
)
"""Seconds to wait for a reply (RFC 5321 section 4.5.3.2); how long sending a body may take is up to the driver."""


class State(IntEnum):
    """The reply that is awaited."""

    BANNER = 0
    EHLO = 1
    HELO = 2
    READY = 3
    STARTTLS = 4
    HANDSHAKE = 5
    AUTH = 6
    AUTH_USER = 7
    AUTH_PASSWORD = 8
    CLEAR = 9
    MAIL = 10
    RCPT = 11
    DATA = 12
    END = 13
    EMPTY = 14
    QUIT = 15
    CLOSED = 16


_STAGES: Final[tuple[Stage, ...]] = (
    Stage.CONNECT,
    Stage.EHLO,
    Stage.EHLO,
    Stage.ANY,
    Stage.EHLO,
    Stage.EHLO,
    Stage.EHLO,
    Stage.EHLO,
    Stage.EHLO,
    Stage.MAIL,
    Stage.MAIL,
    Stage.RCPT,
    Stage.DATA,
    Stage.END_OF_DATA,
    Stage.END_OF_DATA,
    Stage.ANY,
    Stage.ANY,
)
"""By state, in its order."""

_JOIN_UP_TO: Final = 64 * 1024
"""Body chunks below it are joined into one write: copying is cheaper than a second system call."""


_IDLE: Final = Transaction((), [], ())
"""Stands for no transaction; nothing is ever added to it."""


class Client:
    """One SMTP connection, seen from its sending end. `tls`: the connection began with TLS."""

    __slots__ = (
        "_clear", "_credentials", "_current", "_hostname", "_parser", "_state", "_tls", "extensions", "replies",
    )  # fmt: skip

    def __init__(self, hostname: str, *, tls: bool = False) -> None:
        self._hostname = command_text(hostname)
        self._tls = tls
        self._parser = ReplyParser()
        self.replies = 0
        """Whole replies so far: a peer that sends part of one has not answered yet."""
        self._state = State.BANNER
        self._current = _IDLE
        self._clear = False
        """The peer is in mid-transaction: RSET must come before the next MAIL."""
        self._credentials = ("", "")
        self.extensions = Extensions()

    # -- what the driver asks

    @property
    def stage(self) -> Stage:
        """Where the session stands, for time limits (REPLY_TIMEOUTS) and records; ANY when nothing is awaited."""
        return _STAGES[self._state]

    @property
    def is_closed(self) -> bool:
        """Closed was given out."""
        return self._state is State.CLOSED

    @property
    def can_send(self) -> bool:
        """`send` is allowed now: nothing is under way."""
        return self._state is State.READY

    @property
    def awaits_verdict(self) -> bool:
        """The whole message was given to the driver, and the peer has not answered."""
        return self._state is State.END

    def unfit(self, envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]) -> Reply | None:
        """Why this peer cannot take the message, as our own local reply, or None; asked before `send`."""
        return self.extensions.unfit(envelope, recipients, body)

    # -- what the driver does; each returns bytes to write

    def greet(self) -> bytes:
        """EHLO after the handshake that TlsReady asked for; all that was known of the peer is forgotten (RFC 3207)."""
        self._must_be(State.HANDSHAKE)
        self._tls = True
        self._state = State.EHLO
        self.extensions = Extensions()
        return b"EHLO %b\r\n" % self._hostname

    def starttls(self) -> bytes:
        """STARTTLS; answered by TlsReady or TlsRefused."""
        self._must_be(State.READY)
        if self._tls:
            raise LocalProtocolError("STARTTLS inside TLS")
        self._state = State.STARTTLS
        return b"STARTTLS\r\n"

    def auth(self, username: str, password: str) -> bytes:
        """AUTH with `extensions.auth_mechanism`, only inside TLS; answered by AuthDone or AuthRefused."""
        self._must_be(State.READY)
        if not self._tls:
            raise LocalProtocolError("credentials are sent only inside TLS")
        mechanism = self.extensions.auth_mechanism
        if mechanism == "PLAIN":  # RFC 4616: authorization identity (empty), NUL, user, NUL, password
            self._state = State.AUTH
            return b"AUTH PLAIN %b\r\n" % b64encode(f"\0{username}\0{password}".encode())
        if mechanism == "LOGIN":
            self._credentials = (username, password)
            self._state = State.AUTH_USER
            return b"AUTH LOGIN\r\n"
        raise LocalProtocolError("the peer offers neither AUTH PLAIN nor LOGIN; ask extensions.auth_mechanism first")

    def send(self, envelope: Envelope, recipients: Sequence[int], body: Sequence[bytes]) -> bytes:
        """Begins a transaction for these recipients; `body` is unstuffed, its chunks whole lines with CRLF.

        Answered by TransactionDone or by Closed. Raises LocalProtocolError unless `can_send`, or if the message is
        `unfit`.
        """
        if not recipients or not self.can_send:
            raise LocalProtocolError(f"send without recipients, or in state {self._state.name}")
        refusal = self.unfit(envelope, recipients, body)
        if refusal is not None:
            raise LocalProtocolError(f"send of an unfit message: {refusal}")
        return self._begin(begin_transaction(self.extensions, envelope, recipients, body))

    def quit(self) -> bytes:
        """QUIT; answered by Closed. Empty if the session is over already."""
        if self._state is State.CLOSED:
            return b""
        if self._current is not _IDLE:
            raise LocalProtocolError("QUIT inside a transaction")
        self._state = State.QUIT
        return b"QUIT\r\n"

    # -- what the peer does

    def receive(self, data: bytes) -> list[Event]:
        """The events that these bytes bring about."""
        events: list[Event] = []
        replies = self._parser.feed(data)
        self.replies += len(replies)
        for reply in replies:
            if self._state is State.CLOSED:
                return events
            if reply.code == 421:
                self._close_with(reply, events)
            elif self._state is State.HANDSHAKE:
                self._refuse_injection(events)
            elif self._state is State.READY:
                self._break_off("a reply that nothing asked for", events)
            else:
                _ON_REPLY[self._state](self, reply, events)
        if self._state is State.HANDSHAKE and (self._parser.is_pending or self._parser.broken):
            self._refuse_injection(events)
        if self._parser.broken and self._state is not State.CLOSED:
            self._break_off(self._parser.broken, events)
        return events

    def connection_lost(self) -> list[Event]:
        """The connection is gone, or the driver gave up waiting."""
        return self.break_off("")

    def break_off(self, problem: str) -> list[Event]:
        """No more is heard or said, for this reason of the driver's."""
        events: list[Event] = []
        if self._state is not State.CLOSED:
            self._break_off(problem, events)
        return events

    # -- moves

    def _must_be(self, state: State) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"only in state {state.name}, not in {self._state.name}")

    def _begin(self, transaction: Transaction) -> bytes:
        self._current = transaction
        first = b""
        self._state = State.MAIL
        if self._clear:
            self._clear = False
            self._state = State.CLEAR
            first = b"RSET\r\n"
        if self.extensions.pipelining:
            return first + b"".join(transaction.commands)
        return first or transaction.commands[0]

    def _advance(self, transaction: Transaction, state: State, events: list[Event]) -> None:
        """The next reply is awaited; a peer without PIPELINING gets its command only now."""
        self._state = state
        if not self.extensions.pipelining:
            events.append(Write((transaction.commands[transaction.step],)))

    def _finish(self, results: tuple[RecipientReply, ...], events: list[Event]) -> None:
        self._current = _IDLE
        self._state = State.READY
        events.append(TransactionDone(results))

    def _close_with(self, reply: Reply, events: list[Event]) -> None:
        """The peer closes with 421: its answer to whatever was awaited."""
        stage = _STAGES[self._state]
        if self._current is not _IDLE:
            events.append(TransactionDone(self._current.settle(stage, reply)))
        self._state, self._current = State.CLOSED, _IDLE
        events.append(Closed(stage, reply))

    def _break_off(self, problem: str, events: list[Event]) -> None:
        refused = tuple(self._current.refused)
        events.append(Closed(_STAGES[self._state], None, self._state is State.END, refused, problem))
        self._state, self._current = State.CLOSED, _IDLE

    def _refuse_injection(self, events: list[Event]) -> None:
        """Plain text behind the 220 to STARTTLS would pass for the words of the encrypted session (CVE-2021-38371)."""
        events[:] = [event for event in events if not isinstance(event, TlsReady)]
        self._break_off("more plain text after the answer to STARTTLS", events)

    def _end_session(self, reply: Reply, events: list[Event]) -> None:
        events.append(Closed(_STAGES[self._state], reply))
        self._state = State.CLOSED

    # -- one method for each row of the table

    def _in_banner(self, reply: Reply, events: list[Event]) -> None:
        if not 200 <= reply.code < 300:
            self._end_session(reply, events)
            return
        self._state = State.EHLO
        events.append(Write((b"EHLO %b\r\n" % self._hostname,)))

    def _in_ehlo(self, reply: Reply, events: list[Event]) -> None:
        if 200 <= reply.code < 300:
            self.extensions = read_extensions(reply)
            self._state = State.READY
            events.append(Ready(self.extensions))
        elif reply.is_permanent and not self._tls:
            # RFC 5321 section 3.2: a peer that does not know EHLO is asked with HELO.
            self._state = State.HELO
            events.append(Write((b"HELO %b\r\n" % self._hostname,)))
        else:
            self._end_session(reply, events)

    def _in_helo(self, reply: Reply, events: list[Event]) -> None:
        if not 200 <= reply.code < 300:
            self._end_session(reply, events)
            return
        self.extensions = Extensions(host=reply.lines[0].split(" ", 1)[0], by_helo=True)
        self._state = State.READY
        events.append(Ready(self.extensions))

    def _in_starttls(self, reply: Reply, events: list[Event]) -> None:
        if reply.code == 220:
            self._state = State.HANDSHAKE
            events.append(TlsReady())
        else:
            self._state = State.READY
            events.append(TlsRefused(reply))

    def _in_auth(self, reply: Reply, events: list[Event]) -> None:
        self._credentials = ("", "")
        if 300 <= reply.code < 400:
            self._break_off("a challenge that the SASL mechanism does not have", events)
            return
        self._state = State.READY
        events.append(AuthDone() if reply.is_positive else AuthRefused(reply))

    def _in_auth_login(self, reply: Reply, events: list[Event]) -> None:
        if reply.code != 334:
            self._in_auth(reply, events)
            return
        answer = self._credentials[0 if self._state is State.AUTH_USER else 1]
        self._state = State.AUTH_PASSWORD if self._state is State.AUTH_USER else State.AUTH
        events.append(Write((b64encode(answer.encode()) + b"\r\n",)))

    def _in_clear(self, _reply: Reply, events: list[Event]) -> None:
        self._advance(self._current, State.MAIL, events)

    def _in_mail(self, reply: Reply, events: list[Event]) -> None:
        transaction = self._current
        if 200 <= reply.code < 300:
            transaction.mail_accepted = True
        elif reply.code < 400:
            self._break_off(f"{reply.code} in answer to MAIL", events)
            return
        else:
            transaction.mail_refusal = reply
            if not self.extensions.pipelining:
                self._finish(transaction.settle(Stage.MAIL, reply), events)
                return
        transaction.step = 1
        self._advance(transaction, State.RCPT, events)

    def _in_rcpt(self, reply: Reply, events: list[Event]) -> None:
        transaction = self._current
        index = transaction.indexes[transaction.step - 1]
        if 200 <= reply.code < 300:
            transaction.accepted.append(index)
        elif reply.code < 400:
            self._break_off(f"{reply.code} in answer to RCPT", events)
            return
        else:
            transaction.refused.append(RecipientReply(index, Stage.RCPT, reply))
        transaction.step += 1
        if transaction.step <= len(transaction.indexes):
            self._advance(transaction, State.RCPT, events)
        elif transaction.accepted or self.extensions.pipelining:
            self._advance(transaction, State.DATA, events)
        else:
            self._clear = True
            self._finish(transaction.settle(Stage.RCPT, reply), events)

    def _in_data(self, reply: Reply, events: list[Event]) -> None:
        transaction = self._current
        if 300 <= reply.code < 400:
            self._send_content(transaction, events)
        elif reply.code < 300:
            self._break_off(f"{reply.code} in answer to DATA", events)
        else:
            self._clear = transaction.mail_accepted
            self._finish(transaction.settle(Stage.DATA, reply), events)

    def _send_content(self, transaction: Transaction, events: list[Event]) -> None:
        if transaction.mail_refusal is not None or not transaction.accepted:
            # RFC 2920 section 3.1: the peer took DATA although nobody is to get it; it must get an empty message.
            self._state = State.EMPTY
            events.append(Write((END_OF_DATA,)))
            return
        self._state = State.END
        chunks = transaction.content
        transaction.content = ()
        if len(chunks) > 1 and sum(map(len, chunks)) <= _JOIN_UP_TO:
            chunks = (b"".join(chunks),)
        events.append(Write(chunks))

    def _in_end(self, reply: Reply, events: list[Event]) -> None:
        transaction = self._current
        if 300 <= reply.code < 400:
            self._break_off(f"{reply.code} in answer to the end of data", events)
        else:
            self._finish(transaction.settle(Stage.END_OF_DATA, reply), events)

    def _in_empty(self, reply: Reply, events: list[Event]) -> None:
        transaction = self._current
        self._finish(transaction.settle(Stage.RCPT, reply), events)


_ON_REPLY: Final[dict[State, Callable[[Client, Reply, list[Event]], None]]] = {
    State.BANNER: Client._in_banner,
    State.EHLO: Client._in_ehlo,
    State.HELO: Client._in_helo,
    State.STARTTLS: Client._in_starttls,
    State.AUTH: Client._in_auth,
    State.AUTH_USER: Client._in_auth_login,
    State.AUTH_PASSWORD: Client._in_auth_login,
    State.CLEAR: Client._in_clear,
    State.MAIL: Client._in_mail,
    State.RCPT: Client._in_rcpt,
    State.DATA: Client._in_data,
    State.END: Client._in_end,
    State.EMPTY: Client._in_empty,
    State.QUIT: Client._end_session,
}
