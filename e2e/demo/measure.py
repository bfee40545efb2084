"""Runs the phases of the demo: OTPs while it is quiet, and OTPs while a flood waits in the queue.

Invariant: OTPs of the flood phase are scheduled only while more than `Scale.backlog` bulk messages are accepted and
undelivered; that and the bulk connections in use are sampled every second and go into the result.
Before: `lanes` (the ways in) and `e2e.internet`. After: `result`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from e2e.internet import addresses
from e2e.internet.internet import Internet, InternetError, Load, default_policy, eventually
from e2e.internet.policy import ROUND_TRIP_S
from e2e.load.generate import LoadConfig
from e2e.load.ledger import Entry

OTP_DOMAINS = (
    "gmail-like.example",
    "outlook-like.example",
    "yahoo-like.example",
    "gmx-like.example",
    "freemail.example",
)
FLOOD_ZONES = ("bulk-g.example", "bulk-o.example", "bulk-y.example", "bulk-x.example", "bulk-f.example")
SAMPLE_EVERY_S = 1.0
ARRIVES_WITHIN_S = 60.0  # a quiet OTP that takes longer is counted as undelivered

Say = Callable[[str], None]


@dataclass(frozen=True)
class Door:
    """Where one stream is submitted."""

    host: str
    port: int
    sender: str
    tls: Literal["none", "starttls", "implicit"] = "none"
    credentials: Path | None = None


@dataclass(frozen=True)
class Way:
    """A way out into the internet: through the lanes, or through the shared Postfix."""

    name: str
    otp: Door
    bulk: Door
    otp_ips: frozenset[str]
    bulk_ips: frozenset[str]

    def expected_ips(self) -> dict[str, frozenset[str]]:
        """Stream name -> the addresses it may come from."""
        otp = dict.fromkeys((self.stream("otp-quiet"), self.stream("otp-flood")), self.otp_ips)
        return otp | {self.stream("bulk"): self.bulk_ips}

    def stream(self, kind: str) -> str:
        """The name of a stream in ledgers."""
        return f"{self.name}-{kind}"


@dataclass(frozen=True)
class Scale:
    """How much and how fast."""

    otps: int = 1000
    otp_rate: float = 20.0
    flood: int = 50_000
    flood_rate: float = 850.0
    backlog: int = 10_000
    timed_s: float = 150.0  # the flood phase is timed this long after its first OTP at most
    drain_s: float = 300.0
    otp_size: int = 2048
    flood_size: int = 4096


@dataclass(frozen=True)
class Sample:
    """One look at the flood: seconds of the wall clock, messages waiting, bulk connections open at all ISPs."""

    at: float
    backlog: int
    connections: int


@dataclass
class Flood:
    """What the flood phase of one way has shown."""

    otp: list[Entry] = field(default_factory=list)
    bulk: list[Entry] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lifted_at: float = 0.0  # when the ISPs' delay was taken away to let the rest drain
    drained: bool = False

    def least_backlog(self) -> int:
        """The smallest backlog seen while OTPs were being scheduled."""
        first, last = self.otp[0].scheduled, self.otp[-1].scheduled
        return min((one.backlog for one in self.samples if first <= one.at <= last), default=0)


def otp_load(way: Way, kind: str, scale: Scale, folder: Path) -> LoadConfig:
    """The OTPs of one phase."""
    return LoadConfig(
        stream=way.stream(kind),
        host=way.otp.host,
        port=way.otp.port,
        tls=way.otp.tls,
        credentials=way.otp.credentials,
        sender=way.otp.sender,
        domains=OTP_DOMAINS,
        messages=scale.otps,
        rate=scale.otp_rate,
        size=scale.otp_size,
        sessions=8,
        ledger=folder / f"{way.stream(kind)}.jsonl",
    )


def flood_load(way: Way, scale: Scale, folder: Path) -> LoadConfig:
    """The flood: each message to a domain of its own, in turn over five ISPs."""
    return LoadConfig(
        stream=way.stream("bulk"),
        host=way.bulk.host,
        port=way.bulk.port,
        tls=way.bulk.tls,
        credentials=way.bulk.credentials,
        sender=way.bulk.sender,
        domains=tuple(f"d{{n}}.{zone}" for zone in FLOOD_ZONES),
        distinct=max(1, scale.flood // len(FLOOD_ZONES)),
        messages=scale.flood,
        rate=scale.flood_rate,
        size=scale.flood_size,
        sessions=20,
        ledger=folder / f"{way.stream('bulk')}.jsonl",
    )


async def set_isps(internet: Internet, connections: Mapping[str, int], *, round_trip_s: float) -> None:
    """Every scripted ISP grants so many connections per address (by ISP name) and is so far away."""
    for provider in addresses.SCRIPTED:
        changes: dict[str, float] = {"round_trip_s": round_trip_s}
        if provider.name in connections:
            changes["max_connections_per_ip"] = connections[provider.name]
        await internet.isps.set_policy(provider.name, default_policy(provider).model_copy(update=changes))


async def quiet(internet: Internet, ways: Sequence[Way], scale: Scale, folder: Path) -> dict[str, list[Entry]]:
    """OTPs alone, on all ways at the same time (they share nothing but the machine); entries by way."""
    before = await internet.received()
    loads = {way.name: await internet.load(otp_load(way, "otp-quiet", scale, folder)) for way in ways}
    seconds = scale.otps / scale.otp_rate + ARRIVES_WITHIN_S
    entries = {name: await load.done(seconds) for name, load in loads.items()}
    accepted = sum(one.outcome == "accepted" for of_way in entries.values() for one in of_way)
    await _until(internet, before + accepted, ARRIVES_WITHIN_S)
    return entries


async def flood(
    internet: Internet,
    way: Way,
    connections: Mapping[str, int],
    scale: Scale,
    folder: Path,
    say: Say,
    hurry: Callable[[], None] = lambda: None,
) -> Flood:
    """The flood through one way, with OTPs while it waits; then the ISPs' delay is lifted and the rest drains.

    `hurry` is called when the delay is lifted, to try at once what was deferred.
    Raises InternetError if the backlog never becomes large enough to prove anything.
    """
    seen = Flood()
    watch = Watch(internet, way, seen.samples, say)
    bulk = await watch.begin(flood_load(way, scale, folder))
    await watch.sample_until(lambda one: one.backlog > scale.backlog, scale.timed_s)
    if seen.samples[-1].backlog <= scale.backlog:
        bulk.end()
        raise InternetError(f"the backlog never passed {scale.backlog}: the flood is too slow for these ISPs")
    otp = await watch.begin(otp_load(way, "otp-flood", scale, folder))
    alone = way.otp_ips.isdisjoint(way.bulk_ips)  # then the OTPs are through soon after the last one is sent
    await watch.sample_until(
        lambda one: not otp.running() and not bulk.running() and (alone or one.backlog == 0), scale.timed_s
    )
    seen.otp, seen.bulk = await otp.done(scale.drain_s), await bulk.done(scale.drain_s)
    seen.lifted_at = time.time()
    await set_isps(internet, connections, round_trip_s=0.0)
    await asyncio.to_thread(hurry)
    accepted = sum(one.outcome == "accepted" for one in (*seen.otp, *seen.bulk))
    await watch.sample_until(lambda _: watch.delivered >= accepted, scale.drain_s)
    seen.drained = watch.delivered >= accepted
    await set_isps(internet, connections, round_trip_s=ROUND_TRIP_S)
    return seen


class Watch:
    """Looks every second at what one way has taken and passed on."""

    def __init__(self, internet: Internet, way: Way, samples: list[Sample], say: Say) -> None:
        self._internet = internet
        self._way = way
        self._samples = samples
        self._say = say
        self._loads: list[Load] = []
        self._before = 0
        self.delivered = 0  # messages of the way since `begin`

    async def begin(self, config: LoadConfig) -> Load:
        """Starts a generator whose messages are watched."""
        if not self._loads:
            await self._look()
            self._before, self.delivered = self.delivered, 0
            self._samples.clear()
        load = await self._internet.load(config)
        self._loads.append(load)
        return load

    async def sample_until(self, enough: Callable[[Sample], bool], seconds: float) -> None:
        """Samples until one is enough, `seconds` at most."""
        deadline = time.time() + seconds
        while not enough(await self._look()) and time.time() < deadline:  # noqa: ASYNC110 - a sample each second
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _look(self) -> Sample:
        counts = await self._internet.isps.counts()
        own = self._way.bulk_ips | self._way.otp_ips
        seen = [(ip, figures) for isp in counts.values() for ip, figures in isp.items() if ip in own]
        self.delivered = sum(figures["messages"] for _, figures in seen) - self._before
        taken = sum(load.progress() for load in self._loads)
        connections = sum(figures["connections_now"] for ip, figures in seen if ip in self._way.bulk_ips)
        sample = Sample(time.time(), taken - self.delivered, connections)
        self._samples.append(sample)
        self._say(f"{taken} accepted, {sample.backlog} waiting, {connections} connections")
        return sample


async def _until(internet: Internet, messages: int, seconds: float) -> bool:
    async def there() -> bool:
        return await internet.received() >= messages

    try:
        await eventually(there, seconds, "not all has arrived")
    except InternetError:
        return False
    return True
