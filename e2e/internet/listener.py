"""The socket side of a scripted ISP: owns connections, TLS and time; carries out what the session decides.

Invariant: answers leave in the order of the questions, each no earlier than its delay; a message is recorded when its
250 is written, or, unanswered, when the client goes before that.
Before: the TCP listener. After: `smtp_session` (decides) and `recording` (remembers).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from typing import cast

from e2e.internet import records
from e2e.internet.enforcement import Enforcer
from e2e.internet.policy import Policy
from e2e.internet.recording import Recording
from e2e.internet.smtp_session import SmtpSession, Step
from e2e.internet.tls_pipe import TlsPipe

BACKLOG = 4096  # connections waiting for accept: a flood of them must meet the policy, not the kernel


class Isp:
    """One scripted ISP: a policy, its enforcer and its records, shared by all of its hosts."""

    def __init__(self, name: str, policy: Policy, recording: Recording, tls: ssl.SSLContext) -> None:
        self.name = name
        self.enforcer = Enforcer(policy)
        self.recording = recording
        self.tls = tls
        self.connections: set[IspConnection] = set()

    def disconnect(self) -> int:
        """Ends every open connection without a word; how many there were."""
        ended = list(self.connections)
        for one in ended:
            one.drop()
        return len(ended)

    def release(self) -> int:
        """Answers, by the policy now in force, every connection that stalls behind the greeting; how many."""
        return sum(one.release() for one in list(self.connections))


class IspConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, isp: Isp, hostname: str) -> None:
        self._isp = isp
        self._hostname = hostname
        self._pending: deque[Step] = deque()
        self._last_due = 0.0
        self._tls: TlsPipe | None = None
        self._closed: float | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection in and greets."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._opened = time.time()
        self._source_ip, self._source_port = transport.get_extra_info("peername")[:2]
        self._server_ip = transport.get_extra_info("sockname")[0]
        self._id = self._isp.recording.opened(self._source_ip, self._opened)
        self._isp.connections.add(self)
        self._session = SmtpSession(self._isp.enforcer, self._hostname, self._source_ip)
        self._carry_out(self._session.opened(self._opened))

    def data_received(self, data: bytes) -> None:
        """Hands what came to the session and carries out its answer."""
        if self._tls is not None:
            handshaking = not self._tls.established
            try:
                data, ciphertext = self._tls.receive(data)
            except ssl.SSLError:
                self._transport.abort()
                return
            if ciphertext:
                self._transport.write(ciphertext)
            if handshaking and self._tls.established:
                self._session.tls_begun()
        if data:
            self._carry_out(self._session.received(data, time.time()))

    def eof_received(self) -> bool:
        """The client's FIN ends the connection for every count."""
        self._closed = self._closed or time.time()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the connection out; messages whose 250 is still to come are recorded as unanswered."""
        self._closed = self._closed or time.time()
        while self._pending:
            self._record(self._pending.popleft(), answered=False, at=self._closed)
        self._isp.enforcer.disconnected(self._source_ip)
        self._isp.connections.discard(self)
        self._isp.recording.closed(self.as_record())

    def drop(self) -> None:
        """Ends the connection without a word."""
        self._transport.abort()

    def release(self) -> bool:
        """Whether it stalled; it does no more."""
        step = self._session.resume(time.time())
        if step is not None:
            self._carry_out(step)
        return step is not None

    def as_record(self) -> records.Connection:
        """This connection as it stands."""
        return records.Connection(
            isp=self._isp.name,
            id=self._id,
            source_ip=self._source_ip,
            source_port=self._source_port,
            server_ip=self._server_ip,
            opened=self._opened,
            closed=self._closed,
            helo=self._session.helo,
            tls_version=self._tls.version() if self._tls else "",
            tls_cipher=self._tls.cipher() if self._tls else "",
        )

    def _carry_out(self, step: Step) -> None:
        if step.abort:
            self._note_refusal("dropped", 0, "", "", "", time.time())
            self._transport.abort()
        elif not (step.replies or step.close):
            return
        elif step.delay_s or self._pending:
            self._last_due = max(self._last_due, self._loop.time() + step.delay_s)
            self._pending.append(step)
            self._loop.call_at(self._last_due, self._answer_next)
        else:
            self._answer(step)

    def _answer_next(self) -> None:
        if self._pending:  # the connection may have gone meanwhile
            self._answer(self._pending.popleft())

    def _answer(self, step: Step) -> None:
        self._record(step, answered=True, at=time.time())  # before the client can know
        if step.replies:
            replies = bytes(step.replies)
            self._transport.write(self._tls.send(replies) if self._tls else replies)
        if step.begin_tls:
            self._tls = TlsPipe(self._isp.tls, server_side=True)
        if step.close:
            self._closed = self._closed or time.time()
            self._transport.close()

    def _record(self, step: Step, *, answered: bool, at: float) -> None:
        for refused in step.refused:
            self._note_refusal(
                refused.stage.value, refused.code, refused.text, refused.sender, refused.recipient, refused.at
            )
        for taken in step.taken:
            self._isp.recording.message(
                records.Message(
                    isp=self._isp.name,
                    at=at,
                    received=taken.received,
                    answered=answered,
                    source_ip=self._source_ip,
                    connection=self._id,
                    connection_opened=self._opened,
                    sender=taken.sender,
                    recipients=taken.recipients,
                    message_id=taken.message_id,
                    correlation_id=taken.correlation_id,
                    dkim_signed=taken.dkim_signed,
                    tls=self._tls is not None,
                    size=taken.size,
                    body_sha256=taken.body_sha256,
                )
            )

    def _note_refusal(self, stage: str, code: int, text: str, sender: str, recipient: str, at: float) -> None:
        self._isp.recording.refusal(
            records.Refusal(self._isp.name, at, self._source_ip, self._id, stage, code, text, sender, recipient)
        )


async def listen(isp: Isp, hostname: str, ip: str, port: int) -> asyncio.Server:
    """Serves one host of an ISP; raises OSError if the address cannot be bound."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((ip, port))
    listening.setblocking(False)
    return await asyncio.get_running_loop().create_server(
        lambda: IspConnection(isp, hostname), sock=listening, backlog=BACKLOG
    )
