"""A whole relay as a child process on loopback, with real peers: aiosmtpd as receiver, bind9 as DNS, reflectors.

Everything is ended by its own process handle; every wait has a deadline and says what it waited for.
"""

import asyncio
import http.client
import json
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from prometheus_client.parser import text_string_to_metric_families

from tests.lane_relay.forked import Forked, fork
from tests.ports import free_port

REFLECTOR_KEY = "0123456789abcdef0123456789abcdef"
SOURCE = "127.0.0.41"
USER, PASSWORD = "app", "correct horse"


T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, within_s: float = 60.0) -> T:
    """The first true answer of `look`; fails with `what` and the last answer when the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}; last answer {answer!r}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Arrived:
    """One message as the receiver got it."""

    peer: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float


class _Handler:
    """Keeps what arrives; answers as the test says."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, mail_options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return self._sink.answer("MAIL", address) or "250 2.1.0 ok"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        answer = self._sink.answer("RCPT", address)
        if answer is None or answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer or "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        sender, recipients = (envelope.mail_from or "").strip("<>"), tuple(envelope.rcpt_tos)
        answer = self._sink.answer("DATA", sender)
        if answer is None or answer.startswith("2"):
            content = envelope.original_content or b""
            peer = str(session.peer[0]) if session.peer else ""
            arrived = Arrived(peer, str(session.host_name), sender, recipients, content, time.time())
            self._sink.arrived.append(arrived)
        return answer or "250 2.0.0 kept"


class _Controller(Controller):
    """Remembers its sessions: aiosmtpd ends their loop without ending them."""

    def factory(self) -> SMTP:
        made: SMTP = super().factory()  # type: ignore[no-untyped-call]
        self.__dict__.setdefault("sessions", []).append(made)
        return made

    async def end_sessions(self) -> None:
        # Nobody new comes in while the last ones go. The server stays open meanwhile: asyncio drops, unclosed, a
        # connection that it accepted in the turn in which its server closed.
        assert isinstance(self.server, asyncio.Server)
        for listener in self.server.sockets:
            self.loop.remove_reader(listener.fileno())
        for _ in range(10):  # the loop's turns in which one just accepted gets its transport, and each sees its end
            for session in self.__dict__.get("sessions", ()):
                if session.transport is not None:
                    session.transport.abort()
            await asyncio.sleep(0)


class Sink:
    """An ISP: a real SMTP server in a thread of its own."""

    def __init__(self, address: str, port: int = 0) -> None:
        self.arrived: list[Arrived] = []
        self.asked: list[tuple[str, str]] = []
        self.answer_with: Callable[[str, str], str | None] = lambda _stage, _address: None
        """(stage, address) -> a reply, or None for 250."""
        self.address, self.port = address, port or free_port(address)
        self._controller = _Controller(_Handler(self), hostname=address, port=self.port, ready_timeout=60)

    def answer(self, stage: str, address: str) -> str | None:
        """Notes the question; the test's answer."""
        self.asked.append((stage, address))
        return self.answer_with(stage, address)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._controller.end_sessions(), self._controller.loop).result(60)
        self._controller.stop()

    def wait(self, count: int, within_s: float = 60.0) -> list[Arrived]:
        """What arrived, once there are so many."""
        eventually(lambda: len(self.arrived) >= count, f"{count} messages at {self.address}", within_s)
        return self.arrived


def letter(number: int = 0, *, sender: str = "otp@brand.test", recipient: str = "ann@isp.test") -> EmailMessage:
    """A small message that says which one it is."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, recipient, f"letter {number}"
    message["Message-ID"] = f"<letter-{number}@brand.test>"
    message["X-Correlation-Id"] = f"order-{number}"
    message.set_content(f"Your code is {number:06}.\r\n.a line that begins with a dot\r\n")
    return message


@dataclass
class Relay:
    """The relay under test: its folder outlives its processes."""

    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    generation: int = 1
    process: Forked | None = None

    def __post_init__(self) -> None:
        (self.folder / "users").mkdir(parents=True)
        (self.folder / "users" / USER).write_text(PASSWORD)
        (self.folder / "reflector.key").write_text(REFLECTOR_KEY)
        self.write(self.overrides)

    @property
    def config_file(self) -> Path:
        """relay.yaml."""
        return self.folder / "relay.yaml"

    def config(self) -> dict[str, Any]:
        """The configuration, the test's own values laid over."""
        base: dict[str, Any] = {
            "generation": self.generation,
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "intake": {
                "smtp": {"host": "127.0.0.1", "port": self.port},
                "usersDir": str(self.folder / "users"),
                "senders": ["@brand.test"],
            },
            "spool": {"path": str(self.folder / "spool")},
            "records": {"path": str(self.folder / "records")},
            "delivery": {"retry": {"first": "1s", "factor": 1, "max": "1s"}},
            "domains": [{"name": "brand.test", "mode": "Off"}],
            "health": {"host": "127.0.0.1", "port": self.health_port},
        }
        return _laid_over(base, self.overrides)

    def write(self, overrides: dict[str, Any]) -> None:
        """A new configuration file with a new generation, swapped in as one rename."""
        self.overrides = overrides
        half = self.folder / "relay.yaml.new"
        half.write_text(yaml.safe_dump(self.config()))
        half.replace(self.config_file)

    def change(self, **values: Any) -> None:
        """Lays more values over the configuration and waits until it is in force."""
        self.generation += 1
        self.write(_laid_over(self.overrides, values))
        eventually(lambda: self.metric("config_generation") == self.generation, "the new configuration in force")

    def start(self, *, ready: bool = True) -> Self:
        """Starts a process; returns when it is ready to accept."""
        self.process = fork(self.config_file, self.folder / "log")
        if ready:
            eventually(self.is_ready, f"the relay is ready; log: {self.log()[-3000:]}")
        return self

    def is_ready(self) -> bool:
        """Whether /readyz says 200; fails at once if the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        return self.probe("/readyz")[0] == 200

    def probe(self, path: str) -> tuple[int, str]:
        """Status and body of a plain HTTP request to the health port; status 0 if nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Every sample by name and labels, such as `egress_proof{state=Proved}`, without the prefix."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return {
            sample.name.removeprefix("lane_relay_") + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str) -> float:
        """One sample; 0 if there is none."""
        return self.metrics().get(name, 0.0)

    def unaccounted(self) -> float:
        """Recipients of whom it does not know what became of them; 0 if it does not run."""
        if self.process is None or self.process.poll() is not None or self.probe("/metrics")[0] != 200:
            return 0
        return self.metric("recipients_unaccounted")

    def log(self) -> str:
        """Everything logged so far."""
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    def records(self) -> list[dict[str, Any]]:
        """Every accounting record so far, in order; a line that is being written is none yet."""
        files = sorted((self.folder / "records").glob("records-*.jsonl"))
        lines = [line for path in files for line in path.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]
        return [json.loads(line) for line in lines]

    @contextmanager
    def session(self, *, login: bool = True) -> Iterator[smtplib.SMTP]:
        """A client's session over STARTTLS, authenticated."""
        with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.test", timeout=60) as client:
            if login:
                client.starttls(context=_trusting())
                client.login(USER, PASSWORD)
            yield client

    def submit(self, *numbers: int, recipient: str = "ann@isp.test") -> None:
        """Hands in letters, one transaction each, in one session; returns when all got their 250."""
        with self.session() as client:
            for number in numbers:
                client.send_message(letter(number, recipient=recipient))

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, within_s: float = 60.0) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def stop(self) -> None:
        """Ends what is left of it at the end of a test."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def resident_bytes(self) -> int:
        """Its resident memory."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)


def _trusting() -> ssl.SSLContext:
    """The relay's certificate is self-signed in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _labels(labels: dict[str, str]) -> str:
    """Labels as people write them, or nothing."""
    return "{" + ",".join(f"{name}={value}" for name, value in sorted(labels.items())) + "}" if labels else ""


def _laid_over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values` laid over `base`, folder by folder; None takes a value away."""
    merged = dict(base)
    for key, value in values.items():
        below = merged.get(key)
        merged[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {key: value for key, value in merged.items() if value is not None}


def fixed_route(sink: Sink, domain: str = "*") -> dict[str, Any]:
    """A fixed route to a sink."""
    return {"domains": [domain], "host": sink.address, "port": sink.port, "tls": "None"}


class ReflectorProcess:
    """`lane-relay reflect` as a child process."""

    def __init__(self, folder: Path, port: int, key: str = REFLECTOR_KEY) -> None:
        path = folder / f"reflector-{port}.key"
        path.write_text(key)
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lane_relay", "reflect", "--listen", f"127.0.0.1:{port}", "--key-file", str(path)],
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        try:
            eventually(self._listens, f"a reflector on port {self.port}")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(60) == 0


def egress(folder: Path, *ports: int, address: str = SOURCE, source: str = SOURCE) -> dict[str, Any]:
    """An egress address that reflectors on these ports prove."""
    reflectors = [f"tcp://127.0.0.1:{port}" for port in ports]
    proof = {"reflectors": reflectors, "keyFile": str(folder / "reflector.key"), "every": "1s"}
    return {"address": address, "source": source, "proof": proof}
