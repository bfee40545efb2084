"""The receiving side of SMTP: bytes in, at most one event out, replies gathered for one write.

Before it: `accept`, which owns the sockets. After it: the envelope and content that `accept` makes a Message of.
Invariants: content is handed over once, whole, and only behind CRLF.CRLF or the last octet that BDAT announced; nothing
that came in plain text survives STARTTLS; nothing the peer sends raises, and what a session holds is bounded.

How a driver uses it
    server = Server(options, policy)                 # policy: synchronous answers about senders and recipients
    transport.write(server.greet())
    event = server.receive(data)                     # then, always: transport.write(server.take_output())
Every event is a wait: what the peer has pipelined meanwhile is kept until the answer.
    StartTls         -> after the handshake server.tls_started()
    AuthAttempt      -> event = server.auth_result(user, failure)
    MessageReceived  -> event = server.reply(Reply(...))
    Pause            -> after so long, without take_output before it: event = server.resume()
    Closed           -> close the connection, once the output is written

Theory of operation
    state       what is read                       leads to
    COMMAND     a command line                     COMMAND; DATA on DATA; SASL on AUTH; TLS on STARTTLS; CLOSED on QUIT
    SASL        one base64 line                    SASL until the exchange is over, then AUTH (AuthAttempt); COMMAND
                                                   if it is cancelled or malformed
    CONTENT     content to its end, or a chunk     ACCEPT (MessageReceived), or COMMAND if the content is refused or
                (`smtp.content`)                   more chunks are to come
    TLS         nothing: plain text is dropped     COMMAND by tls_started
    AUTH        nothing: input is kept             COMMAND by auth_result
    PAUSE       nothing: input is kept             COMMAND by resume
    ACCEPT      nothing: input is kept             COMMAND by reply
    CLOSED      nothing                            -

    A transaction is (sender, recipients). MAIL opens it; EHLO, RSET, the reply to content, and TLS end it.
    A reply with code 421 closes the session after it, whoever gave it.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from lane_api.isppolicy import Stage
from lane_relay.records import Reply
from lane_relay.smtp.chunks import parse_chunk
from lane_relay.smtp.command import BLANKS, FIXED_REPLIES, MAX_COMMAND_LINE, broken_line, no_command
from lane_relay.smtp.conduct import Conduct
from lane_relay.smtp.content import CHUNK_TAKEN, ContentReader
from lane_relay.smtp.errors import LocalProtocolError
from lane_relay.smtp.input_buffer import InputBuffer
from lane_relay.smtp.reply import format_reply
from lane_relay.smtp.sasl import Challenge, SaslExchange, begin_sasl
from lane_relay.smtp.server_events import (
    AuthAttempt,
    Closed,
    Event,
    MessageReceived,
    Options,
    Pause,
    SessionPolicy,
    StartTls,
)
from lane_relay.smtp.server_transaction import InboundTransaction, Refusal

__all__ = [
    "AuthAttempt", "Closed", "Event", "MessageReceived", "Options", "Pause", "Server", "SessionPolicy", "StartTls",
]  # fmt: skip


class State(IntEnum):
    """What is read next."""

    COMMAND = 0
    SASL = 1
    CONTENT = 2
    TLS = 3
    PAUSE = 4
    AUTH = 5
    ACCEPT = 6
    CLOSED = 7


_SENDER_OK: Final = b"250 2.1.0 Ok\r\n"
_RECIPIENT_OK: Final = b"250 2.1.5 Ok\r\n"
_GO_AHEAD: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_CHUNK_OK: Final = format_reply(CHUNK_TAKEN.code, *CHUNK_TAKEN.lines)
_NO_SENDER: Final = Reply(503, ("5.5.1 Send MAIL first",))
_NO_RECIPIENTS: Final = Reply(554, ("5.5.1 No valid recipients",))
_IN_CHUNKS: Final = "5.5.1 The message comes by BDAT: go on with BDAT, or begin again with RSET"
_CLOSED: Final = Closed()


class Server:
    """One SMTP session, seen from its receiving end. `tls`: the connection began with TLS."""

    __slots__ = (
        "_conduct", "_content", "_input", "_mail", "_options", "_output", "_policy", "_sasl", "_state", "_stopping",
        "helo", "is_esmtp", "tls", "user",
    )  # fmt: skip

    def __init__(self, options: Options, policy: SessionPolicy, *, tls: bool = False) -> None:
        self._options = options
        self._policy = policy
        self._state = State.COMMAND
        self._input = InputBuffer()
        self._content = ContentReader(self._input, options.max_size)
        self._output: list[bytes] = []
        self._mail = InboundTransaction(options, policy)
        self._sasl = SaslExchange("")
        self._conduct = Conduct(options)
        self._stopping: Reply | None = None
        self.tls = tls
        self.helo = ""
        self.is_esmtp = False
        self.user = ""
        """Who authenticated, or empty."""

    # -- what the driver asks

    @property
    def held_bytes(self) -> int:
        """Bytes of the peer that are held in memory."""
        chunks = self._content.chunks
        return len(self._input.data) + (len(chunks.content) if chunks is not None else 0)

    @property
    def errors(self) -> int:
        """How often the peer erred in this session."""
        return self._conduct.errors

    @property
    def is_waiting(self) -> bool:
        """An event has not been answered: the driver should not read on."""
        return self._state >= State.TLS

    @property
    def has_transaction(self) -> bool:
        """MAIL was taken, and what it began is not over."""
        return self._mail.sender is not None

    @property
    def is_paused(self) -> bool:
        """Nothing is to be read until the pause is over."""
        return self._state is State.PAUSE

    @property
    def is_receiving(self) -> bool:
        """Content is coming in, or more chunks of it are to come."""
        return self._state is State.CONTENT or (self._content.is_chunked and self._state is State.COMMAND)

    def take_output(self) -> bytes:
        """The replies since the last call, for one write."""
        output = self._output
        if not output:
            return b""
        self._output = []
        return output[0] if len(output) == 1 else b"".join(output)

    # -- what the driver does

    def greet(self) -> bytes:
        """The banner."""
        return format_reply(220, f"{self._options.hostname} ESMTP")

    def tls_started(self) -> None:
        """The handshake is done: all that came before it is forgotten (RFC 3207 section 4.2).

        Without effect if the session was stopped meanwhile.
        """
        if self._state is State.CLOSED:
            return
        self._must_be(State.TLS)
        self._state = State.COMMAND
        self.tls = True
        self.helo = self.user = ""
        self.is_esmtp = False
        self._end_transaction()

    def auth_result(self, user: str, failure: Reply | None = None) -> Event | None:
        """The answer to AuthAttempt: the authenticated user, or how it failed."""
        self._must_be(State.AUTH)
        self._state = State.COMMAND
        if failure is None:
            self.user = user
            self._output.append(b"235 2.7.0 Authenticated\r\n")
        else:
            self._output.append(format_reply(failure.code, *failure.lines))
            last_word = self._conduct.on_auth_failure()
            if last_word is not None:
                return self._close(last_word)
        return self._close(self._stopping) if self._stopping is not None else self._proceed()

    def reply(self, reply: Reply) -> Event | None:
        """The answer to MessageReceived."""
        self._must_be(State.ACCEPT)
        return self._end_content(reply) or (self._proceed() if self._input.data else None)

    def resume(self) -> Event | None:
        """The pause is over; without effect if the session is, too."""
        if self._state is not State.PAUSE:
            return None
        self._state = State.COMMAND
        return (
            self._close(self._stopping) if self._stopping is not None and self._mail.sender is None else self._proceed()
        )

    def discard(self, refusal: Reply) -> None:
        """Content that is coming in is kept no longer, and refused with this at its end; else without effect."""
        if self.is_receiving:
            self._content.discard(refusal)

    def stop(self, reply: Reply, *, at_once: bool = False) -> Event | None:
        """Closes with this reply: now if no transaction is open or `at_once`, else behind the answer to its message."""
        if self._state is State.CLOSED or self._state is State.TLS:
            self._state = State.CLOSED
            return _CLOSED
        if at_once or (self._mail.sender is None and self._state is not State.AUTH):
            return self._close(reply)
        self._stopping = reply
        return None

    # -- what the peer does

    def receive(self, data: bytes) -> Event | None:
        """The event that these bytes bring about, if any."""
        state = self._state
        if state is State.CLOSED or state is State.TLS:
            return None
        if not self._input.data and data:
            # One whole command or content in one read: the common case, without a copy through the buffer.
            if state is State.COMMAND and data.find(b"\n") == len(data) - 1:
                return self._on_line(data)
            if state is State.CONTENT:
                outcome = self._content.read_at_once(data)
                if outcome is not None:
                    return self._on_content(outcome)
        self._input.data += data
        return self._proceed()

    def _proceed(self) -> Event | None:
        event, waiting = None, self._input
        while event is None and waiting.data:
            if self._state is State.CONTENT:
                outcome = self._content.read()
                if outcome is None:
                    return None
                event = self._on_content(outcome)
            elif self._state < State.CONTENT:
                line = waiting.cut_line()
                if line is None:
                    return None
                event = self._on_line(line)
            else:
                return None
        return event

    # -- content

    def _on_content(self, outcome: bytes | Reply) -> Event | None:
        if isinstance(outcome, bytes):
            self._state = State.ACCEPT
            return self._mail.received(outcome)
        self._state = State.COMMAND
        if outcome is CHUNK_TAKEN:
            self._output.append(_CHUNK_OK)
            return None
        if self._mail.recipients:
            return self._end_content(outcome)
        event = self._count_behind_a_refusal(outcome)
        self._end_transaction()
        return event

    def _end_content(self, reply: Reply) -> Event | None:
        event = None
        self._state = State.COMMAND
        if reply.code >= 400:
            event = self._refuse(Refusal(Stage.END_OF_DATA, reply, self._mail.sender, tuple(self._mail.recipients)))
        else:
            self._output.append(format_reply(reply.code, *reply.lines))
            self._conduct.on_message()
        self._end_transaction()
        if event is None and self._stopping is not None:
            return self._close(self._stopping)
        return event

    # -- replies

    def _must_be(self, state: State) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"only in state {state.name}, not in {self._state.name}")

    def _close(self, reply: Reply) -> Event:
        self._output.append(format_reply(reply.code, *reply.lines))
        self._state = State.CLOSED
        self._input.data.clear()
        return _CLOSED

    def _error(self, code: int, text: str) -> Event | None:
        """A command that is not understood or not allowed now."""
        return self._count_error(Reply(code, (text,)))

    def _count_error(self, reply: Reply, *, is_error: bool = True) -> Event | None:
        """A negative reply; only permanent ones are counted (452 asks for another transaction)."""
        if reply.code == 421:
            return self._close(reply)
        self._output.append(format_reply(reply.code, *reply.lines))
        if reply.code < 500 or not is_error:
            return None
        cost = self._conduct.on_error()
        if isinstance(cost, Reply):
            return self._close(cost)
        if not cost or self._state is not State.COMMAND:
            return None
        self._state = State.PAUSE
        return Pause(cost)

    def _count_behind_a_refusal(self, reply: Reply) -> Event | None:
        """What is pipelined behind refused mail comes to nothing, and is as much of an error as that was."""
        return self._count_error(reply, is_error=not self._mail.is_turned_down)

    def _refuse(self, refusal: Reply | Refusal) -> Event | None:
        if isinstance(refusal, Reply):
            return self._count_error(refusal)
        is_error = self._policy.refused(refusal.stage, refusal.reply, refusal.sender, refusal.recipients)
        if not is_error:
            self._conduct.on_refusal()
            self._mail.is_turned_down = True
        return self._count_error(refusal.reply, is_error=is_error)

    def _end_transaction(self) -> None:
        self._mail.end()
        self._content.end()

    # -- commands

    def _on_line(self, raw: bytes) -> Event | None:
        if len(raw) > MAX_COMMAND_LINE or raw[-2:] != b"\r\n" or raw.find(b"\r") != len(raw) - 2:
            broken = broken_line(raw, is_sasl=self._state is State.SASL)
            if broken is not None:
                return self._close(broken)
        try:
            line = raw[:-2].decode()
        except UnicodeDecodeError:
            self._state = State.COMMAND  # of AUTH as well, for its client has heard that it failed
            return self._error(500, "5.5.2 The line is not UTF-8")
        if self._state is not State.COMMAND:
            return self._on_sasl_line(line)
        if self._stopping is not None and self._mail.sender is None:
            return self._close(self._stopping)
        last_word = self._conduct.on_command()
        if last_word is not None:
            return self._close(last_word)
        verb, _, argument = line.partition(" ")
        handler = _COMMANDS.get(verb) or _COMMANDS.get(verb.upper())
        return handler(self, argument) if handler is not None else self._on_other(verb.upper())

    def _on_other(self, verb: str) -> Event | None:
        fixed = FIXED_REPLIES.get(verb)
        if fixed is not None:
            self._output.append(fixed)
            return None
        return self._count_error(no_command(verb))

    def _on_ehlo(self, argument: str) -> Event | None:
        if not self._set_helo(argument, is_esmtp=True):
            return self._error(501, "5.5.4 EHLO needs a domain name or address literal")
        self._output.append(format_reply(250, *self._options.ehlo_lines(tls=self.tls)))
        return None

    def _on_helo(self, argument: str) -> Event | None:
        if not self._set_helo(argument, is_esmtp=False):
            return self._error(501, "5.5.4 HELO needs a domain name or address literal")
        self._output.append(format_reply(250, self._options.hostname))
        return None

    def _set_helo(self, argument: str, *, is_esmtp: bool) -> bool:
        name = argument.strip(BLANKS)
        if not name or not name.isprintable() or " " in name or len(name) > 255:
            return False
        self.helo = name
        self.is_esmtp = is_esmtp
        self._end_transaction()
        return True

    def _on_mail(self, argument: str) -> Event | None:
        if not self.helo:
            return self._error(503, "5.5.1 Say EHLO first")
        if self._mail.sender is not None:
            return self._error(503, "5.5.1 A transaction is open: send RSET first")
        refusal = self._mail.open(argument)
        if refusal is not None:
            return self._refuse(refusal)
        self._output.append(_SENDER_OK)
        return None

    def _on_rcpt(self, argument: str) -> Event | None:
        if self._mail.sender is None:
            return self._count_behind_a_refusal(_NO_SENDER)
        if self._content.is_chunked:
            return self._error(503, _IN_CHUNKS)
        refusal = self._mail.add(argument)
        if refusal is not None:
            return self._refuse(refusal)
        self._conduct.on_use()
        self._output.append(_RECIPIENT_OK)
        return None

    def _on_data(self, argument: str) -> Event | None:
        if argument.strip(BLANKS):
            return self._error(501, "5.5.4 DATA takes no argument")
        if self._mail.sender is None:
            return self._count_behind_a_refusal(_NO_SENDER)
        if not self._mail.recipients:
            return self._count_behind_a_refusal(_NO_RECIPIENTS)
        if self._content.is_chunked:
            return self._error(503, _IN_CHUNKS)
        self._state = State.CONTENT
        self._content.begin_data()
        self._output.append(_GO_AHEAD)
        return None

    def _on_bdat(self, argument: str) -> Event | None:
        chunk = parse_chunk(argument)
        if chunk is None:  # what follows may be content: read as commands it could be anybody's
            return self._close(_say(501, "5.5.4 Write BDAT octets, or BDAT octets LAST"))
        refusal = None
        if not self._mail.recipients:
            refusal = _NO_RECIPIENTS if self._mail.sender is not None else _NO_SENDER
        if chunk.size:
            self._conduct.on_use()
        self._content.begin_chunk(chunk, refusal)
        self._state = State.CONTENT
        outcome = self._content.read()
        return self._on_content(outcome) if outcome is not None else None

    def _on_rset(self, argument: str) -> Event | None:
        if argument.strip(BLANKS):
            return self._error(501, "5.5.4 RSET takes no argument")
        self._end_transaction()
        self._output.append(FIXED_REPLIES["NOOP"])
        return None

    def _on_quit(self, _argument: str) -> Event | None:
        return self._close(_say(221, "2.0.0 Bye"))

    def _on_starttls(self, argument: str) -> Event | None:
        if argument.strip(BLANKS):
            return self._error(501, "5.5.4 STARTTLS takes no argument")
        if not self._options.starttls or self.tls:
            return self._error(503, "5.5.1 TLS is active" if self.tls else "5.5.1 TLS is not offered")
        if self._mail.sender is not None:
            return self._error(503, "5.5.1 A transaction is open: send RSET first")
        self._state = State.TLS
        # What was pipelined behind STARTTLS came in plain text and may be an attacker's (CVE-2011-0411).
        self._input.data.clear()
        self._output.append(b"220 2.0.0 Ready to start TLS\r\n")
        return StartTls()

    def _on_auth(self, argument: str) -> Event | None:
        mechanism, _, initial = argument.strip(BLANKS).partition(" ")
        if not self._options.auth or not self.helo:
            return self._error(503, "5.5.1 AUTH is not offered" if self.helo else "5.5.1 Say EHLO first")
        if not self.tls:
            return self._error(538, "5.7.11 AUTH needs TLS: send STARTTLS first")
        if self.user or self._mail.sender is not None:
            return self._error(503, "5.5.1 AUTH is done" if self.user else "5.5.1 AUTH inside a transaction")
        exchange = begin_sasl(mechanism)
        if exchange is None:
            return self._error(504, "5.5.4 Only AUTH PLAIN and AUTH LOGIN are offered")
        self._sasl = exchange
        self._state = State.SASL
        if initial:
            return self._on_sasl_line(initial)
        self._output.append(exchange.first_challenge)
        return None

    def _on_sasl_line(self, line: str) -> Event | None:
        step = self._sasl.answer(line)
        if isinstance(step, Challenge):
            self._output.append(step.line)
            return None
        if isinstance(step, Reply):
            self._state = State.COMMAND
            return self._count_error(step)
        self._state = State.AUTH
        return AuthAttempt(step.username, step.password)


def _say(code: int, text: str) -> Reply:
    return Reply(code, (text,))


_COMMANDS: Final[dict[str, Callable[[Server, str], Event | None]]] = {
    "EHLO": Server._on_ehlo,
    "HELO": Server._on_helo,
    "MAIL": Server._on_mail,
    "RCPT": Server._on_rcpt,
    "DATA": Server._on_data,
    "BDAT": Server._on_bdat,
    "RSET": Server._on_rset,
    "QUIT": Server._on_quit,
    "STARTTLS": Server._on_starttls,
    "AUTH": Server._on_auth,
}
