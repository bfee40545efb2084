"""What every round stands on: a sink, a name server, a reflector, a key, and folders for the contenders' queues."""

import os
import socket
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.lanewright import FREELY, Relay
from bench.load import Sink
from bench.nameserver import NameServer
from bench.postfix import Postfix

__all__ = ["FAST", "SLOW", "Bench", "Contender", "free_ports", "rsa_cost_ms", "sync_ms"]

SINK, SLOW, FAST = "127.0.0.62", "127.0.0.63", "127.0.0.64"
"""Addresses of the sink, and of the two ISPs of `second_isp`."""


class Contender(Protocol):
    """A mail relay that listens on a port of loopback."""

    name: str
    port: int
    pid: int

    def describe(self) -> str:
        """Its configuration."""

    def stop(self) -> None:
        """Ends it."""


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of loopback that nobody holds."""
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = tuple(sock.getsockname()[1] for sock in socks)
    for sock in socks:
        sock.close()
    return ports


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
    def surroundings(self, records: tuple[str, ...] = ()) -> Iterator[Sink]:
        """Sink, name server and reflector, while they are needed; `records`: others to be answered with."""
        dns_port, self._reflector_port = free_ports(2)
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = b64encode(public).decode()
        record_text = f'"v=DKIM1; k=rsa; p={text[:200]}" "{text[200:]}"'  # strings of at most 255 octets
        zone = "\n".join(
            (
                "sink IN MX 10 mx.sink",
                "*.sink IN MX 10 mx.sink",
                f"mx.sink IN A {SINK}",
                "slow IN MX 10 mx.slow",
                f"mx.slow IN A {SLOW}",
                "fast IN MX 10 mx.fast",
                f"mx.fast IN A {FAST}",
                f"bench._domainkey.sender IN TXT {record_text}",
                *records,
            )
        )
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

    def relay(
        self,
        *,
        state: str = "Running",
        retry: str = "60s",
        room: str = "",
        await_proof: bool = True,
        signed: bool = False,
        rate: str = FREELY,
    ) -> Relay:
        """Ours, fresh, or with what an earlier one left in a room; `signed`: with DKIM."""
        ports = free_ports(2)
        folder = self._folder / room if room else self._room()
        return Relay(
            folder,
            (ports[0], ports[1]),
            self._reflector_port,
            self._resolver,
            self._key_file if signed else None,
            state=state,
            retry=retry,
            await_proof=await_proof,
            rate=rate,
        )

    def relay_with_dkim(self) -> Contender:
        """Ours, signing every message."""
        return self.relay(signed=True)


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
