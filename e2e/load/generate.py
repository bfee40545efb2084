"""The load generator as a program: `python -m e2e.load.generate --config load.json`.

`otp`: a few messages a second at a fixed rate; `flood`: many, over tens of thousands of domains. Both are the same
open loop: message i is due at start + i / rate, is sent by the first free session, and its latency counts from when it
was due. Says `ready` when its sessions stand, `done` when every message has its outcome in the ledger.
Before: tests and demo spawn it in a place. After: `smtp_client`, `ledger`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Literal

import msgspec
import uvloop

from e2e.internet.policy import Model
from e2e.load.ledger import Entry, encode
from e2e.load.smtp_client import BrokenConnectionError, Submission, Target, client_context

LINE = "The quick brown fox jumps over the lazy dog; 0123456789 and once more.\r\n"
PAUSE_S = 0.2  # before another try at a refused message or connection
LEDGER_EVERY_S = 0.5


class LoadConfig(Model):
    """One stream of messages."""

    stream: str  # its name in ledger and comparison: otp, bulk
    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"] = "none"
    ca_file: str = ""
    credentials: Path | None = None  # a file with user:password; never an argument
    source_ip: str = ""
    sender: str
    domains: tuple[str, ...]  # recipients' domains, in turn; `{n}` in one becomes 0, 1, 2 ... for each round of turns
    distinct: int = 1  # how many values `{n}` takes before it starts again
    messages: int
    rate: float  # messages a second
    size: int = 4096  # octets of the whole message, about
    sessions: int = 4
    per_session: int = 0  # messages, then the session is closed and another opened; 0: for ever
    start_at: float = 0.0  # wall clock; 0: when the sessions stand
    tries: int = 50  # of a message that gets 4xx or whose connection breaks before the end of data
    ledger: Path


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, ready to send."""

    message_id: str
    correlation_id: str
    recipient: str
    body_sha256: str
    scheduled: float
    content: bytes


def recipients(config: LoadConfig) -> Iterator[str]:
    """The recipients in order: domains in turn, each round with the next `{n}`."""
    for number in itertools.count():
        turn, index = divmod(number, len(config.domains))
        yield f"user{number}@{config.domains[index].format(n=turn % config.distinct)}"


def letters(config: LoadConfig, start: float, run: str) -> Iterator[Letter]:
    """All messages of the run in the order of their schedule; `run` makes the Message-IDs unique."""
    filler = LINE * max(1, (config.size - 500) // len(LINE))
    domain = config.sender.rpartition("@")[2]
    for number, recipient in zip(range(config.messages), recipients(config), strict=False):
        scheduled = start + number / config.rate
        message_id = f"<{config.stream}.{number}.{run}@{domain}>"
        correlation_id = f"{config.stream}-{run}-{number}"
        body = f"Message {number} of {config.stream}\r\n{filler}".encode()
        header = (
            f"From: <{config.sender}>\r\nTo: <{recipient}>\r\nSubject: {config.stream} {number}\r\n"
            f"Date: {formatdate(scheduled)}\r\nMessage-ID: {message_id}\r\nX-Correlation-Id: {correlation_id}\r\n"
            f"X-Scheduled-At: {scheduled:.6f}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        )
        yield Letter(
            message_id,
            correlation_id,
            recipient,
            hashlib.sha256(body).hexdigest(),
            scheduled,
            header.encode() + b"\r\n" + body,
        )


def read_target(config: LoadConfig) -> Target:
    """Where to submit, with the credentials from their file."""
    user, _, password = config.credentials.read_text().strip().partition(":") if config.credentials else ("", "", "")
    return Target(config.host, config.port, config.tls, user, password, config.ca_file, config.source_ip)


class Generator:
    """The sessions of one stream and the ledger that they write."""

    def __init__(self, config: LoadConfig) -> None:
        self._config = config
        self._target = read_target(config)
        self._context = client_context(self._target)
        self._due: asyncio.Queue[Letter | None] = asyncio.Queue()
        self._lines: list[bytes] = []
        self.accepted = self.others = 0

    async def run(self) -> None:
        """Opens the sessions, sends everything on schedule, returns when all have an outcome."""
        config = self._config
        config.ledger.parent.mkdir(parents=True, exist_ok=True)
        config.ledger.write_bytes(b"")
        sessions = await asyncio.gather(*(self._open() for _ in range(config.sessions)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write_ledger_now_and_then())
            async with asyncio.TaskGroup() as senders:
                senders.create_task(self._schedule())
                for session in sessions:
                    senders.create_task(self._work(session))
            writing.cancel()
        self._write_ledger()
        sys.stdout.write(f"done {self.accepted} accepted {self.others} not\n")

    async def _schedule(self) -> None:
        start = self._config.start_at or time.time()
        for letter in letters(self._config, start, secrets.token_hex(4)):
            while (wait := letter.scheduled - time.time()) > 0:  # noqa: ASYNC110 - a loop's timers may fire a little early
                await asyncio.sleep(wait)
            self._due.put_nowait(letter)
        for _ in range(self._config.sessions):
            self._due.put_nowait(None)

    async def _open(self) -> Submission:
        error: Exception | None = None
        for _ in range(self._config.tries):
            try:
                return await Submission.open(self._target, self._context)
            except (OSError, TimeoutError) as broken:
                error = broken
                await asyncio.sleep(PAUSE_S)
        raise ConnectionError(f"no session with {self._target.host}:{self._target.port}: {error}")

    async def _work(self, session: Submission) -> None:
        sent = 0
        while (letter := await self._due.get()) is not None:
            if self._config.per_session and sent == self._config.per_session:
                await session.close()
                sent = 0
            session = await self._deliver(session, letter)
            sent += 1
        await session.close()

    async def _deliver(self, session: Submission, letter: Letter) -> Submission:
        """Offers one message until it has an outcome; the session to go on with."""
        sent = time.time()
        code, text = 0, ""
        for tries in range(1, self._config.tries + 1):
            try:
                if not session.alive:
                    session = await Submission.open(self._target, self._context)
                reply = await session.send(self._config.sender, letter.recipient, letter.content)
                code, text = reply.code, reply.text
            except (OSError, TimeoutError) as broken:
                code, text = 0, str(broken)
                if isinstance(broken, BrokenConnectionError) and broken.in_doubt:
                    self._note(letter, sent, "in-doubt", code, text, tries)
                    return session
            if code == 250 or code >= 500:
                self._note(letter, sent, "accepted" if code == 250 else "refused", code, text, tries)
                return session
            await asyncio.sleep(PAUSE_S)
        self._note(letter, sent, "refused", code, text, self._config.tries)
        return session

    def _note(
        self,
        letter: Letter,
        sent: float,
        outcome: Literal["accepted", "refused", "in-doubt"],
        code: int,
        text: str,
        tries: int,
    ) -> None:
        self.accepted += outcome == "accepted"
        self.others += outcome != "accepted"
        entry = Entry(
            stream=self._config.stream,
            message_id=letter.message_id,
            correlation_id=letter.correlation_id,
            sender=self._config.sender,
            recipient=letter.recipient,
            body_sha256=letter.body_sha256,
            scheduled=letter.scheduled,
            sent=sent,
            replied=time.time(),
            outcome=outcome,
            code=code,
            text=text,
            tries=tries,
        )
        self._lines.append(encode(entry) + b"\n")

    def _write_ledger(self) -> None:
        with self._config.ledger.open("ab") as file:
            file.write(b"".join(self._lines))
        self._lines = []

    async def _write_ledger_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LEDGER_EVERY_S)
            self._write_ledger()


def main() -> None:
    """Reads the configuration file and sends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="LoadConfig as JSON")
    config = LoadConfig.model_validate(msgspec.json.decode(parser.parse_args().config.read_bytes()))
    uvloop.run(Generator(config).run())


if __name__ == "__main__":
    main()
