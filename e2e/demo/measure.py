"""Runs the phases of the demo: OTPs while it is quiet, and OTPs while a flood waits in the queue.

Invariant: OTPs of the flood phase are scheduled only while more than `Scale.backlog` bulk messages are accepted and
undelivered, which is sampled every second; the ISPs' delay is lifted only when all of them have arrived or time is up.
Both phases begin with the same warm-up, so that neither is measured on cold connections.
Before: `lanes` (the ways in) and `e2e.internet`. After: `result`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from e2e.internet import addresses
from e2e.internet.internet import Internet, InternetError, Load, default_policy
from e2e.internet.policy import ROUND_TRIP_S
from e2e.load.generate import LoadConfig
from e2e.load.ledger import Entry

FLOOD_ZONES = ("bulk-g.example", "bulk-o.example", "bulk-y.example", "bulk-x.example", "bulk-f.example")
OTP_DOMAINS = tuple(f"d0.{zone}" for zone in FLOOD_ZONES)  # among those that the flood goes to
OTP_STREAMS = ("warm-quiet", "otp-quiet", "warm-flood", "otp-flood")
SAMPLE_EVERY_S = 1.0
WARM_GRACE_S = 10.0  # a warm-up may take so much longer than its rate says
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
        otp = dict.fromkeys(map(self.stream, OTP_STREAMS), self.otp_ips)
        return otp | {self.stream("bulk"): self.bulk_ips}

    @property
    def alone(self) -> bool:
        """The two streams share no address."""
        return self.otp_ips.isdisjoint(self.bulk_ips)

    def stream(self, kind: str) -> str:
        """The name of a stream in ledgers."""
        return f"{self.name}-{kind}"


@dataclass(frozen=True)
class Scale:
    """How much and how fast."""

    otps: int = 1000
    warm: int = 100  # OTPs before them, at the same rate, whose latency counts for nothing
    otp_rate: float = 25.0
    flood: int = 50_000
    flood_rate: float = 850.0
    backlog: int = 10_000
    build_s: float = 90.0  # the lanes' backlog may take this long to grow; half of it behind the shared server
    timed_s: float = 120.0  # the flood phase is timed this long after its first OTP at most
    drain_s: float = 240.0
    shared_s: float = 60.0  # the OTPs behind the shared server wait at least so long, or it is no comparison
    otp_size: int = 2048
    flood_size: int = 4096

    @property
    def quiet_s(self) -> float:
        """How long the OTPs of a quiet phase are sent."""
        return (self.warm + self.otps) / self.otp_rate

    @property
    def flood_at_least_s(self) -> float:
        """How long a flood phase is at least: both streams have to be sent; how fast the rest drains shows itself."""
        return max(self.flood / self.flood_rate, self.backlog / self.flood_rate + self.quiet_s)

    @property
    def cut_short_s(self) -> float:
        """How long a flood phase is at most whose rest is thrown away."""
        return self.build_s / 2 + WARM_GRACE_S + self.warm / self.otp_rate + self.timed_s


@dataclass(frozen=True)
class Sample:
    """One look at the flood: wall clock, bulk messages accepted and undelivered, bulk connections at all ISPs."""

    at: float
    backlog: int
    connections: int


@dataclass
class Flood:
    """What the flood phase of one way has shown."""

    warm: list[Entry] = field(default_factory=list)
    otp: list[Entry] = field(default_factory=list)
    bulk: list[Entry] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lifted_at: float = 0.0  # when the ISPs' delay was taken away to let the rest drain
    drained: bool = False
    left: int = 0  # messages that were still queued when the timing ended and were discarded

    def span(self) -> tuple[float, float]:
        """From the first to the last scheduled OTP, in seconds of the wall clock."""
        return self.otp[0].scheduled, self.otp[-1].scheduled

    def least_backlog(self) -> int:
        """The smallest backlog seen while OTPs were being scheduled."""
        first, last = self.span()
        return min((one.backlog for one in self.samples if first <= one.at <= last), default=0)


@dataclass(frozen=True)
class Quiet:
    """What the quiet phase of one way has shown."""

    warm: list[Entry]
    otp: list[Entry]
    until: float = math.inf  # wall clock: what had not arrived by then counts as never delivered


def otp_load(way: Way, kind: str, scale: Scale, folder: Path) -> LoadConfig:
    """The OTPs of one phase, or those before it (`warm-...`)."""
    return LoadConfig(
        stream=way.stream(kind),
        host=way.otp.host,
        port=way.otp.port,
        tls=way.otp.tls,
        credentials=way.otp.credentials,
        sender=way.otp.sender,
        domains=OTP_DOMAINS,
        messages=scale.warm if kind.startswith("warm") else scale.otps,
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


async def quiet(internet: Internet, way: Way, scale: Scale, folder: Path, say: Say) -> Quiet:
    """OTPs alone."""
    watch = Watch(internet, way, [], say)
    entries = []
    for kind in ("warm-quiet", "otp-quiet"):
        load = await watch.begin(otp_load(way, kind, scale, folder))
        await watch.sample_until(lambda _, load=load: not load.running(), load.config.messages / load.config.rate + 60)  # type: ignore[misc]  # a default binds the loop's value
        entries.append(await load.done(ARRIVES_WITHIN_S))
    await watch.sample_until(lambda _: watch.otps_waiting <= 0, ARRIVES_WITHIN_S)
    warm, otp = entries
    return Quiet(warm, otp, until=time.time())


async def flood(
    internet: Internet,
    way: Way,
    connections: Mapping[str, int],
    scale: Scale,
    folder: Path,
    say: Say,
    discard: Callable[[], int] | None = None,
) -> Flood:
    """The flood through one way, with OTPs while it waits; then the ISPs' delay is lifted and the rest drains.

    With `discard` the rest is not drained: it is called to throw it away and answers how much that was.
    Raises InternetError if the lanes' backlog never becomes large enough to prove anything.
    """
    seen = Flood()
    watch = Watch(internet, way, seen.samples, say)
    bulk = await watch.begin(flood_load(way, scale, folder))
    await watch.sample_until(lambda one: one.backlog > scale.backlog, scale.build_s * (1.0 if way.alone else 0.5))
    if way.alone and seen.samples[-1].backlog <= scale.backlog:
        bulk.end()
        raise InternetError(f"the backlog never passed {scale.backlog}: the flood is too slow for these ISPs")
    warm = await watch.begin(otp_load(way, "warm-flood", scale, folder))
    await watch.sample_until(lambda _: not warm.running(), WARM_GRACE_S + scale.warm / scale.otp_rate)
    otp = await watch.begin(otp_load(way, "otp-flood", scale, folder))
    await watch.sample_until(lambda _: not (otp.running() or warm.running()) and watch.otps_waiting <= 0, scale.timed_s)
    seen.lifted_at = time.time()
    if discard is not None:
        await _cut_short(seen, discard, {"warm": warm, "otp": otp, "bulk": bulk}, scale)
        return seen
    await set_isps(internet, connections, round_trip_s=0.0)
    await watch.sample_until(lambda _: not bulk.running(), scale.drain_s)
    seen.warm, seen.otp, seen.bulk = [await load.done(scale.drain_s) for load in (warm, otp, bulk)]
    accepted = sum(one.outcome == "accepted" for one in (*seen.warm, *seen.otp, *seen.bulk))
    await watch.sample_until(lambda _: watch.delivered >= accepted, scale.drain_s)
    seen.drained = watch.delivered >= accepted
    await set_isps(internet, connections, round_trip_s=ROUND_TRIP_S)
    return seen


async def _cut_short(seen: Flood, discard: Callable[[], int], loads: Mapping[str, Load], scale: Scale) -> None:
    """Ends the flood's generator, lets the OTPs' finish, and throws away what is queued."""
    loads["bulk"].end()
    seen.warm, seen.otp = await loads["warm"].done(scale.drain_s), await loads["otp"].done(scale.drain_s)
    seen.bulk = loads["bulk"].entries()
    seen.left = await asyncio.to_thread(discard)


class Watch:
    """Looks every second at what one way has taken and passed on."""

    def __init__(self, internet: Internet, way: Way, samples: list[Sample], say: Say) -> None:
        self._internet = internet
        self._way = way
        self._samples = samples
        self._say = say
        self._loads: list[Load] = []
        self._before: dict[str, int] = {}
        self.delivered = 0  # messages of the way since `begin`
        self.otps_waiting = 0  # OTPs offered and not delivered

    async def begin(self, config: LoadConfig) -> Load:
        """Starts a generator whose messages are watched."""
        if not self._loads:
            self._before = await self._internet.isps.senders()
        load = await self._internet.load(config)
        self._loads.append(load)
        return load

    async def sample_until(self, enough: Callable[[Sample], bool], seconds: float) -> None:
        """Samples until one is enough, `seconds` at most."""
        deadline = time.time() + seconds
        while not enough(await self._look()) and time.time() < deadline:  # noqa: ASYNC110 - a sample each second
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _look(self) -> Sample:
        counts, senders = await self._internet.isps.counts(), await self._internet.isps.senders()
        bulk_sender = self._way.bulk.sender
        passed_on = {name: count - self._before.get(name, 0) for name, count in senders.items()}
        taken = {True: 0, False: 0}  # bulk or not -> messages with an outcome
        for load in self._loads:
            taken[load.config.sender == bulk_sender] += load.progress()
        bulk, otps = passed_on.get(bulk_sender, 0), passed_on.get(self._way.otp.sender, 0)
        self.delivered, self.otps_waiting = bulk + otps, taken[False] - otps
        connections = sum(
            figures["connections_now"]
            for isp in counts.values()
            for ip, figures in isp.items()
            if ip in self._way.bulk_ips
        )
        sample = Sample(time.time(), taken[True] - bulk, connections)
        self._samples.append(sample)
        codes = [
            ("warm-up" if load.config.stream.startswith(self._way.stream("warm")) else "OTPs", load.config.messages)
            for load in self._loads
            if load.config.sender != bulk_sender
        ]
        self._say(news(sample.backlog if taken[True] else None, codes, otps))
        return sample


def news(backlog: int | None, codes: Sequence[tuple[str, int]], arrived: int) -> str:
    """What a phase is at: newsletters that wait, if there is a flood, and how many of the codes sent last are there.

    `codes`: (what they are, how many) in the order in which they are sent; `arrived` of them all. ISPs count by
    sender, so that those sent first are taken for those that arrived first.
    """
    words = [] if backlog is None else [f"{backlog:,} wait" if codes else f"{backlog:,} newsletters wait"]
    if codes:
        what, many = codes[-1]
        before = sum(count for _, count in codes[:-1])
        words.append(f"{what}: {min(max(arrived - before, 0), many):,} of {many:,} arrived")
    return "; ".join(words)
