"""How a peer takes a message that is longer than what the kernels hold: looked at once a second, by the sweep.

Before it: a session that has written a whole message and has no answer yet. After it: its time limit.
Invariant: a peer that goes on taking is never late; one that takes next to nothing holds its connection no longer than
one that takes nothing.
"""

import asyncio
import struct
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final

__all__ = ["Uptake", "held_here", "unconfirmed"]

_STEP: Final = 16 * 1024
"""Bytes that count as going on. In the 180 s of RFC 5321 section 4.5.3.2.5 that is 91 bytes a second; Postfix asks for
500 by default (smtp_min_data_rate)."""


class Uptake:
    """Of one message, which began at `began`."""

    __slots__ = ("_at", "_began", "_here", "_left")

    def __init__(self, began: float, here: int, left: int) -> None:
        """`here`: bytes that have not left this process; `left`: those and what the peer's kernel has not confirmed."""
        self._began = began
        self._here = here
        self._left = self._at = left

    def is_of(self, began: float, left: int) -> bool:
        """It is about this message, of which so much is left: another one has a later beginning, or more."""
        return began == self._began and left <= self._left

    def goes_on(self, here: int, left: int) -> bool:
        """The peer has taken a step since that was last so, or the last of it, or the last has left this process."""
        goes_on = self._at - left >= _STEP or (left == 0 and self._left > 0) or (here == 0 and self._here > 0)
        self._here, self._left = here, left
        if goes_on:
            self._at = left
        return goes_on


def held_here(wire: asyncio.Transport | None, transport: asyncio.Transport | None) -> int:
    """Bytes written that the kernel has not taken; `transport` is the socket's own (`wire`), or TLS upon it."""
    if wire is None or transport is None:
        return 0
    held: int = wire.get_write_buffer_size()
    return held if transport is wire else held + transport.get_write_buffer_size()


def unconfirmed(wire: asyncio.Transport | None) -> int:
    """Bytes that the kernel has taken and the peer's has not confirmed (tcp(7), SIOCOUTQ)."""
    sock = wire.get_extra_info("socket") if wire is not None else None
    descriptor = sock.fileno() if sock is not None else -1
    if descriptor < 0:
        return 0
    try:
        return int(struct.unpack("i", ioctl(descriptor, TIOCOUTQ, bytes(4)))[0])
    except OSError:  # it is being closed
        return 0
