"""Our client under any order of replies and of what its driver asks of it.

The peer is a queue of what it was asked and has not answered. Invariants: each transaction ends once, with each
recipient's own reply; a body goes out once, behind its 354, for somebody who is to get it; no password goes out in
plain text; nothing that was offered before the handshake counts after it; a session has one end.
"""

from base64 import b64encode
from collections import deque
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lane_relay.records import Envelope, Reply
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
from lane_relay.smtp.client_events import Event
from lane_relay.smtp.extensions import Extensions
from tests.fuzz.counting import CountedStates

__all__ = ["ClientStates"]

_ENVELOPE: Final = Envelope("a@x.example", ("b@y.example", "c@y.example", "d@y.example"))
_BODY: Final = b"Subject: x\r\n\r\n.body\r\n"
_SENT: Final = b"Subject: x\r\n\r\n..body\r\n.\r\n"
_PASSWORD: Final = b64encode(b"secret")
_OFFERS: Final = ("PIPELINING", "STARTTLS", "AUTH PLAIN LOGIN", "AUTH LOGIN", "8BITMIME", "SIZE 100000", "DSN")
_GOOD: Final = {
    "BANNER": 220, "STARTTLS": 220, "DATA": 354, "AUTH LOGIN": 334, "USER": 334, "AUTH": 235, "PASSWORD": 235,
    "QUIT": 221,
}  # fmt: skip
_OTHERS: Final = (220, 235, 250, 334, 354, 421, 450, 451, 452, 500, 503, 535, 550, 554)


class ClientStates(CountedStates):
    """One client at a time, its driver and its peer."""

    @initialize(tls=st.booleans())
    def connect(self, tls: bool) -> None:
        """A connection is up."""
        self.client = Client("out.example.com", tls=tls)
        self.tls = tls
        self.asked: deque[str] = deque(["BANNER"])
        self.answered = ""
        self.closed: Closed | None = None
        self.in_handshake = False
        self.offers: frozenset[str] = frozenset()
        self._begin(())

    @rule(tls=st.booleans())
    def another_connection(self, tls: bool) -> None:
        """The one is lost, wherever it stands."""
        self._on(self.client.connection_lost())
        assert self.closed is not None
        assert self.client.connection_lost() == []
        self.connect(tls)

    @rule(tls=st.booleans(), offers=st.sets(st.sampled_from(_OFFERS)))
    def another_greeting(self, tls: bool, offers: set[str]) -> None:
        """The same, and the next one is ready at once, so that runs get far."""
        self.another_connection(tls)
        self.answers_well(set(), [])
        self.answers_well(offers, [])

    @precondition(lambda self: self.client.can_send)
    @rule(
        recipients=st.sets(st.integers(0, 2), min_size=2), codes=st.lists(st.sampled_from((250, 452, 550)), min_size=3)
    )
    def delivers(self, recipients: set[int], codes: list[int]) -> None:
        """A whole transaction, in which each recipient has an answer of its own."""
        self.sends(recipients)
        while self.recipients and self.closed is None:
            if self.asked[0].startswith("RCPT"):
                self._reply(codes[int(self.asked[0][5:])], (self.asked[0],), [])
            else:
                self.answers_well(set(), [])

    @precondition(lambda self: self.asked and not self.in_handshake)
    @rule(offers=st.sets(st.sampled_from(_OFFERS)), cuts=st.lists(st.integers(0, 255), max_size=3))
    def answers_well(self, offers: set[str], cuts: list[int]) -> None:
        """What the client hopes for, so that runs get far."""
        is_offer = self.asked[0] == "EHLO"
        self._reply(_GOOD.get(self.asked[0], 250), ("mx", *sorted(offers)) if is_offer else ("ok",), cuts)

    @rule(code=st.sampled_from(_OTHERS), lines=st.integers(1, 3), cuts=st.lists(st.integers(0, 255), max_size=3))
    def answers(self, code: int, lines: int, cuts: list[int]) -> None:
        """Anything that is a reply, asked for or not."""
        self._reply(code, ("text",) * lines, cuts)

    @precondition(lambda self: self.client.can_send and not self.tls)
    @rule()
    def asks_for_tls(self) -> None:
        """STARTTLS."""
        self._wrote(self.client.starttls())

    @precondition(lambda self: self.in_handshake)
    @rule()
    def handshake_done(self) -> None:
        """Nothing is known of the peer any more."""
        self.in_handshake, self.tls, self.offers = False, True, frozenset()
        self._wrote(self.client.greet())
        assert self.client.extensions == Extensions(), "offers in plain text count inside TLS"

    @precondition(lambda self: self.client.can_send and self.tls and self.client.extensions.auth_mechanism)
    @rule()
    def logs_in(self) -> None:
        """AUTH by the mechanism that is offered."""
        assert any(one.startswith("AUTH") for one in self.offers)
        self._wrote(self.client.auth("app", "secret"))

    @precondition(lambda self: self.client.can_send)
    @rule(recipients=st.sets(st.integers(0, 2), min_size=1))
    def sends(self, recipients: set[int]) -> None:
        """A message to some of its recipients."""
        self._begin(tuple(sorted(recipients)))
        self._wrote(self.client.send(_ENVELOPE, self.recipients, (_BODY,)))

    @precondition(lambda self: self.client.can_send)
    @rule()
    def leaves(self) -> None:
        """QUIT."""
        self._wrote(self.client.quit())

    # -- what must hold

    @invariant()
    def it_sends_only_when_nothing_is_under_way(self) -> None:
        """And has one end."""
        assert not (self.client.can_send and (self.asked or self.recipients or self.in_handshake))
        assert self.client.is_closed == (self.closed is not None)

    def _begin(self, recipients: tuple[int, ...]) -> None:
        self.recipients = recipients
        self.mail: Reply | None = None
        self.said: dict[int, Reply] = {}
        self.last: Reply | None = None
        self.bodies = 0

    def _reply(self, code: int, lines: tuple[str, ...], cuts: list[int]) -> None:
        parts = [f"{code}-{line}\r\n" for line in lines[:-1]]
        data = ("".join(parts) + f"{code} {lines[-1]}\r\n").encode()
        self._heard(Reply(code, lines))
        edges = sorted({one * len(data) // 256 for one in cuts} | {0, len(data)})
        was_closed, in_handshake, unasked = self.closed, self.in_handshake, self.is_unasked
        for start, end in pairwise(edges):
            self._on(self.client.receive(data[start:end]))
        if in_handshake or unasked:
            assert self.closed is not None, "what nobody asked for was taken"
        if was_closed is not None:
            assert self.closed is was_closed

    def _heard(self, reply: Reply) -> None:
        """The peer's side of it: which command this answers."""
        self.is_unasked = not self.asked
        self.last = reply
        self.answered = self.asked.popleft() if self.asked else ""
        if self.answered == "EHLO" and reply.code < 300:
            self.offers = frozenset(reply.lines[1:])
        elif self.answered == "MAIL" and reply.code >= 400:
            self.mail = reply
        elif self.answered.startswith("RCPT"):
            self.said[int(self.answered[5:])] = reply

    def _on(self, events: list[Event]) -> None:
        for event in events:
            assert self.closed is None, "an event behind the end"
            if isinstance(event, Write):
                self._wrote(b"".join(event.chunks))
            elif isinstance(event, TransactionDone):
                self._is_true(event)
            elif isinstance(event, TlsReady):
                assert self.answered == "STARTTLS"
                self.in_handshake = True
            elif isinstance(event, Closed):
                self.closed = event
                assert event.after_dot <= bool(self.bodies), "a body that was never sent may have arrived"
                self.asked.clear()
                self.in_handshake = False
                self._begin(())
            elif isinstance(event, AuthDone | AuthRefused):
                assert self.answered in ("AUTH", "AUTH LOGIN", "USER", "PASSWORD")
                assert isinstance(event, AuthRefused) or (self.last is not None and self.last.code < 300)
            else:
                assert isinstance(event, Ready | TlsRefused)

    def _is_true(self, event: TransactionDone) -> None:
        assert tuple(result.index for result in event.results) == self.recipients, "not the recipients, once each"
        for result in event.results:
            own = self.said.get(result.index)
            expected = self.mail or (own if own is not None and own.code >= 400 else self.last)
            assert result.reply == expected, "not this recipient's reply"
        assert not any(one.reply.is_positive for one in event.results) or self.bodies == 1
        self._begin(())

    def _wrote(self, data: bytes) -> None:
        assert self.tls or _PASSWORD not in data, "a password in plain text"
        if self._awaits_content():
            self._wrote_content(data)
            return
        for line in data.split(b"\r\n")[:-1]:
            self._commanded(line)

    def _awaits_content(self) -> bool:
        """What is written now is content."""
        last = self.last
        return self.answered == "DATA" and last is not None and 300 <= last.code < 400

    def _wrote_content(self, data: bytes) -> None:
        self.answered = ""
        assert not self.bodies, "a body goes out twice"
        is_wanted = self.mail is None and any(one.code < 300 for one in self.said.values())
        assert data == (_SENT if is_wanted else b".\r\n"), "a body for nobody, or not the body"
        self.bodies += is_wanted
        self.asked.append("END")

    def _commanded(self, line: bytes) -> None:
        text = line.decode()
        if text.startswith("RCPT TO:<"):
            self.asked.append(f"RCPT {_ENVELOPE.recipients.index(text[9:-1])}")
        elif line in (b64encode(b"app"), _PASSWORD):
            self.asked.append("USER" if line != _PASSWORD else "PASSWORD")
        elif text == "AUTH LOGIN":
            self.asked.append(text)
        else:
            verb = text.partition(" ")[0]
            assert verb in ("EHLO", "HELO", "STARTTLS", "AUTH", "RSET", "MAIL", "DATA", "QUIT"), "no command of ours"
            self.asked.append(verb)
