"""Relays of a campaign: forked by a nursery, killed by pidfd, so that no signal ever meets another process.

Before: a campaign. After: `nursery`, and `tests.lane_relay.running`, whose configuration and figures these share.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.ground import CHECKOUT
from tests.lane_relay.running import Relay, eventually


class Nursery:
    """Forks relays of one kind."""

    def __init__(self, folder: Path, mutant: str, env: Mapping[str, str] | None = None) -> None:
        """`env` is laid over ours."""
        self._log = folder / "nursery.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery", mutant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=CHECKOUT,
                env=os.environ | dict(env or {}),
            )

    def bear(self, config: Path, log: Path) -> int:
        """The process id of a new relay."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"config": str(config), "log": str(log)}).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def endings(self) -> str:
        """How the last ones ended, below zero: by which signal."""
        return self._log.read_text()[-300:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@dataclass
class Slot(Relay):
    """One relay; its folder outlives its processes."""

    nursery: Nursery | None = None
    source: str = ""
    """The address that its mail leaves from."""
    http_port: int = 0
    feedback_port: int = 0
    pid: int = 0
    pidfd: int = -1

    def start(self, *, ready: bool = False) -> Self:
        """Starts a process; returns at once unless told to wait."""
        assert self.nursery is not None
        self.pid = self.nursery.bear(self.config_file, self.folder / "log")
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self.pidfd = -1
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, within_s: float = 60.0) -> None:
        """Returns when it can accept."""
        eventually(self.is_ready, f"{self.folder.name} is ready", within_s)

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.pidfd < 0 or bool(select.select([self.pidfd], [], [], 0)[0])

    def is_ready(self) -> bool:
        """Whether /readyz says 200; fails at once if the process has ended."""
        assert not self.has_ended(), self.log()[-3000:]
        return self.probe("/readyz")[0] == 200

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        self._signal(signal.SIGKILL)

    def terminate(self, within_s: float = 30.0) -> int:
        """SIGTERM, and waits for the end."""
        self._signal(signal.SIGTERM, within_s)
        return 0

    def _signal(self, number: signal.Signals, within_s: float = 30.0) -> None:
        if self.pidfd < 0:
            return
        if not self.has_ended():
            signal.pidfd_send_signal(self.pidfd, number)
        if not select.select([self.pidfd], [], [], within_s)[0]:
            raise AssertionError(f"{self.folder.name} did not end within {within_s:.0f} s")
        os.close(self.pidfd)
        self.pidfd = -1

    def stop(self) -> None:
        """Ends what is left of it."""
        self.kill()

    def resident_bytes(self) -> int:
        """What it holds in memory of its own (RssAnon), without files that are mapped; 0 if it does not run.

        Of a relay that was forked the pages that it shares with its nursery count as its own.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return 0
        held = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
        return int(held.split()[1]) * 1024
