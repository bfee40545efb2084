"""`python -m bench`: rounds of Postfix, relay, relay with DKIM in turn; then the operator's idle minutes on a cluster.

Each round is one start, a warm-up, N messages through 20 sessions, counted at the sink; then medians and min-max.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import operator_idle
from bench.cpu import cpu_seconds, memory_bytes
from bench.lanewright import Relay
from bench.load import MESSAGE_BYTES, Sink, inject
from bench.nameserver import NameServer
from bench.postfix import Postfix
from e2e.figures import clear, record
from e2e.internet import packages

SESSIONS = 20
PLAIN_TARGET = 5.0
SINK = "127.0.0.62"
WARM_UP = 400
_PROGRAMS = {"postfix": "postfix", "smtp-sink": "postfix", "smtp-source": "postfix", "named": "bind9"}


class Contender(Protocol):
    """A mail relay that listens on a port of loopback."""

    name: str
    port: int
    pid: int

    def describe(self) -> str:
        """Its configuration."""

    def stop(self) -> None:
        """Ends it."""


@dataclass(frozen=True)
class Round:
    """One measured round."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms: float
    memory_mb: float


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of loopback that nobody holds."""
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = tuple(sock.getsockname()[1] for sock in socks)
    for sock in socks:
        sock.close()
    return ports


def measure(contender: Contender, sink: Sink, messages: int) -> Round:
    """Warms up, then times so many messages to the sink."""
    before = sink.arrived
    inject(contender.port, WARM_UP, SESSIONS)
    sink.wait(before + WARM_UP, 120)
    before = sink.arrived
    cpu, started = cpu_seconds(contender.pid), time.monotonic()
    inject(contender.port, messages, SESSIONS)
    accepted = time.monotonic()
    delivered = sink.wait(before + messages, 300)
    used = cpu_seconds(contender.pid) - cpu
    return Round(
        messages / (accepted - started),
        messages / (delivered - started),
        used / messages * 1000,
        memory_bytes(contender.pid) / 2**20,
    )


def rsa_cost_ms(key: rsa.RSAPrivateKey, times: int = 300) -> float:
    """CPU milliseconds of one RSA-2048 signature in this process, now."""
    digest = b"x" * 500
    started = time.process_time()
    for _ in range(times):
        key.sign(digest, padding.PKCS1v15(), hashes.SHA256())
    return (time.process_time() - started) / times * 1000


class Bench:
    """What all rounds share: sink, name server, reflector, key, folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self.key = rsa.generate_private_key(65537, 2048)
        self._key_file = folder / "dkim.pem"
        self._key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / "reflector.key").write_text("0123456789abcdef0123456789abcdef\n")

    @contextmanager
    def surroundings(self) -> Iterator[Sink]:
        """Sink, name server and reflector, while they are needed."""
        dns_port, self._reflector_port = free_ports(2)
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = b64encode(public).decode()
        record_text = f'"v=DKIM1; k=rsa; p={text[:200]}" "{text[200:]}"'  # strings of at most 255 octets
        zone = f"sink IN MX 10 mx.sink\nmx.sink IN A {SINK}\nbench._domainkey.sender IN TXT {record_text}"
        sink = Sink(SINK, 25)
        server = NameServer(self._folder / "dns", dns_port, zone)
        asked = ["--listen", f"127.0.0.1:{self._reflector_port}", "--key-file", str(self._folder / "reflector.key")]
        reflector = subprocess.Popen([sys.executable, "-m", "lane_relay", "reflect", *asked])
        self._resolver = server.address
        try:
            yield sink
        finally:
            reflector.terminate()
            reflector.wait()
            server.stop()
            sink.stop()

    def _room(self) -> Path:
        self._made += 1
        return self._folder / f"run-{self._made}"

    def postfix(self) -> Contender:
        """The peer, fresh."""
        return Postfix(self._room(), free_ports(1)[0], (SINK, 25))

    def relay(self) -> Contender:
        """Ours, fresh."""
        ports = free_ports(2)
        return Relay(self._room(), (ports[0], ports[1]), self._reflector_port, self._resolver, None)

    def relay_with_dkim(self) -> Contender:
        """Ours, signing every message."""
        ports = free_ports(2)
        return Relay(self._room(), (ports[0], ports[1]), self._reflector_port, self._resolver, self._key_file)


def run(folder: Path, rounds: int, messages: int) -> tuple[dict[str, list[Round]], list[float]]:
    """All rounds, the contenders in turn; the RSA cost beside each."""
    bench = Bench(folder)
    found: dict[str, list[Round]] = {"Postfix tuned": [], "lane-relay": [], "lane-relay, RSA-2048": []}
    print(f"all queues in {folder}: {sync_ms(folder):.2f} ms an fdatasync of 4 KiB", flush=True)
    rsa_costs: list[float] = []
    makers: tuple[Callable[[], Contender], ...] = (bench.postfix, bench.relay, bench.relay_with_dkim)
    with bench.surroundings() as sink:
        for number in range(1, rounds + 1):
            rsa_costs.append(rsa_cost_ms(bench.key))
            turn = (number - 1) % len(makers)  # each is first in some round, after another's caches and heat
            for make in makers[turn:] + makers[:turn]:
                contender = make()
                try:
                    if number == 1:
                        print(contender.describe(), flush=True)
                    result = measure(contender, sink, messages)
                finally:
                    contender.stop()
                found[contender.name].append(result)
                print(f"round {number}/{rounds} {contender.name}: {result.delivered_per_s:.0f} delivered/s", flush=True)
    return found, rsa_costs


def spread(values: list[float], digits: int) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def median(rounds: list[Round], field: str) -> float:
    """The median of one field."""
    return float(statistics.median(getattr(r, field) for r in rounds))


def report(found: dict[str, list[Round]], rsa_costs: list[float], messages: int) -> None:
    """The table and the ratios."""
    print(f"\n{messages} messages of {MESSAGE_BYTES} octets, {SESSIONS} sessions, {len(rsa_costs)} interleaved rounds")
    print(f"{'':24}{'accepted/s':>22}{'delivered/s':>22}{'CPU ms/message':>24}{'PSS MB':>10}")
    for name, rounds in found.items():
        rows = [spread([r.accepted_per_s for r in rounds], 0), spread([r.delivered_per_s for r in rounds], 0)]
        rows.append(spread([r.cpu_ms for r in rounds], 3))
        print(f"{name:24}{rows[0]:>22}{rows[1]:>22}{rows[2]:>24}{median(rounds, 'memory_mb'):>10.0f}")
    peer, ours, signed = found.values()
    rsa_ms = statistics.median(rsa_costs)
    print(f"\nRSA-2048 in this run: {spread(rsa_costs, 3)} ms CPU a signature")
    print(f"CPU with RSA-2048 less the signature: {median(signed, 'cpu_ms') - rsa_ms:.3f} ms a message (at most 0.45)")
    print(f"delivered/s, relay / Postfix:             {spread(ratios(ours, peer), 2)} x (at least {PLAIN_TARGET})")
    print(
        f"delivered/s, relay with RSA-2048 / Postfix without: {spread(ratios(signed, peer), 2)} x (later: at least 2.8)"
    )
    print(f"CPU a message, relay / Postfix:           1/{median(peer, 'cpu_ms') / median(ours, 'cpu_ms'):.1f}")


def ratios(ours: list[Round], peer: list[Round]) -> list[float]:
    """Delivered per second, ours over the peer's of the same round."""
    return [one.delivered_per_s / other.delivered_per_s for one, other in zip(ours, peer, strict=True)]


def sync_ms(folder: Path, times: int = 100) -> float:
    """Median milliseconds of a 4 KiB append with fdatasync: on a memory file system durability would be free."""
    took = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def main() -> None:
    """Runs and records."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="2 rounds of 1,000 messages; records no figures")
    arguments.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    arguments.add_argument("--messages", type=int, default=5000, help="messages a round (default: 5000)")
    arguments.add_argument("--only", choices=("relay", "operator"), help="one of the two parts")
    given = arguments.parse_args()
    if not (given.quick or given.only):
        clear("bench")
    short = bench_relay(given) if given.only != "operator" else None
    if given.only != "relay" and not given.quick:
        operator_idle.run()
    sys.exit(short)


def bench_relay(given: argparse.Namespace) -> str | None:
    """The relay beside Postfix; what keeps it from its target, if anything does."""
    rounds, messages = (2, 1000) if given.quick else (given.rounds, given.messages)
    installed = packages.install(_PROGRAMS)
    if installed:
        print(f"installed {', '.join(installed)}", flush=True)
    with tempfile.TemporaryDirectory(
        prefix="lanewright-bench-", dir="/var/tmp"
    ) as folder:  # a disk, where /tmp may be memory
        Path(folder).chmod(0o755)  # Postfix's daemons run as their own user
        found, rsa_costs = run(Path(folder), rounds, messages)
    report(found, rsa_costs, messages)
    if not given.quick:
        peer, ours, signed = found.values()
        command = f"python -m bench --rounds {rounds} --messages {messages}"
        plain = statistics.median(ratios(ours, peer))
        record("bench.json", "relay_vs_postfix_20", round(plain, 2), "x", PLAIN_TARGET, "higher", command)
        for name, value in (("least", min(ratios(ours, peer))), ("most", max(ratios(ours, peer)))):
            record("bench.json", f"relay_vs_postfix_20_{name}", round(value, 2), "x", None, "higher", command)
        cpu = median(ours, "cpu_ms") / median(peer, "cpu_ms")
        record("bench.json", "cpu_vs_postfix", round(cpu, 4), "ratio", round(1 / 9, 4), "lower", command)
        dkim = round(statistics.median(ratios(signed, peer)), 2)
        record("bench.json", "dkim_vs_postfix_plain", dkim, "x", 2.8, "higher", command)
        less_rsa = round(median(signed, "cpu_ms") - statistics.median(rsa_costs), 3)
        record("bench.json", "dkim_cpu_ms_without_rsa", less_rsa, "ms", 0.45, "lower", command)
        if plain < PLAIN_TARGET:
            return f"not shown: {plain:.2f} x Postfix, less than {PLAIN_TARGET}"
    return None


if __name__ == "__main__":
    main()
