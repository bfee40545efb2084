"""Our server under any order of events: clients come and go, and everything that a driver does happens at any time.

Every client writes its own number into its addresses and its content. Invariants: mail has a 250 behind all of it, by
`transcript`; what was said before the handshake counts no more; no AUTH in plain text; no client sees, ends or adds to
another's transaction.
"""

from base64 import b64encode
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from msgspec.structs import replace

from lane_relay.records import Reply
from lane_relay.smtp.server import AuthAttempt, Closed, Event, MessageReceived, Pause, Server, StartTls
from tests.fuzz.counting import CountedStates
from tests.fuzz.sessions import judge_content
from tests.fuzz.transcript import Transcript
from tests.lane_relay.smtp.talking import OPTIONS, Policy

__all__ = ["ServerStates"]

_OPTIONS: Final = replace(OPTIONS, max_errors=12, errors_at_once=2, longest_pause=4.0, max_commands=60)
_GROUP: Final = b"MAIL FROM:<a-%d@x.example>\r\nRCPT TO:<b-%d@y.example>\r\n"
_COMMANDS: Final = (
    b"EHLO c%d.example\r\n", b"EHLO c%d.example\r\n", b"EHLO c%d.example\r\n", b"HELO c%d.example\r\n", b"STARTTLS\r\n",
    b"STARTTLS\r\nMAIL FROM:<plain-%d@x.example>\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"what\r\n",
    b"MAIL FROM:<a-%d@x.example>\r\n", b"MAIL FROM:<a-%d@x.example>\r\n", b"MAIL FROM:<>\r\n", b"MAIL\r\n",
    b"RCPT TO:<b-%d@y.example>\r\n", b"RCPT TO:<b-%d@y.example>\r\n", b"RCPT TO:<c-%d@y.example>\r\n",
    b"RCPT TO:<no@y.example>\r\n", b"DATA\r\n", b"DATA\r\n", b"Subject: %d\r\n\r\n..\r\n.\r\n", b"client: %d\r\n.\r\n",
    b".\r\n", b"BDAT 11\r\nclient: %03d", b"BDAT 13 LAST\r\nclient: %03d\r\n", b"BDAT 0 LAST\r\n",
    b"BDAT x\r\n", b"\xff\r\n", b"a\n",
    _GROUP + b"DATA\r\nclient: %d\r\n.\r\nMAIL FROM:<n-%d@x.example>\r\n",
    _GROUP + b"BDAT 13 LAST\r\nclient: %03d\r\nQUIT\r\n",
    b"AUTH PLAIN " + b64encode(b"\0app\0secret") + b"\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"*\r\n",
    b64encode(b"\0app\0secret") + b"\r\n", b64encode(b"app") + b"\r\n",
)  # fmt: skip
_ANSWERS: Final = (Reply(250, ("2.0.0 kept",)), Reply(452, ("4.3.1 full",)), Reply(554, ("5.7.1 no",)))
_LAST_WORDS: Final = Reply(421, ("4.4.2 too slow",))
_NO_MEMORY: Final = Reply(452, ("4.3.1 no memory",))


class ServerStates(CountedStates):
    """One server at a time, its driver and its clients."""

    @initialize(tls=st.booleans())
    def arrive(self, tls: bool) -> None:
        """A client connects."""
        self.client = getattr(self, "client", 0) + 1
        policy = Policy(recipients={"no@y.example": Reply(550, ("5.1.1 no",))})
        self.machine = Server(_OPTIONS, policy, tls=tls)
        self.transcript = Transcript(tls=tls)
        self.waiting: Event | None = None

    @rule(tls=st.booleans())
    def another_client(self, tls: bool) -> None:
        """The one leaves, wherever its session stands, and the next one comes."""
        self.arrive(tls)

    @rule(lines=st.lists(st.sampled_from(_COMMANDS), min_size=1, max_size=6), cuts=st.lists(st.integers(0, 255)))
    def says(self, lines: list[bytes], cuts: list[int]) -> None:
        """Commands and content, in any order and any pieces, whether the server listens or not."""
        wide, plain = b"%03d" % self.client, b"%d" % self.client
        self._write(b"".join(lines).replace(b"%03d", wide).replace(b"%d", plain), cuts)

    @precondition(lambda self: self.waiting is None)
    @rule(recipients=st.sampled_from((b"b", b"c")), cuts=st.lists(st.integers(0, 255), max_size=3))
    def sends(self, recipients: bytes, cuts: list[int]) -> None:
        """The way to mail, so that runs get far."""
        me = b"%d" % self.client
        self._write(
            b"EHLO c\r\nMAIL FROM:<a-%b@x.example>\r\nRCPT TO:<%b-%b@y.example>\r\nDATA\r\nx\r\n.\r\n"
            % (me, recipients, me),
            cuts,
        )

    @precondition(lambda self: self.waiting is None and not self.machine.tls)
    @rule(is_begun=st.booleans(), cuts=st.lists(st.integers(0, 255), max_size=3))
    def asks_for_tls(self, is_begun: bool, cuts: list[int]) -> None:
        """The way to a handshake, perhaps with mail behind it in plain text."""
        self._write(b"EHLO c\r\nSTARTTLS\r\n" + (_GROUP % (self.client, self.client)) * is_begun, cuts)

    @precondition(lambda self: self.waiting is None)
    @rule(cuts=st.lists(st.integers(0, 255), max_size=3))
    def logs_in(self, cuts: list[int]) -> None:
        """The way to AUTH."""
        self._write(b"EHLO c\r\nAUTH LOGIN\r\n" + b64encode(b"app") + b"\r\n" + b64encode(b"secret") + b"\r\n", cuts)

    @precondition(lambda self: self.waiting is None)
    @rule(cuts=st.lists(st.integers(0, 255), max_size=3))
    def begins(self, cuts: list[int]) -> None:
        """Half of the way to mail, and RSET."""
        self._write(b"EHLO c\r\n" + (_GROUP % (self.client, self.client)) + b"RSET\r\n", cuts)

    @rule(data=st.binary(max_size=20), cuts=st.lists(st.integers(0, 255), max_size=2))
    def babbles(self, data: bytes, cuts: list[int]) -> None:
        """Anything."""
        self._write(data, cuts)

    @precondition(lambda self: isinstance(self.waiting, StartTls))
    @rule()
    def tls_begins(self) -> None:
        """The handshake is done."""
        self.waiting = None
        self.machine.tls_started()
        self.transcript.handshake()
        assert (self.machine.helo, self.machine.user, self.machine.has_transaction) == ("", "", False)
        assert self.machine.held_bytes == 0, "plain text waits to be read inside TLS"

    @precondition(lambda self: isinstance(self.waiting, AuthAttempt))
    @rule(is_right=st.booleans())
    def password_checked(self, is_right: bool) -> None:
        """An answer to AUTH."""
        assert isinstance(self.waiting, AuthAttempt)
        user, self.waiting = self.waiting.username, None
        self._on(self.machine.auth_result(user, None if is_right else Reply(535, ("5.7.8 no",))))

    @precondition(lambda self: isinstance(self.waiting, MessageReceived))
    @rule(answer=st.sampled_from(_ANSWERS))
    def stored(self, answer: Reply) -> None:
        """An answer to the message."""
        self.waiting = None
        self._on(self.machine.reply(answer))

    @precondition(lambda self: isinstance(self.waiting, Pause))
    @rule()
    def pause_is_over(self) -> None:
        """What was held back is written, and reading goes on."""
        self.waiting = None
        self._on(self.machine.resume())

    @precondition(lambda self: not isinstance(self.waiting, Closed))
    @rule()
    def time_passes(self) -> None:
        """More of it than a session may be silent; a pause ends before."""
        if isinstance(self.waiting, Pause):
            self.pause_is_over()
        elif self.waiting is None:
            self._on(self.machine.stop(_LAST_WORDS, at_once=True))

    @precondition(lambda self: not isinstance(self.waiting, Closed | Pause))
    @rule()
    def drains(self) -> None:
        """The session ends with its transaction."""
        event = self.machine.stop(_LAST_WORDS)
        if event is not None:
            self._on(event)

    @rule()
    def has_no_memory(self) -> None:
        """What is coming in is kept no longer."""
        self.machine.discard(_NO_MEMORY)

    # -- what must hold

    @invariant()
    def nothing_waits_that_is_over(self) -> None:
        """The machine and its client agree, wherever nothing is held back."""
        machine, transcript = self.machine, self.transcript
        assert machine.held_bytes <= 2 * _OPTIONS.max_size + 20_000
        if self.waiting is None and not transcript.is_closed:
            assert machine.has_transaction == (transcript.sender is not None), "the client knows of another transaction"
            assert bool(machine.user) == transcript.is_authenticated
            assert machine.tls == transcript.tls
            assert bool(machine.helo) == transcript.knows_helo

    def _write(self, data: bytes, cuts: list[int]) -> None:
        edges = sorted({one * len(data) // 256 for one in cuts} | {0, len(data)})
        for start, end in pairwise(edges):
            self.transcript.sent(data[start:end])
            event = self.machine.receive(data[start:end])
            assert event is None or self.waiting is None, "an event while another one has no answer"
            if event is not None or self.waiting is None:
                self._on(event)

    def _on(self, event: Event | None) -> None:
        self.waiting = event
        if isinstance(event, Pause):
            assert 0 < event.seconds <= _OPTIONS.longest_pause
            return  # its reply is held back
        self.transcript.heard(self.machine.take_output())
        if isinstance(event, MessageReceived):
            self._is_agreed_to(event)
        elif isinstance(event, AuthAttempt):
            assert self.transcript.credentials().endswith(event.password.encode())
        elif isinstance(event, StartTls):
            assert self.transcript.awaits_handshake
            assert not self.transcript.tls
        elif isinstance(event, Closed):
            self.transcript.is_closed = True

    def _is_agreed_to(self, event: MessageReceived) -> None:
        sender, recipients, content = self.transcript.message()
        envelope, mark = event.envelope, f"-{self.client}@"
        assert f"FROM:<{envelope.sender}>" == sender
        assert [f"TO:<{one}>" for one in envelope.recipients] == list(dict.fromkeys(recipients))
        assert all(mark in one for one in envelope.recipients), "another client's recipient"
        assert not envelope.sender or mark in envelope.sender, "another client's sender"
        assert event.content == content
        judge_content(event.content)
