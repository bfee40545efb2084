"""Gives the door its orders, from anywhere on the machine. Before: `rig`, `acts`. After: `door`."""

import http.client
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from e2e.chaos.door import Fault, KillOrder

__all__ = ["DoorControl"]

_TIMEOUT_S = 20.0


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket, which every network namespace reaches."""

    def __init__(self, path: Path) -> None:
        super().__init__("door", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DoorControl:
    """The orders; each raises OSError where no door answers, AssertionError where it refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def breaks(self, faults: Iterable[Fault]) -> None:
        """These faults from now on, instead of those before; none: everything passes."""
        self._ask("PUT", "/faults", [one.model_dump() for one in faults])

    def kills(self, pid: int, after: int, how: Literal["before", "after"]) -> None:
        """Kills a process at a write of a pass."""
        self._ask("POST", "/kill", KillOrder(pid=pid, after=after, how=how).model_dump())

    def spares(self) -> bool:
        """Takes the order back; whether it was still to be carried out."""
        return bool(self._ask("DELETE", "/kill")["waited"])

    def cut_watches(self) -> int:
        """Ends every stream of changes; how many there were."""
        return int(self._ask("POST", "/cut-watches")["cut"])

    def counts(self) -> dict[str, int]:
        """Requests by what became of them, and kills."""
        return dict(self._ask("GET", "/counts"))

    def seen(self) -> list[tuple[float, str]]:
        """When each request came, what was asked (`door.asked`), and what became of it."""
        return [(at, what) for at, what in self._ask("GET", "/seen")]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = _Unix(self._path)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text.decode()
            return json.loads(text)
        finally:
            connection.close()
