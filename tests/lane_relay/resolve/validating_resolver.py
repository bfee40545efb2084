"""A real validating resolver (unbound) on loopback, with zones that the test signs, or spoils after signing."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.dnssec
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from tests.ports import free_port

__all__ = ["Resolver", "Zone", "resolving"]

_HEAD = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"


@dataclass(frozen=True)
class Zone:
    """One zone; `spoil` replaces text after it was signed."""

    name: str
    records: str
    signed: bool = True
    spoil: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> str:
        """Writes its file, signed; its trust anchor, or an empty string."""
        zone = dns.zone.from_text(_HEAD + self.records, origin=self.name, relativize=False)
        anchor = ""
        if self.signed:
            key = ec.generate_private_key(ec.SECP256R1())
            public = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ECDSAP256SHA256, flags=257)
            assert isinstance(public, DNSKEY)
            with zone.writer() as changes:
                dns.dnssec.sign_zone(zone, changes, keys=[(key, public)], add_dnskey=True, lifetime=86_400)
            anchor = f"{self.name}. DNSKEY {public.to_text()}"
        text = zone.to_text(want_origin=True, relativize=False)
        for before, after in self.spoil.items():
            assert before in text, f"{before} is not in the zone as it was signed"
            text = text.replace(before, after)
        (folder / f"{self.name}.zone").write_text(text + "\n")
        return anchor


class Resolver:
    """One running server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.server = f"127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *zones: Zone) -> None:
        """Runs it with these zones until it answers."""
        anchors = [f'trust-anchor: "{anchor}"' for zone in zones if (anchor := zone.write(self._folder))]
        served = [
            f'auth-zone:\n name: "{zone.name}"\n zonefile: "{self._folder}/{zone.name}.zone"\n'
            " for-downstream: no\n for-upstream: yes\n fallback-enabled: no"
            for zone in zones
        ]
        server = [
            "server:", f'directory: "{self._folder}"', 'chroot: ""', 'username: ""', 'pidfile: ""', "do-daemonize: no",
            "use-syslog: no", 'logfile: ""', "verbosity: 1", f"interface: 127.0.0.1@{self.port}", "num-threads: 1",
            "access-control: 127.0.0.0/8 allow", 'module-config: "validator iterator"', "do-not-query-localhost: no",
            'local-zone: "test." nodefault', "serve-expired: no", *anchors,
        ]  # fmt: skip
        (self._folder / "unbound.conf").write_text("\n".join([*server, *served, ""]))
        program = shutil.which("unbound", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, "these tests need unbound: apt-get install -y --no-install-recommends unbound"
        self._process = await asyncio.create_subprocess_exec(
            program, "-d", "-c", str(self._folder / "unbound.conf"), stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        said = b""
        async with asyncio.timeout(60):
            while line := await self._process.stderr.readline():
                said += line
                if b"start of service" in line:
                    self._reader = asyncio.create_task(_drain(self._process.stderr))
                    return
        raise AssertionError(f"unbound ended before it ran: {said.decode()}")

    async def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            await self._reader
            self._process = None


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


@asynccontextmanager
async def resolving(folder: Path, *zones: Zone) -> AsyncIterator[Resolver]:
    """A resolver that serves and validates these zones; those unsigned are insecure."""
    made = Resolver(folder)
    await made.start(*zones)
    try:
        yield made
    finally:
        await made.stop()
