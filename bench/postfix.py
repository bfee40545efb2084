"""The peer: Debian's Postfix 3.7, tuned for throughput as in `e2e.internet.postfix`, one fresh instance a round.

Every message is fsynced before 250, as Postfix does; its log is on, as our records are.
"""

from pathlib import Path
from time import monotonic, sleep

from e2e.internet import postfix
from e2e.internet.place import HostPlace

__all__ = ["Postfix"]


class Postfix:
    """One instance in a folder of its own, listening on a port of loopback."""

    name = "Postfix tuned"

    def __init__(self, folder: Path, port: int, sink: tuple[str, int]) -> None:
        """Starts it and returns when it listens."""
        self.port = port
        place = HostPlace(folder / "out")
        self._instance = postfix.Postfix(place, postfix.tuned_relay(folder, "127.0.0.1", port, sink))
        self._instance.up()
        master = place.find("postfix-tuned")
        if master is None:
            raise RuntimeError(f"Postfix ended at once: {self._instance.log()[-2000:]}")
        self.pid = master.pid

    def describe(self) -> str:
        """The configuration as Postfix reads it."""
        return f"{self.name}\n{self._instance.shown()}"

    def stop(self) -> None:
        """Ends the instance; raises RuntimeError if it keeps mail back."""
        deadline = monotonic() + 10  # the last files go a moment after the sink's last answer
        while (left := self._instance.queued()) and monotonic() < deadline:
            sleep(0.05)
        self._instance.down()
        if left:
            raise RuntimeError(f"{left} messages left in the peer's queue: {self._instance.log()[-2000:]}")
