"""Many domains with hosts of their own, none of which answers: what a message for one of them costs while it waits.

The long tail of a list: a message or two for each of very many small domains. Memory is that of a relay that has tried
all of them once, less that of one with an empty queue.
"""

import time
import urllib.request
from pathlib import Path

from bench.long_queue import fill_in_child, memory_of, settled
from bench.surroundings import Bench
from e2e.figures import record

__all__ = ["run"]

_COMMAND = "python -m bench --only parked"
_TRIED_S = 600.0


def run(folder: Path, count: int) -> None:
    """Measures and records."""
    bench = Bench(folder)
    with bench.surroundings(tuple(_records(count))):
        base = memory_of(bench.relay(room="empty", await_proof=False))
        fill_in_child(folder / "full", count, "d{}.parked.test", count)
        relay = bench.relay(room="full", retry="3600s")
        try:
            began = time.monotonic()
            while (tried := _tried(relay.health_port)) < count:
                if time.monotonic() > began + _TRIED_S:
                    raise TimeoutError(f"{tried:.0f} of {count} tried")
                time.sleep(0.5)
            print(f"{count:,} domains whose hosts refuse: tried in {time.monotonic() - began:.0f} s", flush=True)
            full = settled(relay.pid, time.monotonic() + 120)
        finally:
            relay.kill()
    each = (full - base) / count
    print(f"{full / 2**20:.0f} MB, {each:.0f} B an entry over {base / 2**20:.0f} MB (<= 1500)", flush=True)
    record("bench.json", "bytes_per_entry_of_parked_sites", round(each), "B", 1500, "lower", _COMMAND)


def _records(count: int) -> list[str]:
    """Of each domain, a host of its own at an address where nobody listens."""
    found = []
    for number in range(count):
        address = f"127.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"
        found += [f"d{number}.parked IN MX 10 mx.d{number}.parked", f"mx.d{number}.parked IN A {address}"]
    return found


def _tried(port: int) -> float:
    """Attempts so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("lane_relay_attempts_total{"))
