"""The whole internet in one place: DNS, ISPs, reflectors, Postfix, network faults; what demo and tests hold in hand.

Invariant: `up` starts only what is missing, so it is also the repair and the way to attach; everything runs as its own
process in the place and outlives the caller until `down`, which leaves nothing behind.
Before: a place (`e2e.cluster`, or a namespace of a test). After: `dns`, `isp`, `postfix`, `faults`, `e2e.load`.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from e2e.internet import addresses, maildir, packages
from e2e.internet.addresses import MailProvider
from e2e.internet.control_client import IspControl
from e2e.internet.dns import Dns, DnsConfig
from e2e.internet.faults import Faults
from e2e.internet.isp import Host, IspConfig, IspsConfig
from e2e.internet.place import Place
from e2e.internet.policy import Policy
from e2e.internet.postfix import Postfix, plain_isp, shared_relay
from e2e.internet.records import Record
from e2e.load import ledger
from e2e.load.generate import LoadConfig

CHECKOUT = Path(__file__).resolve().parents[2]
STARTED_WITHIN_S = 20.0
REFLECTOR_PORT = 25  # the proof walks the path that mail walks
RECORDER_PROGRAM = "isps"
CONNECTIONS_PER_IP = 10  # what an ISP without a policy of its own grants


class InternetError(RuntimeError):
    """A part of the internet did not start or ended before its time."""


@dataclass(frozen=True)
class Ground:
    """Where the internet's files lie."""

    folder: Path  # configuration, records, ledgers
    sockets: Path  # short: the kernel stops a socket's path at 107 octets
    spool: Path  # Postfix's queues; reachable for unprivileged users


@dataclass(frozen=True)
class Weights:
    """CPU weights of the control groups, printed with every figure (100 is neutral)."""

    isps: int = 400
    dns: int = 200
    reflectors: int = 100
    postfix: int = 100
    shared: int = 400  # the peer that is compared with the lanes: as much as a node
    load: int = 200


def default_policy(provider: MailProvider) -> Policy:
    """What an ISP does unless a test says otherwise: takes mail for its domains, 10 connections per address."""
    return Policy(domains=provider.domains, max_connections_per_ip=CONNECTIONS_PER_IP)


class Load:
    """A generator that was spawned."""

    def __init__(self, place: Place, name: str, config: LoadConfig) -> None:
        self._place = place
        self.name = name
        self.config = config
        self._read = self._lines = 0

    def running(self) -> bool:
        """False once every message has its outcome."""
        return self._place.find(self.name) is not None

    async def done(self, timeout_s: float) -> list[ledger.Entry]:
        """The whole ledger, when the generator has ended; raises InternetError if messages have no outcome."""
        await eventually(lambda: _now(not self.running()), timeout_s, f"{self.name} still sends")
        entries = self.entries()
        if len(entries) != self.config.messages:
            raise InternetError(
                f"{self.name} ended with {len(entries)} of {self.config.messages} outcomes; see its log"
            )
        return entries

    def entries(self) -> list[ledger.Entry]:
        """What is in the ledger by now."""
        return ledger.read(self.config.ledger)

    def progress(self) -> int:
        """How many messages have an outcome in the ledger by now; reads only what is new."""
        if self.config.ledger.exists():
            with self.config.ledger.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            self._lines += new.count(b"\n")
        return self._lines

    def end(self) -> None:
        """Ends it before its time."""
        self._place.end(self.name)


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float, otherwise: str) -> None:
    """Waits for a condition; raises InternetError with `otherwise` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise InternetError(f"after {timeout_s:.0f} s: {otherwise}")
        await asyncio.sleep(0.05)


async def _now(value: bool) -> bool:
    return value


class Internet:
    """The internet of one cluster. `await Internet.up(...)` to build or attach, `await internet.down()` to remove."""

    def __init__(self, place: Place, ground: Ground, weights: Weights) -> None:
        self.place = place
        self.ground = ground
        self.weights = weights
        self.faults = Faults(place)
        self.isps = IspControl(ground.sockets / "isps.sock")
        self.dns = Dns(
            place,
            DnsConfig(
                ground.folder / "dns",
                addresses.NAMESERVER,
                addresses.RESOLVER,
                control=ground.sockets / "unbound.sock",
            ),
        )
        self.plain = Postfix(
            place,
            plain_isp(ground.spool / "plain", addresses.PLAIN, addresses.PLAIN.hosts[0][1], addresses.RESOLVER),
        )

    @classmethod
    async def up(
        cls,
        place: Place,
        ground: Ground,
        *,
        weights: Weights | None = None,
        policies: Mapping[str, Policy] | None = None,
    ) -> Internet:
        """Starts what is missing and attaches to the rest; `policies` by ISP name are put in force."""
        internet = cls(place, ground, weights or Weights())
        await asyncio.to_thread(internet._lay_ground)
        if place.find("named") is None or place.find("unbound") is None:
            await asyncio.to_thread(internet._start_dns)
        if place.find(RECORDER_PROGRAM) is None or not internet._isps_are_of_this_source():
            await asyncio.to_thread(place.end, RECORDER_PROGRAM)
            await internet._start_isps()
        await internet.isps.__aenter__()
        for name, policy in (policies or {}).items():
            await internet.isps.set_policy(name, policy)
        if place.find("postfix-plain") is None:
            await asyncio.to_thread(internet.plain.up, internet.weights.postfix)
        return internet

    async def down(self) -> None:
        """Lets go of the control port, ends every program and removes every file and rule."""
        await self.close()
        await self.take_down()

    async def take_down(self) -> None:
        """The same without having been up."""
        programs = [RECORDER_PROGRAM, "postfix-plain", "postfix-shared", "reflector-lying", "unbound", "named"]
        programs += [f"reflector-{number}" for number in range(1, len(addresses.REFLECTORS) + 1)]
        for name in programs:
            await asyncio.to_thread(self.place.end, name)
        self.faults.clear()
        for folder in (self.ground.folder, self.ground.spool):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def close(self) -> None:
        """Lets go of the control port; everything runs on."""
        await self.isps.__aexit__(None, None, None)

    def status(self) -> dict[str, bool]:
        """Program -> whether it runs."""
        names = ["named", "unbound", RECORDER_PROGRAM, "postfix-plain", "postfix-shared", "reflector-lying"]
        names += [f"reflector-{number}" for number in range(1, len(addresses.REFLECTORS) + 1)]
        return {name: self.place.find(name) is not None for name in names}

    # names

    def publish_txt(self, name: str, value: str) -> None:
        """Publishes a TXT record, such as the DKIM record in a lane's status; visible at once."""
        self.dns.publish_txt(name, value)

    def publish_host(self, hostname: str, ip: str) -> None:
        """Makes a name and an egress address point to each other."""
        self.dns.publish_host(hostname, ip)

    # reflectors

    @property
    def reflector_key(self) -> Path:
        """The file with the key that relays and reflectors share."""
        return self.ground.folder / "reflector.key"

    @property
    def reflectors(self) -> tuple[str, ...]:
        """The honest reflectors as an IPPool names them."""
        return tuple(f"tcp://{ip}:{REFLECTOR_PORT}" for ip in addresses.REFLECTORS)

    @property
    def lying_reflector(self) -> str:
        """The reflector that sees every client at `addresses.LIE`."""
        return f"tcp://{addresses.LYING_REFLECTOR}:{REFLECTOR_PORT}"

    def start_reflectors(self, *numbers: int) -> None:
        """Starts the honest reflectors of these numbers (1, 2, 3), or all, where they do not run."""
        for number in numbers or range(1, len(addresses.REFLECTORS) + 1):
            listen = f"{addresses.REFLECTORS[number - 1]}:{REFLECTOR_PORT}"
            argv = ["-m", "lane_relay", "reflect", "--listen", listen, "--key-file", str(self.reflector_key)]
            self._start_python(f"reflector-{number}", argv, self.weights.reflectors)

    def stop_reflectors(self, *numbers: int) -> None:
        """Ends these reflectors, or all."""
        for number in numbers or range(1, len(addresses.REFLECTORS) + 1):
            self.place.end(f"reflector-{number}")

    def start_lying_reflector(self, says: str = addresses.LIE) -> None:
        """Starts the reflector that lies."""
        listen = f"{addresses.LYING_REFLECTOR}:{REFLECTOR_PORT}"
        argv = ["-m", "e2e.internet.lying_reflector", "--listen", listen, "--says", says]
        self._start_python("reflector-lying", [*argv, "--key-file", str(self.reflector_key)], self.weights.reflectors)

    def stop_lying_reflector(self) -> None:
        """Ends it."""
        self.place.end("reflector-lying")

    # peers and load

    def shared_postfix(self, limits: Mapping[MailProvider, int], place: Place | None = None) -> Postfix:
        """The one Postfix that everything goes through, not yet started; `place` must have its address."""
        config = shared_relay(
            self.ground.spool / "shared", addresses.SHARED_POSTFIX, addresses.RESOLVER, limits, port=25
        )
        return Postfix(place or self.place, config)

    async def load(self, config: LoadConfig, *, place: Place | None = None, cpu_weight: int | None = None) -> Load:
        """Spawns a generator named load-STREAM."""
        name = f"load-{config.stream}"
        file = self.ground.folder / f"{name}.json"
        file.write_text(config.model_dump_json())
        config.ledger.unlink(missing_ok=True)
        where = place or self.place
        weight = self.weights.load if cpu_weight is None else cpu_weight
        argv = [sys.executable, "-m", "e2e.load.generate", "--config", str(file)]
        where.spawn(name, argv, cpu_weight=weight, cwd=CHECKOUT)
        return Load(where, name, config)

    # evidence

    async def records(self, isps: Iterable[str] | None = None) -> list[Record]:
        """What the ISPs wrote down, the plain one included; of all, or of those named."""
        names = list(isps) if isps is not None else [one.name for one in addresses.PROVIDERS]
        scripted = {one.name for one in addresses.SCRIPTED}
        found: list[Record] = []
        for name in names:
            if name in scripted:
                found += await self.isps.dump(name)
            else:
                found += await asyncio.to_thread(maildir.received, name, self.plain.config.folder)
        return found

    async def received(self) -> int:
        """How many messages the ISPs have taken."""
        counts = await self.isps.counts()
        plain = self.plain.config.folder / "mail" / "all" / "new"
        scripted = sum(address["messages"] for isp in counts.values() for address in isp.values())
        return scripted + sum(1 for _ in plain.glob("*"))

    async def reset_records(self) -> None:
        """Every ISP begins a new recording."""
        for provider in addresses.SCRIPTED:
            await self.isps.reset(provider.name)
        await self.isps.reset_wire()
        for file in (self.plain.config.folder / "mail" / "all" / "new").glob("*"):
            file.unlink()

    # start-up

    def _lay_ground(self) -> None:
        packages.install()
        for folder in (self.ground.folder, self.ground.sockets, self.ground.spool):
            folder.mkdir(parents=True, exist_ok=True)
        for address in (*addresses.internet_addresses(), addresses.RESOLVER, addresses.DEAD):
            self.place.add_address(address)
        self.faults.silence(addresses.DEAD)
        if not self.reflector_key.exists():
            self.reflector_key.touch(mode=0o600)
            self.reflector_key.write_text(secrets.token_hex(32) + "\n")

    def _start_dns(self) -> None:
        self.dns.down()
        self.dns.up(self.weights.dns)

    @property
    def _source_mark(self) -> Path:
        return self.ground.folder / "isps.source"

    def _isps_are_of_this_source(self) -> bool:
        """False if what runs was started from other code: a changed checkout would talk to yesterday's ISPs."""
        return self._source_mark.exists() and self._source_mark.read_text() == _source()

    async def _start_isps(self) -> None:
        config = IspsConfig(
            isps=tuple(
                IspConfig(
                    name=one.name,
                    hosts=tuple(Host(hostname=name, ip=ip) for name, ip in one.hosts),
                    policy=default_policy(one),
                )
                for one in addresses.SCRIPTED
            ),
            control=self.ground.sockets / "isps.sock",
            records=self.ground.folder / "records",
            also_watched=(
                Host(hostname="dead", ip=addresses.DEAD),
                *(Host(hostname="plain", ip=ip) for _, ip in addresses.PLAIN.hosts),
            ),
        )
        file = self.ground.folder / "isps.json"
        file.write_text(config.model_dump_json(indent=1))
        config.control.unlink(missing_ok=True)
        self._source_mark.write_text(_source())
        self._start_python(RECORDER_PROGRAM, ["-m", "e2e.internet.isp", "--config", str(file)], self.weights.isps)
        await eventually(lambda: _answers(config.control), STARTED_WITHIN_S, "the ISPs do not answer; see isps.log")

    def _start_python(self, name: str, argv: list[str], cpu_weight: int) -> None:
        if self.place.find(name) is None:
            self.place.spawn(name, [sys.executable, *argv], cpu_weight=cpu_weight, cwd=CHECKOUT)


def _source() -> str:
    """A mark of the code that the ISPs run."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


async def _answers(socket: Path) -> bool:
    try:
        async with IspControl(socket) as control:
            await control.all_counters()
    except aiohttp.ClientError:
        return False
    return True
