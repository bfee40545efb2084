"""A campaign of 500,000 messages, handed to one slot within minutes while its ISP takes 58 a second.

Signed messages of 10 KiB, each to its own recipient, with the volume that a slot has by default (10 GiB). A lane of
8 slots would get an eighth each: one slot with all of it is the worst case. 58 a second are 5 million a day for the
whole lane. Then the slot starts anew without that limit, and what is queued leaves: its rate, times 8 and a day, is
what 8 slots could send, by extrapolation. No lane of 8 was measured, and slot, client and ISP share this machine.
Before: `__main__`. After: `lanewright`, `load`.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.cpu import memory_bytes
from bench.lanewright import Relay
from bench.load import RECIPIENT, SENDER, Sink
from bench.surroundings import Bench
from e2e.figures import record
from tests.chaos.suffering import BASE_BYTES, QUEUED_BYTES, SESSION_BYTES

__all__ = ["run"]

_SIZE: Final = 10 * 1024
_SESSIONS: Final = 50
_PEERS: Final = 20
"""Connections to the ISP, as its policy has them."""
_VOLUME: Final = 10 * 2**30
"""`queue.size` by default."""
_SLOTS: Final = 8
_DAY_S: Final = 86_400
_WITHIN_S: Final = 900
_ISP_PER_S: Final = 58
_ROOM: Final = "campaign"
_LOOKS_EVERY_S: Final = 0.5
_COMMAND: Final = "python -m bench --only campaign"


@dataclass
class _Most:
    """The most of each that was seen."""

    memory: int = 0
    disk: int = 0
    queued: int = 0

    def look(self, relay: Relay, folder: Path) -> None:
        """Once more."""
        self.memory = max(self.memory, memory_bytes(relay.pid))
        self.disk = max(self.disk, _taken(folder))
        self.queued = max(self.queued, int(relay.metric("queue_messages")))


def run(folder: Path, count: int) -> None:
    """Measures and records."""
    bench, most, room = Bench(folder), _Most(), folder / _ROOM
    with bench.surroundings() as sink:
        relay = bench.relay(signed=True, room=_ROOM, rate=f"{_ISP_PER_S}/s")
        try:
            taken_s = _hand_in(relay, count, most, room)
        finally:
            relay.kill()
        early, began = sink.arrived, time.monotonic()
        relay = bench.relay(signed=True, room=_ROOM)
        try:
            _await(sink, count, relay, most, room)
            left_s = time.monotonic() - began
            relay.stop()  # raises if a message is left
        finally:
            relay.kill()
    rate, bound = (count - early) / left_s, _bound(most.queued)
    a_day = rate * _SLOTS * _DAY_S / 1e6
    print(
        f"{count:,} signed messages of {_SIZE // 1024} KiB handed to one slot in {taken_s:.0f} s "
        f"({count / taken_s:.0f}/s, <= {_WITHIN_S} s) while its ISP took {early:,}; {most.queued:,} queued at most, "
        f"{most.memory / 2**20:.0f} MB (<= {bound / 2**20:.0f}), {most.disk / 2**30:.2f} of {_VOLUME / 2**30:.0f} GiB"
    )
    print(
        f"started anew without that limit: {count - early:,} delivered in {left_s:.0f} s ({rate:.0f}/s); times "
        f"{_SLOTS} slots and a day, extrapolated: {a_day:.0f} million (>= 5)",
        flush=True,
    )
    _record("campaign_memory_mb", round(most.memory / 2**20, 1), "MB", round(bound / 2**20, 1))
    _record("campaign_disk_share", round(most.disk / _VOLUME, 3), "of queue.size", 1.0)
    _record("campaign_handed_in_s", round(taken_s), "s", _WITHIN_S)
    record("bench.json", "slot_delivered_per_s", round(rate), "/s", None, "higher", _COMMAND)
    record("bench.json", "lane_of_8_million_a_day_extrapolated", round(a_day), "million", 5, "higher", _COMMAND)


def _record(name: str, value: float, unit: str, target: float) -> None:
    record("bench.json", name, value, unit, target, "lower", _COMMAND)


def _bound(queued: int) -> int:
    """Bytes that a slot may take: an empty relay, active bodies, each session, connection and queued message."""
    return BASE_BYTES + QUEUED_BYTES * queued + SESSION_BYTES * (_SESSIONS + _PEERS)


def _hand_in(relay: Relay, count: int, most: _Most, folder: Path) -> float:
    """Seconds until the last one was accepted; raises CalledProcessError if one is refused."""
    began = time.monotonic()
    load = ["-s", str(_SESSIONS), "-m", str(count), "-l", str(_SIZE)]
    command = ["smtp-source", "-d", "-N", *load, "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{relay.port}"]
    with subprocess.Popen(command) as client:
        while client.poll() is None:
            most.look(relay, folder)
            time.sleep(_LOOKS_EVERY_S)
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command)
    return time.monotonic() - began


def _await(sink: Sink, count: int, relay: Relay, most: _Most, folder: Path) -> None:
    """Until the ISP has them all; raises TimeoutError."""
    deadline = time.monotonic() + 2 * _WITHIN_S
    while sink.arrived < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the ISP has {sink.arrived} of {count} messages")
        most.look(relay, folder)
        time.sleep(_LOOKS_EVERY_S)


def _taken(folder: Path) -> int:
    """Bytes that spool and records take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_blocks * 512
            except FileNotFoundError:  # given back meanwhile
                continue
    return total
