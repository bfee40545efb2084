"""`lane-relay reflect`: answers relays with the address that they are seen with, until it is told to stop.

Before it: `__main__`. After it: `egress.reflect`.
"""

import asyncio
import signal
from pathlib import Path
from typing import Final

import structlog
import uvloop

from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.egress import reflect
from lane_relay.egress.wire import parse_key

__all__ = ["run_reflector"]

GRACE_S: Final = 5.0

_log = structlog.get_logger("lane-relay")


def run_reflector(listen: str, key_file: Path) -> int:
    """Reflects at ADDRESS:PORT; raises ValueError for an address or key that is none, OSError."""
    return uvloop.run(_reflect(*_address(listen), parse_key(key_file.read_bytes())))


def _address(text: str) -> tuple[str, int]:
    """Host and port of `ADDRESS:PORT` or `[ADDRESS]:PORT`; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--listen {text!r}: write ADDRESS:PORT, such as 0.0.0.0:25 or [::]:25")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _reflect(host: str, port: int, key: bytes) -> int:
    """Reflects until SIGTERM or SIGINT, then lets open answers go out."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shared = reflect.Reflector(key, SYSTEM_CLOCK.now)
    server = await reflect.serve(host, port, shared)
    _log.info("reflecting", address=host, port=server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    await shared.drain(GRACE_S)
    _log.info("stopped", answered=shared.answered)
    return 0
