"""Ports for servers of tests, below those that the kernel gives to outgoing connections.

A port that the kernel chose is its own to give again: a relay's next connection took the port that its sibling was to
listen on. Each worker of a test run has a band of its own. Before: nothing. After: whoever starts a server.
"""

import os
import socket
from contextlib import suppress
from itertools import count

__all__ = ["free_port"]

_FIRST, _WORKERS, _BAND = 10_000, 4, 5_500  # up to 32,000: ip_local_port_range begins at 32,768
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_turns = count(os.getpid() * 37)  # another place for each run: two may be at work on one machine


def free_port(host: str = "127.0.0.1") -> int:
    """A port of that address that nobody holds, for TCP and UDP, and that was not given before; raises OSError."""
    for _ in range(_BAND):
        port = _FIRST + _worker * _BAND + next(_turns) % _BAND
        with suppress(OSError), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((host, port))
            udp.bind((host, port))
            return port
    raise OSError(f"no port of {host} is free")
