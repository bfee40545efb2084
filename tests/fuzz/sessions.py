"""Sessions that are fuzzed: a client that writes anything to our server, a server that answers anything to our client.

The first byte of an input says how the other end behaves (TLS from the start, right or wrong passwords, a pause soon, a
drain), the next ones where its stream is cut; `HELLO` in the stream is where it begins a handshake. Before: bytes of
`targets`. After: `transcript`, which says what the client could have brought about.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from lane_relay.records import Envelope, Notify, RecipientOptions, Reply
from lane_relay.smtp.client import (
    AuthDone,
    AuthRefused,
    Client,
    Closed,
    Ready,
    TlsReady,
    TlsRefused,
    TransactionDone,
    Write,
)
from lane_relay.smtp.client_events import Event as ClientEvent
from lane_relay.smtp.data import stuff
from lane_relay.smtp.errors import LocalProtocolError
from lane_relay.smtp.extensions import Extensions
from lane_relay.smtp.server import AuthAttempt, Event, MessageReceived, Pause, Server
from lane_relay.smtp.server import Closed as SessionClosed
from tests.fuzz.transcript import Transcript
from tests.lane_relay.smtp.talking import OPTIONS, STORED, Policy

__all__ = ["HELLO", "SmuggledError", "esmtp_client", "esmtp_server", "judge_content"]

HELLO: Final = b"\x16\x03\x01"
"""How a handshake begins on the wire; where none was asked for, these are bytes like others."""
TLS, RIGHT, TURNS, STRICT, REFUSING, DRAINED, DISCARDED, CHOOSY = (1 << bit for bit in range(8))
"""Of the first byte, for the server: how its driver behaves. TURNS: each second password is right."""
UPGRADE, LOG_IN, PATIENT, LEAVE = 2, 4, 8, 16
"""For the client: it asks for TLS, for AUTH; the peer waits behind each line; QUIT at the end. TLS as above."""
_STRICT: Final = replace(OPTIONS, max_errors=6, errors_at_once=1, longest_pause=2.0)
_FULL: Final = Reply(452, ("4.3.1 later",))
_WRONG: Final = Reply(535, ("5.7.8 no",))
_NOBODY: Final = re.compile(r"[^:]*: *<(@[^>]*:)?>")
"""The argument of MAIL with the null reverse-path; its parameters may hold anything."""
_DRAIN: Final = Reply(421, ("4.3.2 drained",))


class SmuggledError(AssertionError):
    """Content was taken in which some server would see an end."""


def judge_content(content: bytes) -> None:
    """What leaves again must end where it ends, for whoever reads it."""
    sent = b"".join(stuff([content]))
    if sent.count(b"\n") != sent.count(b"\r\n") or sent.count(b"\r") != sent.count(b"\r\n"):
        raise SmuggledError("a bare CR or LF was taken")
    if (b"\r\n.\r\n" in sent[:-5] or sent.startswith(b".\r\n")) and sent != b".\r\n":
        raise SmuggledError("an end of data stands inside the content")
    assert sent.endswith(b".\r\n")


def _read(data: bytes) -> tuple[int, bytes, list[bytes]]:
    """(how the other end behaves, where each flight is cut in parts of 256, the flights between handshakes)."""
    count = data[1] % 8 if len(data) > 1 else 0
    return (data[0] if data else 0), data[2 : 2 + count], data[2 + count :].split(HELLO)


def _pieces(flight: bytes, cuts: bytes, *, at_lines: bool = False) -> list[bytes]:
    edges = {one * len(flight) // 256 for one in cuts} | {0, len(flight)}
    if at_lines:
        edges |= {at + 1 for at, byte in enumerate(flight) if byte == ord("\n")}
    return [flight[start:end] for start, end in pairwise(sorted(edges))]


class _Visit:
    """One session of our server, with a driver that answers each event."""

    def __init__(self, how: int, *, tls: bool, answers: int = 0) -> None:
        policy = Policy(recipients={"no@y.example": Reply(550, ("5.1.1 no",))}) if how & CHOOSY else Policy()
        self.machine = Server(_STRICT if how & STRICT else OPTIONS, policy, tls=tls)
        self.transcript = Transcript(tls=tls)
        self.events: list[Event] = []
        self.output = b""
        self.answers = answers
        self._how = how

    def flight(self, pieces: Sequence[bytes]) -> None:
        """Bytes between two handshakes."""
        for piece in pieces:
            self.transcript.sent(piece)
            self._answer(self.machine.receive(piece))
            assert self.machine.held_bytes <= 2 * OPTIONS.max_size + 20_000, "memory of one session"

    def next_flight(self, first: bytes) -> bytes:
        """What the driver did between two flights, and how the next one begins on this side of TLS."""
        if self._how & DRAINED:
            self._answer(self.machine.stop(_DRAIN))
        if self._how & DISCARDED:
            self.machine.discard(_FULL)
        if not self.transcript.awaits_handshake or self.transcript.is_closed:
            return HELLO + first
        self.machine.tls_started()
        self.transcript.handshake()
        held = self.machine.helo, self.machine.user, self.machine.has_transaction
        assert held == ("", "", False), "it outlived the handshake"
        return first

    def _answer(self, event: Event | None) -> None:
        while event is not None:
            self.events.append(event)
            if isinstance(event, Pause):
                event = self.machine.resume()
                continue
            self._hear()
            event = self._answer_to(event)
        self._hear()

    def _answer_to(self, event: Event) -> Event | None:
        if isinstance(event, MessageReceived):
            sender, recipients, content = self.transcript.message()
            assert event.content == content, "not the content that was sent"
            assert bool(event.envelope.sender) == (not _NOBODY.match(sender)), "not the sender that was agreed to"
            assert 1 <= len(event.envelope.recipients) <= len(recipients)
            assert len(content) <= OPTIONS.max_size
            judge_content(event.content)
            return self.machine.reply(_FULL if self._how & REFUSING and self._turn() else STORED)
        if isinstance(event, AuthAttempt):
            assert self.transcript.credentials().endswith(event.password.encode())
            is_right = self._how & RIGHT or (self._how & TURNS and self._turn())
            return self.machine.auth_result(event.username, None if is_right else _WRONG)
        if isinstance(event, SessionClosed):
            self.transcript.is_closed = True
        return None

    def _turn(self) -> bool:
        self.answers += 1
        return self.answers % 2 == 0

    def _hear(self) -> None:
        output = self.machine.take_output()
        self.output += output
        self.transcript.heard(output)
        assert not self.machine.user or self.transcript.is_authenticated, "a user without a 235"


def esmtp_server(data: bytes) -> None:
    """A client that writes anything, in any pieces: the same events, only what it was told it may, nothing smuggled."""
    how, cuts, flights = _read(data)
    whole, cut = _Visit(how, tls=bool(how & TLS)), _Visit(how, tls=bool(how & TLS))
    for number, flight in enumerate(flights):
        one, other = (flight, flight) if not number else (whole.next_flight(flight), cut.next_flight(flight))
        begins_anew = number and not whole.machine.errors and one == flight and not how & (DRAINED | DISCARDED)
        before, said, answers = len(whole.events), len(whole.output), whole.answers
        whole.flight([one])
        cut.flight(_pieces(other, cuts))
        if begins_anew and sum(map(len, flights)) < 1000:
            fresh = _Visit(how, tls=True, answers=answers)
            fresh.flight([flight])
            assert fresh.events == whole.events[before:], "what came in plain text counts inside TLS"
            assert fresh.output == whole.output[said:], "what came in plain text is answered inside TLS"
    assert cut.events == whole.events, "the events depend on where the stream is cut"
    assert cut.output == whole.output, "the replies depend on where the stream is cut"


_BODY: Final = (b"Subject: x\r\n\r\nbody\r\n",)
_ENVELOPE: Final = Envelope(
    "a@x.example", ("b@y.example", "c@y.example"), options=(RecipientOptions(Notify.SUCCESS),) * 2
)
_MOST: Final = 5


class _Call:
    """One session of our client, with a driver that wants to send."""

    def __init__(self, how: int) -> None:
        self._how = how
        self.client = Client("out.example.com", tls=bool(how & TLS))
        self._tls = bool(how & TLS)
        self.begun = self.done = self.bodies = 0
        self.closed: list[Closed] = []
        self._asked_tls = self._asked_auth = False

    def flight(self, pieces: Sequence[bytes]) -> None:
        """Replies between two handshakes."""
        is_ready_for_tls = False
        for piece in pieces:
            if is_ready_for_tls:  # in plain text, behind the answer to STARTTLS
                (event,) = self.client.receive(piece)
                assert isinstance(event, Closed), "plain text passed for the encrypted session's"
                self.closed.append(event)
                return
            events = self.client.receive(piece)
            is_ready_for_tls = any(isinstance(one, TlsReady) for one in events)
            for event in events:
                self._on(event)

    def handshake(self) -> bool:
        """TLS begins, if the client waits for it."""
        if not self._asked_tls or self._tls or self.client.is_closed or self.client.can_send:
            return False
        try:
            self.client.greet()
        except LocalProtocolError:  # the answer to STARTTLS has not come
            return False
        self._tls = True
        assert self.client.extensions == Extensions(), "offers in plain text count inside TLS"
        return True

    def hang_up(self) -> None:
        """The connection is gone."""
        self.closed += [event for event in self.client.connection_lost() if isinstance(event, Closed)]
        assert len(self.closed) == 1, "a session has one end"
        assert self.done <= self.begun <= self.done + 1
        assert self.bodies <= self.begun, "a body was written twice"

    def _on(self, event: ClientEvent) -> None:
        if isinstance(event, TransactionDone):
            self.done += 1
            assert [result.index for result in event.results] == [0, 1]
        elif isinstance(event, Write):
            self.bodies += any(b"body" in chunk for chunk in event.chunks)
            assert self._tls or not any(b"c2VjcmV0" in chunk for chunk in event.chunks), "a password in plain text"
        elif isinstance(event, Closed):
            self.closed.append(event)
        if isinstance(event, Ready | TlsRefused | AuthDone | AuthRefused | TransactionDone) and self.client.can_send:
            self._go_on()

    def _go_on(self) -> None:
        offered = self.client.extensions
        if self._how & UPGRADE and offered.starttls and not self._asked_tls and not self._tls:
            self._asked_tls = True
            self.client.starttls()
        elif self._how & LOG_IN and offered.auth_mechanism and not self._asked_auth:
            self._log_in()
        elif self.begun < _MOST and self.client.unfit(_ENVELOPE, (0, 1), _BODY) is None:
            self.begun += 1
            self.client.send(_ENVELOPE, (0, 1), _BODY)
        elif self._how & LEAVE:
            self.client.quit()

    def _log_in(self) -> None:
        self._asked_auth = True
        try:
            self.client.auth("app", "secret")
        except LocalProtocolError:
            assert not self._tls
            self._go_on()
        else:
            assert self._tls, "AUTH in plain text"


def esmtp_client(data: bytes) -> None:
    """A server that answers anything: no transaction has two results, no body goes out twice, no password in plain."""
    how, cuts, flights = _read(data)
    call = _Call(how)
    for number, flight in enumerate(flights):
        heard = flight if not number or call.handshake() else HELLO + flight
        call.flight(_pieces(heard, cuts, at_lines=bool(how & PATIENT)))
    call.hang_up()
