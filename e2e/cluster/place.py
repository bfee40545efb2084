"""A place: a network namespace of the cluster in which programs run and from which the test process connects.

Invariant: the calling thread's namespace never changes; a short-lived thread enters the place, makes the socket and
ends, and a socket stays for ever in the namespace where it was made.
"""

import asyncio
import ctypes
import os
import socket as sockets
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.cgroups import ALL_WORK_WEIGHT, WORK_WEIGHT, Cgroups
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Layout
from e2e.cluster.namespaces import NETNS, inside
from e2e.cluster.processes import Process, Processes, in_cgroups

_CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass(frozen=True)
class Place:
    """One network namespace of a cluster: `net` (the internet), `ctl` (the control plane), or a node."""

    name: str
    namespace: Path
    layout: Layout

    def argv(self, argv: Sequence[str], cpu_weight: int | None = None, group: str = "") -> list[str]:
        """Return the command that runs `argv` here, for any way of starting programs; `down` ends it, too.

        With `cpu_weight` (100 is neutral) it runs in the control group work/<group or program's name>.
        """
        command = inside(self.namespace, argv)
        return in_cgroups(self._cgroup(group or Path(argv[0]).name, cpu_weight), command)

    def run(
        self, argv: Sequence[str], *, check: bool = True, stdin: str | None = None, timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":  # fmt: skip
        """Run a program here to its end, at most `timeout` seconds; raises CalledProcessError and TimeoutExpired."""
        return subprocess.run(
            self.argv(argv, group="short"),
            check=check,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
            env=env,
        )

    def spawn(
        self, name: str, argv: Sequence[str], *, cpu_weight: int = WORK_WEIGHT, env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:  # fmt: skip
        """Start a program here that runs until `end` or the cluster's `down`; its output goes to log/<name>.log."""
        log = self.layout.log / f"{name}.log"
        command = inside(self.namespace, argv)
        return self._processes.spawn(name, command, log, self._cgroup(name, cpu_weight), env=env, cwd=cwd)

    def end(self, name: str, grace: float = 5.0) -> None:
        """End a program that `spawn` started: SIGTERM, after `grace` seconds SIGKILL."""
        process = self._processes.find(name)
        if process:
            self._processes.end([process], grace)
            Cgroups(self.layout.id).remove_leaf(f"work/{name}")

    def find(self, name: str) -> Process | None:
        """Return a spawned program if it runs."""
        return self._processes.find(name)

    def add_address(self, address: str) -> None:
        """Give this place one more address; without a prefix length it is part of a /24."""
        self.run(["ip", "addr", "replace", _with_prefix(address), "dev", "eth0"])

    def remove_address(self, address: str) -> None:
        """Take an address away; no error if it is not there."""
        self.run(["ip", "addr", "del", _with_prefix(address), "dev", "eth0"], check=False)

    def socket(self, family: int = sockets.AF_INET, kind: int = sockets.SOCK_STREAM, proto: int = 0) -> sockets.socket:
        """Return a new socket that lives in this place."""
        return self._in_thread(lambda: sockets.socket(family, kind, proto))

    def socket_factory(self, address: Sequence[Any]) -> sockets.socket:
        """Return a socket for aiohttp: `TCPConnector(socket_factory=place.socket_factory)`; hosts as addresses."""
        return self.socket(address[0], address[1], address[2])

    async def open_connection(
        self, host: str, port: int, *, source: str | None = None, **more: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from this place to an address literal; `more` goes to asyncio.open_connection (ssl, limit)."""
        made = self.socket()
        try:
            made.setblocking(False)
            if source:
                made.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(made, (host, port))
            return await asyncio.open_connection(sock=made, **more)
        except BaseException:
            made.close()
            raise

    def listener(self, host: str, port: int, backlog: int = 512) -> sockets.socket:
        """Return a listening socket here, for asyncio.start_server(sock=...)."""
        made = self.socket()
        try:
            made.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            made.bind((host, port))
            made.listen(backlog)
            made.setblocking(False)
        except OSError:
            made.close()
            raise
        return made

    @property
    def _processes(self) -> Processes:
        return Processes(self.layout.processes)

    def _cgroup(self, name: str, weight: int | None) -> list[Path]:
        groups = Cgroups(self.layout.id)
        groups.ensure("work", ALL_WORK_WEIGHT)
        return groups.ensure(f"work/{name}", WORK_WEIGHT if weight is None else weight)

    def _in_thread(self, make: Callable[[], sockets.socket]) -> sockets.socket:
        made: list[sockets.socket] = []
        error: list[OSError] = []

        def work() -> None:
            try:
                enter(self.namespace)
                made.append(make())
            except OSError as problem:
                error.append(problem)

        thread = threading.Thread(target=work, name=f"into-{self.name}")
        thread.start()
        thread.join()
        if error:
            raise ClusterError(
                f"no socket in {self.name}: {error[0]}", "is the cluster up, and are you root?"
            ) from error[0]
        return made[0]


def place(layout: Layout, name: str) -> Place:
    """Return a place of a local cluster by its name."""
    return Place(name, NETNS / layout.namespace(name), layout)


def enter(namespace: Path) -> None:
    """Move the calling thread, which must be one that ends soon, into a network namespace; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(handle, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(handle)


def _with_prefix(address: str) -> str:
    return address if "/" in address else f"{address}/24"
