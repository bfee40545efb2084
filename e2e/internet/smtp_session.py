"""The receiving side of SMTP as a scripted ISP speaks it: bytes in, one Step out; no sockets, no clock.

Invariant: one call answers one group: everything that arrived together gets its replies joined in one piece, to be
sent once after the round trip (RFC 2920 section 3.2). A message is Taken only if the reply to its end of data is 250.
Before: `listener`, which owns the socket, TLS and time. After: the Step, which `listener` carries out and records.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TypeAlias

from e2e.internet.enforcement import Enforcer
from e2e.internet.policy import Reply, Stage

MAX_LINE = 2048  # octets: RFC 5321 section 4.5.3.1.4 asks for 512, extensions add to it
END_OF_DATA = b"\r\n.\r\n"

OUT_OF_ORDER = Reply(code=503, text="5.5.1 Bad sequence of commands")
SYNTAX = Reply(code=501, text="5.5.4 Syntax error in parameters")
UNKNOWN = Reply(code=500, text="5.5.2 Command unknown")
LINE_TOO_LONG = Reply(code=500, text="5.5.2 Line too long")
TOO_BIG = Reply(code=552, text="5.3.4 Message size exceeds fixed limit")
BARE_NEWLINE = Reply(code=550, text="5.5.2 Bare CR or LF in message")
NOT_OURS = Reply(code=550, text="5.7.1 Relaying denied")
NO_RECIPIENTS = Reply(code=554, text="5.5.1 No valid recipients")


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the ISP has accepted."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    correlation_id: str
    dkim_signed: bool
    size: int  # octets, unstuffed
    body_sha256: str  # of what follows the header section
    received: float  # when its last octet came


@dataclass(frozen=True, slots=True)
class Refused:
    """Anything that the ISP has answered with 4xx or 5xx."""

    stage: Stage
    code: int
    text: str
    sender: str
    recipient: str
    at: float


@dataclass(slots=True)
class Step:
    """What to do now: send `replies` after `delay_s`, then perhaps close or begin TLS."""

    replies: bytearray = field(default_factory=bytearray)
    delay_s: float = 0.0
    close: bool = False
    abort: bool = False  # close without answering
    begin_tls: bool = False
    taken: list[Taken] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def header_value(header: bytes, lower: bytes, name: bytes) -> str:
    """The unfolded value of the first field `name` (given as b"\\nname:", lower case), or an empty string."""
    start = lower.find(name)
    if start < 0:
        return ""
    start += len(name)
    end = header.find(b"\r\n", start)
    while 0 <= end < len(header) - 2 and header[end + 2] in b" \t":
        end = header.find(b"\r\n", end + 2)
    return header[start : end if end >= 0 else len(header)].replace(b"\r\n", b"").strip().decode("utf-8", "replace")


def path_of(argument: bytes) -> str | None:
    """The address inside <...> of a MAIL or RCPT argument; "" for the null sender; None if there is none."""
    start, end = argument.find(b"<"), argument.find(b">")
    return argument[start + 1 : end].decode("utf-8", "replace") if 0 <= start < end else None


_Standing: TypeAlias = tuple[bytearray, str | None, list[str], bytearray, bool, int | None]
"""Buffer, sender, recipients, chunks, whether inside of DATA, octets of a chunk still to come."""


class SmtpSession:
    """One client's dialogue with one ISP."""

    def __init__(self, enforcer: Enforcer, hostname: str, source_ip: str) -> None:
        self.enforcer = enforcer
        self.hostname = hostname
        self.source_ip = source_ip
        self.helo = ""
        self.encrypted = False
        self._buffer = bytearray()
        self._scanned = 0  # how much of the message in the buffer holds no end of data
        self._in_data = False
        self._chunk_left: int | None = None  # octets of a BDAT chunk still to come
        self._chunk_last = False
        self._chunks = bytearray()
        self._deaf = False
        self._stalled = False  # deaf until `resume`, which answers what it was asked
        self._step = Step()
        self._now = 0.0
        self._reset()

    def opened(self, now: float) -> Step:
        """The ISP's first words to a new connection."""
        self._begin(now)
        refusal = self.enforcer.connected(self.source_ip)
        if self._strikes(Stage.CONNECT):
            return self._step
        if refusal is not None:
            self._refuse(Stage.CONNECT, refusal)
        elif (fault := self.enforcer.fault(Stage.BANNER)) and fault.action != "reply":
            self._step.replies += f"220-{self.hostname} ".encode()  # a banner that never ends
            self._deaf, self._step.close = True, fault.action == "drop"
        elif fault and fault.reply:
            self._refuse(Stage.BANNER, fault.reply)
        elif self.enforcer.policy.unavailable:
            self._refuse(Stage.BANNER, self.enforcer.policy.unavailable)
        else:
            self._step.replies += f"220 {self.hostname} ESMTP\r\n".encode()
        self._step.delay_s += self.enforcer.policy.delays.get(Stage.BANNER, 0.0)
        return self._step

    def received(self, data: bytes, now: float) -> Step:
        """Takes what came from the client; returns the joined answer to it."""
        self._begin(now)
        if not self._deaf:
            self._buffer += data
            self._take_all()
        elif self._stalled:
            self._buffer += data
        return self._step

    def resume(self, now: float) -> Step | None:
        """A stall behind the greeting ends: the answer to what has waited; None if nothing has."""
        if not self._stalled:
            return None
        self._begin(now)
        self._deaf = self._stalled = False
        self._take_all()
        return self._step

    def tls_begun(self) -> None:
        """TLS is up: whatever was said before it is forgotten (RFC 3207 section 4.2)."""
        self.encrypted, self.helo = True, ""
        self._buffer.clear()
        self._deaf = False
        self._reset()

    def _begin(self, now: float) -> None:
        self._now = now
        self._step = Step(delay_s=self.enforcer.policy.round_trip_s)

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._chunks = bytearray()

    def _take_all(self) -> None:
        while not self._deaf:
            before = self._standing() if self.enforcer.policy.faults else None
            if not self._advance():
                return
            if self._stalled and before is not None:
                self._stand(before)

    def _standing(self) -> _Standing:
        kept = self._sender, list(self._recipients), bytearray(self._chunks), self._in_data, self._chunk_left
        return bytearray(self._buffer), *kept

    def _stand(self, before: _Standing) -> None:
        self._buffer, self._sender, self._recipients, self._chunks, self._in_data, self._chunk_left = before
        self._scanned = 0

    def _advance(self) -> bool:
        """Takes one command, message or chunk from the buffer; False if it holds none that is complete."""
        if self._in_data:
            return self._take_data()
        if self._chunk_left is not None:
            return self._take_chunk()
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > MAX_LINE:
            if len(self._buffer) > MAX_LINE:
                self._refuse(Stage.EHLO, LINE_TOO_LONG)
                self._hang_up()
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        handler = _VERBS.get(verb.upper())
        if handler is None:
            self._answer(UNKNOWN)
        else:
            handler(self, argument)

    # each command, in the order of a dialogue

    def _ehlo(self, argument: bytes) -> None:
        if self._strikes(Stage.EHLO):
            return
        self._reset()
        self.helo = argument.decode("utf-8", "replace").strip()
        offers = self.enforcer.policy.capabilities
        names = [
            self.hostname,
            f"SIZE {self.enforcer.policy.max_size}",
            *(["PIPELINING"] if offers.pipelining else []),
            *(["8BITMIME"] if offers.eight_bit_mime else []),
            *(["ENHANCEDSTATUSCODES"] if offers.enhanced_status_codes else []),
            *(["STARTTLS"] if offers.starttls and not self.encrypted else []),
            *(["SMTPUTF8"] if offers.smtputf8 else []),
            *(["CHUNKING"] if offers.chunking else []),
        ]
        lines = [f"250-{name}\r\n" for name in names[:-1]] + [f"250 {names[-1]}\r\n"]
        self._step.replies += "".join(lines).encode()

    def _helo(self, argument: bytes) -> None:
        if self._strikes(Stage.EHLO):
            return
        self._reset()
        self.helo = argument.decode("utf-8", "replace").strip()
        self._step.replies += f"250 {self.hostname}\r\n".encode()

    def _starttls(self, argument: bytes) -> None:
        if self._strikes(Stage.STARTTLS):
            return
        if self.encrypted or not self.enforcer.policy.capabilities.starttls or argument:
            self._answer(OUT_OF_ORDER)
            return
        self._step.replies += b"220 2.0.0 Ready to start TLS\r\n"
        self._step.begin_tls = True
        self._deaf = True  # plain text behind STARTTLS is never obeyed

    def _mail(self, argument: bytes) -> None:
        if self._strikes(Stage.MAIL):
            return
        sender = path_of(argument)
        if not self.helo or self._sender is not None:
            self._answer(OUT_OF_ORDER)
        elif sender is None or argument[:5].upper() != b"FROM:":
            self._answer(SYNTAX)
        elif blocked := self.enforcer.policy.blocked.get(self.source_ip):
            self._sender_refused(sender, blocked)
        elif self._declared_size(argument) > self.enforcer.policy.max_size:
            self._sender_refused(sender, TOO_BIG)
        else:
            self._sender = sender
            self._step.replies += b"250 2.1.0 Ok\r\n"

    def _sender_refused(self, sender: str, reply: Reply) -> None:
        self._sender = sender
        self._refuse(Stage.MAIL, reply)
        self._sender = None

    def _declared_size(self, argument: bytes) -> int:
        for word in argument.upper().split()[1:]:
            if word.startswith(b"SIZE=") and word[5:].isdigit():
                return int(word[5:])
        return 0

    def _rcpt(self, argument: bytes) -> None:
        if self._strikes(Stage.RCPT):
            return
        recipient = path_of(argument)
        if self._sender is None:
            self._answer(OUT_OF_ORDER)
        elif not recipient or argument[:3].upper() != b"TO:":
            self._answer(SYNTAX)
        elif not self._ours(recipient):
            self._refuse(Stage.RCPT, NOT_OURS, recipient)
        elif reply := self.enforcer.recipient(self.source_ip, self._sender, recipient, self._now):
            if reply.code < 400:
                self._recipients.append(recipient)
            self._refuse(Stage.RCPT, reply, recipient)
        else:
            self._recipients.append(recipient)
            self._step.replies += b"250 2.1.5 Ok\r\n"

    def _ours(self, recipient: str) -> bool:
        return self.enforcer.takes_domain(recipient.rpartition("@")[2].lower())

    def _data(self, argument: bytes) -> None:
        if self._strikes(Stage.DATA):
            return
        if self._sender is None or argument:
            self._answer(OUT_OF_ORDER)
        elif not self._recipients:
            self._answer(NO_RECIPIENTS)
        else:
            self._in_data, self._scanned = True, 0
            self._step.replies += b"354 End data with <CR><LF>.<CR><LF>\r\n"

    def _bdat(self, argument: bytes) -> None:
        words = argument.upper().split()
        if not self.enforcer.policy.capabilities.chunking:
            self._answer(UNKNOWN)
        elif not words or not words[0].isdigit() or words[1:] not in ([], [b"LAST"]):
            self._answer(SYNTAX)
            self._hang_up()  # the size of what follows is not known
        else:
            self._chunk_left, self._chunk_last = int(words[0]), bool(words[1:])

    def _rset(self, argument: bytes) -> None:
        self._reset()
        self._step.replies += b"250 2.0.0 Ok\r\n"

    def _noop(self, argument: bytes) -> None:
        self._step.replies += b"250 2.0.0 Ok\r\n"

    def _vrfy(self, argument: bytes) -> None:
        self._step.replies += b"252 2.1.5 Cannot VRFY user\r\n"

    def _quit(self, argument: bytes) -> None:
        self._step.replies += b"221 2.0.0 Bye\r\n"
        self._hang_up()

    # the message

    def _take_data(self) -> bool:
        if self._scanned == 0 and self._buffer.startswith(b".\r\n"):
            message, used = b"", 3
        else:
            end = self._buffer.find(END_OF_DATA, max(0, self._scanned - len(END_OF_DATA)))
            if end < 0:
                self._scanned = len(self._buffer)
                return False
            message, used = bytes(self._buffer[: end + 2]), end + len(END_OF_DATA)
        del self._buffer[:used]
        self._in_data = False
        if message.startswith(b"."):
            message = message[1:]
        self._end_of_message(message.replace(b"\r\n.", b"\r\n") if b"\r\n." in message else message)
        return True

    def _take_chunk(self) -> bool:
        left = self._chunk_left or 0
        if len(self._buffer) < left:
            return False
        self._chunks += self._buffer[:left]
        del self._buffer[:left]
        self._chunk_left = None
        if self._sender is None or not self._recipients:
            self._answer(OUT_OF_ORDER)
        elif self._chunk_last:
            self._end_of_message(bytes(self._chunks))
        else:
            self._step.replies += b"250 2.0.0 Chunk taken\r\n"
        return True

    def _end_of_message(self, message: bytes) -> None:
        if self._strikes(Stage.END_OF_DATA):
            self._reset()
            return
        refusal = self._message_refusal(message)
        if refusal is not None:
            self._refuse(Stage.END_OF_DATA, refusal)
        else:
            self._step.taken.append(self._taken(message))
            self._step.replies += b"250 2.0.0 Ok: queued\r\n"
        self._reset()

    def _message_refusal(self, message: bytes) -> Reply | None:
        if len(message) > self.enforcer.policy.max_size:
            return TOO_BIG
        pairs = message.count(b"\r\n")
        if message.count(b"\n") != pairs or message.count(b"\r") != pairs:
            return BARE_NEWLINE
        return self.enforcer.message(self.source_ip, self._now)

    def _taken(self, message: bytes) -> Taken:
        split = message.find(b"\r\n\r\n")
        header = b"\n" + (message[: split + 2] if split >= 0 else message)
        lower = header.lower()
        return Taken(
            sender=self._sender or "",
            recipients=tuple(self._recipients),
            message_id=header_value(header, lower, b"\nmessage-id:"),
            correlation_id=header_value(header, lower, b"\nx-correlation-id:"),
            dkim_signed=b"\ndkim-signature:" in lower,
            size=len(message),
            body_sha256=hashlib.sha256(message[split + 4 :] if split >= 0 else b"").hexdigest(),
            received=self._now,
        )

    # answers

    def _strikes(self, stage: Stage) -> bool:
        """Carries out the fault of this stage, if it strikes; adds the stage's delay."""
        self._step.delay_s += self.enforcer.policy.delays.get(stage, 0.0)
        fault = self.enforcer.fault(stage)
        if fault is None:
            return False
        if fault.action == "reply" and fault.reply is not None:
            self._refuse(stage, fault.reply)
        else:
            self._deaf = True
            self._step.abort = fault.action == "drop"
            self._stalled = fault.action == "stall" and stage is not Stage.CONNECT
        return True

    def _answer(self, reply: Reply) -> None:
        self._step.replies += reply.encoded()

    def _refuse(self, stage: Stage, reply: Reply, recipient: str = "") -> None:
        """Answers and records a refusal; 421 closes (RFC 5321 section 3.8), as does any 5xx in place of a banner."""
        self._answer(reply)
        if reply.code >= 400:
            self._step.refused.append(Refused(stage, reply.code, reply.text, self._sender or "", recipient, self._now))
        if reply.code == 421 or stage in (Stage.CONNECT, Stage.BANNER):
            self._hang_up()

    def _hang_up(self) -> None:
        self._step.close = self._deaf = True


_VERBS = {
    b"EHLO": SmtpSession._ehlo,
    b"HELO": SmtpSession._helo,
    b"STARTTLS": SmtpSession._starttls,
    b"MAIL": SmtpSession._mail,
    b"RCPT": SmtpSession._rcpt,
    b"DATA": SmtpSession._data,
    b"BDAT": SmtpSession._bdat,
    b"RSET": SmtpSession._rset,
    b"NOOP": SmtpSession._noop,
    b"VRFY": SmtpSession._vrfy,
    b"QUIT": SmtpSession._quit,
}
