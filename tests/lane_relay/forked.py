"""Relay processes of tests, forked from one that has imported the relay already: `fork(config, log)`.

A new interpreter takes a second of CPU to import the relay, and tests start it hundreds of times.
Before: `running`. After: `nursery`.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["Forked", "Nursery", "fork"]

CHECKOUT = Path(__file__).resolve().parents[2]


class Nursery:
    """Forks relays of one kind."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        """`command`: a module that serves as `nursery` does, and its arguments; `env` is laid over ours."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=CHECKOUT,
            env=os.environ | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ended: dict[int, int] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def bear(self, config: Path, log: Path) -> "Forked":
        """A relay with that configuration, its output appended to the log."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"config": str(config), "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return Forked(self, int(self._process.stdout.readline()))

    def ending(self, pid: int) -> int:
        """The exit status of a child that has ended, below zero: by which signal."""
        with self._news:
            assert self._news.wait_for(lambda: pid in self._ended, 60), f"nobody said how {pid} ended"
            return self._ended[pid]

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            pid, _, status = line.partition(" ended with ")
            if not pid.isdigit():
                sys.stderr.write(line)
                continue
            with self._news:
                self._ended[int(pid)] = int(status)
                self._news.notify_all()

    def close(self) -> None:
        """Ends the parent, and what it has left."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join(60)
        self._process.stdout.close()
        self._process.stderr.close()


@cache
def _own() -> Nursery:
    """For as long as this process lives."""
    nursery = Nursery("tests.lane_relay.nursery")
    atexit.register(nursery.close)
    return nursery


class Forked:
    """One such process, with what tests use of `subprocess.Popen`; signals go through its descriptor, to no other."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:  # over and buried already
            self.returncode = nursery.ending(pid)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if until is None else until - time.monotonic()
            if left is not None and left < 0:
                raise subprocess.TimeoutExpired("lane-relay", timeout or 0)
            if select.select([self._descriptor], [], [], left)[0]:
                self._end()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing, where it has ended already."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _end(self) -> None:
        self.returncode = self._nursery.ending(self.pid)
        os.close(self._descriptor)


def fork(config: Path, log: Path) -> Forked:
    """A relay with that configuration, its output appended to the log."""
    return _own().bear(config, log)
