"""Operators as processes of the cluster's own place: started, watched from outside, asked for their metrics, ended.

Invariant: what a figure says of a process is read from /proc, never from the process.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster import Cluster
from e2e.cluster.place import Place
from e2e.cluster.processes import Process

__all__ = ["Cost", "Operator", "started"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a process has cost since it began."""

    cpu_s: float
    rss_mb: float
    peak_mb: float


@dataclass
class Operator:
    """One running operator."""

    place: Place
    process: Process
    port: int
    began: float

    def cost(self) -> Cost:
        """CPU of user and system, memory in use and its peak."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        return Cost(
            (int(stat[11]) + int(stat[12])) / _TICKS,
            int(status["VmRSS"].split()[0]) / 1024,
            int(status["VmHWM"].split()[0]) / 1024,
        )

    def last_words(self) -> str:
        """The end of what it has written."""
        return Path(self.process.log).read_text(errors="replace")[-2000:]

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples whose labels contain all of these."""
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.metrics()
            if line.startswith((f"{name}{{", f"{name} ")) and all(label in line for label in labels)
        )

    def metrics(self) -> list[str]:
        """Its metrics, line by line; none while it does not answer."""
        address = f"http://127.0.0.1:{self.port}/metrics"
        ask = f"import urllib.request as r; print(r.urlopen('{address}', timeout=5).read().decode())"
        try:
            return self.place.run([sys.executable, "-c", ask], timeout=10).stdout.splitlines()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return []

    def end(self, number: int = signal.SIGTERM, within: float = 30.0) -> float:
        """Ends it; seconds until it was gone."""
        since = time.monotonic()
        self.process.signal(number)
        while self.process.alive() and time.monotonic() - since < within:
            time.sleep(0.02)
        return time.monotonic() - since


def started(cluster: Cluster, name: str, argv: list[str], port: int, env: Mapping[str, str] | None = None) -> Operator:
    """Starts an operator beside the control plane."""
    place = cluster.place("ctl")
    began = time.monotonic()
    return Operator(place, place.spawn(name, argv, env={**os.environ, **(env or {})}), port, began)
