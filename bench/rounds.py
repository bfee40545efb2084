"""Rounds of the contenders in turn under one load: each a start, a warm-up, N messages, counted at the sink."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.cpu import cpu_seconds, memory_bytes
from bench.load import MESSAGE_BYTES, Sink, inject
from bench.surroundings import Bench, Contender, rsa_cost_ms

__all__ = ["Load", "Measured", "Round", "run"]

WARM_UP = 400


@dataclass(frozen=True)
class Load:
    """What the contenders are given."""

    sessions: int = 20
    messages: int = 5000
    size: int = MESSAGE_BYTES
    signed: bool = False
    """A third contender signs every message."""


@dataclass(frozen=True)
class Round:
    """One measured round."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms: float
    memory_mb: float


@dataclass(frozen=True)
class Measured:
    """All rounds under one load."""

    load: Load
    peer: list[Round]
    ours: list[Round]
    signed: list[Round]
    rsa_costs: list[float]
    """CPU milliseconds of one RSA-2048 signature, beside each round."""

    @property
    def ratios(self) -> list[float]:
        """Delivered per second, ours over the peer's of the same round."""
        return _ratios(self.ours, self.peer)

    @property
    def signed_ratios(self) -> list[float]:
        """The same of the one that signs, over the peer that does not."""
        return _ratios(self.signed, self.peer)


def measure(contender: Contender, sink: Sink, load: Load) -> Round:
    """Warms up, then times the messages to the sink."""
    before = sink.arrived
    inject(contender.port, WARM_UP, load.sessions)
    sink.wait(before + WARM_UP, 120)
    before = sink.arrived
    cpu, started = cpu_seconds(contender.pid), time.monotonic()
    inject(contender.port, load.messages, load.sessions, load.size)
    accepted = time.monotonic()
    delivered = sink.wait(before + load.messages, 300)
    used = cpu_seconds(contender.pid) - cpu
    return Round(
        load.messages / (accepted - started),
        load.messages / (delivered - started),
        used / load.messages * 1000,
        memory_bytes(contender.pid) / 2**20,
    )


def run(bench: Bench, sink: Sink, rounds: int, load: Load, described: set[str]) -> Measured:
    """All rounds, the contenders in turn; each is described once."""
    makers: list[Callable[[], Contender]] = [bench.postfix, bench.relay]
    if load.signed:
        makers.append(bench.relay_with_dkim)
    found: list[list[Round]] = [[] for _ in makers]
    rsa_costs: list[float] = []
    for number in range(1, rounds + 1):
        rsa_costs.append(rsa_cost_ms(bench.key))
        turn = (number - 1) % len(makers)  # each is first in some round, after another's caches and heat
        for at in [*range(turn, len(makers)), *range(turn)]:
            contender = makers[at]()
            try:
                if contender.name not in described:
                    print(contender.describe(), flush=True)
                    described.add(contender.name)
                result = measure(contender, sink, load)
            finally:
                contender.stop()
            found[at].append(result)
            print(f"round {number}/{rounds} {contender.name}: {result.delivered_per_s:.0f} delivered/s", flush=True)
    return Measured(load, found[0], found[1], found[2] if load.signed else [], rsa_costs)


def _ratios(ours: list[Round], peer: list[Round]) -> list[float]:
    return [one.delivered_per_s / other.delivered_per_s for one, other in zip(ours, peer, strict=True)]


def median(rounds: list[Round], field: str) -> float:
    """The median of one field."""
    return float(statistics.median(getattr(r, field) for r in rounds))
