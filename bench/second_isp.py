"""A second ISP's p99 while a first one answers 421 to everything, over its p99 in quiet.

Open loop: 1,000 messages to the second ISP at 50 a second, each timed from its scheduled instant to the ISP's receipt
of its last byte, in quiet and again while 20,000 messages wait for the first ISP, which is tried all the time. Three
times, for it says 421 as greeting, to each recipient, or to each whole message; the figure is the worst of them.
Relay, both ISPs and the timed client are processes of their own, in control groups whose weights are printed.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.cpu import cpu_seconds
from bench.lanewright import Relay
from bench.load import inject, wait_for_port
from bench.surroundings import FAST, SLOW, Bench
from e2e.cluster.cgroups import Cgroups
from e2e.figures import CHECKOUT, record

__all__ = ["run"]

_RATE, _MESSAGES, _FLOOD = 50, 1000, 20_000
_TARGET = 1.2
_LEAST_TRIES = 10
"""In the 20 s beside it: it is backed off, not forgotten."""
_RETRY = "1s"
_WEIGHTS = {"relay": 400, "isp-fast": 200, "isp-busy": 200, "client": 200}
"""100 is neutral; a starved ISP or client would look like a slow relay."""
_STAGES = ("GREETING", "RCPT", "DATA")
_COMMAND = "python -m bench --only second-isp"


class _Groups:
    """Weighted control groups, as a cluster's work has them."""

    def __init__(self) -> None:
        self._cgroups = Cgroups("bench-second-isp")
        self._cgroups.ensure("", sum(_WEIGHTS.values()))  # beside whatever else the machine does

    def take(self, name: str, pid: int) -> None:
        """Puts a process that has just begun, with its threads, into the group of its kind."""
        for folder in self._cgroups.ensure(name, _WEIGHTS[name]):
            (folder / "cgroup.procs").write_text(str(pid))

    def describe(self) -> str:
        """The weights as the kernel has them."""
        return ", ".join(f"{group}: {weight}" for group, weight in self._cgroups.weights())

    def remove(self) -> None:
        """When all has ended."""
        self._cgroups.remove()


class _Isp:
    """`bench.isp` as a process, and what it has said: a number and a time a line."""

    def __init__(self, groups: _Groups, name: str, address: str, *busy: str) -> None:
        command = [sys.executable, "-m", "bench.isp", address, *busy]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        groups.take(name, self._process.pid)
        self.said: dict[int, float] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for_port(address, 25)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, at = line.split()
            self.said.setdefault(int(number), float(at))

    def wait(self, first: int, within_s: float) -> None:
        """Returns when a phase's messages are all here, or after so long."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and not all(first + at in self.said for at in range(_MESSAGES)):
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()


def run(folder: Path) -> None:
    """Measures and records."""
    bench = Bench(folder)
    with bench.surroundings():
        worst = max([_ratio(bench, stage) for stage in _STAGES])
    print(f"second ISP, worst of them: {worst:.2f} x (<= {_TARGET})", flush=True)
    record("bench.json", "second_isp_p99_ratio", round(worst, 3), "x", _TARGET, "lower", _COMMAND)


@contextmanager
def _running(bench: Bench, groups: _Groups, stage: str) -> Iterator[tuple[Relay, _Isp, _Isp]]:
    """A relay of its own between its client and both ISPs."""
    fast, slow = _Isp(groups, "isp-fast", FAST), _Isp(groups, "isp-busy", SLOW, stage)
    relay = bench.relay(retry=_RETRY, room=f"busy-{stage.lower()}")
    groups.take("relay", relay.pid)
    print(groups.describe(), flush=True)
    try:
        yield relay, fast, slow
    finally:
        relay.kill()
        fast.stop()
        slow.stop()
        groups.remove()


def _ratio(bench: Bench, stage: str) -> float:
    """Of a relay of its own; its quiet minute is just before."""
    groups = _Groups()
    with _running(bench, groups, stage) as (relay, fast, slow):
        quiet, quiet_cpu = _phase(groups, relay, fast, 0)
        inject(relay.port, _FLOOD, 20, 600, "rcpt@slow.test")
        before, began = len(slow.said), time.monotonic()
        busy, busy_cpu = _phase(groups, relay, fast, _MESSAGES)
        tried, took, waiting = len(slow.said) - before, time.monotonic() - began, relay.metric("queue_messages")
    print(
        f"second ISP, p99 of {_MESSAGES}: {quiet * 1000:.0f} ms quiet, {busy * 1000:.0f} ms beside one that says 421 "
        f"to each {stage} = {busy / quiet:.2f} x; {waiting:.0f} waited, {tried} tries in {took:.0f} s; the "
        f"relay's CPU {quiet_cpu:.1f} s quiet, {busy_cpu:.1f} s then",
        flush=True,
    )
    if waiting < _FLOOD or tried < _LEAST_TRIES:
        raise RuntimeError("the first ISP was not flooded, so nothing is shown")
    return busy / quiet


def _phase(groups: _Groups, relay: Relay, isp: _Isp, first: int) -> tuple[float, float]:
    """p99 in seconds, where what never came counts as infinite, and the relay's CPU seconds meanwhile."""
    cpu = cpu_seconds(relay.pid)
    asked = [str(one) for one in (relay.port, "rcpt@fast.test", first, _MESSAGES, _RATE)]
    command = [sys.executable, "-m", "bench.timed_client", *asked]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as client:
        groups.take("client", client.pid)
        assert client.stdout is not None
        began = float(client.stdout.readline())
    if client.returncode:
        raise RuntimeError("the relay refused a timed message")
    isp.wait(first, 30)
    waits = [isp.said.get(first + at, float("inf")) - began - at / _RATE for at in range(_MESSAGES)]
    return float(np.percentile(waits, 99, method="higher")), cpu_seconds(relay.pid) - cpu
