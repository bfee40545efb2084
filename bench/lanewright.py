"""Our side: the real relay as a process, with everything in place that the first release promises.

Egress proved by a reflector, source bound, ISP policy with reply rules, MX through DNS, records, metrics, fdatasync
before 250; TLS as on the peer's side: none is offered by the sink.
"""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from time import monotonic, sleep

import yaml

from bench.load import wait_for_port
from e2e import compiled

__all__ = ["FREELY", "Relay"]

FREELY = "100000/s"
"""A `messageRate` that holds nothing up."""
SOURCE = "127.0.0.61"
_POLICY = {
    "name": "sink",
    "mx": ["*.sink.test"],
    "connections": 20,
    "messagesPerConnection": 1000,
    "responses": [
        {
            "id": "too-fast",
            "stage": "Any",
            "pattern": "4\\.7\\.28|too many messages",
            "category": "rate-limited",
            "action": "Backoff",
            "scope": "Site",
            "examples": ["421 4.7.28 too many messages"],
        }
    ],
}


def _as_in_its_image(bytecode: Path) -> dict[str, str]:
    """An environment in which hot modules are compiled to C, where this machine can, and others to bytecode once."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if "PYTHONPATH" not in given and not compiled.why_not():
        given["PYTHONPATH"] = str(compiled.source())
    return {**given, "PYTHONPYCACHEPREFIX": str(bytecode)}


class Relay:
    """One relay process with spool and records of its own."""

    def __init__(
        self,
        folder: Path,
        ports: tuple[int, int],
        reflector: int,
        resolver: str,
        dkim_key: Path | None,
        *,
        state: str = "Running",
        retry: str = "60s",
        await_proof: bool = True,
        rate: str = FREELY,
    ) -> None:
        """Starts it and returns when it is ready and proved, or at once.

        `retry` is each wait of deferred mail, `rate` how fast the ISP's policy lets mail go.
        """
        self.name = "lane-relay, RSA-2048" if dkim_key else "lane-relay"
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.health_port = ports
        self._config = self._render(folder, reflector, resolver, dkim_key, state, retry, rate)
        (folder / "relay.yaml").write_text(yaml.safe_dump(self._config, sort_keys=False))
        self._log = folder / "log"
        command = [sys.executable, "-m", "lane_relay", "--config", str(folder / "relay.yaml")]
        with self._log.open("wb") as log:
            surroundings = _as_in_its_image(folder.parent / "bytecode")
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=surroundings)
        self.pid = self._process.pid
        if not await_proof:
            return
        try:
            self._await_proof()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _render(
        self, folder: Path, reflector: int, resolver: str, dkim_key: Path | None, state: str, retry: str, rate: str
    ) -> dict[str, object]:
        """The configuration file."""
        domains = [{"name": "sender.test", "selector": "bench", "keyFile": str(dkim_key)}] if dkim_key else []
        return {
            "lane": {"name": "bench"},
            "slot": {"name": "bench-0", "hostname": "relay.bench.test"},
            "intake": {"smtp": {"host": "127.0.0.1", "port": self.port}, "clients": ["127.0.0.0/8"]},
            "spool": {"path": str(folder / "spool")},
            "records": {"path": str(folder / "records")},
            "egress": {
                "address": SOURCE,
                "source": SOURCE,
                "proof": {
                    "reflectors": [f"tcp://127.0.0.1:{reflector}"],
                    "keyFile": str(folder.parent / "reflector.key"),
                },
            },
            "delivery": {
                "state": state,
                "retry": {"first": retry, "factor": 1, "max": retry},
                "resolvers": [resolver],
                "policies": [{**_POLICY, "messageRate": rate}],
            },
            "domains": domains or [{"name": "sender.test", "mode": "Off"}],
            "health": {"host": "127.0.0.1", "port": self.health_port},
            "sloLatency": "60s",
        }

    def _await_proof(self) -> None:
        """Returns when mail may leave; raises TimeoutError."""
        deadline = monotonic() + 60
        while monotonic() < deadline:
            with contextlib.suppress(OSError):  # nothing listens yet
                if self.metric("egress_open"):
                    wait_for_port("127.0.0.1", self.port)
                    return
            sleep(0.05)
        raise TimeoutError(f"the egress address was not proved: {self._log.read_text()[-2000:]}")

    def metric(self, name: str) -> float:
        """One unlabelled metric of the process, or 0."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"lane_relay_{name} ")), 0.0)

    def is_ready(self) -> bool:
        """It can accept durably."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def resumed(self) -> int:
        """Entries that recovery has handed on, as the log says; -1: it does not take mail yet."""
        if '"taking mail"' not in self._log.read_text():
            return -1
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if '"resumed"' in line]
        return max((int(line.get("entries", 0)) for line in lines), default=0)

    def kill(self) -> None:
        """kill -9; what is queued stays."""
        self._process.kill()
        self._process.wait()

    def describe(self) -> str:
        """The configuration as it ran."""
        form = "pure Python" if compiled.why_not() else "hot modules compiled"
        return f"{self.name}, {form}\n  {json.dumps(self._config)}"

    def stop(self) -> None:
        """Ends it as Kubernetes does; raises RuntimeError if it keeps mail back or does not end well."""
        deadline = monotonic() + 10  # the last settlements are committed a moment after the sink's last answer
        while (left := self.metric("queue_messages")) and monotonic() < deadline:
            sleep(0.05)
        self._process.terminate()
        if self._process.wait(timeout=30) != 0 or left:
            raise RuntimeError(f"{left:.0f} messages left: {self._log.read_text()[-2000:]}")
