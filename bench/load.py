"""The load and the count: Postfix's own smtp-source and smtp-sink, as its authors measure with.

Invariant: a message counts when the sink has answered its final dot; the sink says how many on its standard output.
"""

import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

__all__ = ["MESSAGE_BYTES", "Sink", "inject", "wait_for_port"]

MESSAGE_BYTES = 4096
"""Unless a case says otherwise."""
SENDER, RECIPIENT = "bench@sender.test", "rcpt@sink.test"
_COUNT = re.compile(rb"mesg=(\d+)")


@dataclass
class Sink:
    """smtp-sink with its running count."""

    address: str
    port: int
    _times: dict[int, float] = field(default_factory=dict)
    _arrived: int = 0
    _more: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            ["smtp-sink", "-c", "-u", "nobody", f"{self.address}:{self.port}", "1024"], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        self._reader = threading.Thread(target=self._count, daemon=True)
        self._reader.start()
        wait_for_port(self.address, self.port)

    def _count(self) -> None:
        """Reads the running count for as long as the sink lives."""
        tail = b""
        while data := os.read(self._out, 65536):
            tail = (tail + data)[-200:]
            found = _COUNT.findall(tail)
            if found:
                with self._more:
                    self._arrived = max(self._arrived, int(found[-1]))
                    self._more.notify_all()

    @property
    def arrived(self) -> int:
        """Messages so far."""
        return self._arrived

    def wait(self, total: int, timeout_s: float) -> float:
        """Monotonic time at which the count reached the total; raises TimeoutError with what is missing."""
        with self._more:
            if not self._more.wait_for(lambda: self._arrived >= total, timeout_s):
                raise TimeoutError(f"the sink has {self._arrived} of {total} messages after {timeout_s:.0f} s")
            return time.monotonic()

    def stop(self) -> None:
        """Ends the sink."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def wait_for_port(address: str, port: int, timeout_s: float = 20.0) -> None:
    """Returns when something listens there; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {address}:{port} after {timeout_s:.0f} s")


def inject(port: int, messages: int, sessions: int, size: int = MESSAGE_BYTES, recipient: str = RECIPIENT) -> None:
    """Hands in so many messages over so many kept-open sessions; raises CalledProcessError if one is refused."""
    load = ["-s", str(sessions), "-m", str(messages), "-l", str(size)]
    subprocess.run(
        ["smtp-source", "-d", *load, "-f", SENDER, "-t", recipient, f"127.0.0.1:{port}"],
        check=True,
        capture_output=True,
        timeout=300,
    )
