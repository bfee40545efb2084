"""What an idle relay costs: its CPU over a minute in which nobody asks anything but Prometheus and the kubelet."""

import time
import urllib.request
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.surroundings import Bench
from e2e.figures import record

__all__ = ["run"]

_SECONDS = 60
_TARGET = 0.5
"""Per cent of a core."""


def run(folder: Path) -> None:
    """Measures and records; the probes come as often as the kubelet's and Prometheus's do."""
    bench = Bench(folder)
    with bench.surroundings():
        relay = bench.relay()
        try:
            began, cpu = time.monotonic(), cpu_seconds(relay.pid)
            for second in range(_SECONDS):
                if second % 10 == 0:
                    _ask(relay.health_port, "/readyz")
                if second % 15 == 0:
                    _ask(relay.health_port, "/metrics")
                time.sleep(max(0.0, began + second + 1 - time.monotonic()))
            per_cent = (cpu_seconds(relay.pid) - cpu) / (time.monotonic() - began) * 100
        finally:
            relay.stop()
    print(f"idle relay, probed and scraped: {per_cent:.2f} % of a core (less than {_TARGET})", flush=True)
    record("bench.json", "idle_cpu_percent", round(per_cent, 3), "%", _TARGET, "lower", "python -m bench --only idle")


def _ask(port: int, path: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        answer.read()
