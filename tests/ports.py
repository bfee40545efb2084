"""Ports and addresses for servers of tests; ports below those that the kernel gives to outgoing connections.

A port that the kernel chose is its own to give again: a relay's next connection took the port that its sibling was to
listen on. Each worker of a test run has a band of its own; a run of the compiled form, which goes on beside that of the
pure one, has others; and a port that was given is taken for as long as the process lives that asked for it, for each
other one on this machine, also while nobody listens on it. Before: nothing. After: whoever starts a server.
"""

import fcntl
import os
import socket
import tempfile
from contextlib import ExitStack, suppress
from functools import cache
from itertools import count
from pathlib import Path

__all__ = ["free_port", "own_address"]

_FIRST, _WORKERS, _BAND = 10_000, 4, 2_750  # twice, up to 32,000: ip_local_port_range begins at 32,768
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_band = _worker + (_WORKERS if os.environ.get("LANE_RELAY_FORM") == "compiled" else 0)
_turns = count(os.getpid() * 37)  # another place for each run: two may be at work on one machine


def free_port(*hosts: str) -> int:
    """A port that nobody holds at these addresses, for TCP and UDP, and that was not given before; raises OSError.

    Without an address: of 127.0.0.1.
    """
    for _ in range(_BAND):
        port = _FIRST + _band * _BAND + next(_turns) % _BAND
        with suppress(OSError), ExitStack() as tried:
            fcntl.lockf(_given(os.getpid()), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            for host in hosts or ("127.0.0.1",):
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    tried.enter_context(socket.socket(family, kind)).bind((host, port))
            return port
    raise OSError(f"no port of {hosts} is free")


@cache
def _given(_of: int) -> int:
    """The file whose bytes are the ports that were given: who gave one holds its byte's lock. It stays open: a process
    that closed it would lose all of its locks."""
    path = Path(tempfile.gettempdir()) / "lanewright-ports-of-tests"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def own_address(last: int) -> str:
    """A loopback address ending in `last` that no other test process takes, for a server whose port is fixed, as 25."""
    return f"127.{1 + os.getpid() // 250 % 250}.{os.getpid() % 250}.{last}"
