"""A relay as the operator meets it: the real admin API over what a test keeps of its spool, and its volume.

Before: Secrets that the operator made, as the kubelet mounts them. After: `stage`, which moves the mail.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lane_api.relayconfig import Admin, Endpoint, RelayConfig, TlsFiles
from lane_relay.api.server import AdminServer
from lane_relay.config import parse

__all__ = ["Relay", "Volume", "door_of"]


@dataclass
class Volume:
    """What a claim's volume keeps over every process."""

    uid: str
    live: int = 0
    """Messages."""
    ordered: Literal["Open", "Closed"] = "Open"
    guarded: bool = False
    """When it was looked at last."""


@dataclass
class Relay:
    """One process of a slot."""

    slot: str
    volume: Volume
    config: RelayConfig
    lies: bool = False
    """A fault on purpose: it says that it has nothing."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _server: AdminServer | None = None
    _folder: Path | None = None
    _door: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        self._door = door_of(self.config)

    async def start(self, folder: Path, files: dict[str, bytes]) -> int:
        """Serves with these files (tls.crt, tls.key, token); the port."""
        self._folder = folder
        _write(folder, files)
        tls = TlsFiles(certificate=str(folder / "tls.crt"), key=str(folder / "tls.key"))
        admin = Admin(listen=Endpoint(host="127.0.0.1", port=0), tls=tls, token_file=str(folder / "token"))
        self._server = AdminServer(admin, self)
        await self._server.start()
        return self._server.port

    def mounted(self, files: dict[str, bytes], config: str) -> None:
        """What the kubelet brings into a running pod when Secrets change."""
        if self._folder is not None:
            _write(self._folder, files)
        self.push(config)

    async def stop(self) -> None:
        """Ends the process; the volume stays."""
        if self._server is not None:
            await self._server.stop()

    @property
    def door(self) -> tuple[str, int] | None:
        """Node's address and port of its admin API, bound when it started."""
        return self._door

    @property
    def address(self) -> str:
        """What it sends from."""
        return str(self.config.egress.address or "")

    @property
    def is_open(self) -> bool:
        """Takes mail."""
        return (self.config.intake.state, self.volume.ordered) == ("Open", "Open")

    async def report(self) -> dict[str, Any]:
        """The answer to GET /v1/slot."""
        self.asked.set()
        config = self.config
        return {
            "slot": self.slot,
            "lane": f"{config.lane.namespace}/{config.lane.name}",
            "spoolId": f"spool-{self.volume.uid}",
            "generation": config.generation,
            "serial": config.serial,
            "refused": "",
            "intake": {
                "state": "Open" if self.is_open else "Closed",
                "ready": True,
                "sessions": 0,
                "ordered": self.volume.ordered,
            },
            "delivery": {"state": config.delivery.state, "proof": {"state": "Proved", "message": "", "at": None}},
            "queue": {"live": 0 if self.lies else self.volume.live, "inFlight": 0, "oldestSince": None, "bytes": 0},
            "domains": [],
            "certificate": {"selfSigned": True, "notAfter": None},
            "suppressions": {"words": 0},
        }

    async def set_intake(self, state: Literal["Open", "Closed"], owner: str, reason: str) -> str:
        """Opens or closes intake, kept on the volume."""
        self.volume.ordered = state
        return "Open" if self.is_open else "Closed"

    def push(self, text: str) -> int:
        """Puts a configuration in force, unless a newer one is."""
        config = parse(text)
        if config.serial >= self.config.serial:
            self.config = config
        return self.config.generation

    def config_in_force(self) -> dict[str, Any]:
        """The answer to GET /v1/config."""
        return {"generation": self.config.generation, "serial": self.config.serial, "refused": ""}

    def replies(self) -> dict[str, Any]:
        """None are kept."""
        return {"replies": [], "counts": {}, "dropped": 0}

    def sites(self, first: int, most: int) -> dict[str, Any]:
        """None."""
        return {"total": 0, "sites": [], "next": None}


def door_of(config: RelayConfig) -> tuple[str, int] | None:
    """Where a process with this configuration listens for its admin API."""
    return None if config.admin is None else (config.admin.listen.host, config.admin.listen.port)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != content:
            (folder / name).write_bytes(content)
