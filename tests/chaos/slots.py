"""Relays of a campaign: forked by a nursery that may lay something under them.

Before: a campaign. After: `nursery`, and `tests.lane_relay.running`, whose configuration and figures these share.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.chaos import mutants
from tests.chaos.layer import Layer
from tests.lane_relay.forked import Nursery
from tests.lane_relay.running import Relay, eventually

COMPILED: Final = "CHAOS_COMPILED"
"""The variable that names the folder of a compiled relay."""


def nursery_of(mutant: str, layer: Layer) -> Nursery:
    """Relays as the image has them, where the environment says where those are; broken ones can only be of Python."""
    environment = layer.environment
    if os.environ.get(COMPILED) and mutant == mutants.NONE:
        environment |= {"PYTHONPATH": os.environ[COMPILED]}
    return Nursery("tests.chaos.nursery", mutant, env=environment)


@dataclass
class Slot(Relay):
    """One relay; its folder outlives its processes."""

    nursery: Nursery | None = None
    source: str = ""
    """The address that its mail leaves from."""
    http_port: int = 0
    feedback_port: int = 0

    def start(self, *, ready: bool = False) -> Self:
        """Starts a process; returns at once unless told to wait."""
        assert self.nursery is not None
        self.process = self.nursery.bear(self.config_file, self.folder / "log")
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, within_s: float = 60.0) -> None:
        """Returns when it can accept."""
        eventually(self.is_ready, f"{self.folder.name} is ready", within_s)

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process is None or self.process.poll() is not None

    def resident_bytes(self) -> int:
        """What it holds in memory of its own (RssAnon), without files that are mapped; 0 if it does not run.

        Of a relay that was forked the pages that it shares with its nursery count as its own.
        """
        assert self.process is not None
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except FileNotFoundError:
            return 0
        held = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
        return int(held.split()[1]) * 1024
