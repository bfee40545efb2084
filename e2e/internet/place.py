"""Where the internet's programs run: what this room needs of a place, and one that is the machine itself.

Invariant: whatever was started through a place is ended through it, by its own process id.
`e2e.cluster.place.Place` satisfies the protocol; `HostPlace` is for tests on loopback addresses.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Place(Protocol):
    """A network namespace in which programs run."""

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end."""
        ...

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cpu_weight: int = 100,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Any:
        """Starts a program that runs until `end`."""
        ...

    def end(self, name: str, grace: float = 5.0) -> None:
        """Ends a program by its name."""
        ...

    def find(self, name: str) -> Any | None:
        """The running program of that name, or None."""
        ...

    def add_address(self, address: str) -> None:
        """Gives the place one more address."""
        ...


class HostPlace:
    """The machine's own network, or a namespace that the caller made; CPU weights are not applied here."""

    def __init__(self, logs: Path, namespace: str = "") -> None:
        self.logs = logs
        self._enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        self._namespace = namespace
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end; raises CalledProcessError, TimeoutExpired."""
        return subprocess.run(
            [*self._enter, *argv], check=check, input=stdin, timeout=timeout, capture_output=True, text=True
        )

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cpu_weight: int = 100,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a process group of its own; its output goes to NAME.log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._enter, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def end(self, name: str, grace: float = 5.0) -> None:
        """Ends a program: SIGTERM to it, after `grace` seconds SIGKILL to its group."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(grace)

    def find(self, name: str) -> subprocess.Popen[bytes] | None:
        """The running program of that name, or None."""
        process = self._running.get(name)
        return process if process is not None and process.poll() is None else None

    def end_all(self) -> None:
        """Ends everything that was started here."""
        for name in reversed(list(self._running)):
            self.end(name)

    def add_address(self, address: str) -> None:
        """Adds an address to loopback; every 127.0.0.x is there already."""
        if not address.startswith("127."):
            self.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"])
